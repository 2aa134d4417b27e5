"""A tiny recipe on made-up pictures that trains in a second."""

import numpy as np
import pytest

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.data.captioned import CaptionedImages
from siglip2.recipes.recipe import Optimizer, Recipe, Schedule, Source


@pytest.fixture
def tiny_recipe() -> Recipe:
    model = ModelConfig(
        vision=VisionConfig(
            width=32, depth=1, mlp_dim=64, num_heads=2, patch_size=8, image_size=16, position_grid=2
        ),
        text=TextConfig(width=32, depth=1, mlp_dim=64, num_heads=2, vocab_size=64, context_length=8),
    )
    return Recipe(
        name="tiny",
        model=model,
        sources=(
            Source(name="classes", images_per_batch=12),
            Source(name="pairs", images_per_batch=5, flip=False),
        ),
        optimizer=Optimizer(name="muon"),
        schedule=Schedule(num_steps=12, warmup_steps=2),
        checkpoint_every=5,
        log_every=1,
    )


@pytest.fixture
def tiny_data() -> list[CaptionedImages]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 30)
    colours = rng.integers(0, 255, (4, 3))
    classes = CaptionedImages(
        name="classes",
        images=np.broadcast_to(colours[labels][:, None, None], (30, 16, 16, 3)).astype(np.uint8),
        captions=[[f"{label} once", f"{label} again"] for label in labels],
        classes=labels,
    )
    pairs = CaptionedImages(
        name="pairs",
        images=rng.integers(0, 255, (11, 16, 16, 3), dtype=np.uint8),
        captions=[[f"own {index}"] for index in range(11)],
        classes=np.full(11, -1),
    )
    return [classes, pairs]


@pytest.fixture
def tokenize():
    def characters(texts):
        ids = np.zeros((len(texts), 8), np.int32)
        for row, text in zip(ids, texts, strict=True):
            codes = [4 + ord(letter) % 60 for letter in text[:7]]
            row[: len(codes) + 1] = [*codes, 1]
        return ids

    return characters
