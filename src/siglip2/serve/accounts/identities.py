"""Accounts of people for whom an OpenID provider vouches."""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.passwords import checked_email
from siglip2.serve.accounts.store import add_account
from siglip2.serve.accounts.tables import Account, Identity


class NoSuchAccount(Exception):
    """The account is switched off."""


class NotLinked(Exception):
    """There is an account of this e-mail address, which may be somebody else's."""


def account_of(
    database: Database, *, issuer: str, subject: str, email: str, verified: bool | None, credit: int
) -> int:
    """The account of a provider's subject, made at the first time, with the first credit.

    An account that the operator has made for the e-mail address, and that has no password, is taken over if
    the provider has checked the address. One with a password is not: whoever signed up with it may not be the
    one who has the address.

    Raises:
        InvalidInput: the e-mail address is none.
        NoSuchAccount: it is switched off.
        NotLinked: another account has the address.
    """
    name = checked_email(email)

    def attempt() -> int:
        with database.transaction() as session:
            return _find_or_make(session, issuer, subject, name, verified, credit)

    try:
        return attempt()
    except IntegrityError:
        return attempt()  # two at once, where writers run side by side: the other one has made it


def _find_or_make(
    session: Session, issuer: str, subject: str, email: str, verified: bool | None, credit: int
) -> int:
    known = select(Identity.account_id).where(Identity.issuer == issuer, Identity.subject == subject)
    account_id = session.scalars(known).first()
    if account_id is not None:
        account = session.get(Account, account_id)
        if account is None or not account.active:
            raise NoSuchAccount
        return account_id
    account = session.scalars(select(Account).where(Account.email == email)).first()
    if account is None:
        if verified is False:
            raise NotLinked
        account = add_account(session, email, password_hash=None, credit=credit)
    else:
        others = session.scalars(select(Identity.id).where(Identity.account_id == account.id)).first()
        # An operator's rights are never won by an e-mail address.
        if not verified or others is not None or account.password_hash is not None or account.role != "user":
            raise NotLinked
        if not account.active:
            raise NoSuchAccount
    session.add(Identity(account_id=account.id, issuer=issuer, subject=subject, created_at=datetime.now(UTC)))
    return account.id
