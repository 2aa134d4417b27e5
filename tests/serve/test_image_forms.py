"""An image in every spelling of every dialect is the same vector."""

import base64

import numpy as np
import pytest
from tests.serve.conftest import data_url, png

PLAIN = base64.b64encode(png(6)).decode()
URL = data_url(6)
OPENAI = {"type": "image_url", "image_url": {"url": URL, "detail": "high"}}
SPELLINGS = [
    {"image": PLAIN},
    {"image": URL},
    {"image": {"url": URL}},
    {"image_url": URL},
    {"image_url": {"url": URL}},
    OPENAI,
    {"type": "image_url", "image_url": URL},
    {"type": "input_image", "image_url": URL},
    {"type": "image_base64", "image_base64": URL},
    {"content": [OPENAI]},
    {"role": "user", "content": [{"type": "text", "text": " "}, OPENAI]},
    {"content": URL},
    URL,
]


def kind(value):
    """What tests are called by: an image's text is too long a name."""
    return type(value).__name__


@pytest.fixture(scope="module")
def expected(encoder):
    return encoder.embed_images([png(6)])[0]


def ask(client, path, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("spelling", SPELLINGS, ids=kind)
def test_embeddings(client, expected, spelling):
    said = ask(client, "/v1/embeddings", input=[spelling])
    np.testing.assert_allclose(said["data"][0]["embedding"], expected, atol=1e-5)
    alone = ask(client, "/v1/embeddings", input=spelling)
    assert alone["data"][0]["embedding"] == said["data"][0]["embedding"]


@pytest.mark.parametrize("given", [PLAIN, URL, {"type": "image_url", "image_url": {"url": PLAIN}}], ids=kind)
def test_infinity_and_messages(client, expected, given):
    body = {"input": given, "modality": "image"}
    if isinstance(given, dict):
        body = {"messages": [{"role": "user", "content": [given]}]}
    said = ask(client, "/v1/embeddings", **body)
    np.testing.assert_allclose(said["data"][0]["embedding"], expected, atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        {"images": [URL]},
        {"images": [PLAIN]},
        {"inputs": [{"content": [OPENAI]}]},
        {"inputs": [{"content": [{"type": "image_url", "image_url": URL}]}]},
    ],
    ids=kind,
)
def test_cohere(client, expected, body):
    said = ask(client, "/v2/embed", input_type="image", embedding_types=["float"], **body)
    np.testing.assert_allclose(said["embeddings"]["float"][0], expected, atol=1e-5)


@pytest.mark.parametrize("part", SPELLINGS[3:9], ids=kind)
def test_voyage(client, expected, part):
    said = ask(client, "/v1/multimodalembeddings", inputs=[{"content": [part]}], truncation=True)
    np.testing.assert_allclose(said["data"][0]["embedding"], expected, atol=1e-5)


@pytest.mark.parametrize("spelling", [*SPELLINGS, PLAIN], ids=kind)
def test_classify_and_score(client, spelling):
    first = ask(client, "/v1/classify", input={"image": URL}, labels=["a", "b"])
    assert ask(client, "/v1/classify", input=[spelling], labels=["a", "b"])["data"] == first["data"]
    if spelling != PLAIN:  # which is a text to routes that take both
        ranked = ask(client, "/v1/rerank", query=spelling, documents=[URL])
        assert ranked["results"][0]["cosine"] == pytest.approx(1, abs=1e-4)
