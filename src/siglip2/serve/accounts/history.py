"""The ledger as its account reads it: movements of its own credit, the latest first."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.tables import Entry


@dataclass(frozen=True, kw_only=True)
class Line:
    """One movement.

    Attributes:
        id: of the entry in the book `credit`.
        created_at: when.
        amount: micro-units, negative where credit went.
        balance: what was left afterwards.
        reason: `sign-up`, `grant`, `hold N` (a request that was taken), `release N` (one that failed).
    """

    id: int
    created_at: datetime
    amount: int
    balance: int
    reason: str


def list_entries(database: Database, account_id: int, limit: int, before: int | None = None) -> list[Line]:
    """At most `limit` movements of an account's credit, of those with a smaller number than `before`."""
    # Entries that an older version adds, while it runs beside, say no balance: only theirs is summed.
    earlier = aliased(Entry)
    summed = (
        select(func.sum(earlier.amount))
        .where(earlier.account_id == account_id, earlier.book == "credit", earlier.id <= Entry.id)
        .scalar_subquery()
    )
    balance = func.coalesce(Entry.balance, summed)
    query = select(Entry.id, Entry.created_at, Entry.amount, balance, Entry.reason)
    query = query.where(Entry.account_id == account_id, Entry.book == "credit")
    if before is not None:
        query = query.where(Entry.id < before)
    with database.reading() as session:
        rows = session.execute(query.order_by(Entry.id.desc()).limit(limit)).all()
    return [
        # PostgreSQL sums to decimals.
        Line(id=id_, created_at=created_at, amount=amount, balance=int(left), reason=reason)
        for id_, created_at, amount, left, reason in rows
    ]
