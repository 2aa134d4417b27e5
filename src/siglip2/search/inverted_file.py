"""An inverted file (faiss) beside a collection: a copy of its vectors that can always be made again.

Vectors lie in cells, each the surroundings of a centroid; a query looks only into the cells whose centroids
are nearest to it. There they are product-quantised, four dimensions in four bits, which a processor compares
by look-ups, many at once. The answers are candidates, of which the exact vectors give the order.

Its keys are row ids, whose vectors never change, so that an older index goes on serving: what it lacks is
scanned, and what it holds too much is left out of its answers.

Why not a graph (HNSW), as most have: on 200,000 smooth vectors of 768 dimensions one took seven times as long
to build, two to four times as long to search at the same recall, and eight times the memory; and among a
million vectors in ten thousand groups it had to be searched 4,096 wide, since few of its paths lead from one
group to another. docs/search.md has the figures.
"""

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from siglip2.errors import Siglip2Error
from siglip2.search.copies import CopyState, exclusive, read_record, write_record
from siglip2.search.k_means import k_means, nearest_centroids

CELLS_PER_ROOT = 2
"""Cells for each square root of the rows: then choosing cells and looking into them cost about the same."""

EXAMPLES_PER_CELL = 40
"""Vectors that k-means sees for each cell; more move the centroids little."""

QUANTISER_EXAMPLES = 20_000
FEWEST_EXAMPLES = 640
"""For sixteen centroids faiss asks for 39 each; the vectors of a smaller collection are taken again."""

MAX_GROWTH = 4
"""With this many times the rows that its cells were made for, it is built anew: they have become too full."""

FORMAT = "pq4"
"""Part of the files' names: files of another format are not opened, and removed by the next build."""

ADD_CHUNK = 50_000
FIRST_CHECKPOINT = 1_000_000
"""Rows after which a build is first saved; then at each growth by half, so that writing stays cheap."""

MAX_DEAD_SHARE = 0.2
"""Of the index: with more removed rows than this in it, it is built anew."""


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """What an index file holds; fields as in `CopyState`.

    Attributes:
        trained: how many rows there were when its cells were made.
        removed: how many vectors the collection had removed when the first was added; those that went since
            are in it still.
        file: its name.
        size: its bytes; a file that was cut off is not opened.
    """

    collection: str
    count: int
    number: int
    trained: int
    removed: int
    file: str
    size: int


