"""Small random models."""

from dataclasses import replace

import numpy as np

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.weights.checkpoint import Checkpoint
from siglip2.weights.shapes import expected_shapes

FIXED = ModelConfig(
    vision=VisionConfig(
        width=24, depth=2, mlp_dim=40, num_heads=3, patch_size=4, image_size=12, position_grid=3
    ),
    text=TextConfig(width=16, depth=3, mlp_dim=28, num_heads=2, vocab_size=50, context_length=8),
)
NAFLEX = replace(FIXED, vision=replace(FIXED.vision, image_size=None, max_num_patches=20))
# The last pixels fill no patch, and the grid does not tell the image size.
ODD_SIZE = replace(FIXED, vision=replace(FIXED.vision, image_size=14))


def random_checkpoint(config: ModelConfig, seed: int = 0) -> Checkpoint:
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config)
    return Checkpoint.from_tensors(
        config, {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    )


def assert_same_tensors(left: Checkpoint, right: Checkpoint) -> None:
    """Bit for bit, precision included."""
    assert left.tensors.keys() == right.tensors.keys()
    for name, tensor in left.tensors.items():
        other = right.tensors[name]
        assert tensor.dtype == other.dtype, name
        np.testing.assert_array_equal(tensor.bits, other.bits, err_msg=name, strict=True)
