"""Files beside a collection that can always be made again: how far they have come, and who may write them."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class CopyState:
    """How far a copy of the vectors has come.

    Attributes:
        collection: id of the collection that it copies.
        count: rows in it.
        number: of the last vector in it.
        removed: how many vectors the collection had removed at that time.
        last_removal: name of the last removal at that time.
    """

    collection: str
    count: int
    number: int
    removed: int
    last_removal: str


class Busy(Exception):
    """Another process is at the same work."""


def user_cache() -> Path:
    """The folder for copies that cannot lie beside their collection."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "siglip2"


def copies_folder(place: Path, collection: str) -> Path:
    """Where copies lie: beside the collection, or in the user's cache if nothing can be written there.

    Args:
        place: the collection's file.
        collection: its id.
    """
    beside = place.with_name(place.name + ".cache")
    if os.access(beside if beside.is_dir() else beside.parent, os.W_OK):
        return beside
    return user_cache() / f"{collection}.cache"


def read_record(path: Path, kind: type[_Record]) -> _Record | None:
    """A dataclass from a JSON file; None where there is none that can be read.

    Every query asks for some. `write_record` makes a new file each time, so that one which is the same file
    as before need not be read again.
    """
    try:
        status = os.stat(path)
        return _read(
            os.fspath(path), kind, (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        )
    except (OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=64)
def _read(path: str, kind: type[_Record], _: tuple[int, ...]) -> _Record:
    return kind(**json.loads(Path(path).read_text()))


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass beside the old one and put it in its place: a reader sees one or the other."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def exclusive(path: Path, *, wait_seconds: float = 600) -> Iterator[None]:
    """One process at a time, on any system: SQLite's lock, which ends with the process that holds it.

    Raises:
        Busy: another process held it for all that time.
    """
    lock = sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise Busy(f"{path} is held by another process") from error
        yield
    finally:
        lock.close()
