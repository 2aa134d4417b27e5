"""Adapters against the packages they are for; each is skipped where its package is not installed."""

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo, tiny_encoder

TEXTS = ["a red square", "a dog"]


@pytest.fixture
def encoder(tmp_path):
    return tiny_encoder(tmp_path)


@pytest.fixture
def photos(tmp_path):
    paths = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(random_photo(seed)).save(path)
    return paths


def test_langchain_store_of_pictures_is_searched(encoder, photos):
    stores = pytest.importorskip("langchain_core.vectorstores")
    from siglip2.interop.langchain import Siglip2Embeddings

    embeddings = Siglip2Embeddings(encoder)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[1]), encoder.embed_texts(TEXTS)[1], atol=1e-5)
    np.testing.assert_allclose(embeddings.embed_image(photos), encoder.embed_images(photos), atol=1e-5)
    assert embeddings.embed_documents([]) == []
    store = stores.InMemoryVectorStore(embeddings)
    store.add_texts(TEXTS)
    assert store.similarity_search(TEXTS[0], k=1)[0].page_content == TEXTS[0]


def test_haystack_pipeline_embeds_the_query(encoder):
    haystack = pytest.importorskip("haystack")
    from siglip2.interop.haystack import Siglip2TextEmbedder

    pipeline = haystack.Pipeline()
    pipeline.add_component("embedder", Siglip2TextEmbedder(encoder))
    found = pipeline.run({"embedder": {"text": TEXTS[0]}})["embedder"]["embedding"]
    np.testing.assert_allclose(found, encoder.embed_texts(TEXTS[:1])[0], atol=1e-5)


def test_qdrant_finds_a_picture_by_itself_and_keeps_it_once(encoder, photos):
    qdrant_client = pytest.importorskip("qdrant_client")
    from siglip2.interop.qdrant import picture_points, vector_parameters

    client = qdrant_client.QdrantClient(":memory:")
    client.create_collection("photos", vectors_config=vector_parameters(encoder))
    for _ in range(2):
        client.upsert("photos", picture_points(encoder, photos))
    assert client.count("photos").count == len(photos)
    query = encoder.embed_images(photos[1:2])[0].tolist()
    assert client.query_points("photos", query, limit=1).points[0].payload == {"path": photos[1]}
    client.close()
