"""`siglip2 accounts`: what the operator of a service does to accounts, keys and credit."""

from typing import Annotated, Literal

import tyro

from siglip2.cli.serve import default_database
from siglip2.errors import InvalidInput

Action = Literal["list", "create", "grant", "create-key", "list-keys", "revoke-key", "usage", "check"]


def accounts(
    action: Action,
    who: Annotated[str, tyro.conf.Positional] = "",
    *,
    database: str | None = None,
    credit: int = 0,
    name: str = "key",
    scopes: tuple[str, ...] = ("classify", "embed", "score"),
    days: int | None = None,
    requests_per_minute: int | None = None,
) -> int:
    """Manage the accounts of a service.

    Args:
        action: list the accounts; create one; grant it credit; create, list or revoke keys; show usage; check
            that the ledger adds up.
        who: the account's e-mail address; for revoke-key the key's number.
        database: SQLAlchemy URL; by default the SQLite file that `siglip2 serve` uses.
        credit: in micro-units, for create and grant.
        name: of a new key.
        scopes: of a new key.
        days: after which a new key expires.
        requests_per_minute: of a new key.
    """
    from siglip2.serve.accounts import store
    from siglip2.serve.accounts.database import Database

    if not who and action not in ("list", "check"):
        raise InvalidInput(f"say whose: siglip2 accounts {action} E-MAIL (or the number of a key)")
    opened = Database(database or f"sqlite:///{default_database()}")
    try:
        opened.migrate()
        if action == "create":
            store.create_account(opened, who, credit=credit)
            print(f"{who} has {credit} micro-units")
        elif action == "grant":
            print(f"{who} has {store.grant(opened, who, credit)} micro-units")
        elif action == "create-key":
            print(
                store.create_key(
                    opened, who, name, scopes=scopes, days=days, requests_per_minute=requests_per_minute
                )
            )
        elif action == "revoke-key":
            if not who.isdigit():
                raise InvalidInput(f"{who!r} is not the number of a key; list-keys shows them")
            store.revoke_key(opened, int(who))
            print(f"key {who} is revoked")
        else:
            return _show(opened, action, who)
    finally:
        opened.close()
    return 0


def _show(database: object, action: Action, who: str) -> int:
    from sqlalchemy import select

    from siglip2.serve.accounts import ledger, store
    from siglip2.serve.accounts.database import Database
    from siglip2.serve.accounts.tables import Account, ApiKey

    assert isinstance(database, Database)
    if action == "usage":
        with database.transaction() as session:
            account_id = store.find_account(session, who).id
        for row in store.usage_by_day(database, account_id):
            print("\t".join(f"{value}" for value in row.values()))
        return 0
    with database.transaction() as session:
        if action == "list":
            for account in session.scalars(select(Account).order_by(Account.id)):
                print(f"{account.id}\t{account.email}\t{account.role}\t{account.balance}")
        elif action == "list-keys":
            own = select(ApiKey).where(ApiKey.account_id == store.find_account(session, who).id)
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
