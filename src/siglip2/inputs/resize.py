"""Resampling: Pillow's filters on 8 bits, big_vision's two, and triangle weights as a matrix."""

import numpy as np
from PIL import Image

_Box = tuple[float, float, float, float]


def resize_8bit(
    picture: Image.Image, height: int, width: int, resample: Image.Resampling, box: _Box | None = None
) -> np.ndarray:
    """Pillow's anti-aliased resize of an RGB picture, rounded to 8 bits after each of its two passes.

    Returns:
        (height, width, 3) uint8.
    """
    return np.asarray(picture.resize((width, height), resample, box=box))


def resize_without_antialias(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between the four nearest pixels only, then truncated to 8 bits.

    As big_vision resizes for its fixed-resolution models (pp/ops_image.py `get_resize`, that is
    `tf.image.resize` with half-pixel centres, in float32): clipped, and cast back without rounding.

    Args:
        pixels: (H, W, 3) uint8.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        (height, width, 3) uint8.
    """
    above, below, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    across, down = across[None, :, None], down[:, None, None]

    def row_blend(rows: np.ndarray) -> np.ndarray:
        picked = pixels[rows]
        start = picked[:, left].astype(np.float32)
        return start + (picked[:, right].astype(np.float32) - start) * across

    # The order of these float32 operations decides on which side of a whole number a value lands.
    top = row_blend(above)
    blended = top + (row_blend(below) - top) * down
    return np.clip(blended, 0, 255).astype(np.uint8)


def _neighbours(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices before and after each wanted centre, and the share of the second, (wanted,) each."""
    scale = np.float32(size) / np.float32(wanted)
    centre = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    before = np.floor(centre)
    share = centre - before
    first = np.maximum(before, 0).astype(np.int64)
    second = np.minimum(np.ceil(centre), size - 1).astype(np.int64)
    return first, second, share


def resize_float(picture: Image.Image, height: int, width: int) -> np.ndarray:
    """Anti-aliased bilinear in float32, of values in [-1, 1], without rounding.

    As big_vision prepares NaFlex images: `value_range(-1, 1)`, then `tf.image.resize(antialias=True)`
    (pp/proj/image_text/ops_naflex.py). The weights sum to one, so that here the values are mapped after the
    resize, when they are fewer.

    Returns:
        (height, width, 3) float32.
    """
    bands = [
        np.asarray(band.convert("F").resize((width, height), Image.Resampling.BILINEAR))
        for band in picture.split()
    ]
    return np.stack(bands, axis=-1) / np.float32(127.5) - np.float32(1)


def triangle_weights(size: int, wanted: int) -> np.ndarray:
    """Anti-aliased bilinear along one axis as a matrix.

    Row i weighs the `size` inputs by a triangle around the centre of output i, as wide as one input where
    the axis grows and as one output where it shrinks; each row sums to one.

    Returns:
        (wanted, size) float32.
    """
    scale = size / wanted
    centres = (np.arange(wanted) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(size)[None, :]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
