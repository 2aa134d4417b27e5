"""What a collection asks of the place that keeps its rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from siglip2.search.filters import Filter
from siglip2.search.rows import BrokenFile, Kind, NewRow, Row, SeenFile, StoredModel


class VectorsState(NamedTuple):
    """What has been done to a model's vectors.

    Attributes:
        number: of the last one written.
        removed: how many have been removed.
        last_removal: a random name that each removal makes anew: two pasts with as many removals differ.
    """

    number: int
    removed: int
    last_removal: str


class Store(Protocol):
    """Rows, their files and their vectors. What a method has returned from survives a kill.

    Attributes:
        id: of the collection, made with it; tells copies whose they are.
    """

    id: str

    def models(self) -> list[StoredModel]:
        """The models whose vectors are kept, in order of their arrival."""
        ...

    def add_model(
        self, model_id: str, fingerprint: str, embed_dim: int, logit_scale: float, logit_bias: float
    ) -> StoredModel:
        """Make room for another model's vectors; the same one if its fingerprint is known."""
        ...

    def known_file(self, path: str) -> tuple[SeenFile, bytes] | None:
        """The file as it was when it was last read, and the digest of its content then."""
        ...

    def known_broken(self, path: str) -> BrokenFile | None:
        """Why a file could not be used when it was last tried."""
        ...

    def has_vector(self, model: StoredModel, digest: bytes) -> bool:
        """Whether this content has been embedded with this model."""
        ...

    def digests(self, model: StoredModel) -> Iterator[bytes]:
        """Of all content that has been embedded with this model."""
        ...

    def write(self, model: StoredModel, rows: Sequence[NewRow], broken: Sequence[BrokenFile] = ()) -> None:
        """Store rows, and files that cannot be used, all of them or none. Writing twice changes nothing."""
        ...

    def paths_under(self, folder: str) -> Iterator[str]:
        """All known files below a folder, broken ones too; they may be forgotten while this is read."""
        ...

    def forget_files(self, paths: Sequence[str]) -> None:
        """Forget places; a photo without any is gone when `remove_unplaced` has run."""
        ...

    def remove_unplaced(self) -> int:
        """Remove photos that have no place any more; their number."""
        ...

    def remove_rows(self, ids: Sequence[int]) -> None:
        """Remove texts; a photo goes when its files are forgotten."""
        ...

    def copied(self) -> list[int]:
        """Ids of photos that lie in two places or more."""
        ...

    def count(self, model: StoredModel, where: Sequence[Filter] = ()) -> int:
        """Number of rows that have a vector of the model and pass the filters."""
        ...

    def kinds(self, model: StoredModel) -> set[Kind]:
        """Whether there are photos, texts, or both; at once, however many."""
        ...

    def matching(self, model: StoredModel, where: Sequence[Filter]) -> np.ndarray:
        """(N,) int64, ids of the rows that pass the filters, ascending."""
        ...

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """Rows in the order of the ids; those gone meanwhile are left out."""
        ...

    def vector(self, model: StoredModel, row_id: int) -> np.ndarray | None:
        """(E,) float32, or None where there is none."""
        ...

    def state(self, model: StoredModel) -> VectorsState:
        """Tells copies that are behind, or of another past."""
        ...

    def has_number(self, model: StoredModel, number: int) -> bool:
        """Whether a vector of this number is there; no number ever comes twice."""
        ...

    def vectors_after(
        self, model: StoredModel, number: int, chunk: int = ...
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Numbers (B,), row ids (B,) and vectors (B, E), of all written after a number, in order."""
        ...

    def broken_files(self) -> list[BrokenFile]:
        """All files that could not be used."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
