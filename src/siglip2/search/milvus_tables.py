"""A Milvus database as a few tables with keys: the little of pymilvus that the store needs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from siglip2.errors import InvalidInput, Siglip2Error

AT_ONCE = 500
"""Rows of one call."""

INDEX_PARAMS = {"M": 16, "efConstruction": 128}
NO_VECTOR = [0.0, 0.0]
"""Milvus keeps no table without vectors."""

SCHEME = "milvus+"


class MilvusTables:
    """Tables `PREFIX_NAME` of one server."""

    def __init__(self, address: str):
        """Connect to `milvus+http://HOST:PORT/PREFIX`; a token comes from the variable MILVUS_TOKEN.

        Raises:
            InvalidInput: another form of address, or nobody there.
            Siglip2Error: pymilvus is missing.
        """
        parts = urlsplit(address)
        self.prefix = parts.path.strip("/")
        if not parts.scheme.startswith(SCHEME) or not parts.netloc or not self.prefix.isidentifier():
            raise InvalidInput(
                f"{address} is not of the form milvus+http://HOST:PORT/NAME, NAME of letters, digits and _"
            )
        try:
            from pymilvus import DataType, MilvusClient
            from pymilvus.exceptions import MilvusException
        except ModuleNotFoundError as error:
            raise Siglip2Error("Milvus needs pymilvus: pip install 'siglip2[milvus]'") from error
        self.types = DataType
        self.failure: type[Exception] = MilvusException
        uri = f"{parts.scheme[len(SCHEME) :]}://{parts.netloc}"
        try:
            self.client = MilvusClient(uri=uri, token=os.environ.get("MILVUS_TOKEN", ""))
        except MilvusException as error:
            raise InvalidInput(f"no Milvus answers at {uri}: {error.message}") from error

    def exists(self, name: str) -> bool:
        """Whether a table has been made."""
        return bool(self.client.has_collection(self._full(name)))

    def make(
        self,
        name: str,
        key: tuple[str, Any, dict[str, Any]],
        fields: Sequence[tuple[str, Any, dict[str, Any]]],
        embed_dim: int | None = None,
    ) -> None:
        """Make a table if it is not there: its key, fields (name, type, options), and vectors' width E."""
        if self.exists(name):
            return
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        field, kind, options = key
        schema.add_field(field, kind, is_primary=True, **options)
        for field, kind, options in fields:
            schema.add_field(field, kind, **options)
        schema.add_field("vector", self.types.FLOAT_VECTOR, dim=embed_dim or len(NO_VECTOR))
        index = self.client.prepare_index_params()
        if embed_dim:
            index.add_index("vector", index_type="HNSW", metric_type="IP", params=INDEX_PARAMS)
        else:
            index.add_index("vector", index_type="FLAT", metric_type="L2")
        self.client.create_collection(
            self._full(name), schema=schema, index_params=index, consistency_level="Strong"
        )

    def put(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows; those of the same key are replaced."""
        for start in range(0, len(rows), AT_ONCE):
            part = [{"vector": NO_VECTOR, **row} for row in rows[start : start + AT_ONCE]]
            self.client.upsert(self._full(name), part)

    def remove(self, name: str, field: str, values: Sequence[Any]) -> None:
        """Remove the rows in which a field has one of the values."""
        for start in range(0, len(values), AT_ONCE):
            self.client.delete(self._full(name), filter=among(field, values[start : start + AT_ONCE]))

    def get(
        self, name: str, field: str, values: Sequence[Any], wanted: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Rows in which a field has one of the values, in no order."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(values), AT_ONCE):
            found.extend(self.scan(name, among(field, values[start : start + AT_ONCE]), wanted))
        return found

    def scan(
        self, name: str, condition: str, wanted: Sequence[str], chunk: int = AT_ONCE
    ) -> Iterator[dict[str, Any]]:
        """All rows that fulfil a condition, in order of their keys; in constant memory."""
        pages = self.client.query_iterator(
            self._full(name), batch_size=chunk, filter=condition, output_fields=list(wanted)
        )
        try:
            while page := pages.next():
                yield from page
        finally:
            pages.close()

    def first(self, name: str, condition: str, wanted: Sequence[str], limit: int = 1) -> list[dict[str, Any]]:
        """Some rows that fulfil a condition."""
        return list(
            self.client.query(self._full(name), filter=condition, output_fields=list(wanted), limit=limit)
        )

    def count(self, name: str, condition: str) -> int:
        """Number of rows that fulfil a condition."""
        return self.client.query(self._full(name), filter=condition, output_fields=["count(*)"])[0][
            "count(*)"
        ]

    def nearest(
        self, name: str, vector: Any, condition: str, count: int, expansion: int, wanted: Sequence[str]
    ) -> list[dict[str, Any]]:
        """About the `count` rows nearest to a vector (E,), best first."""
        found = self.client.search(
            self._full(name),
            data=[vector],
            filter=condition,
            limit=count,
            output_fields=list(wanted),
            search_params={"metric_type": "IP", "params": {"ef": max(expansion, count)}},
        )
        return [dict(hit["entity"]) for hit in found[0]]

    def close(self) -> None:
        """Let go of the server."""
        self.client.close()

    def _full(self, name: str) -> str:
        return f"{self.prefix}_{name}"


def among(field: str, values: Sequence[Any]) -> str:
    """A condition; values are numbers, or texts of letters, digits and colons only."""
    written = (str(value) if isinstance(value, int) else f'"{value}"' for value in values)
    return f"{field} in [{', '.join(written)}]"
