"""Monthly limits of accounts and keys, soft and hard, on SQLite and on PostgreSQL and over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import select, update

from siglip2.serve.accounts.account_keys import add_key
from siglip2.serve.accounts.charging import Bill, release, reserve, settle
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.limits import OverHardLimit, read_limits, set_limits
from siglip2.serve.accounts.store import create_account
from siglip2.serve.accounts.tables import Usage

PASSWORD = "correct horse battery"


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


def make(database, **limits):
    account_id = create_account(database, "ada@example.org", credit=10_000)
    with database.transaction() as session:
        return account_id, add_key(session, account_id, "limited", **limits)[0].id


def bill(account_id, key_id, cost=100):
    return Bill(
        account_id=account_id,
        key_id=key_id,
        model="tiny",
        images=1,
        texts=0,
        cost=cost,
        idempotency_key=None,
        request_hash="h",
    )


def test_hard_limit_holds_among_many_at_once(database):
    account_id, key_id = make(database, hard_limit=550)
    asked = bill(account_id, key_id)

    def attempt(_):
        try:
            return reserve(database, asked)
        except OverHardLimit:
            return None

    with ThreadPoolExecutor(8) as pool:
        holds = [hold for hold in pool.map(attempt, range(16)) if isinstance(hold, int)]
    assert len(holds) == 5
    release(database, holds.pop())
    for hold in holds:
        settle(database, asked, hold, b"", "x")
    assert isinstance(reserve(database, asked), int)  # what was given back can be spent
    with pytest.raises(OverHardLimit):
        reserve(database, asked)
    with database.transaction() as session:
        other = add_key(session, account_id, "free")[0].id
        assert find_errors(session) == []
    assert isinstance(reserve(database, bill(account_id, other)), int)
    assert read_limits(database, account_id).spent == 600


def test_account_limit_counts_all_keys_and_the_month_alone(database):
    account_id, key_id = make(database)
    set_limits(database, account_id, soft=None, hard=100)
    hold = reserve(database, bill(account_id, key_id))
    assert isinstance(hold, int)
    settle(database, bill(account_id, key_id), hold, b"", "x")
    with database.transaction() as session:
        other = add_key(session, account_id, "other")[0].id
    with pytest.raises(OverHardLimit):
        reserve(database, bill(account_id, other, 1))
    with database.transaction() as session:
        (row,) = session.scalars(select(Usage.id)).all()
        session.execute(update(Usage).where(Usage.id == row).values(day="2001-01-31"))
    assert isinstance(reserve(database, bill(account_id, other)), int)


def test_over_http(server):
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as browser:
        said = browser.post(
            "/account/sign-up", json={"email": "lim@example.org", "password": PASSWORD}
        ).json()
        browser.headers["x-csrf-token"] = said["csrf_token"]
        made = browser.post("/account/keys", json={"name": "k", "soft_limit": 10, "hard_limit": 30}).json()
        assert (made["soft_limit"], made["hard_limit"]) == (10, 30)
        assert browser.put("/account/limits", json={"soft_limit": -1}).status_code == 400
        bearer = {"authorization": f"Bearer {made['secret']}"}
        with httpx.Client(base_url=server.url, headers=bearer, trust_env=False) as program:
            answers = [program.post("/v1/embeddings", json={"input": str(number)}) for number in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers.get("x-credits-low") for answer in answers] == [None, "true", "true", None]
        assert answers[3].json()["error"]["code"] == "insufficient_quota"
        body = {"soft_limit": None, "hard_limit": 35}
        assert browser.put("/account/limits", json=body).json() == {"object": "limits", "spent": 30, **body}
        assert browser.post("/v1/embeddings", json={"input": "a"}).status_code == 429
        browser.put("/account/limits", json={})
        assert browser.post("/v1/embeddings", json={"input": "a"}).status_code == 200
