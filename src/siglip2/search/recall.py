"""How much of exact search an index finds, measured on the collection's own vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIRST_EXPANSION = 64
LAST_EXPANSION = 4096
PROBES = 200
"""Vectors of the collection that recall is measured with."""


def num_candidates(count: int) -> int:
    """How many rows to ask an index for: it rounds, so that the best stand a little farther down there."""
    return 2 * count + 20


@dataclass(frozen=True, kw_only=True)
class IndexQuality:
    """Measured on vectors of the collection itself, itself not counted among the neighbours.

    Attributes:
        recall_at_10: share of the exact ten nearest that are among the candidates of the index, which are
            then put into their exact order.
        target: what was asked for.
        expansion: of the search; wider finds more and takes longer.
        num_probes: queries that this was measured with.
        num_rows: in the collection at that time.
    """

    recall_at_10: float
    target: float
    expansion: int
    num_probes: int
    num_rows: int


def tune(
    search: Callable[[np.ndarray, int, int], np.ndarray],
    ids: np.ndarray,
    vectors: np.ndarray,
    target: float,
    *,
    seed: int = 0,
) -> IndexQuality:
    """The narrowest search that reaches a recall, measured against exact search.

    Args:
        search: row ids (Q, K) for queries (Q, E), a number of results K and an expansion.
        ids: (N,) row ids.
        vectors: (N, E), theirs.
        target: recall@10 to reach; the widest search tried is LAST_EXPANSION.
        seed: of the choice of probes.
    """
    chosen = np.random.default_rng(seed).choice(len(vectors), min(PROBES, len(vectors)), replace=False)
    chosen = np.sort(chosen)
    probes = np.asarray(vectors[chosen])
    own = np.asarray(ids[chosen])
    exact = np.asarray(ids)[exact_nearest(probes, vectors, 11)]
    expansion = FIRST_EXPANSION
    while True:
        found = search(probes, min(num_candidates(10), len(vectors)), expansion)
        recall = float(np.mean([_overlap(f, e, o) for f, e, o in zip(found, exact, own, strict=True)]))
        if recall >= target or expansion >= LAST_EXPANSION:
            return IndexQuality(
                recall_at_10=recall,
                target=target,
                expansion=expansion,
                num_probes=len(probes),
                num_rows=len(ids),
            )
        expansion *= 2


def exact_nearest(probes: np.ndarray, vectors: np.ndarray, count: int, chunk: int = 65536) -> np.ndarray:
    """Positions (P, count) of the nearest vectors, best first, in memory that does not grow with N."""
    scores = np.zeros((len(probes), 0), np.float32)
    positions = np.zeros((len(probes), 0), np.int64)
    for start in range(0, len(vectors), chunk):
        part = probes @ np.asarray(vectors[start : start + chunk]).T
        kept = np.argpartition(-part, min(count, part.shape[1]) - 1, axis=1)[:, :count]
        scores = np.concatenate([scores, np.take_along_axis(part, kept, 1)], 1)
        positions = np.concatenate([positions, start + kept], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    return positions


def _overlap(found: np.ndarray, exact: np.ndarray, own: int) -> float:
    right = set(exact[exact != own][:10].tolist())
    return len(right & set(found.tolist())) / max(len(right), 1)
