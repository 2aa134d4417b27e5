"""Label sets under a name; what kind of request used how many tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table, and the columns of usage."""
    op.create_table(
        "label_sets",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("account_id", "name"),
    )
    # Rows from before have no kind; their tokens were not counted.
    op.add_column("usage", sa.Column("kind", sa.String(32), nullable=False, server_default=""))
    op.add_column("usage", sa.Column("tokens", sa.BigInteger, nullable=False, server_default="0"))
    # Keys that may do everything may also search.
    op.execute(
        "UPDATE api_keys SET scopes = 'classify embed score search' WHERE scopes = 'classify embed score'"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("usage", "tokens")
    op.drop_column("usage", "kind")
    op.drop_table("label_sets")
