"""Wrong requests: each has its status, its code, the place in the request, and OpenAI's error object."""

import base64
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from tests.serve.conftest import data_url

from siglip2.serve.accounts.store import create_account, create_key, revoke_key
from siglip2.serve.accounts.tables import ApiKey

IMAGE = {"image": data_url()}
LABELS = ["cat", "dog"]
PARTS = [{"type": "image_url", "image_url": {"url": data_url()}}]
BROKEN = base64.b64encode(b"\xff\xd8\xff not a picture").decode()
SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
C, E, S, R, CHAT = "/v1/classify", "/v1/embeddings", "/v1/score", "/v1/rerank", "/v1/chat/completions"


def chat(schema=None, parts=PARTS, **more):
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"messages": [{"role": "user", "content": parts}], "response_format": wrapped, **more}


ENUM = {"enum": ["a", "b"]}
TOO_MANY = "too_many_texts"
HALF_NAMED = {"type": "function", "function": {"name": "tell\ud800", "parameters": ENUM}}
TOOL = {"type": "function", "function": {"name": "tell", "parameters": ENUM}}
UNSUPPORTED = "unsupported_response_format"
WRONG = [
    (C, {}, 400, "missing", "input"),
    (C, {"input": IMAGE}, 400, "missing", "labels"),
    (C, {"input": IMAGE, "labels": []}, 400, "missing", "labels"),
    (C, {"input": [], "labels": LABELS}, 400, "missing", "input"),
    (C, {"input": IMAGE, "labels": ["cat", "cat"]}, 400, "invalid_value", "labels[1]"),
    (C, {"input": IMAGE, "labels": ["cat", " "]}, 400, "invalid_value", "labels[1]"),
    (C, {"input": IMAGE, "labels": ["cat", "..."]}, 400, "invalid_value", "labels[1]"),
    (
        C,
        {"input": IMAGE, "labels": ["cat", {"label": "x", "prompts": []}]},
        400,
        "invalid_value",
        "labels[1].prompts",
    ),
    (C, {"input": IMAGE, "labels": [f"label {n}" for n in range(2049)]}, 400, "too_many_labels", "labels"),
    (C, {"input": IMAGE, "labels": ["x" * 9000]}, 400, "invalid_value", "labels[0]"),
    (C, {"input": IMAGE, "labels": "cat"}, 400, "invalid_value", "labels"),
    (C, {"input": IMAGE, "labels": LABELS, "template": "no place"}, 400, "invalid_value", "template"),
    (C, {"input": IMAGE, "labels": LABELS, "threshold": 2}, 400, "invalid_value", "threshold"),
    (C, {"input": IMAGE, "labels": LABELS, "top_k": 0}, 400, "invalid_value", "top_k"),
    (C, {"input": IMAGE, "labels": LABELS, "max_num_patches": 64}, 400, "invalid_value", "max_num_patches"),
    (C, {"input": IMAGE, "labels": LABELS, "model": "gpt-4"}, 404, "model_not_found", "model"),
    (C, {"input": {"text": "a cat"}, "labels": LABELS}, 400, "invalid_value", "input[0].text"),
    (C, {"input": "not base64!", "labels": LABELS}, 400, "invalid_value", "input[0]"),
    (C, {"input": BROKEN, "labels": LABELS}, 422, "image_decode_failed", "input[0]"),
    (C, {"input": SVG, "labels": LABELS}, 422, "image_decode_failed", "input[0]"),
    (C, {"input": {"image": 7}, "labels": LABELS}, 400, "invalid_value", "input[0].image"),
    (
        C,
        {"input": {"image": "data:text/html;base64,AAAA"}, "labels": LABELS},
        400,
        "invalid_value",
        "input[0].image",
    ),
    (
        C,
        {"input": {"image": "file:///etc/passwd"}, "labels": LABELS},
        400,
        "image_url_blocked",
        "input[0].image",
    ),
    (
        C,
        {"input": {"image": "http://127.0.0.1/"}, "labels": LABELS},
        422,
        "image_fetch_failed",
        "input[0].image",
    ),
    (C, {"input": [IMAGE] * 65, "labels": LABELS}, 400, "invalid_value", "input"),
    (E, {}, 400, "missing", "input"),
    (E, {"input": []}, 400, "missing", "input"),
    (E, {"input": ""}, 400, "invalid_value", "input"),
    (E, {"input": [1, 2, 3]}, 400, "invalid_value", "input"),
    (E, {"input": [[1, 2], [3]]}, 400, "invalid_value", "input"),
    (E, {"input": 1.5}, 400, "invalid_value", "input"),
    (E, {"input": [None]}, 400, "invalid_value", "input[0]"),
    (E, {"input": "x", "dimensions": 7}, 400, "invalid_value", "dimensions"),
    (E, {"input": "x", "encoding_format": "int3"}, 400, "invalid_value", "encoding_format"),
    (E, {"input": "x", "normalized": False}, 400, "invalid_value", "normalized"),
    (E, {"input": "\ud800"}, 400, "invalid_value", "input"),
    (E, {"input": {"image": "http://a/\ud800"}}, 400, "invalid_value", "input.image"),
    (
        CHAT,
        chat(None, tools=[HALF_NAMED], tool_choice="required"),
        400,
        "invalid_value",
        "tools[0].function.name",
    ),
    (
        C,
        {"input": IMAGE, "labels": [f"l{n}" for n in range(26)], "template": "clip81"},
        400,
        TOO_MANY,
        "labels",
    ),
    (C, {"input": IMAGE, "labels": [{"label": "a", "prompts": ["b"] * 2049}]}, 400, TOO_MANY, "labels"),
    (C, {"input": IMAGE, "labels": ["a", "b" * 8193]}, 400, "invalid_value", "labels[1]"),
    (
        C,
        {"input": IMAGE, "labels": ["a"], "template": "{label}" + "b" * 8193},
        400,
        "invalid_value",
        "template",
    ),
    (E, {"input": ["x"] * 2049}, 400, "too_many_texts", "input"),
    (E, {"messages": []}, 400, "invalid_value", "messages"),
    (E, {"messages": [{"content": [{"text": "a"}, *PARTS]}]}, 400, "invalid_value", "messages[0].content"),
    (S, {"queries": "a"}, 400, "missing", "documents"),
    (S, {"queries": ["a", "b"], "documents": ["a", "b", "c"]}, 400, "invalid_value", "queries"),
    (S, {"queries": "a", "documents": "b", "score_type": "x"}, 400, "invalid_value", "score_type"),
    (R, {"query": "a", "documents": []}, 400, "missing", "documents"),
    (R, {"query": "a", "documents": ["b"], "top_n": 0}, 400, "invalid_value", "top_n"),
    (CHAT, {"messages": []}, 400, "unsupported_response_format", "response_format"),
    (CHAT, {"messages": [], "response_format": {"type": "text"}}, 400, "unsupported_response_format", None),
    (CHAT, chat({"type": "string"}), 400, "unsupported_response_format", "response_format"),
    (CHAT, chat({"$ref": "#"}), 400, "unsupported_response_format", "response_format"),
    (CHAT, chat({"enum": [1, 2]}), 400, "unsupported_response_format", "response_format"),
    (CHAT, chat(ENUM, parts=[]), 400, "invalid_value", "messages"),
    (CHAT, chat(ENUM, parts=PARTS * 2), 400, "invalid_value", "messages"),
    (CHAT, chat(ENUM, n=2), 400, "invalid_value", "n"),
    ("/v2/embed", {}, 400, "missing", "texts"),
    ("/v2/embed", {"texts": ["a"], "embedding_types": ["int4"]}, 400, "invalid_value", "embedding_types[0]"),
    ("/v1/multimodalembeddings", {"inputs": []}, 400, "missing", "inputs"),
    ("/v1/hf/zero-shot-image-classification", {"inputs": "x"}, 400, "missing", "parameters"),
    (
        "/v1/multimodalembeddings",
        {"inputs": [{"content": [{"type": "text", "text": "a"}, *PARTS]}]},
        400,
        "invalid_value",
        "inputs[0].content",
    ),
    (
        "/v1/hf/zero-shot-image-classification",
        {"inputs": {}, "parameters": {"candidate_labels": LABELS}},
        400,
        "invalid_value",
        "inputs",
    ),
    (E, {"input": "x", "output_dtype": "int8"}, 400, "invalid_value", "output_dtype"),
    (E, {"input": "x", "output_dimension": 7}, 400, "invalid_value", "output_dimension"),
    (E, {"input": "javascript:alert(1)", "modality": "image"}, 400, "image_url_blocked", "input"),
    (S, {"queries": "a", "documents": {"content": [7]}}, 400, "invalid_value", "documents.content[0]"),
    (S, {"queries": "a", "documents": {"content": []}}, 400, "missing", "documents"),
    (R, {"query": None, "documents": ["b"]}, 400, "invalid_value", "query"),
    (R, {"query": "a", "documents": ["b"], "top_k": 0}, 400, "invalid_value", "top_k"),
    (CHAT, {"messages": [], "tools": [TOOL]}, 400, "unsupported_response_format", "response_format"),
    (CHAT, {"messages": [], "tools": [TOOL] * 2, "tool_choice": "required"}, 400, UNSUPPORTED, None),
    (CHAT, {"messages": [], "structured_outputs": {"regex": "x"}}, 400, UNSUPPORTED, "response_format"),
    (CHAT, chat({"type": "number", "minimum": 5}), 400, UNSUPPORTED, "response_format"),
    ("/v1/label_sets", {"name": "../x", "labels": LABELS}, 400, "invalid_value", "name"),
    ("/v1/label_sets", {"name": "x"}, 400, "missing", "labels"),
    (C, {"input": IMAGE, "label_set": "nope"}, 404, "label_set_not_found", "label_set"),
    (C, {"input": IMAGE, "labels": LABELS, "label_set": "x"}, 400, "invalid_value", "label_set"),
    ("/v1/heatmap", {"input": IMAGE, "labels": []}, 400, "missing", "labels"),
    ("/v1/search", {"query": "x"}, 404, "collection_not_found", "collection"),
    ("/v1/vector_stores/none/search", {"query": "x"}, 404, "collection_not_found", "name"),
    ("/v1/nowhere", {}, 404, "not_found", None),
]


