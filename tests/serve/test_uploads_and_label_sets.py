"""Files as they are in a form, and labels saved under a name."""

import json

import numpy as np
import pytest
from tests.serve.conftest import data_url, png

from siglip2.serve.accounts.label_sets import MAX_SETS, RememberedLabelSets, StoredLabelSets
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.settings import ServeSettings

FORM = {"labels": ["cat", "dog", "bird"], "template": "a photo of a {label}", "multi_label": "true"}


def scores(answer):
    return [entry["probs"] for entry in answer.json()["data"]]


def test_a_form_says_what_json_says(client):
    form = client.post("/v1/classify", data=FORM, files=[("file", png(1)), ("file", png(2))])
    body = {**FORM, "multi_label": True, "input": [data_url(1), data_url(2)]}
    np.testing.assert_array_equal(scores(form), scores(client.post("/v1/classify", json=body)))
    listed = {**FORM, "labels": json.dumps(FORM["labels"])}
    again = client.post("/v1/classify", data=listed, files={"file": png(1)})
    np.testing.assert_allclose(scores(again)[0], scores(form)[0], atol=1e-6)


def test_a_form_sent_again_is_charged_once(client):
    headers = {"Idempotency-Key": "form"}
    answers = [
        client.post("/v1/classify", data=FORM, files={"file": ("a.png", png(seed))}, headers=headers)
        for seed in (1, 1, 2)
    ]
    # Every attempt has boundaries of its own.
    assert len({answer.request.headers["content-type"] for answer in answers}) == 3
    first, again, other = answers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.content == again.content
    assert other.json()["error"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("data", "files", "status", "code", "param"),
    [
        (FORM, None, 400, "missing", "input"),
        ({}, {"file": png()}, 400, "missing", "labels"),
        (FORM, {"file": b""}, 422, "image_decode_failed", "input[0]"),
        (FORM, {"file": b"GIF89a"}, 422, "image_decode_failed", "input[0]"),
        ({**FORM, "top_k": "x"}, {"file": png()}, 400, "invalid_value", "top_k"),
        (FORM, [("file", png())] * 66, 400, "invalid_form", None),
    ],
)
def test_wrong_forms(client, data, files, status, code, param):
    if files is None:
        files = {"note": (None, "x")}
    answer = client.post("/v1/classify", data=data, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)


def test_a_broken_form(client):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"", b"--x\r\nnothing", b"\0" * 100):
        assert client.post("/v1/classify", content=content, headers=headers).status_code == 400
    no_boundary = {"content-type": "multipart/form-data"}
    assert client.post("/v1/classify", content=b"--x--", headers=no_boundary).status_code == 400


