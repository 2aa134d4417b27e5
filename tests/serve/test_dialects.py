"""Every route answers in its client's shape, and all of them with the same vectors."""

import base64
import json

import numpy as np
import pytest
from tests.serve.conftest import data_url, png

from siglip2.classify import ZeroShotClassifier
from siglip2.serve.accounts.tables import Account

LABELS = ["a cat", "a dog", "a bird"]


def post(client, path, **body):
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_classify_equals_the_library(client, encoder):
    answer = post(
        client, "/v1/classify", input=[{"image": data_url(0)}, {"image": data_url(1)}], labels=LABELS
    )
    expected = ZeroShotClassifier(encoder, LABELS).classify([png(0), png(1)])
    for entry, predictions in zip(answer["data"], expected, strict=True):
        assert [each["label"] for each in entry["predictions"]] == [each.label for each in predictions]
        for got, wanted in zip(entry["predictions"], predictions, strict=True):
            assert got["logit"] == pytest.approx(wanted.logit, abs=1e-4)
            assert got["probability"] == pytest.approx(wanted.probability, abs=1e-4)
            assert got["score"] == pytest.approx(wanted.score, abs=1e-4)
    assert sum(answer["data"][0]["probs"]) == pytest.approx(1)


def test_classify_options(client):
    answer = post(
        client,
        "/v1/classify",
        input=base64.b64encode(png()).decode(),
        labels=[{"label": "x", "prompts": ["one", "two"]}, "y"],
        multi_label=True,
        threshold=0,
        top_k=1,
    )
    (entry,) = answer["data"]
    assert len(entry["predictions"]) == 1
    assert entry["predictions"][0]["score"] == entry["predictions"][0]["probability"]
    none = post(client, "/v1/classify", input=[{"image": data_url()}], labels=LABELS, threshold=1)
    assert none["data"][0]["prediction"] is None


def test_embeddings_of_mixed_inputs(client, encoder):
    answer = post(
        client, "/v1/embeddings", input=["a cat", {"image": data_url(3)}, data_url(3), {"text": "a cat"}]
    )
    vectors = np.array([entry["embedding"] for entry in answer["data"]])
    np.testing.assert_allclose(vectors[0], encoder.embed_texts(["a cat"])[0], atol=1e-5)
    np.testing.assert_allclose(vectors[1], encoder.embed_images([png(3)])[0], atol=1e-5)
    np.testing.assert_array_equal(vectors[1], vectors[2])
    np.testing.assert_array_equal(vectors[0], vectors[3])
    details = answer["usage"]["prompt_tokens_details"]
    assert details["image_tokens"] == 32
    assert details["text_tokens"] == 12


def test_base64_is_little_endian_float32(client):
    as_list = post(client, "/v1/embeddings", input="a dog")["data"][0]["embedding"]
    packed = post(client, "/v1/embeddings", input="a dog", encoding_format="base64")["data"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.float32(as_list))


def test_infinity_and_vllm_forms(client):
    expected = post(client, "/v1/embeddings", input=[{"image": data_url(5)}])["data"][0]["embedding"]
    infinity = post(client, "/v1/embeddings", input=data_url(5), modality="image")
    parts = [{"type": "text", "text": ""}, {"type": "image_url", "image_url": {"url": data_url(5)}}]
    message = [{"role": "user", "content": parts}]
    vllm = post(client, "/v1/embeddings", messages=message, truncate_prompt_tokens=-1)
    for answer in (infinity, vllm):
        np.testing.assert_allclose(answer["data"][0]["embedding"], expected, atol=1e-5)


def test_a_string_that_looks_like_a_url_is_a_text(client, encoder):
    answer = post(client, "/v1/embeddings", input="http://example.org/a.png")
    expected = encoder.embed_texts(["http://example.org/a.png"])[0]
    np.testing.assert_allclose(answer["data"][0]["embedding"], expected, atol=1e-5)


def test_score_and_rerank_agree(client):
    documents = ["a cat", {"image": data_url(1)}, "a dog"]
    scored = post(client, "/v1/score", queries={"image": data_url(2)}, documents=documents)
    ranked = post(client, "/v2/rerank", query={"image": data_url(2)}, documents=documents, top_n=2)
    by_index = {entry["index"]: entry["score"] for entry in scored["data"]}
    assert len(ranked["results"]) == 2
    for result in ranked["results"]:
        assert result["relevance_score"] == pytest.approx(by_index[result["index"]], abs=1e-5)
    scores = [result["relevance_score"] for result in ranked["results"]]
    assert scores == sorted(scores, reverse=True)


