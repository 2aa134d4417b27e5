"""Numpy arrays as pictures."""

import numpy as np
from PIL import Image

from siglip2.errors import InvalidImage


def array_to_picture(array: np.ndarray, name: str) -> Image.Image:
    """A picture in mode L, RGB or RGBA from an array.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); see `to_8bit` for the number types.
        name: how the error calls it.

    Raises:
        InvalidImage: another shape, an empty array, or values that `to_8bit` refuses.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        hint = "; move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise InvalidImage(
            f"{name} has the shape {array.shape}; an image is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}"
        )
    if array.size == 0:
        raise InvalidImage(f"{name} has the shape {array.shape}, which holds no pixel")
    return Image.fromarray(np.ascontiguousarray(to_8bit(array, name)))


def to_8bit(values: np.ndarray, name: str) -> np.ndarray:
    """Values as uint8, of the same shape.

    uint8 stays, bool becomes 0 and 255, uint16 is scaled from 0..65535, floats from 0..1, both rounded
    to the nearest. Other integers are refused rather than guessed at: their white could be 255 or 65535.

    Raises:
        InvalidImage: another number type, NaN, or floats outside of 0..1.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        # 65535 = 255 * 257, so that this is exact rounding.
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # catches NaN, too
            raise InvalidImage(
                f"{name} holds floats from {low:g} to {high:g}; floats must lie within 0..1, "
                "or give uint8 with 0..255"
            )
        return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    raise InvalidImage(f"{name} holds {values.dtype}; an image is uint8, uint16, bool, or floats within 0..1")
