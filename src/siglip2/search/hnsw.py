"""An HNSW index (usearch) beside a collection: a copy of its vectors that can always be made again."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.errors import Siglip2Error
from siglip2.search.matrix import CopyState, exclusive, read_state, write_state

CONNECTIVITY = 16
EXPANSION_ADD = 128
FIRST_EXPANSION = 64
LAST_EXPANSION = 4096
ADD_CHUNK = 10_000
PROBES = 200
"""Vectors of the collection that recall is measured with."""


@dataclass(frozen=True, kw_only=True)
class IndexQuality:
    """Measured on vectors of the collection itself, itself not counted among the neighbours.

    Attributes:
        recall_at_10: share of the exact ten nearest that the index finds.
        expansion: of the search; wider finds more and takes longer.
        num_probes: queries that this was measured with.
    """

    recall_at_10: float
    expansion: int
    num_probes: int


class HnswIndex:
    """Nearest neighbours by positions in the matrix, which never change while the state's history lasts."""

    def __init__(self, stem: Path):
        """An index at `stem` + `.usearch`, loaded or made by `update`."""
        self._path = stem.with_name(stem.name + ".usearch")
        self._state_path = stem.with_name(stem.name + ".usearch.json")
        self._lock = stem.with_name(stem.name + ".usearch.lock")
        self._index: Any = None
        self._state: CopyState | None = None

    def current(self, state: CopyState) -> bool:
        """Whether the index on disk holds all of a matrix."""
        return read_state(self._state_path) == state and self._path.exists()

    def update(self, state: CopyState, vectors: np.ndarray) -> None:
        """Load the index if it is of this state; otherwise add what it lacks, or build it anew."""
        if self._index is not None and self._state == state:
            return
        with exclusive(self._lock):
            kept = read_state(self._state_path)
            index = _new_index(vectors.shape[1])
            if not self._continues(kept, state) or not _loads(index, self._path):
                kept, index = None, _new_index(vectors.shape[1])
            start = len(index)
            for first in range(start, len(vectors), ADD_CHUNK):
                last = min(first + ADD_CHUNK, len(vectors))
                index.add(np.arange(first, last), vectors[first:last])
            if start < len(vectors) or kept != state:
                partial = self._path.with_name(self._path.name + ".partial")
                # The old state goes first: a kill in between costs a rebuild, never a wrong index.
                self._state_path.unlink(missing_ok=True)
                index.save(str(partial))
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
                partial.replace(self._path)
                write_state(self._state_path, state)
        self._index, self._state = index, state

    def search(self, query: np.ndarray, count: int, expansion: int) -> np.ndarray:
        """Positions of about the `count` nearest to a query (E,), or to queries (Q, E): (Q, count)."""
        self._index.expansion_search = max(expansion, count)
        return np.asarray(self._index.search(query, count).keys).astype(np.int64)

    def tune(self, vectors: np.ndarray, target: float, *, seed: int = 0) -> IndexQuality:
        """The narrowest search that reaches a recall, measured against exact search.

        Args:
            vectors: (N, E), the matrix that the index holds.
            target: recall@10 to reach; the widest search tried is LAST_EXPANSION.
            seed: of the choice of probes.
        """
        chosen = np.random.default_rng(seed).choice(len(vectors), min(PROBES, len(vectors)), replace=False)
        probes = np.asarray(vectors[np.sort(chosen)])
        exact = _exact_nearest(probes, vectors, 11)
        expansion = FIRST_EXPANSION
        while True:
            found = self.search(probes, min(11, len(vectors)), expansion)
            shares = [_overlap(f, e, own) for f, e, own in zip(found, exact, np.sort(chosen), strict=True)]
            recall = float(np.mean(shares))
            if recall >= target or expansion >= LAST_EXPANSION:
                return IndexQuality(recall_at_10=recall, expansion=expansion, num_probes=len(probes))
            expansion *= 2

    @staticmethod
    def _continues(kept: CopyState | None, state: CopyState) -> bool:
        return (
            kept is not None
            and (kept.collection, kept.removed) == (state.collection, state.removed)
            and kept.count <= state.count
        )


def has_usearch() -> bool:
    """Whether the package is installed."""
    try:
        import usearch.index  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _new_index(embed_dim: int) -> Any:
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise Siglip2Error("an index needs usearch: pip install 'siglip2[search]'") from None
    return Index(
        ndim=embed_dim,
        metric="ip",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=FIRST_EXPANSION,
    )


def _loads(index: Any, path: Path) -> bool:
    try:
        index.load(str(path))
    except Exception:  # a damaged file makes usearch raise many things; all mean: build it anew
        return False
    return True


def _exact_nearest(probes: np.ndarray, vectors: np.ndarray, count: int, chunk: int = 65536) -> np.ndarray:
    """Positions (P, count) of the nearest vectors, best first, in memory that does not grow with N."""
    scores = np.zeros((len(probes), 0), np.float32)
    positions = np.zeros((len(probes), 0), np.int64)
    for start in range(0, len(vectors), chunk):
        part = probes @ np.asarray(vectors[start : start + chunk]).T
        here = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        scores, positions = np.concatenate([scores, part], 1), np.concatenate([positions, here], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    return positions


def _overlap(found: np.ndarray, exact: np.ndarray, own: int) -> float:
    right = set(exact[exact != own][:10].tolist())
    return len(right & set(found[found != own][:10].tolist())) / max(len(right), 1)
