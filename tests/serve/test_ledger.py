"""A request is charged once or not at all, whatever happens beside it."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from tests.serve.conftest import make_bill

from siglip2.errors import InvalidInput
from siglip2.serve.accounts import charging
from siglip2.serve.accounts.charging import (
    StillRunning,
    StoredAnswer,
    release,
    release_all,
    reserve,
    settle,
)
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import NotEnoughCredit, find_errors
from siglip2.serve.accounts.passwords import hash_password, password_matches
from siglip2.serve.accounts.store import authenticate, create_account, create_key, grant, usage_by_day
from siglip2.serve.accounts.tables import Account, Answer, ApiKey, Entry, Hold


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    opened.migrate()
    create_account(opened, "ada@example.org", password="correct horse", credit=100)
    create_key(opened, "ada@example.org", "key")
    yield opened
    opened.close()


def bill(cost=10, name=None, request_hash="h"):
    return make_bill(1, cost=cost, idempotency_key=name, request_hash=request_hash)


def balance(database):
    with database.reading() as session:
        assert find_errors(session) == []
        return session.get(Account, 1).balance


def hold_for(database, wanted):
    hold = reserve(database, wanted)
    assert isinstance(hold, int)
    return hold


def test_settled_and_released(database):
    paid = hold_for(database, bill())
    assert balance(database) == 90
    settle(database, bill(), paid, b"{}", "application/json")
    failed = hold_for(database, bill())
    assert balance(database) == 80
    release(database, failed)
    release(database, failed)
    assert balance(database) == 90
    assert usage_by_day(database, 1)[0]["cost"] == 10


def test_idempotency(database):
    named = bill(name="one")
    hold = hold_for(database, named)
    with pytest.raises(StillRunning):
        reserve(database, named)
    settle(database, named, hold, b"answer", "text/plain")
    assert reserve(database, named) == StoredAnswer(b"answer", "text/plain")
    with pytest.raises(charging.OtherRequest):
        reserve(database, replace(named, request_hash="other"))
    assert balance(database) == 90
    failed = hold_for(database, bill(name="two"))
    release(database, failed)
    assert isinstance(reserve(database, bill(name="two")), int)


def test_answers_whose_time_is_over_are_forgotten(database):
    grant(database, "ada@example.org", 1_000)
    for number in range(25):
        named = bill(cost=1, name=f"old-{number}")
        settle(database, named, hold_for(database, named), b"answer", "x")
    running = bill(cost=1, name="running")
    hold = hold_for(database, running)
    with database.transaction() as session:
        session.execute(update(Answer).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))

    def spend(_):
        settle(database, bill(), hold_for(database, bill()), b"", "x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spend, range(8)))
    with database.reading() as session:
        assert session.scalars(select(Answer.idempotency_key)).all() == ["running"]
    settle(database, running, hold, b"answer", "x")
    assert balance(database) == 1_100 - 25 - 1 - 80


def test_racing_requests_cannot_overspend(database):
    def spend(number):
        try:
            hold = reserve(database, bill(cost=7))
        except NotEnoughCredit:
            return 0
        assert isinstance(hold, int)
        if number % 3 == 0:
            release(database, hold)
            return 0
        settle(database, bill(cost=7), hold, b"", "x")
        return 7

    with ThreadPoolExecutor(8) as pool:
        spent = sum(pool.map(spend, range(40)))
    assert balance(database) == 100 - spent
    assert 0 <= balance(database) < 100


def test_racing_twins_are_charged_once(database):
    def send(_):
        try:
            hold = reserve(database, bill(name="twin"))
        except StillRunning:
            return
        if isinstance(hold, int):
            settle(database, bill(name="twin"), hold, b"", "x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(16)))
    assert balance(database) == 90


def test_entries_cannot_be_changed(database):
    for statement in ("UPDATE entries SET amount = 0", "DELETE FROM entries"):
        with pytest.raises(DBAPIError, match="append-only"), database.transaction() as session:
            session.execute(text(statement))


def test_the_check_can_fail(database):
    with database.transaction() as session:
        session.execute(text("UPDATE accounts SET balance = balance + 1"))
        assert len(find_errors(session)) == 1
    grant(database, "ada@example.org", 5)
    with database.reading() as session:
        assert "entry 4 says that it left 106, the entries up to it 105" in find_errors(session)


def test_no_secret_is_stored(database, tmp_path):
    secret = create_key(database, "ada@example.org", "other")
    assert authenticate(database, secret) is not None
    assert authenticate(database, secret + "x") is None
    with database.reading() as session:
        assert all(secret not in str(vars(key)) for key in session.query(ApiKey))
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert secret.encode() not in content
        assert b"correct horse" not in content


def test_passwords():
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$")
    assert password_matches(hashed, "correct horse")
    assert not password_matches(hashed, "wrong")
    assert not password_matches("nonsense", "wrong")


def test_mistakes_of_the_operator(database):
    for call in (
        lambda: create_account(database, "ADA@example.org"),
        lambda: create_account(database, "nobody"),
        lambda: create_account(database, "x@y", password="short"),
        lambda: grant(database, "no@example.org", 1),
        lambda: grant(database, "ada@example.org", -1),
        lambda: create_key(database, "ada@example.org", "x", scopes=["all"]),
        lambda: Database("sqlite://"),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert balance(database) == 100


SPENDER = """
import sys
from siglip2.serve.accounts.charging import Bill, reserve, settle
from siglip2.serve.accounts.database import Database
database = Database(sys.argv[1])
for number in range(10_000):
    bill = Bill(account_id=1, key_id=1, model="m", images=1, texts=0, cost=1, request_hash="h",
                idempotency_key=f"{sys.argv[2]}-{number}")
    hold = reserve(database, bill)
    print("held", flush=True)
    settle(database, bill, hold, b"answer", "x")
"""


def test_a_killed_process_leaves_a_ledger_that_adds_up(database):
    grant(database, "ada@example.org", 1_000_000)
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SPENDER, database.url, str(attempt)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout:
            for _ in range(5 + attempt):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    release_all(database)
    left = balance(database)
    with database.reading() as session:
        assert session.query(Hold).count() == 0
        answered = session.execute(text("SELECT count(*) FROM answers WHERE body IS NOT NULL")).scalar_one()
        assert session.execute(text("SELECT count(*) FROM answers WHERE body IS NULL")).scalar_one() == 0
        revenue = sum(entry.amount for entry in session.query(Entry).filter_by(book="revenue"))
    assert answered == revenue == 1_000_100 - left
    assert answered >= 12
