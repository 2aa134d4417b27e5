"""Credit moves between books, always by two entries that cancel out.

Every function works inside the caller's transaction.
"""

import secrets
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.tables import Account, Entry, Table

_ACCOUNTS = Table.metadata.tables[Account.__tablename__]
_TAKE = (
    update(_ACCOUNTS)
    .where(_ACCOUNTS.c.id == bindparam("id_"), _ACCOUNTS.c.balance >= bindparam("less"))
    .values(balance=_ACCOUNTS.c.balance - bindparam("less"))
    .returning(_ACCOUNTS.c.balance)
)
_GIVE = (
    update(_ACCOUNTS)
    .where(_ACCOUNTS.c.id == bindparam("id_"))
    .values(balance=_ACCOUNTS.c.balance + bindparam("more"))
    .returning(_ACCOUNTS.c.balance)
)
_NEW_ENTRIES = insert(Table.metadata.tables[Entry.__tablename__])

MAX_BALANCE = 2**53 - 1
"""Micro-units. The console and other programs in JavaScript read no larger numbers exactly."""


class NotEnoughCredit(Exception):
    """The account's balance does not cover the amount."""


def move(session: Session, account_id: int, amount: int, *, source: str, to: str, reason: str) -> None:
    """Move credit of an account from one book to another.

    Raises:
        InvalidInput: an amount that is negative or more than `MAX_BALANCE`.
        NotEnoughCredit: out of the book `credit`, more than there is. Nothing has happened then.
    """
    if not 0 <= amount <= MAX_BALANCE:
        raise InvalidInput(f"{amount} micro-units cannot be moved: the amount is 0 to {MAX_BALANCE}")
    if amount == 0:
        return
    # The account's row stays locked to the end of the transaction: entries stand in the order of balances.
    balance: int | None = None
    if source == "credit":
        # One statement checks and takes, so that requests side by side cannot spend the same credit.
        balance = session.connection().execute(_TAKE, {"id_": account_id, "less": amount}).scalar()
        if balance is None:
            raise NotEnoughCredit
    if to == "credit":
        balance = session.connection().execute(_GIVE, {"id_": account_id, "more": amount}).scalar()
    movement, now = secrets.token_hex(16), datetime.now(UTC)
    rows = [
        {
            "movement": movement,
            "account_id": account_id,
            "book": book,
            "amount": signed,
            "balance": balance if book == "credit" else None,
            "reason": reason,
            "created_at": now,
        }
        for book, signed in ((source, -amount), (to, amount))
    ]
    # What the session has not written yet, such as the account itself, comes first.
    session.flush()
    session.connection().execute(_NEW_ENTRIES, rows)


def find_errors(session: Session) -> list[str]:
    """Sentences about everything in the ledger that does not add up; none if all is well."""
    sums = func.sum(Entry.amount)
    unequal = session.execute(select(Entry.movement).group_by(Entry.movement).having(sums != 0))
    errors = [f"movement {movement} does not sum to zero" for (movement,) in unequal]
    credit = (
        select(func.coalesce(sums, 0))
        .where(Entry.account_id == Account.id, Entry.book == "credit")
        .correlate(Account)
        .scalar_subquery()
    )
    rows = session.execute(select(Account.id, Account.balance, credit).where(Account.balance != credit))
    errors += [f"account {id_} has {balance}, its entries say {entries}" for id_, balance, entries in rows]
    so_far = sums.over(partition_by=Entry.account_id, order_by=Entry.id).label("so_far")
    lines = select(Entry.id, Entry.balance, so_far).where(Entry.book == "credit").subquery()
    wrong = session.execute(select(lines).where(lines.c.balance != lines.c.so_far).order_by(lines.c.id))
    errors += [
        f"entry {id_} says that it left {balance}, the entries up to it {left}"
        for id_, balance, left in wrong
    ]
    return errors
