"""Sessions of browsers, identities of OpenID providers, monthly limits, and which key a hold belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_LIMITS = ("soft_limit", "hard_limit")


def upgrade() -> None:
    """Make the tables and columns."""
    op.create_table(
        "browser_sessions",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
    )
    op.create_table(
        "identities",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("issuer", "subject"),
    )
    for table in ("accounts", "api_keys"):
        for name in _LIMITS:
            op.add_column(table, sa.Column(name, sa.BigInteger))
    op.add_column("holds", sa.Column("key_id", sa.BigInteger))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("holds", "key_id")
    for table in ("accounts", "api_keys"):
        for name in _LIMITS:
            op.drop_column(table, name)
    op.drop_table("identities")
    op.drop_table("browser_sessions")
