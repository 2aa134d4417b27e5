"""Checks on a whole collection: are its vectors still those of its files, and which photos are alike?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglip2.search.rows import Row

if TYPE_CHECKING:
    from siglip2.search.collection import Collection

SAME_VECTOR = 0.99
"""Runtimes and precisions of one model differ by less than this cosine."""

CHUNK = 1024


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


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Rows that are nearly the same, each to at least one other of the group.

    Attributes:
        rows: two or more.
        least_cosine: of the pairs that joined them.
    """

    rows: tuple[Row, ...]
    least_cosine: float


def verify(collection: "Collection", sample: int, *, seed: int = 0) -> VerifyReport:
    """Make the vectors of randomly chosen rows again and compare them with the stored ones."""
    ids, _ = collection.vectors.all(collection.store)
    chosen = np.random.default_rng(seed).choice(len(ids), min(sample, len(ids)), replace=False)
    smallest, problems = 1.0, []
    rows = collection.store.rows(ids[np.sort(chosen)].tolist())
    for row in rows:
        stored = collection.store.vector(collection.model, row.id)
        name = row.paths[0] if row.paths else row.text or ""
        if stored is None:
            continue
        if row.kind == "text":
            made, broken = collection.encoder.embed_texts([name]), []
        else:
            made, broken = collection.encoder.embed_images([name], on_error="skip")
        problems.extend(each.reason for each in broken)
        for vector in made:
            cosine = float(vector @ stored)
            smallest = min(smallest, cosine)
            if cosine < SAME_VECTOR:
                problems.append(f"{name} has changed: cosine {cosine:.4f} to the stored vector")
    return VerifyReport(checked=len(rows), smallest_cosine=smallest, problems=tuple(problems))


def duplicates(collection: "Collection", similarity: float) -> Iterator[DuplicateGroup]:
    """Groups of rows whose vectors have at least this cosine. Compares every pair: time grows with N^2."""
    ids, vectors = collection.vectors.all(collection.store)
    parent = np.arange(len(ids))
    least: dict[int, float] = {}

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = int(parent[index])
        return index

    for first in range(0, len(ids), CHUNK):
        left = np.asarray(vectors[first : first + CHUNK])
        for second in range(first, len(ids), CHUNK):
            cosines = left @ np.asarray(vectors[second : second + CHUNK]).T
            for a, b in zip(*np.nonzero(cosines >= similarity), strict=True):
                if first + a < second + b:
                    one, other = root(first + int(a)), root(second + int(b))
                    lowest = min(float(cosines[a, b]), least.get(one, 1.0), least.get(other, 1.0))
                    parent[max(one, other)] = min(one, other)
                    least[min(one, other)] = lowest
    members: dict[int, list[int]] = {}
    for index in range(len(ids)):
        members.setdefault(root(index), []).append(int(ids[index]))
    for first, group in members.items():
        if len(group) > 1:
            yield DuplicateGroup(
                rows=tuple(collection.store.rows(group)), least_cosine=min(least[first], 1.0)
            )
