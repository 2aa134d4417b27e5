"""A Pillow picture of any mode as 8-bit RGB."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from siglip2.errors import InvalidImage
from siglip2.inputs.arrays import to_8bit

_STRIP_PIXELS = 4_000_000
_WIDE_GREY = ("I", "F")  # and every I;16 variant


def to_rgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture in mode RGB; the same object where it is that already.

    Alpha and transparent colours are laid over white, because most pictures with alpha are drawings cut out
    for a light page. 16-bit grey is scaled by 255 / 65535; mode I must hold 0..65535 and mode F 0..1.
    Colour profiles are not applied (neither the reference nor `transformers` does).

    Raises:
        InvalidImage: values out of range.
    """
    if picture.mode in _WIDE_GREY or picture.mode.startswith("I;16"):
        return _by_strips(picture, lambda strip: _wide_grey(strip, name))
    if picture.has_transparency_data:
        return _by_strips(picture, _over_white)
    if picture.mode == "RGB":
        return picture
    if picture.mode == "LAB":
        # Pillow's convert() knows no way out of LAB.
        return _by_strips(picture, _lab)
    return picture.convert("RGB")


def _by_strips(picture: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert some rows at a time, so that no second or third copy of a large picture is in memory."""
    rows = max(1, _STRIP_PIXELS // picture.width)
    if rows >= picture.height:
        return convert(picture)
    result = Image.new("RGB", picture.size)
    for top in range(0, picture.height, rows):
        box = (0, top, picture.width, min(top + rows, picture.height))
        result.paste(convert(picture.crop(box)), (0, top))
    return result


def _over_white(strip: Image.Image) -> Image.Image:
    if strip.mode == "La":  # premultiplied; Pillow only knows the way to LA
        strip = strip.convert("LA")
    rgba = strip.convert("RGBA")
    result = Image.new("RGB", strip.size, (255, 255, 255))
    result.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return result


def _wide_grey(strip: Image.Image, name: str) -> Image.Image:
    values = np.asarray(strip)
    if strip.mode == "I":
        if values.min() < 0 or values.max() > 65535:
            raise InvalidImage(
                f"{name} holds 32-bit integers from {values.min()} to {values.max()}; "
                "integer pictures must lie within 0..65535 (16-bit grey)"
            )
        values = values.astype(np.uint16)
    elif strip.mode != "F":
        values = values.astype(np.uint16, copy=False)
    return Image.fromarray(to_8bit(values, name)).convert("RGB")


def _lab(strip: Image.Image) -> Image.Image:
    source, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(strip, source, target, outputMode="RGB")
    assert converted is not None  # None only for in-place conversion
    return converted
