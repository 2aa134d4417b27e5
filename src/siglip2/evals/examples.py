"""Small pictures for the report."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from siglip2.evals.images import ImageFile
from siglip2.evals.results import Example
from siglip2.inputs.decode import load_image

_SIDE = 224


def pick_examples(
    images: Sequence[ImageFile], right: np.ndarray, captions: Sequence[str], *, count: int = 6, seed: int = 0
) -> tuple[Example, ...]:
    """A seeded choice of successes and failures.

    Args:
        images: B pictures.
        right: (B,) bool.
        captions: what to write under each.
        count: at most so many of either kind.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    chosen: list[Example] = []
    for kind, value in (("success", True), ("failure", False)):
        for index in random.permutation(np.flatnonzero(right == value))[:count].tolist():
            picture = thumbnail(load_image(images[index].read()))
            chosen.append(Example(kind=kind, caption=str(captions[index]), image=picture))
    return tuple(chosen)


def thumbnail(picture: Image.Image) -> bytes:
    """A JPEG of at most 224 pixels a side."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    if max(small.size) < _SIDE:
        scale = _SIDE / max(small.size)
        small = small.resize(
            (round(small.width * scale), round(small.height * scale)), Image.Resampling.NEAREST
        )
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
