"""`siglip2 accounts`: what the operator of a service does to accounts, keys and credit."""

import re
import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from siglip2.cli.serve import default_database
from siglip2.errors import InvalidInput

if TYPE_CHECKING:
    from siglip2.serve.accounts.database import Database

Action = Literal[
    "list", "create", "grant", "limits", "password", "disable", "enable", "create-key", "list-keys",
    "revoke-key", "usage", "check",
]  # fmt: skip
Scope = Literal["classify", "embed", "score", "search"]


def accounts(
    action: Action,
    who: Annotated[str, tyro.conf.Positional] = "",
    *,
    database: str | None = None,
    credit: int = 0,
    admin: bool = False,
    soft: int | None = None,
    hard: int | None = None,
    name: str = "key",
    scopes: tuple[Scope, ...] = ("classify", "embed", "score", "search"),
    days: int | None = None,
    requests_per_minute: int | None = None,
) -> int:
    """Manage the accounts of a service.

    Args:
        action: list the accounts; create one; grant it credit; set its monthly limits or its password (typed,
            or a line of the standard input); disable or enable it; create, list or revoke keys; show usage;
            check that the ledger adds up.
        who: the account's e-mail address; for revoke-key the key's number.
        database: SQLAlchemy URL; by default the one that `siglip2 serve` uses.
        credit: in micro-units, for create and grant.
        admin: for create: an account that may use the operator's routes.
        soft: for limits: micro-units in a month from which answers warn; none without it.
        hard: for limits: micro-units that a month cannot go beyond; none without it.
        name: of a new key.
        scopes: of a new key.
        days: after which a new key expires.
        requests_per_minute: of a new key.
    """
    try:
        from siglip2.serve.accounts import store
        from siglip2.serve.accounts.database import Database
    except ModuleNotFoundError as error:
        raise InvalidInput(f"accounts need {error.name}: pip install 'siglip2[serve]'") from error

    if not who and action not in ("list", "check"):
        raise InvalidInput(f"say whose: siglip2 accounts {action} E-MAIL (or the number of a key)")
    if not f"{who}{name}".isprintable():
        raise InvalidInput("an e-mail address and the name of a key are plain text on one line")
    opened = Database(database or default_database())
    try:
        if action != "create" and not opened.exists():
            raise InvalidInput(f"there is no database {opened.url}: say which with --database")
        opened.migrate()
        if action == "create":
            store.create_account(opened, who, credit=credit, role="admin" if admin else "user")
            print(f"{who} has {credit} micro-units")
        elif action == "grant":
            print(f"{who} has {store.grant(opened, who, credit)} micro-units")
        elif action in ("disable", "enable"):
            store.set_active(opened, who, active=action == "enable")
            print(f"{who} is {action}d")
        elif action == "limits":
            _limit(opened, who, soft, hard)
        elif action == "password":
            _set_password(opened, who)
        elif action == "create-key":
            made = store.create_key(
                opened, who, name, scopes=scopes, days=days, requests_per_minute=requests_per_minute
            )
            print(made)
        elif action == "revoke-key":
            if not re.fullmatch(r"[0-9]{1,18}", who):
                raise InvalidInput(f"{who!r} is not the number of a key; list-keys shows them")
            store.revoke_key(opened, int(who))
            print(f"key {who} is revoked")
        else:
            return _show(opened, action, who)
    finally:
        opened.close()
    return 0


def _limit(database: "Database", who: str, soft: int | None, hard: int | None) -> None:
    from siglip2.serve.accounts import limits, store

    with database.reading() as session:
        account_id = store.find_account(session, who).id
    limits.set_limits(database, account_id, soft=soft, hard=hard)
    said = ", ".join(
        f"{kind} {'none' if value is None else f'{value} micro-units'}"
        for kind, value in (("soft", soft), ("hard", hard))
    )
    print(f"monthly limits of {who}: {said}")


def _set_password(database: "Database", who: str) -> None:
    """From the terminal without showing it, or from a pipe; never from the command line, which others see."""
    from siglip2.serve.accounts import passwords, sessions, store

    with database.reading() as session:
        account_id = store.find_account(session, who).id
    typed = getpass(f"new password of {who}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    passwords.set_password(database, account_id, typed)
    sessions.end_other_sessions(database, account_id, None)
    print(f"{who} has a new password, and is signed out everywhere")


def _show(database: "Database", action: Action, who: str) -> int:
    from sqlalchemy import select

    from siglip2.serve.accounts import ledger, store
    from siglip2.serve.accounts.tables import Account, ApiKey

    if action == "usage":
        with database.reading() as session:
            account_id = store.find_account(session, who).id
        print("day\tkey\tmodel\trequests\timages\ttexts\tcost")
        for row in store.usage_by_day(database, account_id):
            print("\t".join(f"{value}" for value in row.values()))
        return 0
    with database.reading() as session:
        if action == "list":
            print("number\te-mail\trole\tbalance\tstate")
            for account in session.scalars(select(Account).order_by(Account.id)):
                state = "enabled" if account.active else "disabled"
                print(f"{account.id}\t{account.email}\t{account.role}\t{account.balance}\t{state}")
        elif action == "list-keys":
            own = select(ApiKey).where(ApiKey.account_id == store.find_account(session, who).id)
            print("number\tkey\tname\tscopes\tstate")
            for key in session.scalars(own.order_by(ApiKey.id)):
                state = (
                    "revoked" if key.revoked_at else f"until {key.expires_at}" if key.expires_at else "valid"
                )
                print(f"{key.id}\t{key.shown}\t{key.name}\t{key.scopes}\t{state}")
        else:
            errors = ledger.find_errors(session)
            print("\n".join(errors) or "the ledger adds up")
            return 1 if errors else 0
    return 0
