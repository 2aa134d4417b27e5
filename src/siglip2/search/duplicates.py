"""Near-duplicates: rows joined by their cosines, found by comparing all or, past its size, by the index."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.groups import Groups
from siglip2.search import vector_search
from siglip2.search.inverted_file import has_faiss
from siglip2.search.rows import Row
from siglip2.search.video import real_path

if TYPE_CHECKING:
    from siglip2.search.collection import Collection

CHUNK = 1024
FIRST_NEIGHBOURS, MOST_NEIGHBOURS = 16, 1024


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Rows that are nearly the same, each to at least one other of the group.

    Attributes:
        rows: two or more, or one whose files are copies of each other.
        least_cosine: the smallest cosine of a row with the one most like it in the group.
    """

    rows: tuple[Row, ...]
    least_cosine: float


def duplicates(collection: "Collection", similarity: float) -> Iterator[DuplicateGroup]:
    """Groups of rows whose vectors have at least this cosine, and photos with exact copies.

    Every pair is compared up to the size of exact search. Beyond, the index proposes each row's neighbours,
    more of them where all proposed are near enough, and these are compared.

    Raises:
        InvalidInput: no cosine.
    """
    if not -1 <= similarity <= 1:
        raise InvalidInput(f"similarity is a cosine from -1 to 1, such as 0.97; {similarity} is not")
    ids, vectors = collection.vectors.all(collection.store)
    groups = Groups(len(ids))
    by_index = len(ids) > vector_search.EXACT_ROWS and has_faiss()
    pairs = _by_index(collection, vectors, similarity) if by_index else _by_scan(vectors, similarity)
    for ones, others in pairs:
        groups.join(ones, others)
    grouped: set[int] = set()
    for members in groups.members():
        rows = tuple(collection.store.rows(ids[members].tolist()))
        grouped.update(row.id for row in rows)
        if len(rows) > 1:
            yield DuplicateGroup(rows=rows, least_cosine=_least_cosine(np.asarray(vectors[members])))
    copied = [row_id for row_id in collection.store.copied() if row_id not in grouped]
    for start in range(0, len(copied), CHUNK):
        for row in collection.store.rows(copied[start : start + CHUNK]):
            # A video whose picture does not change is no copy of itself.
            if len({real_path(path) for path in row.paths}) > 1:
                yield DuplicateGroup(rows=(row,), least_cosine=1.0)


def _by_scan(vectors: np.ndarray, similarity: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, len(vectors), CHUNK):
        left = np.asarray(vectors[first : first + CHUNK])
        for second in range(first, len(vectors), CHUNK):
            cosines = left @ np.asarray(vectors[second : second + CHUNK]).T
            ones, others = np.nonzero(cosines >= similarity)
            yield first + ones, second + others


def _by_index(
    collection: "Collection", vectors: np.ndarray, similarity: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, len(vectors), CHUNK):
        asking = np.arange(first, min(first + CHUNK, len(vectors)))
        count = FIRST_NEIGHBOURS
        while len(asking):
            count = min(count, len(vectors))
            queries = np.asarray(vectors[asking])
            found = collection.vectors.neighbours(collection.store, queries, count)
            # Positions of -1, of rows that are gone, take part as the last row and are masked out again.
            cosines = np.stack(
                [np.asarray(vectors[near]) @ query for near, query in zip(found, queries, strict=True)]
            )
            near_enough = (cosines >= similarity) & (found >= 0)
            places, neighbours = np.nonzero(near_enough)
            yield asking[places], found[places, neighbours]
            # Most, not all: the index gives its candidates in an order that is only nearly right.
            asking = asking[near_enough.mean(axis=1) > 0.5]
            if count >= min(MOST_NEIGHBOURS, len(vectors)):
                break
            count *= 4


def _least_cosine(vectors: np.ndarray) -> float:
    least = 1.0
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        best = np.full(len(part), -1.0)
        for other in range(0, len(vectors), CHUNK):
            cosines = part @ vectors[other : other + CHUNK].T
            if other == start:
                np.fill_diagonal(cosines, -1)
            best = np.maximum(best, cosines.max(axis=1))
        least = min(least, float(best.min()))
    return least
