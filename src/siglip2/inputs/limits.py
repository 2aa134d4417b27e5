"""Refuse files that would take far more memory or time than a photo does, before they are decoded."""

from PIL import Image

from siglip2.errors import InvalidImage

MAX_PIXELS = 8192 * 6144
"""The most pixels to decode, by default: room for a telephone's 50 megapixels, and under 1 GB of memory in
every format read here (WebP takes most, 16 bytes a pixel). A JPEG counts with the pixels that scaled decoding
leaves."""

MAX_JPEG_REDUCTION = 4
"""A JPEG may hold this many times `max_pixels` before scaled decoding."""

MAX_JPEG_SCANS = 100
"""Progressive encoders write about ten scans; each costs a pass over the whole picture."""

MAX_SCANNED_PIXELS = 12 * MAX_PIXELS
"""The most scans times pixels of a progressive JPEG."""


def check_pixels(picture: Image.Image, name: str, max_pixels: int) -> None:
    """Check the size that is to be decoded.

    Raises:
        InvalidImage: more than `max_pixels`.
    """
    if picture.width * picture.height > max_pixels:
        raise InvalidImage(
            f"{name} is {picture.width}x{picture.height} pixels, more than the limit of {max_pixels:,}; "
            "make it smaller or raise max_pixels"
        )


def check_jpeg(picture: Image.Image, data: bytes, name: str, max_pixels: int) -> None:
    """Check the size of a JPEG before scaled decoding, and the number of its scans.

    A progressive JPEG keeps the coefficients of the whole picture in memory at any scale, so that it counts
    in full.

    Raises:
        InvalidImage: too many pixels or scans.
    """
    progressive = "progressive" in picture.info
    check_pixels(picture, name, max_pixels * (1 if progressive else MAX_JPEG_REDUCTION))
    # Only a marker can be FF DA: inside the compressed data FF is followed by 00 or a restart marker.
    scans = data.count(b"\xff\xda")
    scanned = scans * picture.width * picture.height if progressive else 0
    if scans > MAX_JPEG_SCANS or scanned > max(MAX_SCANNED_PIXELS, 12 * max_pixels):
        raise InvalidImage(
            f"{name} has {scans} JPEG scans over {picture.width}x{picture.height} pixels where photos have "
            "about ten: a decoding bomb"
        )
