"""What an account or a key may spend in a month (UTC): beyond a soft limit a warning, beyond a hard one no.

Only where a limit is set is anything summed: the month's days, and what running requests hold.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Row, bindparam, func, outerjoin, select
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import NotEnoughCredit
from siglip2.serve.accounts.tables import Account, ApiKey, DayCost, Hold, Table

# Every request asks twice: of the tables alone, which costs a fraction of the same through objects.
_ACCOUNTS, _KEYS = (Table.metadata.tables[kind.__tablename__] for kind in (Account, ApiKey))
_LIMITS = (
    select(
        _ACCOUNTS.c.soft_limit.label("soft"),
        _ACCOUNTS.c.hard_limit.label("hard"),
        _KEYS.c.soft_limit.label("key_soft"),
        _KEYS.c.hard_limit.label("key_hard"),
    )
    .select_from(outerjoin(_ACCOUNTS, _KEYS, _KEYS.c.id == bindparam("key")))
    .where(_ACCOUNTS.c.id == bindparam("account"))
)


class OverHardLimit(NotEnoughCredit):
    """The request would go beyond what the account or the key may spend in a month."""


MAX_LIMIT = 2**63 - 1
"""What the databases can hold."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Micro-units in a month; None is without.

    Attributes:
        spent: so far.
        soft: beyond it answers carry a warning.
        hard: never beyond it.
    """

    spent: int
    soft: int | None
    hard: int | None


def refuse_over_hard_limit(session: Session, account_id: int, key_id: int, cost: int) -> None:
    """Look before credit is held.

    Raises:
        OverHardLimit: with this cost, of the account or of the key.
    """
    limits = _limited(session, account_id, key_id)
    if limits.hard is None and limits.key_hard is None:
        return
    # One after the other: requests side by side would each see the month without the others.
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    for limit, one in ((limits.hard, None), (limits.key_hard, key_id)):
        if limit is not None and _spent(session, account_id, one) + cost > limit:
            raise OverHardLimit


def is_over_soft_limit(session: Session, account_id: int, key_id: int) -> bool:
    """Whether the account or the key has spent more than it wants to be warned of."""
    limits = _limited(session, account_id, key_id)
    if limits.soft is not None and _spent(session, account_id, None) > limits.soft:
        return True
    return limits.key_soft is not None and _spent(session, account_id, key_id) > limits.key_soft


def read_limits(database: Database, account_id: int) -> Limits:
    """An account's limits, and where it stands."""
    with database.reading() as session:
        account = session.get(Account, account_id)
        assert account is not None
        spent = _spent(session, account_id, None)
        return Limits(spent=spent, soft=account.soft_limit, hard=account.hard_limit)


def set_limits(database: Database, account_id: int, *, soft: int | None, hard: int | None) -> None:
    """Change an account's limits.

    Raises:
        InvalidInput: a limit that is negative or more than `MAX_LIMIT`.
    """
    check_range("micro-units in a month", soft, 0, MAX_LIMIT)
    check_range("micro-units in a month", hard, 0, MAX_LIMIT)
    with database.transaction() as session:
        account = session.get(Account, account_id)
        assert account is not None
        account.soft_limit, account.hard_limit = soft, hard


def check_range(what: str, number: int | None, least: int, most: int) -> None:
    """Let a number pass that is not given, or within its range.

    Raises:
        InvalidInput: it is not.
    """
    if number is not None and not least <= number <= most:
        raise InvalidInput(f"{what}: {least} to {most}, not {number}")


def _limited(session: Session, account_id: int, key_id: int) -> Row:
    """The four limits of an account and of its key; None of a key that there is not."""
    return session.connection().execute(_LIMITS, {"account": account_id, "key": key_id}).one()


def _spent(session: Session, account_id: int, key_id: int | None) -> int:
    """This month's usage and running requests, of the account or of one of its keys."""
    first = datetime.now(UTC).date().replace(day=1).isoformat()
    used = select(func.coalesce(func.sum(DayCost.cost), 0)).where(
        DayCost.account_id == account_id, DayCost.day >= first
    )
    held = select(func.coalesce(func.sum(Hold.amount), 0)).where(Hold.account_id == account_id)
    if key_id is not None:
        used, held = used.where(DayCost.key_id == key_id), held.where(Hold.key_id == key_id)
    return int(session.scalar(used) or 0) + int(session.scalar(held) or 0)
