"""How much of exact search an index finds, measured on the collection's own vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIRST_CELLS = 4
PROBES = 1000
"""Vectors of the collection that recall is measured with."""

SURE = 2
"""Standard errors by which the measured recall has to pass the target, as queries are others than these."""


def num_candidates(count: int) -> int:
    """How many rows to ask an index for: it rounds, so that the best stand farther down there."""
    return 10 * count + 200


@dataclass(frozen=True, kw_only=True)
class IndexQuality:
    """Measured on vectors of the collection itself, itself not counted among the neighbours.

    Attributes:
        recall_at_10: share of the exact ten nearest that are among the candidates of the index, which are
            then put into their exact order.
        target: what was asked for.
        cells: that a search looks into; more find more and take longer.
        num_cells: of the index that was measured.
        num_probes: queries that this was measured with.
        num_rows: in the collection at that time.
    """

    recall_at_10: float
    target: float
    cells: int
    num_cells: int
    num_probes: int
    num_rows: int


def tune(
    search: Callable[[np.ndarray, int, int], np.ndarray],
    ids: np.ndarray,
    vectors: np.ndarray,
    target: float,
    num_cells: int,
    *,
    seed: int = 0,
) -> IndexQuality:
    """The narrowest search that reaches a recall, measured against exact search.

    Args:
        search: row ids (Q, K) for queries (Q, E), a number of results K and a number of cells.
        ids: (N,) row ids.
        vectors: (N, E), theirs.
        target: recall@10 to reach.
        num_cells: of the index; the widest search tried is in all of them, ten times as fast as exact search.
        seed: of the choice of probes.
    """
    chosen = np.random.default_rng(seed).choice(len(vectors), min(PROBES, len(vectors)), replace=False)
    chosen = np.sort(chosen)
    probes = np.asarray(vectors[chosen])
    own = np.asarray(ids[chosen])
    exact = np.asarray(ids)[exact_nearest(probes, vectors, 11)]
    cells = min(FIRST_CELLS, num_cells)
    while True:
        found = search(probes, min(num_candidates(10), len(vectors)), cells)
        shares = [_overlap(*each) for each in zip(found, exact, own, strict=True)]
        recall, error = float(np.mean(shares)), float(np.std(shares)) / len(shares) ** 0.5
        if recall - SURE * error >= target or cells >= num_cells:
            return IndexQuality(
                recall_at_10=recall,
                target=target,
                cells=cells,
                num_cells=num_cells,
                num_probes=len(probes),
                num_rows=len(ids),
            )
        cells = min(cells + cells // 2, num_cells)


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
