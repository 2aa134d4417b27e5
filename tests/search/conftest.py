"""A small model, and folders of drawn photos."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.tiny_model import tiny_checkpoint

from siglip2.encoder import Encoder
from siglip2.runtime.openvino import OpenVinoRuntime
from siglip2.search.collection import Collection


def make_encoder(folder: Path, seed: int = 0) -> Encoder:
    checkpoint = tiny_checkpoint(folder, seed=seed)
    return Encoder(checkpoint, OpenVinoRuntime(checkpoint), model_id=f"tiny-{seed}")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return make_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return make_encoder(tmp_path_factory.mktemp("other"), seed=1)


def draw_photos(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo_{index:03}.png" for index in range(first, first + count)]
    for index, path in enumerate(paths, first):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 40), Image.Resampling.NEAREST).save(path)
    return paths


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may write and read everywhere, so it is nobody who does for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_photos(tmp_path / "photos", 20)
    return tmp_path / "photos"


@pytest.fixture
def collection(tmp_path: Path, encoder: Encoder):
    with Collection.open(tmp_path / "c.siglip2", encoder) as opened:
        yield opened
