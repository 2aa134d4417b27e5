"""Accounts, keys, ledger, answers, usage; entries of the ledger cannot be changed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("email", sa.String(320), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(200)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("balance >= 0", name="balance_not_negative"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("shown", sa.String(32), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False, index=True),
        sqlite_autoincrement=True,  # a number is never used again: answers and reasons name holds
    )
    op.create_table(
        "entries",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("movement", sa.String(32), nullable=False, index=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("book", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("hold_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("media_type", sa.String(100)),
        sa.Column("body", sa.LargeBinary),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.UniqueConstraint("account_id", "idempotency_key"),
    )
    op.create_table(
        "usage",
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("account_id", _BIG, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("key_id", _BIG, sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("day", sa.String(10), nullable=False, index=True),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("texts", sa.Integer, nullable=False),
        sa.Column("cost", sa.BigInteger, nullable=False),
    )
    _make_entries_append_only()


def downgrade() -> None:
    """Drop the tables."""
    for table in ("usage", "answers", "entries", "holds", "api_keys", "accounts"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION entries_are_append_only")


def _make_entries_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER entries_no_{change.lower()} BEFORE {change} ON entries "
                "BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION entries_are_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'entries are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON entries "
        "FOR EACH ROW EXECUTE FUNCTION entries_are_append_only()"
    )
