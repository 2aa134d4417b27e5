"""The store of one machine: a single SQLite file. Write-ahead log, every commit synchronous."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import get_args
from uuid import uuid4

import numpy as np

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.search.files import name_words
from siglip2.search.filters import Filter, to_sql
from siglip2.search.rows import BrokenFile, Kind, NewRow, PhotoFacts, Row, SeenFile, StoredModel
from siglip2.search.schema import TABLES, VERSION
from siglip2.search.store import VectorsState

BUSY_SECONDS = 60
"""A second writer waits this long for the first one's batch."""

ROWS_AT_ONCE = 500

_FACTS = "width, height, taken_at, latitude, longitude, camera"
_TABLES = {"meta", "models", "items", "files", "broken", "vectors", "words"}
_NEXT_NUMBER = "max(?, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'vectors'), 0))"
_MODEL = "key, model_id, fingerprint, embed_dim, logit_scale, logit_bias"


class SqliteStore:
    """A `Store` in one file. Threads of a process take turns; several processes may open the file."""

    def __init__(self, path: Path, *, create: bool = True):
        """Open the file, or make it; opening writes nothing.

        Args:
            path: of the file.
            create: make a collection where there is no file, or an empty one.

        Raises:
            InvalidInput: the file is something else, or holds nothing and no collection is to be made.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            self._db, tables = _connect(path)
            if not tables and create:
                self._make()
            elif not tables:
                raise InvalidInput(
                    f"{path} is empty, and no collection: `siglip2 index add FOLDER` makes one"
                )
            elif not tables >= _TABLES:
                raise InvalidInput(f"{path} is a database of another program, and no collection")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            meta = dict(self._all("SELECT name, value FROM meta"))
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"{path} cannot be opened as a collection: {error}") from error
        if meta["version"] != str(VERSION):
            raise InvalidInput(
                f"{path} is a collection of version {meta['version']}; this program reads {VERSION}"
            )
        self.id: str = meta["id"]

    def _make(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        known = "INSERT OR IGNORE INTO meta VALUES "
        meta = f"{known} ('version', '{VERSION}'); {known} ('id', '{uuid4().hex}');"
        # All or nothing: a part of the tables would be taken for another program's.
        self._db.executescript(f"BEGIN IMMEDIATE; {TABLES} {meta} COMMIT;")

    def close(self) -> None:
        """As `Store` says."""
        with self._lock:
            self._db.close()

    def models(self) -> list[StoredModel]:
        """As `Store` says."""
        found = self._all(f"SELECT {_MODEL} FROM models ORDER BY key")
        return [StoredModel(**dict(zip(_MODEL.split(", "), row, strict=True))) for row in found]

    def add_model(
        self, model_id: str, fingerprint: str, embed_dim: int, logit_scale: float, logit_bias: float
    ) -> StoredModel:
        """As `Store` says."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO models (model_id, fingerprint, embed_dim, logit_scale, logit_bias) "
                "VALUES (?, ?, ?, ?, ?)",
                [model_id, fingerprint, embed_dim, logit_scale, logit_bias],
            )
        return next(model for model in self.models() if model.fingerprint == fingerprint)

    def known_file(self, path: str) -> tuple[SeenFile, bytes] | None:
        """As `Store` says."""
        sql = "SELECT size, mtime_ns, digest FROM files JOIN items ON items.id = item WHERE path = ?"
        for size, mtime_ns, digest in self._all(sql, [os.fsencode(path)]):
            return SeenFile(path=path, size=size, mtime_ns=mtime_ns), digest
        return None

    def known_broken(self, path: str) -> BrokenFile | None:
        """As `Store` says."""
        sql = "SELECT path, size, mtime_ns, reason FROM broken WHERE path = ?"
        return next((_broken(row) for row in self._all(sql, [os.fsencode(path)])), None)

    def broken_files(self) -> list[BrokenFile]:
        """As `Store` says."""
        return [_broken(row) for row in self._all("SELECT path, size, mtime_ns, reason FROM broken")]

    def has_vector(self, model: StoredModel, digest: bytes) -> bool:
        """As `Store` says."""
        sql = "SELECT 1 FROM vectors JOIN items ON items.id = item WHERE digest = ? AND model = ?"
        return bool(self._all(sql, [digest, model.key]))

    def digests(self, model: StoredModel) -> Iterator[bytes]:
        """As `Store` says."""
        number = 0
        sql = "SELECT number, digest FROM vectors JOIN items ON id = item WHERE model = ? AND number > ? "
        while page := self._all(sql + "ORDER BY number LIMIT 10000", [model.key, number]):
            yield from (digest for _, digest in page)
            number = page[-1][0]

    def write(self, model: StoredModel, rows: Sequence[NewRow], broken: Sequence[BrokenFile] = ()) -> None:
        """As `Store` says."""
        with self._transaction():
            for row in rows:
                self._write_row(model, row)
            for each in broken:
                path = os.fsencode(each.file.path)
                self._db.execute("DELETE FROM files WHERE path = ?", [path])
                self._db.execute(
                    "INSERT OR REPLACE INTO broken VALUES (?, ?, ?, ?)",
                    [path, each.file.size, each.file.mtime_ns, _clean(each.reason)],
                )

    def _write_row(self, model: StoredModel, row: NewRow) -> None:
        facts = row.facts
        added = self._db.execute(
            f"INSERT OR IGNORE INTO items (digest, kind, text, {_FACTS}, columns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *(row.digest, row.kind, row.text, facts.width, facts.height, facts.taken_at),
                *(facts.latitude, facts.longitude, facts.camera, json.dumps(dict(row.columns))),
            ],
        ).rowcount
        (item,) = self._db.execute("SELECT id FROM items WHERE digest = ?", [row.digest]).fetchone()
        if added:
            words = [item, name_words([row.file.path]) if row.file else "", row.text or ""]
            self._db.execute("INSERT INTO words (rowid, name, text) VALUES (?, ?, ?)", words)
        if row.vector is not None:
            if row.vector.shape != (model.embed_dim,):
                raise Siglip2Error(f"a vector of {row.vector.shape} where ({model.embed_dim},) is due")
            self._db.execute(
                f"INSERT OR IGNORE INTO vectors VALUES ({_NEXT_NUMBER}, ?, ?, ?)",
                [time.time_ns() // 1000, model.key, item, np.ascontiguousarray(row.vector, "<f4").tobytes()],
            )
        if row.file is not None:
            path = os.fsencode(row.file.path)
            before = self._all("SELECT item FROM files WHERE path = ?", [path])
            self._db.execute("DELETE FROM broken WHERE path = ?", [path])
            self._db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                [path, item, row.file.size, row.file.mtime_ns],
            )
            if not added:
                self._name_anew(item)
            for (left,) in before:
                if left != item:
                    self._name_anew(left)

    def _name_anew(self, item: int) -> None:
        """Words after files have come or gone; of a row without any they stay until it is removed."""
        paths = [os.fsdecode(path) for (path,) in self._all("SELECT path FROM files WHERE item = ?", [item])]
        known = self._all("SELECT name FROM words WHERE rowid = ?", [item])
        if paths and known != [(name := name_words(paths),)]:
            self._db.execute("UPDATE words SET name = ? WHERE rowid = ?", [name, item])

    def paths_under(self, folder: str) -> Iterator[str]:
        """As `Store` says."""
        start = os.fsencode(os.path.join(folder, ""))
        end = start[:-1] + bytes([start[-1] + 1])
        while True:
            sql = "SELECT path FROM {} WHERE path > ? AND path < ?"
            both = f"{sql.format('files')} UNION {sql.format('broken')} ORDER BY path LIMIT 1000"
            page = self._all(both, [start, end, start, end])
            if not page:
                return
            for (path,) in page:
                yield os.fsdecode(path)
            start = page[-1][0]

    def forget_files(self, paths: Sequence[str]) -> None:
        """As `Store` says."""
        encoded = [(os.fsencode(path),) for path in paths]
        with self._transaction():
            left = {
                item
                for path in encoded
                for (item,) in self._all("SELECT item FROM files WHERE path = ?", path)
            }
            self._db.executemany("DELETE FROM files WHERE path = ?", encoded)
            self._db.executemany("DELETE FROM broken WHERE path = ?", encoded)
            for item in left:
                self._name_anew(item)

    def remove_unplaced(self) -> int:
        """As `Store` says."""
        return self._remove(
            "SELECT id FROM items WHERE kind = 'image' AND id NOT IN (SELECT item FROM files)"
        )

    def copied(self) -> list[int]:
        """As `Store` says."""
        sql = "SELECT item FROM files GROUP BY item HAVING count(*) > 1 ORDER BY item"
        return [item for (item,) in self._all(sql)]

    def remove_rows(self, ids: Sequence[int]) -> None:
        """As `Store` says."""
        self._remove("SELECT value FROM json_each(?)", json.dumps(list(ids)))

    def _remove(self, gone: str, *parameters: str) -> int:
        with self._transaction():
            self._db.execute(f"DELETE FROM words WHERE rowid IN ({gone})", parameters)
            # Vectors by hand: cascades do not fire triggers of removal unless triggers may recurse.
            if self._db.execute(f"DELETE FROM vectors WHERE item IN ({gone})", parameters).rowcount:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('last_removal', ?)", [uuid4().hex])
            return self._db.execute(f"DELETE FROM items WHERE id IN ({gone})", parameters).rowcount

    def count(self, model: StoredModel, where: Sequence[Filter] = ()) -> int:
        """As `Store` says."""
        sql, parameters = self._filtered(model, where)
        return self._all(f"SELECT count(*) {sql}", parameters)[0][0]

    def kinds(self, model: StoredModel) -> set[Kind]:
        """As `Store` says."""
        sql = "SELECT EXISTS (SELECT 1 FROM items JOIN vectors ON item = id WHERE kind = ? AND model = ?)"
        return {kind for kind in get_args(Kind) if self._all(sql, [kind, model.key])[0][0]}

    def matching(self, model: StoredModel, where: Sequence[Filter]) -> np.ndarray:
        """As `Store` says."""
        sql, parameters = self._filtered(model, where)
        found = self._all(f"SELECT items.id {sql} ORDER BY items.id", parameters)
        return np.array([row[0] for row in found], np.int64)

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """As `Store` says."""
        found: dict[int, Row] = {}
        for start in range(0, len(ids), ROWS_AT_ONCE):
            chosen = [json.dumps(list(ids[start : start + ROWS_AT_ONCE]))]
            among = "IN (SELECT value FROM json_each(?))"
            places: dict[int, list[str]] = {}
            for item, path in self._all(f"SELECT item, path FROM files WHERE item {among}", chosen):
                places.setdefault(item, []).append(os.fsdecode(path))
            sql = f"SELECT id, digest, kind, text, columns, {_FACTS} FROM items WHERE id {among}"
            for row_id, digest, kind, text, columns, *facts in self._all(sql, chosen):
                found[row_id] = Row(
                    id=row_id,
                    digest=digest,
                    kind=kind,
                    paths=tuple(sorted(places.get(row_id, []), key=os.fsencode)),
                    text=text,
                    facts=PhotoFacts(**dict(zip(_FACTS.split(", "), facts, strict=True))),
                    columns=json.loads(columns),
                )
        return [found[row_id] for row_id in ids if row_id in found]

    def vector(self, model: StoredModel, row_id: int) -> np.ndarray | None:
        """As `Store` says."""
        sql = "SELECT vector FROM vectors WHERE item = ? AND model = ?"
        found = self._all(sql, [row_id, model.key])
        return np.frombuffer(found[0][0], "<f4") if found else None

    def state(self, model: StoredModel) -> VectorsState:
        """As `Store` says."""
        number = "SELECT coalesce(max(number), 0) FROM vectors WHERE model = key"
        last_removal = "SELECT coalesce(max(value), '') FROM meta WHERE name = 'last_removal'"
        sql = f"SELECT ({number}), removed, ({last_removal}) FROM models WHERE key = ?"
        return VectorsState(*self._all(sql, [model.key])[0])

    def has_number(self, model: StoredModel, number: int) -> bool:
        """As `Store` says."""
        return bool(self._all("SELECT 1 FROM vectors WHERE number = ? AND model = ?", [number, model.key]))

    def vectors_after(
        self, model: StoredModel, number: int, chunk: int = 1024
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """As `Store` says."""
        sql = (
            "SELECT number, item, vector FROM vectors WHERE model = ? AND number > ? ORDER BY number LIMIT ?"
        )
        while page := self._all(sql, [model.key, number, chunk]):
            numbers, ids, blobs = zip(*page, strict=True)
            vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(page), model.embed_dim)
            yield np.array(numbers, np.int64), np.array(ids, np.int64), vectors
            number = numbers[-1]

    def _filtered(self, model: StoredModel, where: Sequence[Filter]) -> tuple[str, list[object]]:
        conditions = ["vectors.model = ?"]
        parameters: list[object] = [model.key]
        for each in where:
            sql, values = to_sql(each)
            conditions.append(f"({sql})")
            parameters.extend(values)
        return f"FROM vectors JOIN items ON items.id = item WHERE {' AND '.join(conditions)}", parameters

    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple]:
        with self._lock, closing(self._db.execute(sql, parameters)) as cursor:  # pyright: ignore[reportArgumentType]
            return cursor.fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise Siglip2Error(f"{self.path} cannot be written: {error}") from error
                raise


def _connect(path: Path) -> tuple[sqlite3.Connection, set[str]]:
    """The database, and the names of its tables."""
    options = {"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None}
    sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    database = sqlite3.connect(path, **options)
    database.create_function("casefold", 1, _casefold, deterministic=True)
    try:
        return database, {name for (name,) in database.execute(sql)}
    except sqlite3.OperationalError:
        database.close()
        if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
            raise
    # In a folder that cannot be written, SQLite cannot make the files that go with a write-ahead log. Where
    # there are none, nobody is writing.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, **options)
    database.create_function("casefold", 1, _casefold, deterministic=True)
    return database, {name for (name,) in database.execute(sql)}


def _casefold(value: object) -> str | None:
    # SQLite's own lower() knows the letters of ASCII.
    return None if value is None else str(value).casefold()


def _broken(row: tuple) -> BrokenFile:
    path, size, mtime_ns, reason = row
    return BrokenFile(file=SeenFile(path=os.fsdecode(path), size=size, mtime_ns=mtime_ns), reason=reason)


def _clean(text: str) -> str:
    """Valid text: names of files may hold bytes that SQLite would not take."""
    return text.encode(errors="replace").decode()
