"""sentence-transformers' own `SentenceTransformer` around our encoder."""

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo, tiny_encoder

import siglip2
from siglip2.errors import InvalidImage

TEXTS = ["a red square", "a dog", "two dogs"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(encoder):
    library = pytest.importorskip("sentence_transformers", minversion="6.0")
    from siglip2.interop.sentence_transformers import Siglip2Module

    return library.SentenceTransformer(modules=[Siglip2Module(encoder)], device="cpu")


def test_texts_and_pictures(encoder, model, tmp_path):
    photos = [Image.fromarray(random_photo(seed)) for seed in range(3)]
    photos[0].save(tmp_path / "photo.png")
    texts, pictures = encoder.embed_texts(TEXTS), encoder.embed_images(photos)
    np.testing.assert_allclose(model.encode(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(model.encode(TEXTS, batch_size=1), texts, atol=1e-5)
    np.testing.assert_allclose(model.encode(photos), pictures, atol=1e-5)
    np.testing.assert_allclose(model.encode(str(tmp_path / "photo.png")), pictures[0], atol=1e-5)
    np.testing.assert_allclose(model.encode(np.asarray(photos[1])), pictures[1], atol=1e-5)
    prompted = model.encode(TEXTS[1], prompt="a photo of ")
    np.testing.assert_allclose(prompted, encoder.embed_texts(["a photo of a dog"])[0], atol=1e-5)
    similarities = model.similarity(model.encode(TEXTS), model.encode(photos)).numpy()
    np.testing.assert_allclose(similarities, texts @ pictures.T, atol=1e-5)
    assert model.get_embedding_dimension() == encoder.embed_dim
    assert model.supports("image")


def test_a_picture_that_cannot_be_used(model, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(InvalidImage, match=r"broken\.png"):
        model.encode(str(tmp_path / "broken.png"))


def test_other_inputs_are_refused(model):
    with pytest.raises(ValueError, match="audio"):
        model.encode([{"audio": np.zeros(8, np.float32)}])


def test_saved_and_loaded_again(encoder, model, tmp_path):
    model.save(str(tmp_path))
    again = type(model)(str(tmp_path), device="cpu", trust_remote_code=True)
    # In the precision that this machine takes by itself.
    expected = siglip2.load(next(tmp_path.glob("**/model.safetensors")).parent).embed_texts(TEXTS)
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(again.encode(TEXTS), encoder.embed_texts(TEXTS), atol=0.02)
