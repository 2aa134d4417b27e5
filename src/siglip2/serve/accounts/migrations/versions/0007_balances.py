"""What balance each entry of an account's credit left, and an index that its pages are read by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BY_ACCOUNT, _BY_BOOK = "ix_entries_account_id", "ix_entries_account_book"


def upgrade() -> None:
    """Make the column and the index, and sum up the entries so far."""
    op.add_column("entries", sa.Column("balance", sa.BigInteger))
    _let_entries_change()
    op.execute(
        "UPDATE entries SET balance = sums.so_far FROM ("
        "SELECT id, SUM(amount) OVER (PARTITION BY account_id ORDER BY id) AS so_far "
        "FROM entries WHERE book = 'credit') AS sums WHERE entries.id = sums.id"
    )
    _keep_entries()
    op.create_index(_BY_BOOK, "entries", ["account_id", "book", "id"])
    op.drop_index(_BY_ACCOUNT, "entries")


def downgrade() -> None:
    """Drop them."""
    op.create_index(_BY_ACCOUNT, "entries", ["account_id"])
    op.drop_index(_BY_BOOK, "entries")
    op.drop_column("entries", "balance")


def _let_entries_change() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER entries_no_update")
        return
    op.execute("ALTER TABLE entries DISABLE TRIGGER entries_append_only")


def _keep_entries() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
            "BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
        )
        return
    op.execute("ALTER TABLE entries ENABLE TRIGGER entries_append_only")
