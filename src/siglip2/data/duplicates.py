"""Groups of samples with the same picture: the same bytes, the same look, or vectors that nearly coincide."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siglip2.data.inspection import Inspection
from siglip2.groups import Groups

LOOK_BITS = 64
BANDS = 4
"""Two looks that differ in fewer bits than there are bands agree in one band, so that only those with a band
in common need to be compared."""


def exact_duplicates(samples: Sequence[Inspection]) -> list[list[int]]:
    """Groups of indices of samples whose pictures are equal byte by byte."""
    return _groups_of_equals(sample.sha256 for sample in samples)


def alike(samples: Sequence[Inspection]) -> list[list[int]]:
    """Groups of indices whose pictures look the same: at most three of 64 bits of their hash differ.

    Finds what was scaled or encoded anew. Pictures without any structure, whose bits say nothing, are grouped
    only if their bytes are equal.
    """
    looks = np.array([sample.look for sample in samples], dtype=np.int64).view(np.uint64)
    set_bits = np.bitwise_count(looks)
    structured = (set_bits > 4) & (set_bits < LOOK_BITS - 4)
    by_look: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(structured).tolist():
        by_look[int(looks[index])].append(index)
    distinct = np.array(list(by_look), dtype=np.uint64)
    first_with = np.array([members[0] for members in by_look.values()], dtype=np.int64)
    joined = Groups(len(samples))
    joined.join_all([*by_look.values(), *exact_duplicates(samples)])
    width = LOOK_BITS // BANDS
    for band in range(BANDS):
        values = (distinct >> np.uint64(band * width)) & np.uint64(2**width - 1)
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=np.uint64(2**width)))
        ones, others = [], []
        for candidates in np.split(order, starts[1:]):
            for place, first in enumerate(candidates[:-1].tolist()):
                rest = candidates[place + 1 :]
                close = rest[np.bitwise_count(distinct[rest] ^ distinct[first]) < BANDS]
                ones.append(np.full(len(close), first_with[first]))
                others.append(first_with[close])
        if ones:
            joined.join(np.concatenate(ones), np.concatenate(others))
    return [members.tolist() for members in joined.members()]


def near_vectors(vectors: np.ndarray, similarity: float, block: int = 1024) -> list[list[int]]:
    """Groups of rows with a cosine of at least `similarity`; time grows with the square of their number.

    Args:
        vectors: (N, D), of length 1.
        similarity: the least cosine.
        block: rows compared with as many others at once.
    """
    joined = Groups(len(vectors))
    for first in range(0, len(vectors), block):
        rows = vectors[first : first + block]
        for second in range(first, len(vectors), block):
            near = rows @ vectors[second : second + block].T >= similarity
            ones, others = np.nonzero(np.triu(near, 1) if first == second else near)
            joined.join(first + ones, second + others)
    return [members.tolist() for members in joined.members()]


def _groups_of_equals(values: Iterable[Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        found[value].append(index)
    return [members for members in found.values() if len(members) > 1]
