"""Accounts and keys: made, found, switched off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.keys import MIN_PASSWORD, SCOPES, hash_key, hash_password, make_key
from siglip2.serve.accounts.ledger import move
from siglip2.serve.accounts.tables import Account, ApiKey, Usage


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
    """The caller of a key, or None if it is unknown, expired, revoked, or its account is switched off."""
    with database.reading() as session:
        row = session.execute(
            select(ApiKey, Account)
            .join(Account, Account.id == ApiKey.account_id)
            .where(ApiKey.key_hash == hash_key(secret))
        ).first()
    if row is None:
        return None
    key, account = row
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    if expired or key.revoked_at is not None or not account.active:
        return None
    return Caller(
        account_id=account.id,
        key_id=key.id,
        scopes=frozenset(key.scopes.split()),
        requests_per_minute=key.requests_per_minute,
    )


def create_account(
    database: Database, email: str, *, password: str | None = None, credit: int = 0, role: str = "user"
) -> int:
    """Make an account; its number.

    Raises:
        InvalidInput: the e-mail address is taken or none, or the password is too short.
    """
    name = email.strip().lower()
    if "@" not in name or len(name) > 320:
        raise InvalidInput(f"{email!r} is no e-mail address")
    if password is not None and len(password) < MIN_PASSWORD:
        raise InvalidInput(f"the password must have at least {MIN_PASSWORD} characters")
    with database.transaction() as session:
        if session.scalars(select(Account).where(Account.email == name)).first() is not None:
            raise InvalidInput(f"there is an account for {name} already")
        account = Account(
            email=name,
            password_hash=hash_password(password) if password is not None else None,
            role=role,
            active=True,
            balance=0,
            created_at=datetime.now(UTC),
        )
        session.add(account)
        session.flush()
        move(session, account.id, credit, source="granted", to="credit", reason="sign-up")
        return account.id


def grant(database: Database, email: str, amount: int, reason: str = "grant") -> int:
    """Give an account credit; its new balance.

    Raises:
        InvalidInput: no such account, or a negative amount.
    """
    with database.transaction() as session:
        account = find_account(session, email)
        move(session, account.id, amount, source="granted", to="credit", reason=reason)
        session.refresh(account)
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
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(f"the scopes of a key are some of {', '.join(SCOPES)}, not {list(scopes)}")
    made = make_key()
    now = datetime.now(UTC)
    with database.transaction() as session:
        session.add(
            ApiKey(
                account_id=find_account(session, email).id,
                name=name[:100],
                shown=made.shown,
                key_hash=made.key_hash,
                scopes=" ".join(scopes),
                requests_per_minute=requests_per_minute,
                expires_at=None if days is None else now + timedelta(days=days),
                created_at=now,
            )
        )
    return made.secret


def revoke_key(database: Database, key_id: int) -> None:
    """Switch a key off for good.

    Raises:
        InvalidInput: there is no such key.
    """
    with database.transaction() as session:
        key = session.get(ApiKey, key_id)
        if key is None:
            raise InvalidInput(f"there is no key {key_id}")
        key.revoked_at = key.revoked_at or datetime.now(UTC)


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
