"""Bytes of an image file, and the name that an error calls it by."""

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from siglip2.errors import InvalidImage

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray
)
"""What people have: a path, the bytes of a file, an open binary file, a Pillow image, an array."""

MAX_FILE_BYTES = 256 * 1024**2
"""A larger file is refused unread."""


def describe(source: object) -> str:
    """How an error names the source."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the image of {len(source)} bytes"
    if isinstance(source, np.ndarray):
        return f"the array {source.shape}"
    if isinstance(source, Image.Image):
        width, height = source.size
        return str(getattr(source, "filename", "") or f"the {source.mode} picture of {width}x{height}")
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"the {type(source).__name__} object"


def read_source(source: object, name: str) -> bytes:
    """All bytes of a path, a bytes-like object or a binary file.

    Raises:
        InvalidImage: nothing there, a folder or a pipe, more than MAX_FILE_BYTES, nothing in it, or
            something that is no source of bytes.
    """
    try:
        data = _read(source, name)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, a closed file
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidImage(f"{name} cannot be read: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidImage(f"{name} has more than {MAX_FILE_BYTES:,} bytes, which no photo needs")
    if not data:
        raise InvalidImage(f"{name} is empty")
    return data


def _read(source: object, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InvalidImage(f"{name} is a folder; an image file is needed")
        if not stat.S_ISREG(mode):
            # Reading from a pipe or a device may never end.
            raise InvalidImage(f"{name} is not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise InvalidImage(
            f"{name} ({type(source).__name__}) is not an image; give a path, bytes, a file opened in "
            "binary mode, a Pillow image or a numpy array"
        )
    data = source.read(MAX_FILE_BYTES + 1)  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(data, bytes):
        raise InvalidImage(f"{name} gave {type(data).__name__} where bytes are needed")
    return data