def test_label_sets(client):
    saved = client.post(
        "/v1/label_sets", json={"name": "pets", "labels": ["cat", "dog"], "template": "a {label}"}
    )
    assert saved.json()["num_prompts"] == 2
    lists = [client.get(path) for path in ("/v1/label_sets", "/v1/label_sets/pets", "/v1/collections")]
    for answer in (saved, *lists):
        # Not one less each time: requests of tests before leave the window meanwhile.
        limit, left = (answer.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining"))
        assert int(left) < int(limit)
    by_name = client.post("/v1/classify", json={"input": data_url(), "label_set": "pets"})
    spelled = {"input": data_url(), "labels": ["cat", "dog"], "template": "a {label}"}
    assert scores(by_name) == scores(client.post("/v1/classify", json=spelled))
    client.post("/v1/label_sets", json={"name": "pets", "labels": ["bird"]})
    assert client.get("/v1/label_sets/pets").json()["labels"] == ["bird"]
    (listed,) = client.get("/v1/label_sets").json()["data"]
    assert (listed["name"], listed["num_labels"]) == ("pets", 1)
    assert "labels" not in listed
    assert client.delete("/v1/label_sets/pets").json()["deleted"] is True
    for answer in (
        client.delete("/v1/label_sets/pets"),
        client.get("/v1/label_sets/pets"),
        client.post("/v1/classify", json={"input": data_url(), "label_set": "pets"}),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "label_set_not_found"


@pytest.mark.parametrize("open", [False, True])
def test_pages_of_label_sets(start, open):
    with start(ServeSettings(open=open)).client() as client:
        for name in ("b", "d", "a", "c"):
            client.post("/v1/label_sets", json={"name": name, "labels": ["cat", "dog"]})
        seen, after = [], {}
        for more in (True, True, False):
            page = client.get("/v1/label_sets", params={"limit": 1 if after else 2, **after}).json()
            assert page["has_more"] is more
            seen += [each["name"] for each in page["data"]]
            after = {"after": seen[-1]}
        assert seen == ["a", "b", "c", "d"]
        for wrong in ({"limit": 0}, {"limit": 1001}, {"after": "\0"}):
            assert client.get("/v1/label_sets", params=wrong).status_code == 400


@pytest.mark.parametrize("open", [False, True])
def test_all_label_sets_have_so_many_characters(start, open):
    labels = [{"label": str(number), "prompts": ["x" * 8000]} for number in range(120)]
    with start(ServeSettings(open=open)).client() as client:
        for number in range(17):
            answer = client.post("/v1/label_sets", json={"name": f"set-{number}", "labels": labels})
            assert answer.status_code == 200
        again = client.post("/v1/label_sets", json={"name": "set-0", "labels": labels})
        assert again.status_code == 200
        more = client.post("/v1/label_sets", json={"name": "set-17", "labels": labels})
        assert (more.status_code, more.json()["error"]["param"]) == (400, "name")
        assert "16777216 characters" in more.json()["error"]["message"]
        assert client.delete("/v1/label_sets/set-3").status_code == 200
        assert client.post("/v1/label_sets", json={"name": "set-17", "labels": labels}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "../x", "labels": ["a"]}, "name"),
        ({"name": "x", "labels": []}, "labels"),
        ({"name": "x", "labels": ["a", "a"]}, "labels[1]"),
        ({"name": "x", "labels": ["a"], "template": "none"}, "template"),
        ({"name": "x", "labels": [{"label": "\ud800", "prompts": ["a"]}]}, "labels[0].label"),
        ({"name": "x", "labels": ["b", {"label": "a", "note": "\ud800"}]}, "labels[1].note"),
        ({"name": "x", "labels": [{"label": "a", "\ud800": 2**70}]}, "labels[0]"),
    ],
)
def test_wrong_label_sets(client, body, param):
    answer = client.post(
        "/v1/label_sets", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_one_account_does_not_see_anothers(client, server):
    client.post("/v1/label_sets", json={"name": "mine", "labels": ["a"]})
    create_account(server.database, "bob@example.org", credit=1000)
    key = create_key(server.database, "bob@example.org", "x")
    bob = {"Authorization": f"Bearer {key}"}
    assert client.get("/v1/label_sets/mine", headers=bob).status_code == 404
    assert client.get("/v1/label_sets", headers=bob).json()["data"] == []
    assert client.delete("/v1/label_sets/mine", headers=bob).status_code == 404
    assert client.delete("/v1/label_sets/mine").status_code == 200


def test_without_accounts_they_are_remembered(start):
    with start(ServeSettings(open=True)).client() as client:
        client.post("/v1/label_sets", json={"name": "pets", "labels": ["cat"]})
        answer = client.post("/v1/classify", json={"input": data_url(), "label_set": "pets"})
        assert answer.json()["data"][0]["prediction"] == "cat"


def test_an_account_has_so_many(server):
    from siglip2.errors import InvalidInput

    create_account(server.database, "many@example.org")
    kept = RememberedLabelSets()
    for number in range(MAX_SETS):
        kept.put(None, str(number), {"labels": []})
    kept.put(None, "0", {"labels": []})
    with pytest.raises(InvalidInput, match="1000 label sets"):
        kept.put(None, "more", {"labels": []})
    stored = StoredLabelSets(server.database)
    stored.put(1, "x", {"labels": ["é"]})
    found = stored.get(1, "x")
    assert found is not None
    assert found[0] == {"labels": ["é"]}
