"""Accounts and keys: made, found, switched off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.account_keys import CONSOLE, add_key
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.keys import SCOPES, hash_key
from siglip2.serve.accounts.ledger import MAX_BALANCE, move
from siglip2.serve.accounts.passwords import checked_email, checked_password, hash_password
from siglip2.serve.accounts.sessions import SESSION_PREFIX, find_session
from siglip2.serve.accounts.tables import Account, ApiKey, Usage

# Every request asks: of the columns alone, which costs a fraction of the same through objects.
_CALLER = select(
    ApiKey.id,
    ApiKey.account_id,
    ApiKey.scopes,
    ApiKey.requests_per_minute,
    ApiKey.expires_at,
    ApiKey.revoked_at,
    Account.active,
).join_from(ApiKey, Account, Account.id == ApiKey.account_id)


class EmailTaken(InvalidInput):
    """There is an account of this e-mail address."""

    def __init__(self, email: str):
        super().__init__(f"there is an account for {email} already")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request.

    Attributes:
        account_id: who pays; None where the service is open.
        key_id: the key that was sent.
        scopes: what the key may do.
        requests_per_minute: the key's own limit, if it has one.
    """

    account_id: int | None
    key_id: int
    scopes: frozenset[str]
    requests_per_minute: int | None


def authenticate(database: Database, secret: str) -> Caller | None:
    """The caller of a key, or None if it is unknown, expired, revoked, or its account is switched off.

    The token of a session, which the browser's cookie holds, stands for the key of the account's console.
    """
    if secret.startswith(SESSION_PREFIX):
        signed_in = find_session(database, secret)
        condition = ApiKey.id == (None if signed_in is None else signed_in.console_key_id)
    else:
        condition = ApiKey.key_hash == hash_key(secret)
    with database.engine.connect().execution_options(reading=True) as connection:
        row = connection.execute(_CALLER.where(condition)).first()
    if row is None:
        return None
    expired = row.expires_at is not None and row.expires_at <= datetime.now(UTC)
    if expired or row.revoked_at is not None or not row.active:
        return None
    return Caller(
        account_id=row.account_id,
        key_id=row.id,
        scopes=frozenset(row.scopes.split()),
        requests_per_minute=row.requests_per_minute,
    )


def create_account(
    database: Database, email: str, *, password: str | None = None, credit: int = 0, role: str = "user"
) -> int:
    """Make an account; its number.

    Raises:
        InvalidInput: the e-mail address is none, or the password is too short or too long.
        EmailTaken: there is an account of that address.
    """
    name = checked_email(email)
    # Before the transaction: hashing is slow on purpose, and other writers would wait for it.
    password_hash = None if password is None else hash_password(checked_password(password))
    try:
        with database.transaction() as session:
            return add_account(session, name, password_hash=password_hash, credit=credit, role=role).id
    except IntegrityError:
        # Two at once, where writers run side by side.
        raise EmailTaken(name) from None


def add_account(
    session: Session, email: str, *, password_hash: str | None, credit: int, role: str = "user"
) -> Account:
    """Make an account within a transaction, and give it its first credit.

    Raises:
        EmailTaken: there is an account of that address.
    """
    if session.scalars(select(Account).where(Account.email == email)).first() is not None:
        raise EmailTaken(email)
    account = Account(
        email=email,
        password_hash=password_hash,
        role=role,
        active=True,
        balance=0,
        created_at=datetime.now(UTC),
    )
    session.add(account)
    session.flush()
    move(session, account.id, credit, source="granted", to="credit", reason="sign-up")
    return account


def operator_without_password(database: Database, secret: str) -> int | None:
    """The account of an operator's key, while nobody can sign in to it; None for any other key."""
    caller = authenticate(database, secret)
    if caller is None or caller.account_id is None:
        return None
    with database.reading() as session:
        account = session.get(Account, caller.account_id)
    if account is None or account.role != "admin" or account.password_hash is not None:
        return None
    return account.id


def grant(database: Database, email: str, amount: int, reason: str = "grant") -> int:
    """Give an account credit; its new balance.

    Raises:
        InvalidInput: no such account, a negative amount, or a balance of more than `MAX_BALANCE`.
    """
    with database.transaction() as session:
        account = find_account(session, email)
        move(session, account.id, amount, source="granted", to="credit", reason=reason)
        session.refresh(account)
        if account.balance > MAX_BALANCE:
            raise InvalidInput(f"a balance is at most {MAX_BALANCE} micro-units, not {account.balance}")
        return account.balance


def create_key(
    database: Database,
    email: str,
    name: str,
    *,
    scopes: Sequence[str] = SCOPES,
    days: int | None = None,
    requests_per_minute: int | None = None,
) -> str:
    """Make a key; its secret, which cannot be had again.

    Raises:
        InvalidInput: no such account or scope.
    """
    with database.transaction() as session:
        account = find_account(session, email)
        _, secret = add_key(
            session, account.id, name, scopes=scopes, days=days, requests_per_minute=requests_per_minute
        )
    return secret


def revoke_key(database: Database, key_id: int) -> None:
    """Switch a key off for good.

    Raises:
        InvalidInput: there is no such key, or it is the one of a console.
    """
    with database.transaction() as session:
        key = session.get(ApiKey, key_id)
        if key is None:
            raise InvalidInput(f"there is no key {key_id}")
        if key.shown == CONSOLE:
            raise InvalidInput(f"key {key_id} is the one of a console, which nobody has: disable its account")
        key.revoked_at = key.revoked_at or datetime.now(UTC)


def set_active(database: Database, email: str, *, active: bool) -> None:
    """Switch an account off, with all its keys and sessions, or on again.

    Raises:
        InvalidInput: no such account.
    """
    with database.transaction() as session:
        find_account(session, email).active = active


def find_account(session: Session, email: str) -> Account:
    """The account of an e-mail address.

    Raises:
        InvalidInput: there is none.
    """
    account = session.scalars(select(Account).where(Account.email == email.strip().lower())).first()
    if account is None:
        raise InvalidInput(f"there is no account for {email}")
    return account


def count_accounts(database: Database) -> int:
    """How many accounts there are."""
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Account)) or 0


def usage_by_day(database: Database, account_id: int) -> list[dict[str, object]]:
    """Sums of an account's usage by day, key and model, the latest day first."""
    sums = (
        func.count(Usage.id).label("requests"),
        func.sum(Usage.images).label("images"),
        func.sum(Usage.texts).label("texts"),
        func.sum(Usage.cost).label("cost"),
    )
    groups = (Usage.day, Usage.key_id, Usage.model)
    query = select(*groups, *sums).where(Usage.account_id == account_id).group_by(*groups)
    with database.reading() as session:
        rows = session.execute(query.order_by(Usage.day.desc(), Usage.key_id)).mappings().all()
    return [
        {**row, "images": int(row["images"]), "texts": int(row["texts"]), "cost": int(row["cost"])}
        for row in rows
    ]
