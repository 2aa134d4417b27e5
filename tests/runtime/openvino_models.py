"""Small random models of every shape family, saved as files so that their weights are memory-mapped."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.inputs.batch import ImageBatch
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.hf import read_hf, write_hf
from siglip2.weights.shapes import expected_shapes

BFLOAT16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="this processor has no bfloat16 instructions")
TEXT = TextConfig(width=48, depth=2, mlp_dim=96, num_heads=4, vocab_size=300, context_length=16)


def model(**changes) -> ModelConfig:
    shape = dict(width=48, depth=2, mlp_dim=112, num_heads=4, patch_size=16, image_size=64, position_grid=4)
    return ModelConfig(vision=VisionConfig(**(shape | changes)), text=TEXT)  # type: ignore[arg-type]


FIXED = {
    "patch 16": model(),
    "patch 32": model(patch_size=32, image_size=96, position_grid=3),
    "patch 14, pixels left over": model(patch_size=14, image_size=61),
    "head width 72": model(width=144, num_heads=2, mlp_dim=269),
    "head width 96, text narrower than image": model(width=192, num_heads=2),
}
NAFLEX = {
    "patch 16": model(image_size=None, position_grid=16),
    "head width 72": model(image_size=None, position_grid=16, width=144, num_heads=2, mlp_dim=269),
}


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Between the vectors along the last axis."""
    return (left * right).sum(axis=-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


def saved_checkpoint(config: ModelConfig, folder: Path, seed: int = 0) -> Checkpoint:
    """Random weights, none of them zero or one, so that no bias or norm can hide."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        fan_in = shape[-1] if len(shape) > 1 else 25
        tensors[name] = rng.normal(scale=fan_in**-0.5, size=shape).astype(np.float32)
        if "norm" in name and name.endswith("weight"):
            tensors[name] += 1
    write_hf(Checkpoint.from_tensors(config, tensors), folder)
    return read_hf(folder)


def random_images(config: ModelConfig, count: int, seed: int = 1) -> ImageBatch:
    """Patches of a fixed-resolution model, float32 in [-1, 1]."""
    vision = config.vision
    size = (count, vision.num_positions, vision.patch_dim)
    patches = np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)
    grids = np.full((count, 2), vision.position_grid, np.int32)
    return ImageBatch(patches=patches, grids=grids)


def random_naflex(
    config: ModelConfig, grids: list[tuple[int, int]], length: int, seed: int = 1
) -> ImageBatch:
    """Images of several shapes, padded to `length` patches; an image's pixels depend on its grid alone."""
    patches = np.zeros((len(grids), length, config.vision.patch_dim), np.float32)
    mask = np.zeros((len(grids), length), bool)
    for row, (high, wide) in enumerate(grids):
        rng = np.random.default_rng([seed, high, wide])
        patches[row, : high * wide] = rng.uniform(-1, 1, (high * wide, config.vision.patch_dim))
        mask[row, : high * wide] = True
    return ImageBatch(patches=patches, grids=np.array(grids, np.int32), mask=mask)


def random_ids(config: ModelConfig, count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        0, config.text.vocab_size, (count, config.text.context_length)
    )


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    """Relative to the size of the reference's numbers."""
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < tolerance, error
