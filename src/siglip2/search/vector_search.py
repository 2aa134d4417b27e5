"""The nearest vectors of a collection: by exact scan, or by index where there are too many for one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.search.background import start_build
from siglip2.search.copies import CopyState, copies_folder, read_record, write_record
from siglip2.search.filters import Filter
from siglip2.search.inverted_file import IndexState, InvertedFile, has_faiss
from siglip2.search.matrix import Mapped, VectorMatrix
from siglip2.search.query import Query, best
from siglip2.search.recall import IndexQuality, num_candidates, tune
from siglip2.search.rows import Kind, StoredModel
from siglip2.search.store import Store

Mode: TypeAlias = Literal["auto", "exact", "index"]

EXACT_ROWS = 100_000
"""Up to here every query is compared with every row."""

TAIL_ROWS = 20_000
"""Rows that an index may lack before it is brought up to date; they are scanned."""

SAMPLE_ROWS = 1000
SCAN_CHUNK = 65_536
RECALL_TARGET = 0.98


class VectorSearch:
    """Copies of a model's vectors beside the collection (`copies_folder`), and searches in them."""

    def __init__(self, place: Path, collection: str, model: StoredModel):
        """Nothing is read before the first search.

        Args:
            place: the collection's file.
            collection: its id.
            model: whose vectors are searched.
        """
        self._place, self._model = place, model
        self._folder = copies_folder(place, collection)
        self._matrix = VectorMatrix(self._folder, collection, model)
        self._index = InvertedFile(self._folder / model.fingerprint)
        self._quality_file = self._folder / f"{model.fingerprint}.quality.json"
        self._samples: dict[Kind | None, tuple[CopyState, np.ndarray]] = {}
        self._order: tuple[CopyState, np.ndarray | None] | None = None
        self._build_asked = False

    def refresh(self, store: Store) -> None:
        """Bring the copies up to date; a collection too large for scans gets its index in the background."""
        self._ask_for_index(self.open(store))

    def optimise(
        self,
        store: Store,
        recall: float | None = None,
        *,
        wait_seconds: float = 600,
    ) -> IndexQuality:
        """Build the index whatever the size, and find how wide a search reaches a recall.

        A killed build goes on where it was last saved; until a build ends, the older index serves.

        Args:
            store: of the collection.
            recall: recall@10 to reach, kept for later builds; None takes the one kept, at first 0.98.
            wait_seconds: for another process that builds.

        Raises:
            InvalidInput: an empty collection, or a recall that is no share.
            Busy: another process builds, and went on for longer than that.
        """
        if recall is not None and not 0 < recall <= 1:
            raise InvalidInput(f"recall is a share above 0 and up to 1, such as 0.98; {recall} is not")
        kept = self.quality()
        target = recall if recall is not None else kept.target if kept else RECALL_TARGET
        mapped = self.open(store)
        if not mapped.state.count:
            raise InvalidInput("the collection is empty: `siglip2 index add FOLDER` fills it")
        self._index.build(*mapped, wait_seconds=wait_seconds)
        index = self._index.usable(mapped.state)
        if index is None:
            raise InvalidInput(f"the index in {self._folder} was removed while it was built")
        quality = tune(
            lambda *asked: self._index.search(index, *asked),
            mapped.ids,
            mapped.vectors,
            target,
            self._index.num_cells(index),
        )
        write_record(self._quality_file, quality)
        return quality

    def quality(self) -> IndexQuality | None:
        """What was measured when the index was last built."""
        return read_record(self._quality_file, IndexQuality)

    def misses_target(self) -> bool:
        """Whether even the widest search finds less than was asked for, as among unrelated vectors."""
        quality = self.quality()
        return quality is not None and quality.recall_at_10 < quality.target

    def index_state(self, store: Store) -> IndexState | None:
        """What the index on disk holds; None where there is none that serves."""
        return self._index.usable(self.open(store).state)

    def sample(self, store: Store, kind: Kind | None = None) -> np.ndarray:
        """(S, E) vectors spread evenly over the rows of a kind; None takes all rows."""
        mapped = self.open(store)
        known = self._samples.get(kind)
        if known is None or known[0] != mapped.state:
            positions = np.arange(mapped.state.count) if kind is None else self._of_kind(store, mapped, kind)
            evenly = np.linspace(0, len(positions) - 1, SAMPLE_ROWS).astype(int)
            places = positions[np.unique(evenly)] if len(positions) else positions
            known = (mapped.state, np.asarray(mapped.vectors[places]).reshape(-1, self._model.embed_dim))
            self._samples[kind] = known
        return known[1]

    def nearest(
        self, store: Store, query: Query, where: Sequence[Filter], count: int, mode: Mode = "auto"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best rows: ids (K,), scores (K,) and vectors (K, E), best first."""
        mapped = self.open(store)
        if where:
            # Filters come first: what passes is compared exactly, however little it is.
            positions = np.flatnonzero(np.isin(mapped.ids, store.matching(self._model, where)))
        else:
            index = self._index_for(store, mapped, mode)
            positions = None if index is None else self._candidates(mapped, index, query, count)
        scores = self._scan(mapped.vectors, query, positions)
        chosen = best(scores, count)
        places = chosen if positions is None else positions[chosen]
        return np.asarray(mapped.ids[places]), scores[chosen], np.asarray(mapped.vectors[places])

    def neighbours(self, store: Store, queries: np.ndarray, count: int) -> np.ndarray:
        """Positions (Q, K) by the index of the rows nearest to queries (Q, E); -1 where there are fewer."""
        mapped = self.open(store)
        index = self._index_for(store, mapped, "index")
        assert index is not None
        found = self._index.search(index, queries, count, self._cells(index))
        return self._positions(mapped, found.ravel()).reshape(found.shape)

    def all(self, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """Ids (N,) and vectors (N, E), mapped from disk."""
        mapped = self.open(store)
        return mapped.ids, mapped.vectors

    def open(self, store: Store) -> Mapped:
        """All ids, numbers and vectors, brought up to date and mapped from disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._matrix.open(store)

    def _of_kind(self, store: Store, mapped: Mapped, kind: Kind) -> np.ndarray:
        """Positions of the rows of a kind."""
        ids = store.matching(self._model, [Filter("kind", "=", kind)])
        return np.flatnonzero(np.isin(mapped.ids, ids))

    def _index_for(self, store: Store, mapped: Mapped, mode: Mode) -> IndexState | None:
        """The index to ask; None where rows are to be scanned."""
        if mode == "exact" or (mode == "auto" and mapped.state.count <= EXACT_ROWS):
            return None
        if mode == "auto" and self.misses_target():
            return None
        index = self._index.usable(mapped.state)
        if mode == "index" and (index is None or index.number < mapped.state.number):
            self.optimise(store)
            return self._index.usable(mapped.state)
        self._ask_for_index(mapped, index)
        if index is None or self._tail(mapped, index) < mapped.state.count - EXACT_ROWS or not has_faiss():
            # Of a build that has just begun, or long ago: scanning all is hardly more than scanning the rest.
            return None
        return index

    def _ask_for_index(self, mapped: Mapped, index: IndexState | None = None) -> None:
        if self._build_asked or mapped.state.count <= EXACT_ROWS or not has_faiss():
            return
        index = index or self._index.usable(mapped.state)
        if index is None or mapped.state.count - self._tail(mapped, index) > TAIL_ROWS:
            self._build_asked = start_build(self._place, self._model.fingerprint)

    @staticmethod
    def _tail(mapped: Mapped, index: IndexState) -> int:
        """Position of the first row that the index lacks."""
        return int(np.searchsorted(mapped.numbers, index.number, "right"))

    def _candidates(self, mapped: Mapped, index: IndexState, query: Query, count: int) -> np.ndarray:
        # Penalties and mixtures are applied to candidates, of which there have to be more than results.
        wanted = num_candidates(count) if query.is_single else max(10 * count, 500)
        # Some of what is found may have been removed since.
        wanted += min(mapped.state.removed - index.removed, wanted)
        found = self._index.search(index, query.vector, wanted, self._cells(index))
        positions = self._positions(mapped, found)
        tail = self._tail(mapped, index)
        rest = tail + best(self._scan(mapped.vectors[tail:], query, None), count)
        return np.unique(np.concatenate([positions[positions >= 0], rest]))

    def _cells(self, index: IndexState) -> int:
        """Cells to look into: all, which is slower than need be, where none has been measured for this index.

        As after a kill between building and measuring.
        """
        quality, num_cells = self.quality(), self._index.num_cells(index)
        return quality.cells if quality and quality.num_cells == num_cells else num_cells

    def _positions(self, mapped: Mapped, ids: np.ndarray) -> np.ndarray:
        """Positions of row ids; -1 for those that are gone."""
        if self._order is None or self._order[0] != mapped.state:
            ascending = bool(np.all(mapped.ids[1:] > mapped.ids[:-1]))
            self._order = (mapped.state, None if ascending else np.argsort(mapped.ids, kind="stable"))
        order = self._order[1]
        places = np.searchsorted(mapped.ids, ids, sorter=order)
        places = np.minimum(places, len(mapped.ids) - 1)
        positions = places if order is None else order[places]
        return np.where(mapped.ids[positions] == ids, positions, -1)

    @staticmethod
    def _scan(vectors: np.ndarray, query: Query, positions: np.ndarray | None) -> np.ndarray:
        total = len(vectors) if positions is None else len(positions)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, total, SCAN_CHUNK):
            end = start + SCAN_CHUNK
            part = vectors[start:end] if positions is None else vectors[positions[start:end]]
            parts.append(query.scores(np.asarray(part)))
        return np.concatenate(parts)
