"""The store past one machine: Milvus, through pymilvus (`siglip2[milvus]`).

Milvus knows no transaction over several tables. Files are written last, so that what a killed run has left
without them is written again, over itself, by the next one. One process writes at a time.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_args
from uuid import uuid4

import numpy as np

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.search.filters import Filter, folder_path
from siglip2.search.milvus_schema import (
    MAX_BYTES,
    item_fields,
    item_record,
    passes,
    row_of,
    to_milvus,
    words_of,
)
from siglip2.search.milvus_tables import MilvusTables, among
from siglip2.search.rows import BrokenFile, Kind, NewRow, Row, SeenFile, StoredModel
from siglip2.search.store import VectorsState

EXPANSION = 128
_FILE = ("path", "item", "digest", "size", "mtime_ns", "reason")


class MilvusStore:
    """A `Store` on a Milvus server. Numbers and ids are microseconds: they grow and never come twice."""

    def __init__(self, address: str, *, create: bool = True):
        """Open or make the tables behind `milvus+http://HOST:PORT/NAME`.

        Raises:
            InvalidInput: errors of `MilvusTables`, or no such tables, and none are to be made.
            Siglip2Error: pymilvus is missing.
        """
        self._tables = MilvusTables(address)
        if not create and not self._tables.exists("files"):
            raise InvalidInput(f"there is no collection {address}: `siglip2 index add FOLDER` makes one")
        self._lock = threading.Lock()
        self._last = 0
        types = self._tables.types
        name = {"max_length": MAX_BYTES}
        self._items = item_fields(types)
        self._wanted = ["id", *(field for field, _, _ in self._items)]
        self._tables.make("meta", ("name", types.VARCHAR, name), [("value", types.JSON, {})])
        self._tables.make("items", ("id", types.INT64, {}), self._items)
        file_types = (types.INT64, types.VARCHAR, types.INT64, types.INT64, types.VARCHAR)
        fields = [
            (f, t, name if t == types.VARCHAR else {}) for f, t in zip(_FILE[1:], file_types, strict=True)
        ]
        self._tables.make("files", ("path", types.VARCHAR, name), fields)
        if self._meta("id") is None:
            self._set_meta("id", {"id": uuid4().hex})
        self.id: str = (self._meta("id") or {})["id"]

    def close(self) -> None:
        """As `Store` says."""
        self._tables.close()

    def models(self) -> list[StoredModel]:
        """As `Store` says."""
        found = self._tables.scan("meta", 'name like "model:%"', ["name", "value"])
        models = [StoredModel(**row["value"]) for row in found]
        return sorted(models, key=lambda model: model.key)

    def add_model(
        self, model_id: str, fingerprint: str, embed_dim: int, logit_scale: float, logit_bias: float
    ) -> StoredModel:
        """As `Store` says."""
        known = self.models()
        for model in known:
            if model.fingerprint == fingerprint:
                return model
        model = StoredModel(
            key=1 + max((each.key for each in known), default=0),
            model_id=model_id,
            fingerprint=fingerprint,
            embed_dim=embed_dim,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
        )
        types = self._tables.types
        fields = [("id", types.INT64, {}), *self._items]
        self._tables.make(_vectors(model), ("number", types.INT64, {}), fields, embed_dim)
        self._set_meta(f"state:{model.key}", {"number": 0, "removed": 0})
        self._set_meta(f"model:{model.key}", {**vars(model)})
        return model

    def known_file(self, path: str) -> tuple[SeenFile, bytes] | None:
        """As `Store` says."""
        for row in self._tables.get("files", "path", [_hex(path)], _FILE):
            if not row["reason"]:
                return _seen(row), bytes.fromhex(row["digest"])
        return None

    def known_broken(self, path: str) -> BrokenFile | None:
        """As `Store` says."""
        for row in self._tables.get("files", "path", [_hex(path)], _FILE):
            if row["reason"]:
                return BrokenFile(file=_seen(row), reason=row["reason"])
        return None

    def broken_files(self) -> list[BrokenFile]:
        """As `Store` says."""
        found = self._tables.scan("files", 'reason != ""', _FILE)
        return [BrokenFile(file=_seen(row), reason=row["reason"]) for row in found]

    def has_vector(self, model: StoredModel, digest: bytes) -> bool:
        """As `Store` says."""
        return bool(self._tables.first(_vectors(model), among("digest", [digest.hex()]), ["id"]))

    def digests(self, model: StoredModel) -> Iterator[bytes]:
        """As `Store` says."""
        for row in self._tables.scan(_vectors(model), "number > 0", ["digest"]):
            yield bytes.fromhex(row["digest"])

    def write(self, model: StoredModel, rows: Sequence[NewRow], broken: Sequence[BrokenFile] = ()) -> None:
        """As `Store` says, but for a kill in the middle: then a part is there, and is completed next time."""
        for row in rows:
            if row.vector is not None and row.vector.shape != (model.embed_dim,):
                raise Siglip2Error(f"a vector of {row.vector.shape} where ({model.embed_dim},) is due")
            if len((row.text or "").encode(errors="replace")) > MAX_BYTES:
                raise InvalidInput(f"a text of more than {MAX_BYTES:,} bytes, which Milvus does not take")
        with self._lock:
            digests = list({row.digest.hex(): row for row in rows})
            items = {row["digest"]: row for row in self._tables.get("items", "digest", digests, self._wanted)}
            done = {row["digest"] for row in self._tables.get(_vectors(model), "digest", digests, ["digest"])}
            new: list[dict[str, Any]] = []
            vectors: list[dict[str, Any]] = []
            files: dict[str, dict[str, Any]] = {}
            for row in rows:
                digest = row.digest.hex()
                if digest not in items:
                    items[digest] = item_record(self._next(), row)
                    new.append(items[digest])
                item = items[digest]
                if row.vector is not None and digest not in done:
                    done.add(digest)
                    vector = np.asarray(row.vector, np.float32)
                    vectors.append({**item, "number": self._next(), "vector": vector})
                if row.file is not None:
                    files[_hex(row.file.path)] = _file(row.file, item["id"], digest, "")
            for each in broken:
                files[_hex(each.file.path)] = _file(each.file, 0, "", each.reason)
            self._tables.put("items", new)
            self._tables.put(_vectors(model), vectors)
            if vectors:
                self._count(model, number=vectors[-1]["number"])
            left = self._mark_left(list(files), {path: row["item"] for path, row in files.items()})
            self._tables.put("files", list(files.values()))
            new_items = {record["id"] for record in new}
            self._name_anew(left | {row["item"] for row in files.values()} - new_items - {0})

    def paths_under(self, folder: str) -> Iterator[str]:
        """As `Store` says."""
        start = os.fsencode(os.path.join(folder, ""))
        end = start[:-1] + bytes([start[-1] + 1])
        condition = f'path > "{start.hex()}" and path < "{end.hex()}"'
        for row in self._tables.scan("files", condition, ["path"]):
            yield os.fsdecode(bytes.fromhex(row["path"]))

    def forget_files(self, paths: Sequence[str]) -> None:
        """As `Store` says."""
        with self._lock:
            places = [_hex(path) for path in paths]
            left = self._mark_left(places, {})
            self._tables.remove("files", "path", places)
            self._name_anew(left)

    def remove_unplaced(self) -> int:
        """As `Store` says."""
        with self._lock:
            marks = [row["name"] for row in self._tables.scan("meta", 'name like "left:%"', ["name"])]
            left = {int(mark.split(":")[1]) for mark in marks}
            left -= {row["item"] for row in self._tables.get("files", "item", sorted(left), ["item"])}
            kinds = self._tables.get("items", "id", sorted(left), ["id", "kind"])
            gone = [row["id"] for row in kinds if row["kind"] == "image"]
            self._remove(gone)
            self._tables.remove("meta", "name", marks)
            return len(gone)

    def copied(self) -> list[int]:
        """As `Store` says."""
        places = Counter(row["item"] for row in self._tables.scan("files", 'reason == ""', ["item"]))
        return sorted(item for item, count in places.items() if count > 1)

    def remove_rows(self, ids: Sequence[int]) -> None:
        """As `Store` says."""
        with self._lock:
            self._remove(ids)

    def _remove(self, ids: Sequence[int]) -> None:
        for model in self.models():
            had = len(self._tables.get(_vectors(model), "id", ids, ["id"]))
            self._tables.remove(_vectors(model), "id", ids)
            if had:
                self._count(model, removed=had)
        self._tables.remove("items", "id", ids)

    def count(self, model: StoredModel, where: Sequence[Filter] = ()) -> int:
        """As `Store` says."""
        if any(each.name in ("near", "folder") for each in where):
            return len(self.matching(model, where))
        return self._tables.count(_vectors(model), self._condition(where))

    def kinds(self, model: StoredModel) -> set[Kind]:
        """As `Store` says."""
        table = _vectors(model)
        return {kind for kind in get_args(Kind) if self._tables.first(table, f'kind == "{kind}"', ["id"])}

    def matching(self, model: StoredModel, where: Sequence[Filter]) -> np.ndarray:
        """As `Store` says."""
        wanted = ["id", "latitude", "longitude"]
        found = self._tables.scan(_vectors(model), self._condition(where), wanted)
        kept = {row["id"] for row in found if all(passes(each, row) for each in where)}
        for each in where:
            if each.name == "folder":
                kept &= self._items_under(each.value)
        return np.array(sorted(kept), np.int64)

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """As `Store` says."""
        places: dict[int, list[str]] = {}
        for row in self._tables.get("files", "item", list(ids), ["path", "item"]):
            places.setdefault(row["item"], []).append(row["path"])
        found = {row["id"]: row for row in self._tables.get("items", "id", list(ids), self._wanted)}
        return [
            row_of(found[each], [os.fsdecode(bytes.fromhex(path)) for path in sorted(places.get(each, []))])
            for each in ids
            if each in found
        ]

    def vector(self, model: StoredModel, row_id: int) -> np.ndarray | None:
        """As `Store` says."""
        found = self._tables.first(_vectors(model), among("id", [row_id]), ["vector"])
        return np.asarray(found[0]["vector"], np.float32) if found else None

    def state(self, model: StoredModel) -> VectorsState:
        """As `Store` says."""
        state = self._meta(f"state:{model.key}") or {"number": 0, "removed": 0}
        return VectorsState(int(state["number"]), int(state["removed"]), state.get("last_removal", ""))

    def has_number(self, model: StoredModel, number: int) -> bool:
        """As `Store` says."""
        return bool(self._tables.first(_vectors(model), f"number == {number}", ["id"]))

    def vectors_after(
        self, model: StoredModel, number: int, chunk: int = 1000
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """As `Store` says."""
        page: list[dict[str, Any]] = []
        wanted = ["number", "id", "vector"]
        for row in self._tables.scan(_vectors(model), f"number > {number}", wanted, chunk):
            page.append(row)
            if len(page) == chunk:
                yield _page(page)
                page = []
        if page:
            yield _page(page)

    def nearest(
        self, model: StoredModel, vector: np.ndarray, where: Sequence[Filter], count: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """About the `count` nearest rows by Milvus's own index: ids (K,) and vectors (K, E).

        None where a filter is one that Milvus cannot say.
        """
        if any(each.name in ("near", "folder") for each in where):
            return None
        found = self._tables.nearest(
            _vectors(model), vector, self._condition(where), count, EXPANSION, ["id", "vector"]
        )
        vectors = np.array([row["vector"] for row in found], np.float32).reshape(-1, model.embed_dim)
        return np.array([row["id"] for row in found], np.int64), vectors

    def sample(self, model: StoredModel, where: Sequence[Filter], count: int) -> np.ndarray:
        """Some vectors (S, E) of rows that pass the filters."""
        found = self._tables.first(_vectors(model), self._condition(where), ["vector"], count)
        return np.array([row["vector"] for row in found], np.float32).reshape(-1, model.embed_dim)

    def _condition(self, where: Sequence[Filter]) -> str:
        said = [f"({to_milvus(each)})" for each in where if each.name != "folder"]
        return " and ".join(["number > 0", *said])

    def _items_under(self, folder: str) -> set[int]:
        start = os.fsencode(os.path.join(folder_path(folder), ""))
        end = start[:-1] + bytes([start[-1] + 1])
        condition = f'path >= "{start.hex()}" and path < "{end.hex()}"'
        return {row["item"] for row in self._tables.scan("files", condition, ["item"])}

    def _name_anew(self, items: set[int]) -> None:
        """Words after files have come or gone; of a row without any they stay until it is removed."""
        paths: dict[int, list[str]] = {}
        for row in self._tables.get("files", "item", sorted(items), ["path", "item"]):
            paths.setdefault(row["item"], []).append(os.fsdecode(bytes.fromhex(row["path"])))
        tables = ["items", *(_vectors(model) for model in self.models())] if paths else []
        for table in tables:
            wanted = self._wanted if table == "items" else [*self._wanted, "number", "vector"]
            changed = []
            for record in self._tables.get(table, "id", sorted(paths), wanted):
                words = words_of(paths[record["id"]], record["text"])
                if words != record["words"]:
                    changed.append({**record, "words": words})
            self._tables.put(table, changed)

    def _mark_left(self, paths: Sequence[str], items: dict[str, int]) -> set[int]:
        """Note rows that lose a place, before they do: `remove_unplaced` looks at them, whatever happens."""
        lost = {
            row["item"]
            for row in self._tables.get("files", "path", paths, ["path", "item"])
            if row["item"] and items.get(row["path"]) != row["item"]
        }
        self._tables.put("meta", [{"name": f"left:{item}", "value": {}} for item in sorted(lost)])
        return lost

    def _count(self, model: StoredModel, number: int | None = None, removed: int = 0) -> None:
        old = self.state(model)
        state = {
            "number": number or old.number,
            "removed": old.removed + removed,
            "last_removal": uuid4().hex if removed else old.last_removal,
        }
        self._set_meta(f"state:{model.key}", state)

    def _meta(self, name: str) -> dict[str, Any] | None:
        found = self._tables.first("meta", f'name == "{name}"', ["value"])
        return found[0]["value"] if found else None

    def _set_meta(self, name: str, value: dict[str, Any]) -> None:
        self._tables.put("meta", [{"name": name, "value": value}])

    def _next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


def _vectors(model: StoredModel) -> str:
    return f"vectors_{model.key}"


def _hex(path: str) -> str:
    """Paths need not be valid text; their bytes as hexadecimal digits are, and keep their order."""
    return os.fsencode(path).hex()


def _file(file: SeenFile, item: int, digest: str, reason: str) -> dict[str, Any]:
    clean = reason.encode(errors="replace")[:MAX_BYTES].decode(errors="ignore")
    values = (_hex(file.path), item, digest, file.size, file.mtime_ns, clean)
    return dict(zip(_FILE, values, strict=True))


def _seen(row: dict[str, Any]) -> SeenFile:
    path = os.fsdecode(bytes.fromhex(row["path"]))
    return SeenFile(path=path, size=row["size"], mtime_ns=row["mtime_ns"])


def _page(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers, ids = (np.array([row[name] for row in rows], np.int64) for name in ("number", "id"))
    return numbers, ids, np.array([row["vector"] for row in rows], np.float32)
