"""The clients that people have, unmodified but for the address."""

import base64
import json
import time
from enum import StrEnum
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel
from tests.serve.conftest import data_url, photo_file, png

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def openai_client(server):
    openai = pytest.importorskip("openai", reason="needs openai: pip install openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


def test_openai_embeddings(openai_client, encoder):
    answer = openai_client.embeddings.create(model="tiny", input=["a cat", "a dog"])
    vectors = np.array([entry.embedding for entry in answer.data])
    np.testing.assert_allclose(vectors, encoder.embed_texts(["a cat", "a dog"]), atol=1e-5)
    assert answer.usage.prompt_tokens == 12
    images = openai_client.embeddings.create(
        model="tiny", input=[data_url(1)], extra_body={"modality": "image"}
    )
    np.testing.assert_allclose(images.data[0].embedding, encoder.embed_images([png(1)])[0], atol=1e-5)


class Kind(StrEnum):
    CAT = "cat"
    DOG = "dog"


class Seen(BaseModel):
    kind: Kind
    tags: list[Kind]
    indoors: bool


def test_openai_chat(openai_client):
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a photo of a {label}"},
                {"type": "image_url", "image_url": {"url": data_url()}},
            ],
        }
    ]
    answer = openai_client.chat.completions.parse(
        model="tiny", messages=messages, response_format=Seen, logprobs=True, top_logprobs=2
    )
    assert isinstance(answer.choices[0].message.parsed, Seen)
    assert len(answer.model_extra["classification"]["heads"]) == 3
    with openai_client.chat.completions.stream(
        model="tiny", messages=messages, response_format=Seen
    ) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Seen)


def test_openai_errors_and_models(openai_client, server):
    import openai

    assert "tiny" in [model.id for model in openai_client.models.list()]
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.embeddings.create(model="gpt-4", input="x")
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sg2_no") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.embeddings.create(model="tiny", input="x")


def test_openai_usage_and_costs(openai_client, server):
    openai_client.embeddings.create(model="tiny", input=["a cat"])
    import openai

    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=server.key, admin_api_key=server.key, max_retries=0
    ) as client:
        start = int(time.time()) - 3600
        usage: Any = client.admin.organization.usage
        used = usage.embeddings(start_time=start, group_by=["model"])
        paid = usage.costs(start_time=start, group_by=["line_item"])
    (result,) = used.data[-1].results
    assert (result.object, result.model) == ("organization.usage.embeddings.result", "tiny")
    assert result.num_model_requests >= 1
    lines = {each.line_item: each.amount.value for each in paid.data[-1].results}
    assert lines["tiny, embeddings"] >= 10 / 1e6


def test_cohere(server, encoder, http):
    cohere = pytest.importorskip("cohere", reason="needs cohere: pip install cohere")
    client = cohere.ClientV2(api_key=server.key, base_url=server.url, httpx_client=http)
    texts = client.embed(
        model="tiny", input_type="classification", texts=["a cat"], embedding_types=["float", "int8"]
    )
    np.testing.assert_allclose(texts.embeddings.float_[0], encoder.embed_texts(["a cat"])[0], atol=1e-5)
    images = client.embed(model="tiny", input_type="image", images=[data_url(1)], embedding_types=["float"])
    np.testing.assert_allclose(images.embeddings.float_[0], encoder.embed_images([png(1)])[0], atol=1e-5)
    ranked = client.rerank(model="tiny", query="a cat", documents=["a dog", "a cat"], top_n=1)
    assert ranked.results[0].index == 1


@pytest.fixture
def http():
    """A transport that is closed at the end; the clients leave theirs to the garbage collector."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def test_voyage(server, encoder, tmp_path):
    voyageai = pytest.importorskip("voyageai", reason="needs voyageai: pip install voyageai")
    from PIL import Image

    client = voyageai.Client(api_key=server.key, base_url=f"{server.url}/v1")
    with Image.open(photo_file(tmp_path, 1)) as picture:
        answer = client.multimodal_embed(inputs=[["a cat"], [picture]], model="tiny")
    np.testing.assert_allclose(answer.embeddings[0], encoder.embed_texts(["a cat"])[0], atol=1e-5)
    assert len(answer.embeddings) == 2
    texts = client.embed(["a cat"], model="tiny")
    np.testing.assert_allclose(texts.embeddings[0], answer.embeddings[0], atol=1e-5)
    ranked = client.rerank("a cat", ["a dog", "a cat"], model="tiny", top_k=1)
    assert [(each.index, each.document) for each in ranked.results] == [(1, "a cat")]
    with pytest.raises(voyageai.error.InvalidRequestError, match="cut short"):
        client.embed(["a cat"], model="tiny", output_dimension=7)
    from voyageai.api_resources import api_requestor

    api_requestor._thread_context.session.close()


def test_hugging_face(server, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    client = hub.InferenceClient(token=server.key)
    answer = client.zero_shot_image_classification(
        str(photo_file(tmp_path)),
        candidate_labels=["cat", "dog"],
        model=f"{server.url}/v1/hf/zero-shot-image-classification",
    )
    assert {entry.label for entry in answer} == {"cat", "dog"}
    assert sum(entry.score for entry in answer) == pytest.approx(1)
    hub.close_session()


def test_load_generator_of_vllm(client):
    """The requests of `vllm bench serve` as its source builds them."""
    image = {"type": "image_url", "image_url": {"url": data_url()}}
    message = {"role": "user", "content": [{"type": "text", "text": ""}, image]}
    bodies = [
        ("/v1/embeddings", {"model": "tiny", "messages": [message], "truncate_prompt_tokens": -1}),
        ("/v1/embeddings", {"model": "tiny", "input": data_url(), "modality": "image"}),
        ("/v1/rerank", {"model": "tiny", "query": "a", "documents": ["b"], "truncate_prompt_tokens": -1}),
    ]
    for path, body in bodies:
        assert client.post(
            path, content=json.dumps(body), headers={"content-type": "application/json"}
        ).is_success


def test_base64_variants(client):
    plain = base64.b64encode(png()).decode()
    variants = [plain, plain.rstrip("="), "\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))]
    variants.append(base64.urlsafe_b64encode(png()).decode())
    answer = client.post("/v1/embeddings", json={"input": variants, "modality": "image"}).json()
    assert all(entry["embedding"] == answer["data"][0]["embedding"] for entry in answer["data"])
