"""The ledger as its account reads it: movements of its own credit, the latest first."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

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
    mine = [Entry.account_id == account_id, Entry.book == "credit"]
    if before is not None:
        mine.append(Entry.id < before)
    with database.reading() as session:
        entries = session.scalars(select(Entry).where(*mine).order_by(Entry.id.desc()).limit(limit)).all()
        balance = int(session.scalar(select(func.coalesce(func.sum(Entry.amount), 0)).where(*mine)) or 0)
    lines = []
    for entry in entries:
        lines.append(
            Line(
                id=entry.id,
                created_at=entry.created_at,
                amount=entry.amount,
                balance=balance,
                reason=entry.reason,
            )
        )
        balance -= entry.amount
    return lines
