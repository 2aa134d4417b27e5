"""Where a collection lies: in a file of this machine, or on a Milvus server."""

import os
from pathlib import Path

from siglip2.errors import InvalidInput
from siglip2.search.copies import user_cache
from siglip2.search.milvus_tables import SCHEME
from siglip2.search.rows import StoredModel
from siglip2.search.sqlite_store import SqliteStore
from siglip2.search.store import Store
from siglip2.search.vector_search import VectorSearch


class Place:
    """A collection's place, opened; `store` is what lies there.

    Attributes:
        name: as messages call it.
        store: its rows.
        is_new: whether it was made just now.
    """

    name: str
    store: Store
    is_new: bool

    def search(self, model: StoredModel) -> VectorSearch:
        """What finds the nearest vectors of a model."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Close, and leave nothing behind of what was made just now."""
        self.store.close()


class FilePlace(Place):
    """One SQLite file; copies of the vectors lie in FILE.cache."""

    def __init__(self, path: Path, create: bool):
        self._path = path
        self.name, self.is_new = str(path), not path.exists()
        if self.is_new and not (create and path.parent.is_dir()):
            hint = "`siglip2 index add FOLDER` makes one" if path.parent.is_dir() else "its folder is missing"
            raise InvalidInput(f"there is no collection {path}: {hint}")
        self.store: Store = SqliteStore(path, create=create)

    def search(self, model: StoredModel) -> VectorSearch:
        """Local copies and index."""
        return VectorSearch(self._path, self.store.id, model)

    def give_up(self) -> None:
        """As `Place` says."""
        self.store.close()
        if self.is_new:
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)


class MilvusPlace(Place):
    """Tables of a Milvus server; copies, where they are needed, lie in the user's cache folder."""

    def __init__(self, address: str, create: bool):
        from siglip2.search.milvus_store import MilvusStore

        self._milvus = MilvusStore(address, create=create)
        self.name, self.store = address, self._milvus
        self.is_new = not self._milvus.models()

    def search(self, model: StoredModel) -> VectorSearch:
        """The server's own search."""
        from siglip2.search.milvus_search import MilvusSearch

        return MilvusSearch(user_cache() / self._milvus.id, self._milvus, model)


def open_place(path: str | os.PathLike[str], create: bool) -> Place:
    """Open what lies at a path or address (`milvus+http://HOST:PORT/NAME`).

    Raises:
        InvalidInput: nothing there and nothing to be made, or something else.
        Siglip2Error: a package is missing.
    """
    if isinstance(path, str) and path.startswith(SCHEME):
        return MilvusPlace(path, create)
    return FilePlace(Path(path).expanduser(), create)
