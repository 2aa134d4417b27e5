"""What an account or a key may spend in a month (UTC): beyond a soft limit a warning, beyond a hard one no.

Only where a limit is set is anything summed: the month's usage, and what running requests hold.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import NotEnoughCredit
from siglip2.serve.accounts.tables import Account, ApiKey, Hold, Usage


class OverHardLimit(NotEnoughCredit):
    """The request would go beyond what the account or the key may spend in a month."""


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
    account, key = _limited(session, account_id, key_id)
    if account.hard_limit is None and (key is None or key.hard_limit is None):
        return
    # One after the other: requests side by side would each see the month without the others.
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    for limit, one in ((account.hard_limit, None), (key and key.hard_limit, key_id)):
        if limit is not None and _spent(session, account_id, one) + cost > limit:
            raise OverHardLimit


def is_over_soft_limit(session: Session, account_id: int, key_id: int) -> bool:
    """Whether the account or the key has spent more than it wants to be warned of."""
    account, key = _limited(session, account_id, key_id)
    if account.soft_limit is not None and _spent(session, account_id, None) > account.soft_limit:
        return True
    if key is None or key.soft_limit is None:
        return False
    return _spent(session, account_id, key_id) > key.soft_limit


def read_limits(database: Database, account_id: int) -> Limits:
    """An account's limits, and where it stands."""
    with database.reading() as session:
        account = session.get(Account, account_id)
        assert account is not None
        spent = _spent(session, account_id, None)
        return Limits(spent=spent, soft=account.soft_limit, hard=account.hard_limit)


def set_limits(database: Database, account_id: int, *, soft: int | None, hard: int | None) -> None:
    """Change an account's limits."""
    with database.transaction() as session:
        account = session.get(Account, account_id)
        assert account is not None
        account.soft_limit, account.hard_limit = soft, hard


def _limited(session: Session, account_id: int, key_id: int) -> tuple[Account, ApiKey | None]:
    account = session.get(Account, account_id)
    assert account is not None
    return account, session.get(ApiKey, key_id)


def _spent(session: Session, account_id: int, key_id: int | None) -> int:
    """This month's usage and running requests, of the account or of one of its keys."""
    first = datetime.now(UTC).date().replace(day=1).isoformat()
    usage = select(func.coalesce(func.sum(Usage.cost), 0)).where(
        Usage.account_id == account_id, Usage.day >= first
    )
    held = select(func.coalesce(func.sum(Hold.amount), 0)).where(Hold.account_id == account_id)
    if key_id is not None:
        usage, held = usage.where(Usage.key_id == key_id), held.where(Hold.key_id == key_id)
    return int(session.scalar(usage) or 0) + int(session.scalar(held) or 0)
