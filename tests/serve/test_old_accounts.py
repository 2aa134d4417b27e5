"""What an account reads of itself costs no more when the account is old; pages stay as they are meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, update
from tests.serve.conftest import make_bill

from siglip2.serve.accounts.account_keys import last_days
from siglip2.serve.accounts.charging import release, reserve, settle
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.history import list_entries
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.store import create_account, create_key, grant
from siglip2.serve.accounts.tables import Account, DayCost, Entry, Usage
from siglip2.serve.accounts.usage import sum_usage

NEW, OLD = 1, 2
TODAY = datetime.now(UTC).date()


def opened_at(url):
    database = Database(url)
    database.migrate()
    for name in ("new", "old"):
        create_account(database, f"{name}@example.org", credit=10_000)
        create_key(database, f"{name}@example.org", "key")
    return database


@pytest.fixture
def database(database_url):
    database = opened_at(database_url)
    yield database
    database.close()


@pytest.fixture
def sqlite(tmp_path):
    database = opened_at(f"sqlite:///{tmp_path / 'accounts.sqlite'}")
    yield database
    database.close()


def spend(database, account, cost):
    hold = reserve(database, make_bill(account, cost=cost))
    assert isinstance(hold, int)
    settle(database, make_bill(account, cost=cost), hold, b"", "x")


def steps(database, call):
    """How many steps SQLite's machine takes for a call."""
    taken = 0

    def count():
        nonlocal taken
        taken += 1

    def on_checkout(connection, *_):
        connection.set_progress_handler(count, 1)

    event.listen(database.engine, "checkout", on_checkout)
    try:
        call()
    finally:
        event.remove(database.engine, "checkout", on_checkout)
    return taken


def test_lines_of_the_ledger(sqlite):
    for account in (NEW, OLD):
        for _ in range(20):
            spend(sqlite, account, 1)
    with sqlite.transaction() as session:
        balance = session.get_one(Account, OLD).balance
        row = {"account_id": OLD, "book": "credit", "created_at": datetime.now(UTC)}
        for number in range(1000):
            session.execute(
                insert(Entry),
                [
                    {**row, "movement": f"{number}", "amount": amount, "balance": left, "reason": "grant"}
                    for amount, left in ((5, balance + 5), (-5, balance))
                ],
            )
    young = steps(sqlite, lambda: list_entries(sqlite, NEW, 10))
    assert 0 < young < 2000
    assert steps(sqlite, lambda: list_entries(sqlite, OLD, 10)) < 1.2 * young
    middle = list_entries(sqlite, OLD, 1000)[-1].id
    assert steps(sqlite, lambda: list_entries(sqlite, OLD, 10, middle)) < 1.2 * young


def test_usage_of_a_month_and_last_days(sqlite):
    for account, days in ((NEW, 20), (OLD, 2000)):
        used = {"account_id": account, "key_id": account, "model": "m", "images": 1, "texts": 0, "cost": 1}
        rows = [{**used, "day": (TODAY - timedelta(days=number)).isoformat()} for number in range(days)]
        with sqlite.transaction() as session:
            session.execute(insert(Usage), rows)
            session.execute(insert(DayCost), rows)
    first, last = (TODAY - timedelta(days=9)).isoformat(), TODAY.isoformat()

    def month(account):
        found = sum_usage(sqlite, account, first=first, last=last, by=("model", "api_key_id"))
        assert [each.requests for each in found] == [1] * 10

    def keys(account):
        assert last_days(sqlite, account) == {account: last}

    for call in (month, keys):
        young = steps(sqlite, lambda call=call: call(NEW))
        assert 0 < young < 2000
        assert steps(sqlite, lambda call=call: call(OLD)) < 1.2 * young


def test_pages_of_the_ledger_while_it_grows(database):
    for cost in (3, 5, 7):
        spend(database, OLD, cost)
        spend(database, NEW, cost)
    failed = reserve(database, make_bill(OLD, cost=11))
    assert isinstance(failed, int)
    release(database, failed)
    whole = list_entries(database, OLD, 100)
    assert [line.amount for line in whole] == [11, -11, -7, -5, -3, 10_000]
    assert [line.balance for line in whole] == [9985, 9974, 9985, 9992, 9997, 10_000]
    read = []
    while page := list_entries(database, OLD, 2, read[-1].id if read else None):
        read += page
        grant(database, "old@example.org", 1)
        spend(database, OLD, 1)
    assert read == whole
    with database.reading() as session:
        assert find_errors(session) == []


def test_lines_that_an_older_version_added(database):
    """One that runs beside until it is replaced says no balance."""
    spend(database, OLD, 3)
    with database.transaction() as session:
        row = {"account_id": OLD, "movement": "x", "reason": "hold 9", "created_at": datetime.now(UTC)}
        session.execute(
            insert(Entry),
            [{**row, "book": "credit", "amount": -5}, {**row, "book": "held", "amount": 5}],
        )
        session.execute(update(Account).where(Account.id == OLD).values(balance=Account.balance - 5))
    spend(database, OLD, 7)
    assert [line.balance for line in list_entries(database, OLD, 3)] == [9985, 9992, 9997]
    with database.reading() as session:
        assert find_errors(session) == []
