"""Small data sets held in memory: images of one size with all their captions."""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from siglip2.inputs.orientation import orient, orientation_of

MANY = 64
"""Pictures from which on threads decode them."""


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Images with captions.

    Attributes:
        name: what the source is called in recipes and logs.
        images: (N, S, S, 3) uint8.
        captions: for every image, the texts that describe it; one is drawn at each visit.
        classes: (N,) int, images of one class share their captions; -1 where each image has its own.
        regions: for every image, boxes (x0, y0, x1, y1 in shares of the picture) with phrases; empty for
            none at all.
        aspects: (N,) width over height of each picture before it was squashed; empty where all were squares.
    """

    name: str
    images: np.ndarray
    captions: Sequence[Sequence[str]]
    classes: np.ndarray
    regions: Sequence[Sequence[tuple[tuple[float, float, float, float], str]]] = ()
    aspects: Sequence[float] | np.ndarray = ()

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.captions) == len(self.classes):
            raise ValueError(
                f"{self.name}: {len(self.images)} images, {len(self.captions)} caption lists and "
                f"{len(self.classes)} classes must be equally many"
            )

    def __len__(self) -> int:
        return len(self.images)


def stack_images(encoded: Iterable[bytes], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode, turn upright and squash to squares; transparency is laid over white.

    Returns:
        (N, size, size, 3) uint8, and (N,) width over height of each before.
    """
    pictures = list(encoded)
    if len(pictures) < MANY:
        decoded = [_decode(each, size) for each in pictures]
    else:
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without Python's lock
            decoded = list(pool.map(partial(_decode, size=size), pictures))
    return np.stack([pixels for pixels, _ in decoded]), np.array([aspect for _, aspect in decoded])


def _decode(encoded: bytes, size: int) -> tuple[np.ndarray, float]:
    with Image.open(io.BytesIO(encoded)) as opened:
        opened.load()  # some formats know their orientation only then
        image = orient(opened, orientation_of(opened))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
        aspect = image.width / image.height
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), aspect
