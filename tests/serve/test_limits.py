"""Monthly limits of accounts and keys, soft and hard, on SQLite and on PostgreSQL and over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import event, func, select, update
from tests.serve.conftest import make_bill

from siglip2.serve.accounts.account_keys import add_key, last_days
from siglip2.serve.accounts.charging import release, reserve, settle
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.limits import OverHardLimit, read_limits, set_limits
from siglip2.serve.accounts.store import create_account
from siglip2.serve.accounts.tables import DayCost, Usage

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


def test_hard_limit_holds_among_many_at_once(database):
    account_id, key_id = make(database, hard_limit=550)
    asked = make_bill(account_id, key_id)

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
    assert isinstance(reserve(database, make_bill(account_id, other)), int)
    assert read_limits(database, account_id).spent == 600


def test_account_limit_counts_all_keys_and_the_month_alone(database):
    account_id, key_id = make(database)
    set_limits(database, account_id, soft=None, hard=100)
    hold = reserve(database, make_bill(account_id, key_id))
    assert isinstance(hold, int)
    settle(database, make_bill(account_id, key_id), hold, b"", "x")
    with database.transaction() as session:
        other = add_key(session, account_id, "other")[0].id
    with pytest.raises(OverHardLimit):
        reserve(database, make_bill(account_id, other, cost=1))
    with database.transaction() as session:
        session.execute(update(DayCost).values(day="2001-01-31"))
    assert isinstance(reserve(database, make_bill(account_id, other)), int)


def test_no_request_adds_up_the_usage(database):
    """A month may have a million rows of it, and every request asks while others wait for their turn."""
    account_id, key_id = make(database, soft_limit=150, hard_limit=10_000)
    set_limits(database, account_id, soft=150, hard=10_000)
    asked, said = make_bill(account_id, key_id), []
    event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    for _ in range(3):
        hold = reserve(database, asked)
        assert isinstance(hold, int)
        settle(database, asked, hold, b"", "x")
    days = last_days(database, account_id)
    assert read_limits(database, account_id).spent == 300
    assert said
    assert not [each for each in said if "FROM usage" in each]
    with database.reading() as session:
        groups = (Usage.key_id, Usage.day)
        used = select(*groups, func.sum(Usage.cost)).group_by(*groups).order_by(*groups)
        kept = select(DayCost.key_id, DayCost.day, DayCost.cost).order_by(DayCost.key_id, DayCost.day)
        rows = session.execute(kept).all()
        assert session.execute(used).all() == rows
    assert days == {key_id: rows[-1].day}


def test_many_at_once_add_up(database):
    account_id, key_id = make(database)
    asked = make_bill(account_id, key_id)

    def once(_):
        hold = reserve(database, asked)
        assert isinstance(hold, int)
        settle(database, asked, hold, b"", "x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(once, range(24)))
    assert read_limits(database, account_id).spent == 2400


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
