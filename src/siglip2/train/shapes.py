"""Native aspect ratios: which part of each picture a NaFlex batch shows, and on which grid."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from siglip2.data.share import Share
from siglip2.inputs.naflex import MAX_SIDE, naflex_size

_SIDE = 1000
"""Pixels of a picture whose aspect ratio alone counts."""


def draw_shapes(
    crops: Float[Tensor, "B 2 3"],
    aspects: np.ndarray,
    shares: Sequence[Share],
    lengths: Sequence[int],
    generator: torch.Generator,
    *,
    variety: float,
) -> tuple[Float[Tensor, "B 2 3"], Int[Tensor, "B 2"], int]:
    """One sequence length for the batch, and for each picture the part and the grid that go with it.

    Pictures are held as squares. A grid of the picture's own shape makes up for that, so that what is seen
    has its aspect ratio again; beyond 64 patches a side, which no position table has, it is squeezed.

    Args:
        crops: affine maps from view to picture.
        aspects: (B,) width over height of each picture as it was.
        shares: per source, which rows of the global batch its pictures are.
        lengths: of which one is drawn.
        generator: of everything random, in the same state on every rank.
        variety: up to how many times as wide, or as high, as the picture the part is; 1 keeps its shape.

    Returns:
        The maps of the parts, patches high and wide of each, and the length.
    """
    length = lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
    drawn = torch.cat([share.rand(generator=generator) for share in shares])
    stretch = variety ** (2 * drawn - 1)
    crops = crops.clone()
    crops[:, 0, :2] *= stretch.clamp(max=1.0)[:, None]
    crops[:, 1, :2] *= (1 / stretch).clamp(max=1.0)[:, None]
    seen = stretch.numpy() * aspects
    grids = [_grid(float(aspect), length) for aspect in seen]
    return crops, torch.tensor(grids, dtype=torch.long).reshape(-1, 2), length


def _grid(aspect: float, length: int) -> tuple[int, int]:
    """Patches high and wide, as an encoder would cut a picture of this shape."""
    widest = MAX_SIDE**2 / length
    aspect = min(max(aspect, 1 / widest), widest)
    tall, wide = naflex_size(_SIDE, max(1, round(_SIDE * aspect)), 1, length, arithmetic="float64")
    return min(tall, MAX_SIDE), min(wide, MAX_SIDE)
