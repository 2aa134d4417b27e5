"""Passwords: checked, hashed with Argon2id, compared in the same time whether there is an account or not."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.tables import Account

MIN_PASSWORD = 10
MAX_PASSWORD = 1024
"""Longer ones would only make the server hash for longer."""

MAX_EMAIL = 320

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))
"""Compared with where there is no account, or none with a password."""


def checked_email(email: str) -> str:
    """An e-mail address as it is stored: without spaces around it, in small letters.

    Raises:
        InvalidInput: it is none.
    """
    name = email.strip().lower()
    user, _, host = name.rpartition("@")
    if not user or not host or len(name) > MAX_EMAIL or not name.isprintable() or " " in name:
        raise InvalidInput(f"{email[:MAX_EMAIL]!r} is no e-mail address")
    return name


def checked_password(password: str) -> str:
    """The password itself, if it may be one.

    Raises:
        InvalidInput: it is too short, too long, or no valid Unicode.
    """
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(f"the password must have at least {MIN_PASSWORD} characters")
    if len(password) > MAX_PASSWORD or not _is_unicode(password):
        raise InvalidInput(f"the password must be at most {MAX_PASSWORD} characters of valid Unicode")
    return password


def hash_password(password: str) -> str:
    """Argon2id with the library's parameters."""
    return _hasher.hash(password)


def password_matches(password_hash: str, password: str) -> bool:
    """Whether this password was hashed."""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def find_by_password(database: Database, email: str, password: str) -> int | None:
    """The number of the account of this address and password; None for any other reason.

    Every call hashes once: nobody learns by the time it takes whether there is an account.
    """
    name = email.strip().lower()
    # PostgreSQL has no texts with NUL in them, and refuses to look for one.
    known = "\0" not in name and len(password) <= MAX_PASSWORD
    with database.reading() as session:
        query = select(Account).where(Account.email == (name if known else ""))
        account = session.scalars(query).first()
    stored = account.password_hash if account is not None else None
    matches = password_matches(stored or _NOBODY, password if known else "")
    if account is None or stored is None or not matches or not account.active:
        return None
    return account.id


def set_password(database: Database, account_id: int, password: str) -> None:
    """Give an account another password.

    Raises:
        InvalidInput: it may not be one.
    """
    hashed = hash_password(checked_password(password))
    with database.transaction() as session:
        account = session.get(Account, account_id)
        assert account is not None
        account.password_hash = hashed


def _is_unicode(text: str) -> bool:
    # Requests are refused before; a pipe into `siglip2 accounts password` may hold any bytes.
    return not any("\ud800" <= character <= "\udfff" for character in text) and "\0" not in text
