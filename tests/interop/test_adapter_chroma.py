"""Chroma: a collection of pictures that is searched by words, and remembers its model."""

import numpy as np
import pytest
from tests.tiny_model import random_photo

import siglip2

TEXTS = ["a goldfish", "a red bus", "two dogs on a beach"]


def test_pictures_and_texts_of_one_collection(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    from siglip2.interop.chroma import Siglip2Function

    encoder = siglip2.load("nano")
    client = chromadb.PersistentClient(str(tmp_path), settings=chromadb.Settings(anonymized_telemetry=False))
    photos = [random_photo(seed, 64, 64) for seed in range(3)]
    made = client.create_collection("things", embedding_function=Siglip2Function(encoder))
    made.add(ids=["0", "1", "2"], images=photos)
    made.add(ids=["a", "b", "c"], documents=TEXTS)
    stored = made.get(include=["embeddings"], ids=["0", "1", "2"])["embeddings"]
    np.testing.assert_allclose(stored, encoder.embed_images(photos), atol=1e-4)
    found = made.query(query_images=[photos[1]], n_results=1)
    assert found["ids"] == [["1"]]
    # Opened without a function, it loads the model that it was made with.
    again = client.get_collection("things")
    found = again.query(query_texts=[TEXTS[1]], n_results=2)
    vectors = np.concatenate([encoder.embed_images(photos), encoder.embed_texts(TEXTS)])
    order = np.argsort(-vectors @ encoder.embed_texts(TEXTS)[1])
    assert found["ids"][0] == ["012abc"[index] for index in order[:2]]
    assert found["distances"][0][0] == pytest.approx(0, abs=1e-4)
