"""Small pictures of rows, for pages and terminals."""

import os

from PIL import Image

from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.decode import load_image
from siglip2.search.files import likeliest
from siglip2.search.rows import Row
from siglip2.search.video import picture_source, real_path


def thumbnail(row: Row, height: int) -> Image.Image:
    """A row's photo, upright, at most `height` pixels high and eight times as wide.

    Raises:
        InvalidInput: the row is a text.
        InvalidImage: its files are gone or cannot be read.
    """
    path = likeliest(row.paths)
    if path is None:
        raise InvalidInput("no such photo")
    if not os.path.exists(real_path(path)):
        raise InvalidImage(f"{path} is gone")
    picture = load_image(picture_source(path), target=(height, height))
    picture.thumbnail((8 * height, height))
    return picture
