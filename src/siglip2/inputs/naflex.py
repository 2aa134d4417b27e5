"""NaFlex: the size of an image under a token budget, and position tables for any grid.

Source: paper section 2.4.2; big_vision pp/proj/image_text/ops_naflex.py and
models/proj/image_text/naflex_vit.py.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.inputs.resize import triangle_weights

MAX_SIDE = 64
"""Most patches on a side; the reference resizes position tables onto a canvas of 64x64."""

Arithmetic = Literal["float32", "float64"]

_EPS = 1e-5
_MAX_RATIO = 100.0


@lru_cache(maxsize=8192)
def naflex_size(
    height: int,
    width: int,
    patch_size: int,
    max_num_patches: int,
    *,
    arithmetic: Arithmetic = "float32",
) -> tuple[int, int]:
    """The size that an image is resized to: its own shape, as large as the token budget allows.

    A bisection looks for the largest ratio at which both sides, each rounded up to whole patches, hold at
    most `max_num_patches`; small images grow, by a factor below 100.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        patch_size: side of a patch, in pixels.
        max_num_patches: the token budget.
        arithmetic: `float32` as in big_vision, `float64` as in `transformers` and timm. They differ for very
            few sizes, where a side lies on the edge of a patch: (9, 45) with patch 14 and 1024 tokens.

    Returns:
        (height, width) in pixels, multiples of `patch_size`.

    Raises:
        InvalidInput: a size or budget below 1, or an image so large that the reference refuses it.
    """
    if min(height, width, patch_size, max_num_patches) < 1:
        raise InvalidInput(
            f"an image of {height}x{width} pixels, patches of {patch_size} and a budget of {max_num_patches} "
            "tokens: all must be at least 1"
        )
    number = np.float32 if arithmetic == "float32" else float
    sides = (number(height), number(width))
    patch = number(patch_size)

    def patches(ratio: float | np.floating) -> tuple[int, int]:
        tall, wide = (max(1, math.ceil(side * ratio / patch)) for side in sides)
        return tall, wide

    low, high, eps = number(_EPS / 10), number(_MAX_RATIO), number(_EPS)
    while high - low >= eps:
        middle = (low + high) / number(2)
        tall, wide = patches(middle)
        if tall * wide <= max_num_patches:
            low = middle
        else:
            high = middle
    if low <= eps:
        raise InvalidInput(
            f"an image of {height}x{width} pixels is too large or too narrow for {max_num_patches} patches "
            f"of {patch_size}; use a larger budget"
        )
    tall, wide = patches(low)
    return tall * patch_size, wide * patch_size


def position_table(table: np.ndarray, grid: tuple[int, int], *, max_side: int = MAX_SIDE) -> np.ndarray:
    """The learned position table at another grid: anti-aliased bilinear, in float32.

    Equal to `jax.image.scale_and_translate(bilinear, antialias=True)` in big_vision and to torch's
    `interpolate(mode="bilinear", antialias=True, align_corners=False)`.

    Args:
        table: (G, G, D) or (G * G, D), row-major.
        grid: patches (high, wide).
        max_side: most patches on a side. Nothing breaks beyond 64, but the models never saw it.

    Returns:
        (high * wide, D) float32, row-major.

    Raises:
        InvalidInput: more than `max_side` patches on a side (the reference gathers out of its 64x64 canvas
            there and fills in NaN), or a table that is not square.
    """
    high, wide = grid
    if min(grid) < 1 or max(grid) > max_side:
        raise InvalidInput(
            f"a grid of {high}x{wide} patches: each side must be from 1 to {max_side}; use fewer patches, "
            "crop the image, or raise max_side"
        )
    width = table.shape[-1]
    side = table.shape[0] if table.ndim == 3 else math.isqrt(table.shape[0])
    if table.shape not in ((side, side, width), (side * side, width)):
        raise InvalidInput(f"a position table of the shape {table.shape} is not square")
    table = table.astype(np.float32, copy=False).reshape(side, side * width)
    if (high, wide) == (side, side):
        return table.reshape(side * side, width).copy()
    rows = triangle_weights(side, high) @ table
    columns = triangle_weights(side, wide) @ rows.reshape(high, side, width)
    return columns.reshape(high * wide, width)
