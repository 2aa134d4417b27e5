"""A model's vectors as one memory-mapped matrix: a copy that can always be made again."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from siglip2.search.copies import CopyState, exclusive, read_record, write_record
from siglip2.search.rows import StoredModel
from siglip2.search.store import Store

_ENDINGS = ("ids", "numbers", "f32")


class Mapped(NamedTuple):
    """A copy, mapped from disk.

    Attributes:
        state: how far it has come.
        ids: (N,) int64, of the rows, in order of their vectors' arrival.
        numbers: (N,) int64, of the vectors, ascending.
        vectors: (N, E) float32.
    """

    state: CopyState
    ids: np.ndarray
    numbers: np.ndarray
    vectors: np.ndarray


class VectorMatrix:
    """Three files beside the collection: row ids, numbers and vectors."""

    def __init__(self, folder: Path, collection: str, model: StoredModel):
        self._stem = folder / model.fingerprint
        self._collection = collection
        self._model = model
        self._loaded: Mapped | None = None

    def open(self, store: Store) -> Mapped:
        """Bring the copy up to date and map it."""
        newest, removed, last_removal = store.state(self._model)
        fresh = CopyState(
            collection=self._collection, count=0, number=0, removed=removed, last_removal=last_removal
        )
        state = self._usable(store, fresh)
        if state is None or state.number != newest:
            with exclusive(self._file("lock")):
                state = self._append(store, fresh)
        loaded = self._loaded
        if loaded is None or loaded.state != state:
            shape = (state.count, self._model.embed_dim)
            ids, numbers = (self._map(ending, np.int64, shape[:1]) for ending in ("ids", "numbers"))
            loaded = Mapped(state, ids, numbers, self._map("f32", np.float32, shape))
            self._loaded = loaded
        return loaded

    def _append(self, store: Store, fresh: CopyState) -> CopyState:
        # Read again: whoever held the lock before may have done the work.
        state = self._usable(store, fresh)
        if state is None:
            state = fresh
            for ending in _ENDINGS:
                # Other processes may still have the old ones mapped.
                self._file(ending).unlink(missing_ok=True)
        count, number = state.count, state.number
        with ExitStack() as opened:
            files = [
                opened.enter_context(_open_at(self._file(ending), size * count))
                for ending, size in self._row_bytes().items()
            ]
            for numbers, ids, vectors in store.vectors_after(self._model, number):
                for file, part in zip(files, (ids, numbers, vectors), strict=True):
                    file.write(part.tobytes())
                count, number = count + len(ids), int(numbers[-1])
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        state = replace(fresh, count=count, number=number)
        write_record(self._file("json"), state)
        return state

    def _usable(self, store: Store, fresh: CopyState) -> CopyState | None:
        """The state of the copy on disk, if it holds what the collection has and nothing else."""
        state = read_record(self._file("json"), CopyState)
        if state is None or replace(state, count=0, number=0) != fresh:
            return None
        # A number that is not there: an older copy of the collection was put in its place.
        if state.count and not store.has_number(self._model, state.number):
            return None
        whole = all(
            self._file(ending).exists() and self._file(ending).stat().st_size >= size * state.count
            for ending, size in self._row_bytes().items()
        )
        return state if whole else None

    def _row_bytes(self) -> dict[str, int]:
        return dict(zip(_ENDINGS, (8, 8, 4 * self._model.embed_dim), strict=True))

    def _map(self, ending: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        if shape[0] == 0:
            return np.zeros(shape, dtype)
        return np.memmap(self._file(ending), dtype, "r", shape=shape)

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{ending}")


def _open_at(path: Path, size: int) -> BinaryIO:
    """Open for writing behind the first `size` bytes; what a killed process left behind them is dropped."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