def check_shape(response, status, code):
    body = response.json()
    assert response.status_code == status, body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code, body
    assert body["message"] == body["detail"] == body["error"]["message"]
    assert response.headers["x-request-id"]
    for secret in ("Traceback", "0x", "/src/", "site-packages", "BytesIO"):
        assert secret not in response.text
    return body["error"]


@pytest.mark.parametrize(("path", "body", "status", "code", "param"), WRONG)
def test_wrong_requests(client, path, body, status, code, param):
    response = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    error = check_shape(response, status, code)
    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize(
    "labels",
    [
        [f"label {number}" for number in range(2048)],
        [{"label": f"label {number}", "prompts": ["a"] * 100} for number in range(2048)],
        ["a", "b" * 8193],
        [{"label": "a", "prompts": ["a", "b" * 8193]}],
    ],
)
def test_too_much_is_refused_before_prompts_are_made(client, monkeypatch, labels):
    """Making them takes far longer than counting them."""

    def make(*arguments, **options):
        pytest.fail("no prompt may be made")

    monkeypatch.setattr("siglip2.serve.routes.labels.label_prompts", make)
    monkeypatch.setattr("siglip2.serve.routes.labels.canonicalize", make)
    answer = client.post(C, json={"input": IMAGE, "labels": labels, "template": "clip81"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b"\xff", b'{"input": NaN}', b"null", b"[]", b"7"]
)
def test_bodies_that_are_no_request(client, body):
    response = client.post(E, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_wrong_method(client):
    check_shape(client.get(C), 405, "method_not_allowed")


ROUTES = [C, E, S, R, CHAT, "/v2/rerank", "/v2/embed", "/v1/multimodalembeddings", "/classify", "/embeddings",
          "/score", "/rerank", "/chat/completions", "/v1/hf/zero-shot-image-classification"]  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("header", [None, "Bearer sg2_wrong", "Basic abc", "Bearer"])
def test_every_route_needs_a_key(client, path, header):
    headers = {"Authorization": header or ""}
    check_shape(client.post(path, json={"input": "x"}, headers=headers), 401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny", "/v1/usage"])
def test_reading_needs_a_key_too(client, path):
    check_shape(client.get(path, headers={"Authorization": ""}), 401, "invalid_api_key")


def test_keys_that_may_not(client, server):
    create_account(server.database, "eve@example.org", credit=15)

    def send(key, body=None):
        return client.post(E, json=body or {"input": "x"}, headers={"Authorization": f"Bearer {key}"})

    limited = create_key(server.database, "eve@example.org", "scoped", scopes=["classify"])
    check_shape(send(limited), 403, "insufficient_scope")
    old = create_key(server.database, "eve@example.org", "old", days=1)
    with server.database.transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.name == "old").values(expires_at=datetime.now(UTC)))
    check_shape(send(old), 401, "invalid_api_key")
    good = create_key(server.database, "eve@example.org", "good")
    response = send(good, {"input": ["x", "y"]})
    check_shape(response, 429, "insufficient_quota")
    assert response.headers["x-should-retry"] == "false"
    assert send(good).status_code == 200
    slow = create_key(server.database, "eve@example.org", "slow", requests_per_minute=1)
    send(slow)
    response = send(slow)
    check_shape(response, 429, "rate_limit_exceeded")
    assert 1 <= int(response.headers["retry-after"]) <= 120
    reading = {"headers": {"Authorization": f"Bearer {slow}"}, "params": {"start_time": 1}}
    for path in ("/v1/usage", "/v1/organization/costs", "/v1/organization/usage/embeddings"):
        check_shape(client.get(path, **reading), 429, "rate_limit_exceeded")
        assert client.get(path, params={"start_time": 1}).headers["x-ratelimit-limit-requests"] == "100000"
    with server.database.transaction() as session:
        number = session.query(ApiKey).filter_by(name="good").one().id
    revoke_key(server.database, number)
    check_shape(send(good), 401, "invalid_api_key")


def test_too_large(start):
    from siglip2.serve.settings import ServeSettings

    small = start(ServeSettings(max_body_bytes=1000))
    with small.client() as client:
        check_shape(client.post(E, json={"input": "x" * 2000}), 413, "request_too_large")
        chunks = (b"x" * 600 for _ in range(3))
        check_shape(client.post(E, content=chunks), 413, "request_too_large")
