"""What each key was charged on each day, summed as it is charged."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table, and fill it from usage."""
    op.create_table(
        "day_costs",
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("key_id", _BIG, sa.ForeignKey("api_keys.id"), primary_key=True, autoincrement=False),
        sa.Column("cost", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO day_costs (account_id, day, key_id, cost) "
        "SELECT account_id, day, key_id, SUM(cost) FROM usage GROUP BY account_id, day, key_id"
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("day_costs")