def test_vllm_names_and_parts(client):
    picture = {"type": "image_url", "image_url": {"url": data_url(1)}}
    several = {"content": [picture, {"type": "text", "text": "a dog"}]}
    expected = post(client, "/v1/score", queries="a cat", documents=[{"image": data_url(1)}, "a dog"])
    for one, two in (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents")):
        answer = post(client, "/score", **{one: "a cat", two: several})
        assert [each["score"] for each in answer["data"]] == pytest.approx(
            [each["score"] for each in expected["data"]], abs=1e-6
        )
    ranked = post(client, "/rerank", query="a cat", documents=several)
    assert sorted(each["index"] for each in ranked["results"]) == [0, 1]


def test_cohere_says_what_images_are(client):
    answer = post(client, "/v2/embed", images=[data_url(1)], input_type="image")
    assert answer["images"] == [{"width": 52, "height": 40, "format": "png", "bit_depth": 24}]
    assert post(client, "/v2/embed", texts=["a cat"])["images"] == []


def test_cohere_types(client):
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    answer = post(client, "/v2/embed", texts=["a cat"], input_type="classification", embedding_types=kinds)
    vector = np.array(answer["embeddings"]["float"][0])
    np.testing.assert_allclose(np.array(answer["embeddings"]["int8"][0]) / 127, vector, atol=0.5 / 127 + 1e-6)
    assert np.array(answer["embeddings"]["ubinary"][0]).tolist() == np.packbits(vector > 0).tolist()


SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"$ref": "#/$defs/Kind"},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1},
        "person": {"type": "boolean", "description": "a photo with a person"},
        "quality": {"type": "number"},
    },
    "$defs": {"Kind": {"enum": LABELS, "type": "string"}},
}


IMAGE_PART = {"type": "image_url", "image_url": {"url": data_url(4), "detail": "low"}}


def ask(**body):
    text = {"type": "text", "text": "a photo of a {label}"}
    return {"messages": [{"role": "user", "content": [text, IMAGE_PART]}], **body}


def test_chat_fills_a_schema(client):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    answer = post(
        client, "/v1/chat/completions", **ask(response_format=schema, logprobs=True, top_logprobs=2)
    )
    filled = json.loads(answer["choices"][0]["message"]["content"])
    direct = post(client, "/v1/classify", input=data_url(4), labels=LABELS, template="a photo of a {label}")
    assert filled["kind"] == direct["data"][0]["prediction"]
    assert len(filled["tags"]) >= 1
    assert isinstance(filled["person"], bool)
    assert 0 <= filled["quality"] <= 1
    assert len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_only_a_text_with_label_is_a_template(client):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": LABELS}}}
    plain = ask(response_format=schema)
    for text in ("Answer with JSON, never {}", 'Use {} or {"a": {}}'):
        said = {**plain, "messages": [{"role": "system", "content": text}, *plain["messages"]]}
        assert (
            post(client, "/v1/chat/completions", **said)["classification"]["template"]
            == "a photo of a {label}"
        )
        said["messages"] = [{"role": "system", "content": text}, {"role": "user", "content": [IMAGE_PART]}]
        assert post(client, "/v1/chat/completions", **said)["classification"]["template"] is None


def test_chat_calls_a_tool_and_streams(client):
    tool = {"type": "function", "function": {"name": "tell", "parameters": SCHEMA}}
    choice = {"type": "function", "function": {"name": "tell"}}
    answer = post(client, "/v1/chat/completions", **ask(tools=[tool], tool_choice=choice))
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "tell"
    assert json.loads(call["arguments"])["kind"] in LABELS
    streamed = client.post("/v1/chat/completions", json=ask(tools=[tool], tool_choice=choice, stream=True))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_models_probes_and_metrics(client):
    assert "tiny" in [entry["id"] for entry in client.get("/v1/models").json()["data"]]
    assert client.get("/v1/models/tiny").json()["embedding_dim"] == 32
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert "siglip2_request_seconds_count" in client.get("/metrics").text
    assert client.get("/openapi.json").status_code == 200


def test_headers(client):
    response = client.post("/v1/embeddings", json={"input": "x"}, headers={"x-request-id": "my-id"})
    assert response.headers["x-request-id"] == "my-id"
    assert (
        "infer;dur=" in response.headers["server-timing"] or "total;dur=" in response.headers["server-timing"]
    )
    assert response.headers["x-ratelimit-limit-requests"] == "100000"
    assert response.headers["x-credits-cost"] == "10"
    failed = client.post("/v1/embeddings", json={"input": 7})
    assert failed.status_code == 400
    assert failed.headers["x-ratelimit-limit-requests"] == "100000"
    other = client.post("/v1/embeddings", json={"input": "x"}, headers={"x-request-id": "bad id\tx"})
    assert other.headers["x-request-id"].startswith("req_")


def test_what_is_charged(client, server):
    def balance():
        with server.database.transaction() as session:
            return session.get(Account, 1).balance

    before = balance()
    post(client, "/v1/classify", input=data_url(), labels=LABELS)
    assert before - balance() == 100 + 3 * 10
    assert client.post("/v1/classify", json={"input": "!!", "labels": LABELS}).status_code == 400
    broken = base64.b64encode(b"no image").decode()
    assert client.post("/v1/classify", json={"input": broken, "labels": LABELS}).status_code == 422
    assert before - balance() == 130
    headers = {"Idempotency-Key": "once"}
    body = {"input": ["a", "b"]}
    first = client.post("/v1/embeddings", json=body, headers=headers)
    again = client.post("/v1/embeddings", json=body, headers=headers)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert client.post("/v1/embeddings", json={"input": "c"}, headers=headers).status_code == 400
    assert before - balance() == 150
