"""An HNSW index (usearch) beside a collection: a copy of its vectors that can always be made again.

Its keys are row ids, whose vectors never change, so that an older index goes on serving: what it lacks is
scanned, and what it holds too much is left out of its answers.

It holds vectors as 8-bit numbers, each scaled so that its largest becomes 127, and compares them by cosine,
which does not see the scale. That halves memory and building time beside half precision; its answers are
candidates, of which the exact vectors give the order.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from siglip2.errors import Siglip2Error
from siglip2.search.copies import CopyState, exclusive, read_record, write_record
from siglip2.search.recall import FIRST_EXPANSION

CONNECTIVITY = 16
EXPANSION_ADD = 64
FORMAT = "int8"
"""Part of the files' names: files of another format are not opened, and removed by the next build."""

ADD_CHUNK = 10_000
FIRST_CHECKPOINT = 100_000
"""Rows after which a build is first saved; then at each growth by half, so that writing stays cheap."""

MAX_DEAD_SHARE = 0.2
"""Of the index: with more removed rows than this in it, it is built anew."""


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """What an index file holds; fields as in `CopyState`.

    Attributes:
        removed: how many vectors the collection had removed when the first was added; those that went since
            are in it still.
        file: its name.
        size: its bytes; usearch may crash on a file that was cut off.
    """

    collection: str
    count: int
    number: int
    removed: int
    file: str
    size: int


class HnswIndex:
    """Nearest neighbours by row id."""

    def __init__(self, stem: Path):
        """An index in files that begin with `stem`; nothing is read before it is needed."""
        self._stem = stem
        self._state_path = stem.with_name(stem.name + ".usearch.json")
        self._lock = stem.with_name(stem.name + ".usearch.lock")
        self._opened: tuple[IndexState, Any] | None = None

    def usable(self, matrix: CopyState) -> IndexState | None:
        """The state of the index on disk, if it belongs to this matrix and not too much of it is gone."""
        state = read_record(self._state_path, IndexState)
        if state is None or state.collection != matrix.collection:
            return None
        if not state.file.startswith(f"{self._stem.name}.{FORMAT}-"):
            return None
        gone = matrix.removed - state.removed
        # An older copy of the collection in its place counts back: then numbers may come twice.
        if not (gone > 0 or (gone == 0 and state.number <= matrix.number)):
            return None
        if gone > MAX_DEAD_SHARE * state.count:
            return None
        try:
            whole = self._file(state.file).stat().st_size == state.size
        except OSError:
            whole = False
        return state if whole else None

    def build(
        self,
        matrix: CopyState,
        ids: np.ndarray,
        numbers: np.ndarray,
        vectors: np.ndarray,
        *,
        wait_seconds: float = 600,
        threads: int = 0,
    ) -> None:
        """Add what the index lacks, or build it anew; goes on where a killed build was last saved.

        Args:
            matrix: state of the rows.
            ids: (N,) row ids.
            numbers: (N,) numbers of their vectors, ascending.
            vectors: (N, E) of unit length.
            wait_seconds: for another process that builds.
            threads: 0 takes all processors.

        Raises:
            Busy: another process builds, and went on for longer than that.
        """
        with exclusive(self._lock, wait_seconds=wait_seconds):
            kept = self.usable(matrix)
            index = _new_index(vectors.shape[1])
            start, removed = 0, matrix.removed
            if kept is not None and _opens(index, self._file(kept.file), view=False):
                start = int(np.searchsorted(numbers, kept.number, "right"))
                removed = kept.removed  # what went since then is still in it
            else:
                index = _new_index(vectors.shape[1])
            saved, last = len(index), start
            while last < len(ids):
                first, last = last, min(last + ADD_CHUNK, len(ids))
                index.add(ids[first:last], to_int8(vectors[first:last]), threads=threads)
                if last == len(ids) or len(index) >= max(FIRST_CHECKPOINT, 1.5 * saved):
                    self._save(index, matrix.collection, int(numbers[last - 1]), removed)
                    saved = len(index)

    def search(self, state: IndexState, queries: np.ndarray, count: int, expansion: int) -> np.ndarray:
        """Row ids (K,) of about the `count` nearest to a query (E,), or (Q, K) to queries (Q, E).

        Missing results are -1.
        """
        if self._opened is None or self._opened[0] != state:
            index = _new_index(queries.shape[-1])
            if not _opens(index, self._file(state.file), view=True):
                # A builder has put a newer one in its place, or the file is damaged.
                self._state_path.unlink(missing_ok=True)
                raise Siglip2Error(f"the index {self._file(state.file)} cannot be read: search again")
            self._opened = (state, index)
        index = self._opened[1]
        index.expansion_search = max(expansion, count)
        alone = queries.ndim == 1  # one query is over before a second thread has begun
        matches = index.search(to_int8(queries), min(count, max(len(index), 1)), threads=1 if alone else 0)
        if alone:
            return np.asarray(matches.keys).astype(np.int64)
        keys = np.asarray(matches.keys).astype(np.int64)
        valid = np.arange(keys.shape[1]) < np.asarray(matches.counts)[:, None]
        return np.where(valid, keys, -1)

    def _save(self, index: Any, collection: str, number: int, removed: int) -> None:
        name = f"{self._stem.name}.{FORMAT}-{uuid4().hex[:12]}.usearch"
        path = self._file(name)
        index.save(str(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        state = IndexState(
            collection=collection,
            count=len(index),
            number=number,
            removed=removed,
            file=name,
            size=path.stat().st_size,
        )
        write_record(self._state_path, state)
        for old in self._stem.parent.glob(f"{self._stem.name}.*.usearch"):
            if old.name != name:
                with suppress(OSError):  # where open files cannot be removed, the next save does
                    old.unlink()

    def _file(self, name: str) -> Path:
        return self._stem.with_name(name)


def has_usearch() -> bool:
    """Whether the package is installed."""
    try:
        import usearch.index  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def to_int8(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., E) scaled to -127..127 by their largest number each, and rounded."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    return np.rint(vectors * (127 / np.maximum(largest, 1e-30))).astype(np.int8)


def _new_index(embed_dim: int) -> Any:
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise Siglip2Error("an index needs usearch: pip install 'siglip2[search]'") from None
    return Index(
        ndim=embed_dim,
        metric="cos",
        dtype="i8",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=FIRST_EXPANSION,
    )


def _opens(index: Any, path: Path, *, view: bool) -> bool:
    """Whether a file could be read (for adding), or mapped (for searching)."""
    try:
        (index.view if view else index.load)(str(path))
    except Exception:  # a damaged file makes usearch raise many things; all mean: build it anew
        return False
    return True
