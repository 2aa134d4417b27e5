"""A check on a collection: are its vectors still those that the model makes of its files?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglip2.errors import InvalidImage, InvalidInput
from siglip2.search.files import likeliest
from siglip2.search.rows import Row
from siglip2.search.video import picture_source

if TYPE_CHECKING:
    from siglip2.search.collection import Collection

SAME_VECTOR = 0.99
"""Runtimes and precisions of one model differ by less than this cosine."""

CHUNK = 256
"""Rows in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was made again, and what did not come out the same.

    Attributes:
        checked: number of photos or texts.
        smallest_cosine: between stored and new vectors; 1 where nothing was checked.
        problems: sentences.
    """

    checked: int
    smallest_cosine: float
    problems: tuple[str, ...]


def verify(collection: "Collection", sample: int, *, seed: int = 0) -> VerifyReport:
    """Make the vectors of randomly chosen rows again and compare them with the stored ones.

    Raises:
        InvalidInput: a sample of less than one row.
    """
    if sample < 1:
        raise InvalidInput(f"a sample has at least 1 row; {sample} is not enough")
    ids, _ = collection.vectors.all(collection.store)
    chosen = np.sort(np.random.default_rng(seed).choice(len(ids), min(sample, len(ids)), replace=False))
    smallest, checked = 1.0, 0
    problems: list[str] = []
    for start in range(0, len(chosen), CHUNK):
        for row in collection.store.rows(ids[chosen[start : start + CHUNK]].tolist()):
            stored = collection.store.vector(collection.model, row.id)
            if stored is None:  # removed in the meantime
                continue
            checked += 1
            made, problem = _made_again(collection, row)
            if problem:
                problems.append(problem)
            if made is None:
                continue
            cosine = float(made @ stored)
            smallest = min(smallest, cosine)
            if cosine < SAME_VECTOR:
                name = likeliest(row.paths) or row.text
                problems.append(f"{name} has changed: cosine {cosine:.4f} to the stored vector")
    return VerifyReport(checked=checked, smallest_cosine=smallest, problems=tuple(problems))


def _made_again(collection: "Collection", row: Row) -> tuple[np.ndarray | None, str | None]:
    """The vector of a row's file or text as it is now, or why there is none."""
    if row.kind == "text":
        return collection.encoder.embed_texts([row.text or ""])[0], None
    try:
        source = picture_source(likeliest(row.paths) or "")
    except InvalidImage as error:
        return None, str(error)
    vectors, broken = collection.encoder.embed_images([source], on_error="skip")
    return (None, broken[0].reason) if broken else (vectors[0], None)
