"""Label sets and sums of usage, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.account_keys import MAX_KEYS, add_key, console_key
from siglip2.serve.accounts.charging import Bill, reserve, settle
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.label_sets import StoredLabelSets
from siglip2.serve.accounts.store import create_account, create_key, usage_by_day
from siglip2.serve.accounts.usage import sum_usage

TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    opened.migrate()
    opened.migrate()  # the second time there is nothing to do
    for number, name in enumerate(("ada", "bob"), 1):
        assert create_account(opened, f"{name}@example.org", credit=10_000) == number
        create_key(opened, f"{name}@example.org", "key")
    yield opened
    opened.close()


def pay(database, account, kind, tokens, model="tiny"):
    bill = Bill(
        account_id=account,
        key_id=account,
        model=model,
        images=1,
        texts=2,
        cost=120,
        idempotency_key=None,
        request_hash="h",
        kind=kind,
    )
    hold = reserve(database, bill)
    assert isinstance(hold, int)
    from dataclasses import replace

    return settle(database, replace(bill, tokens=tokens), hold, b"", "x")


def test_sums_of_usage(database):
    assert pay(database, 1, "embeddings", 5) == 10_000 - 120
    pay(database, 1, "embeddings", 7, model="other")
    pay(database, 1, "scores", 2**40)
    pay(database, 2, "embeddings", 1)
    (whole,) = sum_usage(database, 1, first=TODAY, last=TODAY)
    assert (whole.requests, whole.tokens, whole.images, whole.texts, whole.cost) == (3, 2**40 + 12, 3, 6, 360)
    assert whole.model is whole.kind is whole.api_key_id is None
    split = sum_usage(database, 1, first=TODAY, last=TODAY, by=["kind", "model"])
    assert [(each.kind, each.model) for each in split] == [
        ("embeddings", "other"),
        ("embeddings", "tiny"),
        ("scores", "tiny"),
    ]
    only = sum_usage(database, 1, first=TODAY, last=TODAY, kinds=["scores"], models=["tiny"], key_ids=[1])
    assert [each.requests for each in only] == [1]
    assert sum_usage(database, 1, first="2000-01-01", last="2000-01-02") == []
    assert {row["cost"] for row in usage_by_day(database, 1)} == {240, 120}


def test_only_keys_that_work_are_counted(database):
    with database.transaction() as session:
        console_key(session, 1)
        for _ in range(MAX_KEYS - 1):  # beside the one from before
            key, _ = add_key(session, 1, "k")
        with pytest.raises(InvalidInput, match="at most 100 keys"):
            add_key(session, 1, "more")
        key.expires_at = datetime.now(UTC) - timedelta(seconds=1)
        session.flush()
        add_key(session, 1, "more")
        with pytest.raises(InvalidInput, match="at most 100 keys"):
            add_key(session, 1, "more")


def test_label_sets_side_by_side(database):
    sets = StoredLabelSets(database)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: sets.put(1, "same", {"labels": [str(number)]}), range(16)))
    ((name, num_labels, saved),) = sets.list(1, limit=10)
    assert (name, num_labels) == ("same", 1)
    assert saved.tzinfo is not None
    assert sets.list(2, limit=10) == []
    for other in ("a", "z"):
        sets.put(1, other, {"labels": ["x", "y"]})
    assert [each[:2] for each in sets.list(1, limit=1, after="a")] == [("same", 1)]
    assert [each[:2] for each in sets.list(1, limit=5, after="same")] == [("z", 2)]
    assert sets.get(2, "same") is None
    assert not sets.delete(2, "same")
    assert sets.delete(1, "same")
    assert not sets.delete(1, "same")
