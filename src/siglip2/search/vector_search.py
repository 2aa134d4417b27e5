"""The nearest vectors of a collection: by exact scan, or by index where there are too many for one."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.search.filters import Filter
from siglip2.search.hnsw import FIRST_EXPANSION, HnswIndex, IndexQuality, has_usearch
from siglip2.search.matrix import CopyState, VectorMatrix
from siglip2.search.query import Query, best
from siglip2.search.rows import StoredModel
from siglip2.search.store import Store

Mode: TypeAlias = Literal["auto", "exact", "index"]

EXACT_ROWS = 100_000
"""Up to here every query is compared with every row."""

SAMPLE_ROWS = 1000
SCAN_CHUNK = 65_536
RECALL_TARGET = 0.98


class VectorSearch:
    """Copies of a model's vectors in a folder beside the collection, and searches in them."""

    def __init__(self, folder: Path, collection: str, model: StoredModel):
        """Nothing is read before the first search."""
        self._folder, self._model = folder, model
        self._matrix = VectorMatrix(folder, collection, model)
        self._index = HnswIndex(folder / model.fingerprint)
        self._quality_file = folder / f"{model.fingerprint}.quality.json"
        self._sample: tuple[CopyState, np.ndarray, int, int] | None = None

    def refresh(self, store: Store) -> None:
        """Bring the copies up to date, the index where the collection is large enough for one."""
        state, _, vectors = self._open(store)
        if state.count > EXACT_ROWS and has_usearch():
            self._index.update(state, vectors)

    def optimise(self, store: Store, recall: float = RECALL_TARGET) -> IndexQuality:
        """Build the index whatever the size, and find the search width that reaches a recall.

        Raises:
            InvalidInput: an empty collection.
        """
        state, _, vectors = self._open(store)
        if not state.count:
            raise InvalidInput("the collection is empty: `siglip2 index add FOLDER` fills it")
        self._index.update(state, vectors)
        quality = self._index.tune(vectors, recall)
        self._quality_file.write_text(json.dumps(asdict(quality)))
        return quality

    def quality(self) -> IndexQuality | None:
        """What `optimise` measured last."""
        try:
            return IndexQuality(**json.loads(self._quality_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def has_current_index(self, store: Store) -> bool:
        """Whether the index on disk holds every vector."""
        return self._index.current(self._open(store)[0])

    def sample(self, store: Store) -> np.ndarray:
        """(S, E) vectors spread evenly over the collection."""
        return self._facts(store)[1]

    def has_images(self, store: Store) -> bool:
        """Whether there are photos."""
        return self._facts(store)[2] > 0

    def is_mixed(self, store: Store) -> bool:
        """Whether there are both photos and texts."""
        _, _, images, texts = self._facts(store)
        return images > 0 and texts > 0

    def nearest(
        self, store: Store, query: Query, where: Sequence[Filter], count: int, mode: Mode = "auto"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best rows: ids (K,), scores (K,) and vectors (K, E), best first."""
        state, ids, vectors = self._open(store)
        if where:
            # Filters come first: what passes is compared exactly, however little it is.
            positions = np.flatnonzero(np.isin(ids, store.matching(self._model, where)))
        elif mode == "index" or (mode == "auto" and state.count > EXACT_ROWS and self._index_ready(state)):
            positions = self._from_index(state, vectors, query, count)
        else:
            positions = None
        scores = self._scan(vectors, query, positions)
        chosen = best(scores, count)
        places = chosen if positions is None else positions[chosen]
        return np.asarray(ids[places]), scores[chosen], np.asarray(vectors[places])

    def all(self, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """Ids (N,) and vectors (N, E), mapped from disk."""
        _, ids, vectors = self._open(store)
        return ids, vectors

    def _index_ready(self, state: CopyState) -> bool:
        return has_usearch() and self._index.current(state)

    def _from_index(self, state: CopyState, vectors: np.ndarray, query: Query, count: int) -> np.ndarray:
        self._index.update(state, vectors)
        quality = self.quality()
        # Penalties and mixtures are applied to candidates, of which there have to be more than results.
        wanted = count if query.is_single else max(10 * count, 500)
        wanted = min(wanted, state.count)
        found = self._index.search(
            query.vector, wanted, quality.expansion if quality else 2 * FIRST_EXPANSION
        )
        return np.sort(found)

    @staticmethod
    def _scan(vectors: np.ndarray, query: Query, positions: np.ndarray | None) -> np.ndarray:
        total = len(vectors) if positions is None else len(positions)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, total, SCAN_CHUNK):
            end = start + SCAN_CHUNK
            part = vectors[start:end] if positions is None else vectors[positions[start:end]]
            parts.append(query.scores(np.asarray(part)))
        return np.concatenate(parts)

    def _facts(self, store: Store) -> tuple[CopyState, np.ndarray, int, int]:
        state, _, vectors = self._open(store)
        facts = self._sample
        if facts is None or facts[0] != state:
            places = (
                np.unique(np.linspace(0, state.count - 1, SAMPLE_ROWS).astype(int)) if state.count else []
            )
            images = store.count(self._model, [Filter("kind", "=", "image")])
            sample = np.asarray(vectors[places]).reshape(-1, self._model.embed_dim)
            self._sample = facts = (state, sample, images, state.count - images)
        return facts

    def _open(self, store: Store) -> tuple[CopyState, np.ndarray, np.ndarray]:
        self._folder.mkdir(exist_ok=True)
        return self._matrix.open(store)
