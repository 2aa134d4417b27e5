"""Indexes by which an account's days of usage are found, and the last day of a key."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the indexes, in the place of those that found all days of an account, or all accounts of a day."""
    op.create_index("ix_usage_account_day", "usage", ["account_id", "day"])
    op.create_index("ix_day_costs_key_day", "day_costs", ["key_id", "day"])
    for name in ("account_id", "day"):
        op.drop_index(f"ix_usage_{name}", "usage")


def downgrade() -> None:
    """Drop them."""
    for name in ("account_id", "day"):
        op.create_index(f"ix_usage_{name}", "usage", [name])
    op.drop_index("ix_day_costs_key_day", "day_costs")
    op.drop_index("ix_usage_account_day", "usage")
