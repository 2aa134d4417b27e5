"""The keys of one account: listed, made, revoked; and the one that stands for its console."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.keys import SCOPES, hash_key, make_key
from siglip2.serve.accounts.limits import check_range
from siglip2.serve.accounts.tables import Account, ApiKey, DayCost

MAX_KEYS = 100
"""Of one account that work."""

MAX_DAYS = 3650
"""Until a key expires."""

MAX_REQUESTS_PER_MINUTE = 10**6

CONSOLE = "(console)"
"""What `shown` says of the key that nobody has: usage of the console is listed under it."""


def add_key(
    session: Session,
    account_id: int,
    name: str,
    *,
    scopes: Sequence[str] = SCOPES,
    days: int | None = None,
    requests_per_minute: int | None = None,
    soft_limit: int | None = None,
    hard_limit: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key within a transaction; with its secret, which cannot be had again.

    Raises:
        InvalidInput: no such scope, too many keys, or a number out of its range.
    """
    check_range("days until a key expires", days, 1, MAX_DAYS)
    check_range("requests per minute", requests_per_minute, 1, MAX_REQUESTS_PER_MINUTE)
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(f"the scopes of a key are some of {', '.join(SCOPES)}, not {list(scopes)}")
    now = datetime.now(UTC)
    working = select(func.count()).where(
        ApiKey.account_id == account_id,
        ApiKey.shown != CONSOLE,
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now),
    )
    if (session.scalar(working) or 0) >= MAX_KEYS:
        raise InvalidInput(f"an account has at most {MAX_KEYS} keys that work: revoke one first")
    made = make_key()
    key = ApiKey(
        account_id=account_id,
        name=name[:100],
        shown=made.shown,
        key_hash=made.key_hash,
        scopes=" ".join(scope for scope in SCOPES if scope in scopes),
        requests_per_minute=requests_per_minute,
        expires_at=None if days is None else now + timedelta(days=days),
        created_at=now,
        soft_limit=soft_limit,
        hard_limit=hard_limit,
    )
    session.add(key)
    session.flush()
    return key, made.secret


def list_keys(database: Database, account_id: int) -> list[ApiKey]:
    """All keys of an account, the revoked ones too, the latest first."""
    query = select(ApiKey).where(ApiKey.account_id == account_id).order_by(ApiKey.id.desc())
    with database.reading() as session:
        return list(session.scalars(query))


def last_days(database: Database, account_id: int) -> dict[int, str]:
    """The latest day (in UTC, as 2026-01-31) on which each key of an account was charged."""
    # Key by key, each found in the index: one sum over the account would read all its days.
    last = select(func.max(DayCost.day)).where(DayCost.key_id == ApiKey.id).scalar_subquery()
    with database.reading() as session:
        rows = session.execute(select(ApiKey.id, last).where(ApiKey.account_id == account_id)).all()
    return {key_id: day for key_id, day in rows if day is not None}


def revoke_own_key(database: Database, account_id: int, key_id: int) -> ApiKey | None:
    """Switch a key of the account off for good; None if it has no such key, or it is the console's."""
    with database.transaction() as session:
        key = session.get(ApiKey, key_id)
        if key is None or key.account_id != account_id or key.shown == CONSOLE:
            return None
        key.revoked_at = key.revoked_at or datetime.now(UTC)
        return key


def is_console_key() -> ColumnElement[bool]:
    """The condition that a key stands for its account's console; one that is revoked does so no more."""
    return (ApiKey.shown == CONSOLE) & ApiKey.revoked_at.is_(None)


def console_key(session: Session, account_id: int) -> int:
    """The number of the key that stands for the account's console, made if need be. Nobody has its secret."""
    # One after the other: two sign-ins at once would make two.
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    known = select(ApiKey.id).where(ApiKey.account_id == account_id, is_console_key())
    key_id = session.scalars(known).first()
    if key_id is not None:
        return key_id
    key = ApiKey(
        account_id=account_id,
        name="Console",
        shown=CONSOLE,
        key_hash=hash_key(secrets.token_urlsafe(32)),
        scopes=" ".join(SCOPES),
        created_at=datetime.now(UTC),
    )
    session.add(key)
    session.flush()
    return key.id
