"""Usage and costs in OpenAI's pages, and what answers say about credit."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.serve.conftest import data_url

from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.accounts.tables import Usage
from siglip2.serve.settings import ServeSettings

NOW = datetime.now(UTC)
START = int((NOW - timedelta(days=3)).timestamp())
END = int((NOW + timedelta(days=2)).timestamp())
PERIOD = {"start_time": START, "end_time": END}
CHAT = {
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url()}}]}],
    "guided_choice": ["cat", "dog"],
}


@pytest.fixture(scope="module")
def account(start):
    server = start(ServeSettings(low_credit=10**6))
    create_account(server.database, "eve@example.org", credit=10_000)
    server.key = create_key(server.database, "eve@example.org", "first")
    with server.client() as client:
        for path, body in (
            ("/v1/embeddings", {"input": ["a cat", data_url()]}),
            ("/v1/embeddings", {"input": "a dog"}),
            ("/v1/classify", {"input": data_url(), "labels": ["a", "b"]}),
            ("/v1/score", {"queries": "a", "documents": "b"}),
            ("/v1/chat/completions", CHAT),
        ):
            answer = client.post(path, json=body)
            assert answer.is_success, answer.text
        assert client.post("/v1/embeddings", json={"input": "x", "model": "no"}).status_code == 404
    with server.database.transaction() as session:
        row = session.query(Usage).filter_by(kind="scores").one()
        row.day = (NOW - timedelta(days=1)).date().isoformat()
    return server


@pytest.fixture
def reader(account):
    with account.client() as client:
        yield client


def results(page):
    assert page.is_success, page.text
    return [(bucket["start_time"], result) for bucket in page.json()["data"] for result in bucket["results"]]


def test_usage(reader):
    ((start, row),) = results(reader.get("/v1/organization/usage/embeddings", params=PERIOD))
    assert start == int(datetime(NOW.year, NOW.month, NOW.day, tzinfo=UTC).timestamp())
    assert row["object"] == "organization.usage.embeddings.result"
    assert (row["num_model_requests"], row["num_images"], row["num_texts"]) == (2, 1, 2)
    assert row["input_tokens"] == 6 + 16 + 6  # letters and the end of text; patches
    assert row["model"] is row["api_key_id"] is None
    grouped = {**PERIOD, "group_by": ["model", "api_key_id"]}
    ((_, row),) = results(reader.get("/v1/organization/usage/completions", params=grouped))
    assert row["model"] == "tiny"
    assert int(row["api_key_id"]) > 0
    none = {**PERIOD, "api_key_ids": [10**9]}
    assert results(reader.get("/v1/organization/usage/embeddings", params=none)) == []


def test_costs(reader):
    page = results(reader.get("/v1/organization/costs", params=PERIOD))
    assert [round(1e6 * row["amount"]["value"]) for _, row in page] == [20, 110 + 10 + 120 + 120]
    lines = results(reader.get("/v1/organization/costs", params={**PERIOD, "group_by": "line_item"}))
    assert {row["line_item"] for _, row in lines} == {
        "tiny, scores",
        "tiny, embeddings",
        "tiny, classifications",
        "tiny, completions",
    }
    assert page[0][1]["amount"]["currency"] == "credit"


def test_pages(reader):
    first = reader.get("/v1/organization/costs", params={**PERIOD, "limit": 2}).json()
    assert first["has_more"]
    assert len(first["data"]) == 2
    second = reader.get(
        "/v1/organization/costs", params={**PERIOD, "limit": 2, "page": first["next_page"]}
    ).json()
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"]
    whole = reader.get("/v1/organization/costs", params=PERIOD).json()
    assert not whole["has_more"]
    assert len(whole["data"]) == 6


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "start_time"),
        ({"start_time": -1}, "start_time"),
        ({"start_time": 10**18}, "start_time"),
        ({"start_time": 5, "end_time": 5}, "end_time"),
        ({"start_time": 5, "bucket_width": "1h"}, "bucket_width"),
        ({"start_time": 5, "limit": 1000}, "limit"),
        ({"start_time": 5, "page": "2026-99-99"}, "page"),
        ({"start_time": 5, "page": "9999-12-31"}, "page"),
        ({"start_time": 5, "api_key_ids": str(10**30)}, "api_key_ids"),
    ],
)
def test_wrong_pages(reader, params, param):
    answer = reader.get("/v1/organization/costs", params=params)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_another_account_sees_nothing(account):
    create_account(account.database, "mallory@example.org")
    key = create_key(account.database, "mallory@example.org", "x")
    with account.client() as client:
        headers = {"Authorization": f"Bearer {key}"}
        assert results(client.get("/v1/organization/costs", params=PERIOD, headers=headers)) == []
        assert (
            client.get("/v1/organization/costs", params=PERIOD, headers={"Authorization": ""}).status_code
            == 401
        )


def test_answers_tell_the_credit(reader):
    answer = reader.post("/v1/embeddings", json={"input": "x"})
    left = int(answer.headers["x-credits-remaining"])
    again = reader.post("/v1/embeddings", json={"input": "x"})
    assert int(again.headers["x-credits-remaining"]) == left - 10
    assert again.headers["x-credits-low"] == "true"


def test_choices_as_vllm_takes_them(reader):
    for more in ({}, {"guided_choice": None, "structured_outputs": {"choice": ["cat", "dog"]}}):
        message = reader.post("/v1/chat/completions", json={**CHAT, **more}).json()["choices"][0]["message"]
        assert message["content"] in ("cat", "dog")
    for wrong in ({"guided_choice": []}, {"guided_choice": None, "structured_outputs": {"regex": "x"}}):
        assert reader.post("/v1/chat/completions", json={**CHAT, **wrong}).status_code == 400
