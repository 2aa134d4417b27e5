"""Collections of made-up vectors, for tests of what lies beneath photos."""

from pathlib import Path

import numpy as np

from siglip2.search.rows import NewRow, SeenFile, StoredModel
from siglip2.search.sqlite_store import SqliteStore
from siglip2.search.vector_search import VectorSearch

DIM = 16


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def make_vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def write_vectors(store: SqliteStore, vectors: np.ndarray, first: int = 0) -> StoredModel:
    model = store.add_model("made-up", "made-up", DIM, 10.0, -3.0)
    rows = [
        NewRow(
            digest=index.to_bytes(4, "big"),
            vector=vector,
            file=SeenFile(path=f"/{index:06}.jpg", size=1, mtime_ns=1),
        )
        for index, vector in enumerate(vectors, first)
    ]
    store.write(model, rows)
    return model


def open_search(place: Path) -> tuple[SqliteStore, VectorSearch]:
    store = SqliteStore(place)
    return store, VectorSearch(place, store.id, store.models()[0])
