"""LlamaIndex: its embedding interface, and an index searched with our vectors."""

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo, tiny_encoder

TEXTS = ["a red square", "a dog", "two dogs on a beach"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_texts_pictures_and_an_index(tmp_path):
    llama_index = pytest.importorskip("llama_index.core")
    from siglip2.interop.llama_index import Siglip2Embedding

    encoder = tiny_encoder(tmp_path)
    embedding = Siglip2Embedding(encoder, embed_batch_size=2)
    files = [str(tmp_path / f"{seed}.png") for seed in range(3)]
    for seed, file in enumerate(files):
        Image.fromarray(random_photo(seed)).save(file)
    texts, pictures = encoder.embed_texts(TEXTS), encoder.embed_images(files)
    np.testing.assert_allclose(embedding.get_text_embedding_batch(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(embedding.get_query_embedding(TEXTS[1]), texts[1], atol=1e-5)
    np.testing.assert_allclose(embedding.get_image_embedding_batch(list(files)), pictures, atol=1e-5)
    np.testing.assert_allclose(embedding.get_image_embedding(files[2]), pictures[2], atol=1e-5)
    nodes = [llama_index.schema.TextNode(text=text) for text in TEXTS]
    index = llama_index.VectorStoreIndex(nodes, embed_model=embedding)
    (found,) = index.as_retriever(similarity_top_k=1).retrieve(TEXTS[2])
    assert found.get_content() == TEXTS[2]
    assert found.score == pytest.approx(1, abs=1e-4)
