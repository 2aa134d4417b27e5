"""Rows and results as Arrow tables and data frames."""

import json

import numpy as np
import pytest

from siglip2.search import table
from siglip2.search.table import row_batches

pytest.importorskip("pyarrow")


def test_results_as_tables(collection, photos):
    collection.add([photos])
    hits = collection.search("a dog", limit=5)
    arrow = hits.to_arrow()
    assert arrow.column("paths").to_pylist() == [list(hit.row.paths) for hit in hits]
    assert arrow.column("probability").to_pylist() == [hit.probability for hit in hits]
    assert arrow.column("width").to_pylist() == [40] * 5
    pytest.importorskip("pandas")
    frame = hits.to_pandas()
    assert list(frame["score"]) == [hit.score for hit in hits]
    assert collection.search("a dog", min_probability=0.999).to_arrow().num_rows == 0
    assert collection.like(hits[0].row.id, limit=3).to_arrow().num_rows == 3


def test_a_whole_collection(collection, photos, monkeypatch):
    collection.add([photos])
    collection.add_texts([{"text": "a shoe", "price": 7}])
    monkeypatch.setattr(table, "CHUNK", 6)
    assert [batch.num_rows for batch in row_batches(collection)] == [6, 6, 6, 3]
    everything = collection.to_arrow(with_vectors=True)
    ids, vectors = collection.vectors.all(collection.store)
    assert everything.column("id").to_pylist() == ids.tolist()
    assert np.array_equal(np.stack(everything.column("vector").to_pylist()), vectors)
    (text,) = collection.to_arrow(["kind=text"]).to_pylist()
    assert (text["text"], json.loads(text["columns"]), text["paths"]) == ("a shoe", {"price": 7}, [])
    assert collection.to_arrow(["price>8"]).num_rows == 0
