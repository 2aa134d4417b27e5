"""Turn pictures upright, as their EXIF tag says."""

from PIL import ExifTags, Image

_Box = tuple[float, float, float, float]

_TAGS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Where Pillow looks for the tag in a picture's `info`."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; from 5 on, height and width change places. 1 where there is none."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises nearly anything on damaged EXIF data; the pixels may still be sound
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def orient(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture turned upright; the same object where nothing is to be turned.

    The tag does not come along: whoever opens the result as a photo would turn it a second time.
    """
    if orientation == 1:
        return picture
    upright = picture.transpose(_TURNS[orientation])
    for key in _TAGS:
        upright.info.pop(key, None)
    return upright


def turn_box(box: _Box, size: tuple[int, int], orientation: int) -> _Box:
    """Where a box of a picture of `size` (width, height) lies after `orient`."""
    left, top, right, bottom = box
    width, height = size
    if orientation in (2, 3, 7, 8):
        # What was on the right is now on the left, or, sideways, at the top or bottom.
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)
