"""Sessions of browsers: begun at sign-in, ended at sign-out, by idleness or by age.

The token has 256 random bits and is stored as a hash, as keys are: who reads the database cannot sign in.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, or_, select, update

from siglip2.serve.accounts.account_keys import console_key, is_console_key
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.keys import hash_key
from siglip2.serve.accounts.tables import Account, ApiKey, BrowserSession

SESSION_PREFIX = "sgs_"
IDLE_TIME = timedelta(hours=12)
"""A session that nobody has used for so long is over."""

WHOLE_TIME = timedelta(days=14)
"""So is one of this age, however much it is used."""

NOTE_EVERY = timedelta(minutes=1)
"""How exactly the last use is known: a write for every request would cost more than that is worth."""


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """Who has a session.

    Attributes:
        session_id: the session.
        account_id: whose it is.
        email: of the account.
        role: of the account.
        balance: micro-units.
        has_password: False for accounts that an OpenID provider vouches for.
        console_key_id: the key under which usage of the console is listed.
    """

    session_id: int
    account_id: int
    email: str
    role: str
    balance: int
    has_password: bool
    console_key_id: int


def begin_session(database: Database, account_id: int, *, instead_of: str | None = None) -> str:
    """Sign in; the token for the cookie. What the browser held before is over: nobody can have planted it."""
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    with database.transaction() as session:
        over = [BrowserSession.expires_at <= now, BrowserSession.seen_at <= now - IDLE_TIME]
        if instead_of is not None:
            over.append(BrowserSession.token_hash == hash_key(instead_of))
        session.execute(delete(BrowserSession).where(or_(*over)))
        console_key(session, account_id)
        session.add(
            BrowserSession(
                account_id=account_id,
                token_hash=hash_key(token),
                created_at=now,
                seen_at=now,
                expires_at=now + WHOLE_TIME,
            )
        )
    return token


def find_session(database: Database, token: str) -> SignedIn | None:
    """Who has this token; None if its session is over or its account switched off."""
    now = datetime.now(UTC)
    query = (
        select(BrowserSession, Account, ApiKey.id)
        .join(Account, Account.id == BrowserSession.account_id)
        .join(ApiKey, (ApiKey.account_id == Account.id) & is_console_key())
        .where(BrowserSession.token_hash == hash_key(token), Account.active)
    )
    with database.reading() as session:
        row = session.execute(query).first()
    if row is None:
        return None
    found, account, key_id = row
    if found.expires_at <= now or found.seen_at <= now - IDLE_TIME:
        return None
    if found.seen_at <= now - NOTE_EVERY:
        with database.transaction() as session:
            session.execute(update(BrowserSession).where(BrowserSession.id == found.id).values(seen_at=now))
    return SignedIn(
        session_id=found.id,
        account_id=account.id,
        email=account.email,
        role=account.role,
        balance=account.balance,
        has_password=account.password_hash is not None,
        console_key_id=key_id,
    )


def end_session(database: Database, session_id: int) -> None:
    """Sign out: its token is worth nothing from now on."""
    with database.transaction() as session:
        session.execute(delete(BrowserSession).where(BrowserSession.id == session_id))


def end_other_sessions(database: Database, account_id: int, session_id: int | None) -> None:
    """Sign out everywhere but here, as after a change of the password."""
    with database.transaction() as session:
        mine = delete(BrowserSession).where(BrowserSession.account_id == account_id)
        session.execute(mine if session_id is None else mine.where(BrowserSession.id != session_id))


def csrf_token(token: str) -> str:
    """What a page of ours sends along with its requests; no other site can read it, nor make it."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()
