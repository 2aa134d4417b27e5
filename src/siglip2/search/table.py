"""Rows and results as Arrow tables, and through them as data frames. Needs pyarrow (`siglip2[search]`)."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siglip2.errors import Siglip2Error
from siglip2.search.filters import Filter, parse_filter
from siglip2.search.rows import Hit, Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from siglip2.search.collection import Collection

CHUNK = 4096
"""Rows of a record batch."""


class Hits(list[Hit]):
    """Results, best first: a list, with views for programs that work on tables."""

    def to_arrow(self) -> "pa.Table":
        """One row a result: `score`, `cosine`, `logit`, `probability`, and the columns of `rows_table`.

        Raises:
            Siglip2Error: pyarrow is missing.
        """
        pa = _pyarrow()
        scores = {
            name: pa.array([getattr(hit, name) for hit in self], pa.float64())
            for name in ("score", "cosine", "logit", "probability")
        }
        return pa.table({**scores, **_columns([hit.row for hit in self])})

    def to_pandas(self) -> "pd.DataFrame":
        """`to_arrow` as a data frame.

        Raises:
            Siglip2Error: pyarrow or pandas is missing.
        """
        try:
            return self.to_arrow().to_pandas()
        except ModuleNotFoundError as error:
            raise Siglip2Error("a data frame needs pandas: pip install pandas") from error


def row_batches(
    collection: "Collection", where: Sequence[str | Filter] = (), *, with_vectors: bool = False
) -> "pa.RecordBatchReader":
    """All rows that pass the filters, batch by batch, in memory that does not grow with the collection.

    Raises:
        InvalidInput: a filter that cannot be read.
        Siglip2Error: pyarrow is missing.
    """
    pa = _pyarrow()
    filters = [parse_filter(each) if isinstance(each, str) else each for each in where]
    ids, vectors = collection.vectors.all(collection.store)
    chosen = np.arange(len(ids))
    if filters:
        chosen = np.flatnonzero(np.isin(ids, collection.store.matching(collection.model, filters)))

    def batches() -> Iterator[Any]:
        for start in range(0, len(chosen), CHUNK):
            places = chosen[start : start + CHUNK]
            rows = {row.id: row for row in collection.store.rows(ids[places].tolist())}
            places = [place for place in places if int(ids[place]) in rows]  # some may have just gone
            columns = _columns([rows[int(ids[place])] for place in places])
            if with_vectors:
                flat = np.asarray(vectors[places], np.float32).ravel()
                columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])
            yield pa.record_batch(columns, schema=schema)

    schema = _schema(vectors.shape[1] if with_vectors else None)
    return pa.RecordBatchReader.from_batches(schema, batches())


def _schema(embed_dim: int | None) -> "pa.Schema":
    pa = _pyarrow()
    fields = [
        pa.field("id", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("paths", pa.list_(pa.string())),
        pa.field("text", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("taken_at", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("camera", pa.string()),
        pa.field("columns", pa.string()),
    ]
    if embed_dim is not None:
        fields.append(pa.field("vector", pa.list_(pa.float32(), embed_dim)))
    return pa.schema(fields)


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    """Arrow arrays by name. `columns` is JSON; bytes of a path that are no text become question marks."""
    pa = _pyarrow()
    values: dict[str, list[Any]] = {
        "id": [row.id for row in rows],
        "kind": [row.kind for row in rows],
        "paths": [[path.encode(errors="replace").decode() for path in row.paths] for row in rows],
        "text": [row.text for row in rows],
        **{
            name: [getattr(row.facts, name) for row in rows]
            for name in ("width", "height", "taken_at", "latitude", "longitude", "camera")
        },
        "columns": [json.dumps(dict(row.columns)) for row in rows],
    }
    return {field.name: pa.array(values[field.name], field.type) for field in _schema(None)}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise Siglip2Error("tables need pyarrow: pip install 'siglip2[search]'") from error
    return pyarrow
