"""What every store has to do; a further store joins by a line in STORES."""

import numpy as np
import pytest

from siglip2.search.filters import parse_filter
from siglip2.search.rows import BrokenFile, NewRow, SeenFile
from siglip2.search.sqlite_store import SqliteStore

STORES = {"sqlite": SqliteStore}


@pytest.fixture(params=STORES)
def reopen(request, tmp_path):
    opened = []

    def open_again():
        for store in opened:
            store.close()
        opened.append(STORES[request.param](tmp_path / "store"))
        return opened[-1]

    yield open_again
    opened[-1].close()


def file(path: str, size: int = 1) -> SeenFile:
    return SeenFile(path=path, size=size, mtime_ns=7)


def row(number: int, path: str | None = None, **more) -> NewRow:
    vector = np.eye(4, dtype=np.float32)[number % 4]
    place = None if path is None else file(path)
    return NewRow(digest=bytes([number]), vector=vector, file=place, **more)


def test_rows_survive_reopening(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    store.write(model, [row(1, "/a/1"), row(2, "/a/2", columns={"price": 3})], [])
    store.write(model, [row(1, "/b/1")])
    store = reopen()
    assert store.models() == [model]
    assert store.add_model("m", "f", 4, 10.0, -3.0) == model
    ids = store.matching(model, [])
    assert [each.paths for each in store.rows(ids.tolist())] == [("/a/1", "/b/1"), ("/a/2",)]
    assert store.rows([int(ids[1])])[0].columns == {"price": 3}
    assert store.rows([999]) == []
    assert store.vector(model, int(ids[1])).tolist() == [0, 0, 1, 0]
    assert store.vector(model, 999) is None
    assert store.matching(model, [parse_filter("price>2")]).tolist() == [ids[1]]
    assert store.count(model, [parse_filter("folder=/b")]) == 1
    assert store.known_file("/a/2") == (file("/a/2"), bytes([2]))
    assert store.known_file("/a/3") is None


def test_all_of_a_batch_or_nothing(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    wrong = NewRow(digest=b"w", vector=np.zeros(3, np.float32), file=file("/w"))
    with pytest.raises(Exception, match="vector"):
        store.write(model, [row(1, "/1"), wrong])
    assert store.count(model) == 0
    assert store.known_file("/1") is None


def test_broken_files_are_kept_until_they_are_well(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    broken = BrokenFile(file=file("/x\udcff"), reason="cut off")
    store.write(model, [], [broken])
    assert store.known_broken("/x\udcff") == broken
    assert store.broken_files() == [broken]
    store.write(model, [row(1, "/x\udcff")])
    assert store.broken_files() == []


def test_forgetting(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    store.write(model, [row(1, "/a/1"), row(1, "/b/1"), row(2, "/a/2"), row(3, None, kind="text", text="t")])
    before = store.state(model)
    assert list(store.paths_under("/a")) == ["/a/1", "/a/2"]
    store.forget_files(["/a/1", "/a/2"])
    assert store.remove_unplaced() == 1
    assert store.count(model) == 2
    assert store.state(model) != before
    ((_, ids, vectors),) = store.vectors_after(model, 0)
    assert vectors.shape == (2, 4)
    assert store.rows(ids.tolist())[1].text == "t"


def test_models_side_by_side(reopen):
    store = reopen()
    one, two = (store.add_model(name, name, 4, 1.0, 0.0) for name in "ab")
    store.write(one, [row(1, "/1")])
    assert store.has_vector(one, bytes([1]))
    assert not store.has_vector(two, bytes([1]))
    assert (store.count(one), store.count(two)) == (1, 0)
    number, _ = store.state(one)
    assert list(store.vectors_after(one, number)) == []
