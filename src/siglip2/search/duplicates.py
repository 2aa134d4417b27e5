"""Near-duplicates: rows joined by their cosines, found by comparing all or, past its size, by the index."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglip2.errors import InvalidInput
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


class _Groups:
    """Positions that have been joined: a forest in one array."""

    def __init__(self, count: int):
        self._parent = np.arange(count)

    def join(self, ones: np.ndarray, others: np.ndarray) -> None:
        """Join positions pair by pair; at most log N rounds, however many pairs tie a group together."""
        while True:
            ones, others = self._roots(ones), self._roots(others)
            apart = ones != others
            ones, others = ones[apart], others[apart]
            if not len(ones):
                return
            # A pair for each group that is in one: then every such group grows to twice its size at least.
            partners = np.full(len(self._parent), -1)
            partners[ones], partners[others] = others, ones
            for one in np.flatnonzero(partners >= 0).tolist():
                self._join(one, int(partners[one]))

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        self._parent[max(one, other)] = min(one, other)

    def _roots(self, positions: np.ndarray) -> np.ndarray:
        while not np.array_equal(above := self._parent[positions], positions):
            positions = above
        return positions

    def members(self) -> Iterator[np.ndarray]:
        """Positions of each group of two or more, in order of their first."""
        while not np.array_equal(roots := self._parent[self._parent], self._parent):
            self._parent = roots
        order = np.argsort(self._parent, kind="stable")
        starts = np.flatnonzero(np.diff(self._parent[order], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            if end - start > 1:
                yield order[start:end]

    def _root(self, index: int) -> int:
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = int(parent[index])
        return index


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
    groups = _Groups(len(ids))
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
