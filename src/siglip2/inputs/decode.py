"""Open what people have as an upright 8-bit RGB picture, or say in one sentence why that is impossible."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TypeAlias

import numpy as np
from PIL import Image

from siglip2.errors import InvalidImage, Siglip2Error
from siglip2.inputs.arrays import array_to_picture
from siglip2.inputs.colour import to_rgb
from siglip2.inputs.heic import is_heic, register_heic
from siglip2.inputs.limits import MAX_PIXELS, check_jpeg, check_pixels
from siglip2.inputs.orientation import orient, orientation_of, turn_box
from siglip2.inputs.quiet import quiet_pillow
from siglip2.inputs.sources import ImageSource, describe, read_source

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is opened besides HEIC. Pillow's other decoders are rarely used and old, so that they are left out."""

JPEG_OVERSIZE = 5.1
"""Scaled decoding leaves a JPEG at least this many times the target on both sides, so that most of the
anti-aliased reduction is still done by the preset's own filter. Measured with `nano` on 35 photographs, the
lowest cosine to the embedding of full decoding: 0.9985 at 2.9, 0.9990 at 4.1, 0.99999 at 5.1. Of a
4000 x 3000 photo for 256 pixels half of each side is decoded."""

TargetSize: TypeAlias = int | tuple[int, int] | Callable[[int, int], tuple[int, int]]
"""Side of a square, (height, width), or a function of the photo's (height, width) that gives them."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An upright RGB picture.

    Attributes:
        picture: in mode RGB; smaller than the photo after scaled decoding.
        height: of the whole photo, in pixels.
        width: of the whole photo, in pixels.
        box: (left, top, right, bottom) of the photo inside `picture`. Scaled decoding rounds the picture up
            to whole pixels, of which the last may be covered in part only; None stands for the whole.
    """

    picture: Image.Image
    height: int
    width: int
    box: tuple[float, float, float, float] | None = None


def load_image(
    source: ImageSource,
    *,
    target: TargetSize | None = None,
    scaled_decoding: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """The image as an upright picture in mode RGB.

    JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, and HEIC with the extra `siglip2[heic]`. EXIF orientation is
    applied, alpha is laid over white, and of an animation the first frame is taken. See `colour.to_rgb`
    and `arrays.to_8bit` for 16-bit, integer and float pixels.

    Args:
        source: a path, the bytes of a file, a file opened in binary mode, a Pillow image (as it stands: the
            frame it is at) or a numpy array of (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        target: the size that the picture will be resized to. A JPEG far larger than it is decoded at
            1/2, 1/4 or 1/8, and never below JPEG_OVERSIZE times the target. None decodes in full.
        scaled_decoding: False decodes every JPEG in full, whatever `target` says.
        max_pixels: the most pixels to decode; see `limits`.

    Raises:
        InvalidImage: the source is missing, damaged, too large, or no image. No other exception comes
            from an unusable file.
    """
    return decode(source, target=target, scaled_decoding=scaled_decoding, max_pixels=max_pixels).picture


def decode(
    source: ImageSource,
    *,
    target: TargetSize | None = None,
    scaled_decoding: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> DecodedImage:
    """As `load_image`, with the size of the whole photo. Same arguments and errors."""
    name = describe(source)
    wanted = target if scaled_decoding else None
    with quiet_pillow():
        try:
            if isinstance(source, np.ndarray):
                return _finish(array_to_picture(source, name), name)
            if isinstance(source, Image.Image):
                check_pixels(source, name, max_pixels)
                return _finish(source, name)
            return _decode_file(read_source(source, name), name, wanted, max_pixels)
        except Siglip2Error:  # also what `target` says
            raise
        except Image.DecompressionBombError as error:
            raise InvalidImage(
                f"{name} has more pixels than Pillow agrees to open (PIL.Image.MAX_IMAGE_PIXELS)"
            ) from error
        # A damaged file makes Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error,
        # IndexError, TypeError, MemoryError... To the caller all of them say one thing.
        except Exception as error:
            reason = str(error).replace("\n", " ") or type(error).__name__
            raise InvalidImage(f"{name} is damaged or not an image: {reason[:200]}") from error


def _decode_file(data: bytes, name: str, target: TargetSize | None, max_pixels: int) -> DecodedImage:
    formats = _available_formats()
    if is_heic(data):
        register_heic(name)
        formats = ("HEIF",)
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.UnidentifiedImageError as error:
        raise InvalidImage(
            f"{name} is not an image in a format read here (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC), "
            "or its header is damaged"
        ) from error
    with picture:
        if picture.format in ("JPEG", "MPO"):  # MPO: a JPEG with further views behind it
            return _decode_jpeg(picture, data, name, target, max_pixels)
        check_pixels(picture, name, max_pixels)
        return _finish(picture, name)


@cache
def _available_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF since Pillow 11.3


def _decode_jpeg(
    picture: Image.Image, data: bytes, name: str, target: TargetSize | None, max_pixels: int
) -> DecodedImage:
    full_width, full_height = picture.size
    check_jpeg(picture, data, name, max_pixels)
    box = None
    if target is not None:
        box = _reduce(picture, target)
    check_pixels(picture, name, max_pixels)
    return _finish(picture, name, full_size=(full_height, full_width), box=box)


def _reduce(picture: Image.Image, target: TargetSize) -> tuple[float, float, float, float] | None:
    """Ask the JPEG decoder for a reduced picture; the box of the photo inside it, or None if not reduced."""
    size = picture.size
    sideways = orientation_of(picture) >= 5
    width, height = (size[1], size[0]) if sideways else size
    if callable(target):
        target = target(height, width)
    target_height, target_width = (target, target) if isinstance(target, int) else target
    if sideways:
        target_height, target_width = target_width, target_height
    drafted = picture.draft(None, (ceil(target_width * JPEG_OVERSIZE), ceil(target_height * JPEG_OVERSIZE)))
    return drafted[1] if drafted is not None and picture.size != size else None


def _finish(
    picture: Image.Image,
    name: str,
    *,
    full_size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> DecodedImage:
    """Load the pixels, turn them upright, make them RGB."""
    if 0 in picture.size:
        raise InvalidImage(f"{name} is {picture.width} pixels wide and {picture.height} high, so holds none")
    picture.load()
    orientation = orientation_of(picture)  # after load(), which some formats need before they know
    if box is not None:
        box = turn_box(box, picture.size, orientation)
    # Colours first: they may need what only the file's own object knows (palette, transparent colour).
    upright = orient(to_rgb(picture, name), orientation)
    height, width = full_size or (picture.height, picture.width)
    if orientation >= 5:
        height, width = width, height
    return DecodedImage(picture=upright, height=height, width=width, box=box)