class InvertedFile:
    """Nearest neighbours by row id."""

    def __init__(self, stem: Path):
        """An index in files that begin with `stem`; nothing is read before it is needed."""
        self._stem = stem
        self._state_path = stem.with_name(stem.name + ".faiss.json")
        self._lock = stem.with_name(stem.name + ".faiss.lock")
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
    ) -> None:
        """Add what the index lacks, or build it anew; goes on where a killed build was last saved.

        Args:
            matrix: state of the rows.
            ids: (N,) row ids.
            numbers: (N,) numbers of their vectors, ascending.
            vectors: (N, E) of unit length.
            wait_seconds: for another process that builds.

        Raises:
            Busy: another process builds, and went on for longer than that.
        """
        faiss = _faiss()
        with exclusive(self._lock, wait_seconds=wait_seconds):
            kept = self.usable(matrix)
            index = None
            if kept is not None and len(ids) <= MAX_GROWTH * kept.trained:
                index = _read(self._file(kept.file))
            if kept is not None and index is not None:
                start = int(np.searchsorted(numbers, kept.number, "right"))
                trained, removed = kept.trained, kept.removed  # what went since then is still in it
            else:
                index = _new_index(vectors)
                start, trained, removed = 0, len(ids), matrix.removed
            centroids = index.quantizer.reconstruct_n(0, index.nlist)
            saved, last = index.ntotal, start
            while last < len(ids):
                first, last = last, min(last + ADD_CHUNK, len(ids))
                part = np.ascontiguousarray(vectors[first:last], np.float32)
                keys = np.ascontiguousarray(ids[first:last], np.int64)
                cells = nearest_centroids(part, centroids)
                index.add_core(len(part), *map(faiss.swig_ptr, (part, keys, cells)))
                if last == len(ids) or index.ntotal >= max(FIRST_CHECKPOINT, 1.5 * saved):
                    self._save(index, matrix.collection, int(numbers[last - 1]), trained, removed)
                    saved = index.ntotal

    def num_cells(self, state: IndexState) -> int:
        """How many cells there are."""
        return self._open(state).nlist

    def search(self, state: IndexState, queries: np.ndarray, count: int, cells: int) -> np.ndarray:
        """Row ids (K,) of about the `count` nearest to a query (E,), or (Q, K) to queries (Q, E).

        The `cells` nearest are looked into, more where these hold too few rows. -1 stands for what the whole
        index does not hold.
        """
        index, faiss = self._open(state), _faiss()
        count, alone = min(count, max(index.ntotal, 1)), queries.ndim == 1
        rows = np.atleast_2d(queries).astype(np.float32)
        # One query is over before a second thread has begun. The number is of the calling thread alone.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1 if alone else threads)
        try:
            while True:
                cells = min(cells, index.nlist)
                _, found = index.search(rows, count, params=faiss.SearchParametersIVF(nprobe=cells))
                if cells == index.nlist or (found >= 0).all():
                    break
                cells *= 2
        finally:
            faiss.omp_set_num_threads(threads)
        return found[0] if alone else found

    def _open(self, state: IndexState) -> Any:
        if self._opened is None or self._opened[0] != state:
            index = _read(self._file(state.file), mapped=True)
            if index is None:
                # A builder has put a newer one in its place, or the file is damaged.
                self._state_path.unlink(missing_ok=True)
                raise Siglip2Error(f"the index {self._file(state.file)} cannot be read: search again")
            # Rearranged for comparing many at once: a form in which no rows could be put into given cells.
            self._opened = (state, _faiss().IndexIVFPQFastScan(index))
        return self._opened[1]

    def _save(self, index: Any, collection: str, number: int, trained: int, removed: int) -> None:
        name = f"{self._stem.name}.{FORMAT}-{uuid4().hex[:12]}.faiss"
        path = self._file(name)
        _faiss().write_index(index, str(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        state = IndexState(
            collection=collection,
            count=index.ntotal,
            number=number,
            trained=trained,
            removed=removed,
            file=name,
            size=path.stat().st_size,
        )
        write_record(self._state_path, state)
        for old in self._stem.parent.glob(f"{self._stem.name}.*.faiss"):
            if old.name != name:
                with suppress(OSError):  # where open files cannot be removed, the next save does
                    old.unlink()

    def _file(self, name: str) -> Path:
        return self._stem.with_name(name)


def has_faiss() -> bool:
    """Whether the package is installed."""
    return find_spec("faiss") is not None


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        raise Siglip2Error("an index needs faiss: pip install 'siglip2[search]'") from None
    return faiss


def _new_index(vectors: np.ndarray) -> Any:
    """An empty index whose cells and quantiser suit the vectors (N, E)."""
    faiss = _faiss()
    count, embed_dim = vectors.shape
    num_cells = min(count, round(CELLS_PER_ROOT * math.sqrt(count)))
    rng = np.random.default_rng(0)
    chosen = rng.choice(count, min(count, EXAMPLES_PER_CELL * num_cells), replace=False)
    examples = np.asarray(vectors[np.sort(chosen)], np.float32)
    quantizer = faiss.IndexFlatIP(embed_dim)
    quantizer.add(k_means(examples, num_cells))
    dims = next(each for each in (4, 3, 2, 1) if embed_dim % each == 0)
    index = faiss.IndexIVFPQ(
        quantizer, embed_dim, num_cells, embed_dim // dims, 4, faiss.METRIC_INNER_PRODUCT
    )
    shuffled = rng.permutation(examples)[:QUANTISER_EXAMPLES]
    if count < FEWEST_EXAMPLES:
        # Some noise, because vectors that all are centroids leave nothing to quantise.
        shuffled = np.resize(shuffled, (FEWEST_EXAMPLES, embed_dim))
        shuffled = shuffled + rng.normal(scale=1e-3, size=shuffled.shape).astype(np.float32)
    index.train(shuffled)
    return index


def _read(path: Path, *, mapped: bool = False) -> Any:
    """The index of a file, its vectors in memory or left on disk; None where it cannot be read."""
    faiss = _faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
    except RuntimeError:  # of faiss, for a damaged file as for one that is not there
        return None
