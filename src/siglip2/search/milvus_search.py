"""Searches that a Milvus server answers, without copies of the vectors on this machine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siglip2.search.filters import Filter
from siglip2.search.milvus_store import MilvusStore
from siglip2.search.query import Query, best
from siglip2.search.rows import Kind, StoredModel
from siglip2.search.store import Store
from siglip2.search.vector_search import SAMPLE_ROWS, Mode, VectorSearch


class MilvusSearch(VectorSearch):
    """As `VectorSearch`; only exact mode, filters that Milvus cannot say, and upkeep copy the vectors."""

    def __init__(self, place: Path, store: MilvusStore, model: StoredModel):
        """Nothing is asked before the first search; copies, where needed, lie in PLACE.cache."""
        super().__init__(place, store.id, model)
        self._milvus = store
        self._some: dict[Kind | None, np.ndarray] = {}

    def refresh(self, store: Store) -> None:
        """Nothing: Milvus keeps its index by itself."""

    def sample(self, store: Store, kind: Kind | None = None) -> np.ndarray:
        """(S, E) vectors of a kind, or of the collection: those that Milvus gives first."""
        if kind not in self._some:
            where = [] if kind is None else [Filter("kind", "=", kind)]
            self._some[kind] = self._milvus.sample(self._model, where, SAMPLE_ROWS)
        return self._some[kind]

    def nearest(
        self, store: Store, query: Query, where: Sequence[Filter], count: int, mode: Mode = "auto"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `VectorSearch.nearest`."""
        wanted = count if query.is_single else max(10 * count, 500)
        found = None
        if mode != "exact":
            found = self._milvus.nearest(self._model, query.vector, where, wanted)
        if found is None:
            return super().nearest(store, query, where, count, "exact")
        ids, vectors = found
        scores = query.scores(vectors)
        chosen = best(scores, count)
        return ids[chosen], scores[chosen], vectors[chosen]
