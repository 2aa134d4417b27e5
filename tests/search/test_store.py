"""What every store has to do; a further store joins by a line in `reopen`."""

import re

import numpy as np
import pytest
from tests.search.milvus_server import milvus_server

from siglip2.errors import InvalidInput
from siglip2.search.filters import parse_filter
from siglip2.search.milvus_store import MilvusStore
from siglip2.search.rows import BrokenFile, NewRow, PhotoFacts, SeenFile
from siglip2.search.sqlite_store import SqliteStore
from siglip2.search.store import Store

STORES = ("sqlite", "milvus")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address


@pytest.fixture(params=STORES)
def reopen(request, tmp_path):
    opened: list[Store] = []

    def open_again() -> Store:
        for store in opened:
            store.close()
        if request.param == "sqlite":
            opened.append(SqliteStore(tmp_path / "store"))
        else:
            name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
            opened.append(MilvusStore(f"{request.getfixturevalue('server')}/{name}"))
        return opened[-1]

    yield open_again
    for store in opened[-1:]:  # none where the test was skipped
        store.close()


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


def test_texts_are_removed(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    store.write(model, [row(number, None, kind="text", text="t") for number in (1, 2)])
    before = store.state(model)
    store.remove_rows(store.matching(model, []).tolist()[:1])
    assert store.count(model) == 1
    assert not store.has_vector(model, bytes([1]))
    assert store.has_vector(model, bytes([2]))
    assert store.state(model).removed == before.removed + 1
    assert store.state(model).last_removal != before.last_removal
    store.write(model, [row(1, None, kind="text", text="t")])
    assert store.count(model, [parse_filter("words=t")]) == 2


def test_words_follow_the_files(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)

    def found(words: str) -> int:
        return store.count(model, [parse_filter(f"words={words}")])

    store.write(model, [row(1, "/a/IMG_001.jpg"), row(2, "/a/other.jpg")])
    store.write(model, [row(1, "/b/cow_beach.jpg")])
    assert found("cow") == found("IMG 001") == 1
    store.forget_files(["/a/IMG_001.jpg"])
    assert (found("cow"), found("IMG 001")) == (1, 0)
    store.write(model, [row(1, "/b/sunset.jpg"), row(2, "/b/cow_beach.jpg")])
    assert (found("sunset"), found("cow"), found("other cow")) == (1, 1, 1)
    assert [
        each.paths for each in store.rows(store.matching(model, [parse_filter("words=cow")]).tolist())
    ] == [("/a/other.jpg", "/b/cow_beach.jpg")]


def test_models_side_by_side(reopen):
    store = reopen()
    one, two = (store.add_model(name, name, 4, 1.0, 0.0) for name in "ab")
    store.write(one, [row(1, "/1")])
    assert store.has_vector(one, bytes([1]))
    assert not store.has_vector(two, bytes([1]))
    assert (store.count(one), store.count(two)) == (1, 0)
    assert list(store.digests(one)) == [bytes([1])]
    assert list(store.digests(two)) == []
    number = store.state(one).number
    assert store.has_number(one, number)
    assert not store.has_number(two, number)
    assert list(store.vectors_after(one, number)) == []


def test_filters(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    paris = PhotoFacts(width=400, height=300, taken_at="2021-06-15 12:00:00", latitude=48.85, longitude=2.35)
    fiji = PhotoFacts(taken_at="2020-01-01 00:00:00", latitude=-17.8, longitude=179.9, camera="Canon EOS 1")
    store.write(
        model,
        [
            row(1, "/a/red_bicycle.jpg", facts=paris, columns={"price": 3, 'odd " name': "x"}),
            row(2, "/b/Café 100%.jpg", facts=fiji, columns={"shop": "North"}),
            row(3, kind="text", text="a 'quoted\" word", columns={"price": 20}),
        ],
    )
    ids = store.matching(model, []).tolist()

    def found(*where: str) -> list[int]:
        chosen = store.matching(model, [parse_filter(each) for each in where]).tolist()
        assert store.count(model, [parse_filter(each) for each in where]) == len(chosen)
        return [1 + ids.index(each) for each in chosen]

    assert found("taken=2021") == found("taken>2020") == found("taken>=2021-06-15") == [1]
    assert found("taken<=2020") == found("taken<2020-02") == [2]
    assert found("taken~06-15") == [1]
    assert found("camera~canon") == found("camera=Canon EOS 1") == [2]
    assert found("width>=400", "height<301") == [1]
    assert found("near=48.8,2.3,20") == [1]
    assert found("near=-17.8,-179.9,50") == [2]
    assert found("near=48.8,2.3,1e300") == [1, 2]
    assert found("folder=/a") == [1]
    assert found("words=bicycle red") == [1]
    assert found("words=cafe") == [2]
    assert found("words=icycl") == []
    assert found("kind=text") == found("words=quoted") == [3]
    assert found("price<20") == [1]
    assert found("price>2") == [1, 3]
    assert found("shop=North") == found("shop~ort") == [2]
    assert found('odd " name=x') == [1]
    assert found('camera=" or id > 0 or camera == "') == []
    assert found("camera~%") == []
    assert store.kinds(model) == {"image", "text"}


def test_filters_by_what_is_meant(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    noon, evening = (PhotoFacts(taken_at=f"2021-06-01 {time}") for time in ("11:59:00", "18:30:00"))
    rows = [
        row(1, "/a", facts=noon, columns={"sku": "00123", "price": "on request"}),
        row(2, "/b", facts=evening, columns={"sku": 123, "price": 7}),
        row(3, "/c", columns={"sku": "123", "price": 1e6}),
    ]
    store.write(model, rows)
    ids = store.matching(model, []).tolist()

    def found(where: str) -> list[int]:
        return [1 + ids.index(each) for each in store.matching(model, [parse_filter(where)]).tolist()]

    assert found("taken>=2021-06-01T12:00") == [2]
    assert found("sku=00123") == [1]
    assert found("sku=123") == [2, 3]
    assert found("price<1e5") == [2]
    assert found("price>a") == [1]


@pytest.mark.parametrize(
    "where",
    [
        *("taken<banana", "taken<2021-6", "taken>=06/2021", "taken=2021-02-30", "taken=", "width<abc"),
        *("width>1000px", "width~4", "height=nan", "kind=photo", "kind>image", "near=1,2", "near=1,2,nan"),
        *("camera=a\0b", "! !=4", "!=4"),
    ],
)
def test_filters_that_mean_nothing(where):
    with pytest.raises(InvalidInput, match=re.escape(repr(where[:4])[1:-1])):
        parse_filter(where)


def test_letters_of_any_script(tmp_path):
    store = SqliteStore(tmp_path / "c")
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    store.write(model, [row(1, "/a", columns={"city": "ZÜRICH"}, facts=PhotoFacts(camera="ЗЕНИТ"))])
    for where in ("city~zürich", "camera~зенит"):
        assert store.count(model, [parse_filter(where)]) == 1
    store.close()


def test_a_changed_file_leaves_no_row_behind(reopen):
    store = reopen()
    model = store.add_model("m", "f", 4, 10.0, -3.0)
    store.write(model, [row(1, "/1"), row(2, "/2")])
    store.write(model, [row(3, "/1")])
    assert store.remove_unplaced() == 1
    found = store.rows(store.matching(model, []).tolist())
    assert sorted(each.paths for each in found) == [("/1",), ("/2",)]
    assert not store.has_vector(model, bytes([1]))
