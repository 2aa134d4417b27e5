"""A text alone and in a batch gives the same vector, in every dialect, with nothing remembered in between."""

import base64

import numpy as np
import pytest
from tests.serve.conftest import data_url

from siglip2.serve.settings import EngineSettings, ServeSettings

TEXT = "a lonely text"
COMPANY = [f"another text of some length, number {number}" * (1 + number % 3) for number in range(20)]
IMAGE = data_url(7)
SAME = 1e-5
"""Most that a number of a unit vector may differ; with AMX, in bfloat16, the bits were the same."""


@pytest.fixture(scope="module")
def forgetful(start):
    with start(ServeSettings(engine=EngineSettings(cached_texts=0))).client() as client:
        yield client


def ask(client, path, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json().get("usage", {}).get("prompt_tokens_details", {}).get("cached_tokens", 0) == 0
    return answer.json()


def openai(client, texts):
    packed = ask(client, "/v1/embeddings", input=texts, encoding_format="base64")["data"]
    return [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in packed]


def cohere(client, texts):
    answer = ask(client, "/v2/embed", texts=texts, input_type="search_query", embedding_types=["float"])
    return answer["embeddings"]["float"]


def voyage(client, texts):
    inputs = [{"content": [{"type": "text", "text": text}]} for text in texts]
    answer = ask(client, "/v1/multimodalembeddings", inputs=inputs)
    return [each["embedding"] for each in answer["data"]]


def score(client, texts):
    answer = ask(client, "/v1/score", queries={"image": IMAGE}, documents=texts, score_type="cosine")
    return [each["score"] for each in answer["data"]]


def rerank(client, texts):
    results = ask(client, "/v2/rerank", query={"image": IMAGE}, documents=texts)["results"]
    return [each["cosine"] for each in sorted(results, key=lambda each: each["index"])]


def classify(client, texts):
    labels = [{"label": text, "prompts": [text]} for text in texts]
    found = ask(client, "/v1/classify", input=IMAGE, labels=labels)["data"][0]["predictions"]
    return [next(each["probability"] for each in found if each["label"] == text) for text in texts]


def chat(client, texts):
    schema = {"type": "object", "properties": {"kind": {"enum": texts}}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = [{"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = ask(
        client,
        "/v1/chat/completions",
        messages=[{"role": "user", "content": content}],
        response_format=wrapped,
    )
    found = answer["classification"]["heads"][0]["scores"]
    return [next(each["probability"] for each in found if each["label"] == text) for text in texts]


def hugging_face(client, texts):
    body = {"inputs": IMAGE, "parameters": {"candidate_labels": texts, "hypothesis_template": "{}"}}
    found = client.post("/v1/hf/zero-shot-image-classification", json=body).json()
    return [next(each["logit"] for each in found if each["label"] == text) for text in texts]


@pytest.mark.parametrize("dialect", [openai, cohere, voyage, score, rerank, classify, chat, hugging_face])
def test_a_text_alone_and_in_a_batch(forgetful, dialect):
    alone = np.asarray(dialect(forgetful, [TEXT])[0])
    for batch in ([*COMPANY, TEXT], [TEXT, *COMPANY[:3]]):
        found = np.asarray(dialect(forgetful, batch)[batch.index(TEXT)])
        np.testing.assert_allclose(found, alone, rtol=0, atol=SAME * (20 if dialect is hugging_face else 1))
