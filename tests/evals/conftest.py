"""A small model, data sets written small in their publishers' formats, and an encoder that knows nothing."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import random_photo, tiny_encoder

from siglip2.encoder import Encoder, PatchFeatures
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.protocol import Protocol, with_encoder
from siglip2.evals.task import Context


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_photo(seed)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed))


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def context(encoder, tmp_path) -> Context:
    (tmp_path / "data").mkdir()
    return make_context(encoder, tmp_path / "data", EmbeddingCache(encoder, None))


def make_context(encoder: Encoder, data: Path, cache: EmbeddingCache, **changes) -> Context:
    protocol = with_encoder(Protocol(**changes), encoder)
    return Context(encoder=encoder, data=data, protocol=protocol, cache=cache)


class KnowsNothing(EmbeddingCache):
    """Vectors drawn from the hash of the input: no two inputs have anything in common."""

    def pooled(self, images, *, progress=False):
        return np.stack([self._noise(image.read()) for image in images])

    def texts(self, texts, *, progress=False):
        found = np.stack([self._noise(text.encode()) for text in texts])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def patches(self, images, *, progress=False):
        width = self.encoder.embed_dim
        for image in images:
            rows = self._noise(image.read(), (17, width))
            yield PatchFeatures(features=rows[:16].reshape(4, 4, width), grid=(4, 4), pooled=rows[16])

    def _noise(self, content: bytes, shape=None) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(shape or self.encoder.embed_dim).astype(np.float32)
