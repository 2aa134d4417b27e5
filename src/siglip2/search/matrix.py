"""A model's vectors as one memory-mapped matrix: a copy that can always be made again."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from siglip2.search.rows import StoredModel
from siglip2.search.store import Store


@dataclass(frozen=True, kw_only=True)
class CopyState:
    """How far a copy of the vectors has come.

    Attributes:
        collection: id of the collection that it copies.
        count: rows in it.
        number: of the last vector in it.
        removed: how many vectors the collection had removed at that time.
    """

    collection: str
    count: int
    number: int
    removed: int


class VectorMatrix:
    """Row ids (N,) int64 and vectors (N, E) float32 on disk, in order of their arrival."""

    def __init__(self, folder: Path, collection: str, model: StoredModel):
        self._stem = folder / model.fingerprint
        self._collection = collection
        self._model = model
        self._loaded: tuple[CopyState, np.ndarray, np.ndarray] | None = None

    def open(self, store: Store) -> tuple[CopyState, np.ndarray, np.ndarray]:
        """Bring the copy up to date and map it: its state, ids and vectors."""
        number, removed = store.state(self._model)
        state = read_state(self._file("json"))
        fresh = CopyState(collection=self._collection, count=0, number=0, removed=removed)
        if state is None or not self._usable(state, removed):
            state = fresh
        if state.number != number or state is fresh:
            with exclusive(self._file("lock")):
                state = self._append(store, fresh)
        loaded = self._loaded
        if loaded is None or loaded[0] != state:
            shape = (state.count, self._model.embed_dim)
            loaded = (state, self._map("ids", np.int64, shape[:1]), self._map("f32", np.float32, shape))
            self._loaded = loaded
        return loaded

    def _append(self, store: Store, fresh: CopyState) -> CopyState:
        # Read again: whoever held the lock before may have done the work.
        state = read_state(self._file("json"))
        if state is None or not self._usable(state, fresh.removed):
            state = fresh
            for ending in ("ids", "f32"):
                # Other processes may still have the old ones mapped.
                self._file(ending).unlink(missing_ok=True)
        count, number = state.count, state.number
        with _open_at(self._file("ids"), 8 * count) as ids_file:
            row_bytes = 4 * self._model.embed_dim
            with _open_at(self._file("f32"), row_bytes * count) as vectors_file:
                for numbers, ids, vectors in store.vectors_after(self._model, number):
                    ids_file.write(ids.tobytes())
                    vectors_file.write(vectors.tobytes())
                    count, number = count + len(ids), int(numbers[-1])
                for file in (ids_file, vectors_file):
                    file.flush()
                    os.fsync(file.fileno())
        state = CopyState(collection=self._collection, count=count, number=number, removed=fresh.removed)
        write_state(self._file("json"), state)
        return state

    def _usable(self, state: CopyState, removed: int) -> bool:
        if (state.collection, state.removed) != (self._collection, removed):
            return False
        sizes = {"ids": 8 * state.count, "f32": 4 * self._model.embed_dim * state.count}
        return all(
            self._file(ending).exists() and self._file(ending).stat().st_size >= size
            for ending, size in sizes.items()
        )

    def _map(self, ending: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        if shape[0] == 0:
            return np.zeros(shape, dtype)
        return np.memmap(self._file(ending), dtype, "r", shape=shape)

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{ending}")


def read_state(path: Path) -> CopyState | None:
    """The state of a copy; None where there is none that can be read."""
    try:
        return CopyState(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_state(path: Path, state: CopyState) -> None:
    """Write a state beside the old one and put it in its place."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time, on any system: SQLite's lock, which ends with the process that holds it."""
    lock = sqlite3.connect(path, timeout=600, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        lock.close()


def _open_at(path: Path, size: int) -> BinaryIO:
    """Open for writing behind the first `size` bytes; what a killed process left behind them is dropped."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
