"""What goes wrong around a collection: a full disk, two writers, a clock put back, photos taken sideways."""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image
from tests.search.conftest import draw_photos, without_rights
from tests.search.vector_rows import make_vectors, open_search, write_vectors

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.search.collection import Collection
from siglip2.search.query import Query, Term
from siglip2.search.rows import StoredModel
from siglip2.search.sqlite_store import SqliteStore
from siglip2.search.vector_search import VectorSearch


def test_a_full_disk_costs_the_batch_in_flight(tmp_path):
    store = SqliteStore(tmp_path / "c")
    model = write_vectors(store, make_vectors(100))
    ((pages,),) = store._db.execute("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(Siglip2Error, match=r"c cannot be written: .*full"):
        write_vectors(store, make_vectors(500, seed=1), first=100)
    assert store.count(model) == 100
    store._db.execute("PRAGMA max_page_count=1000000")
    write_vectors(store, make_vectors(500, seed=1), first=100)
    assert store.count(model) == 600
    store.close()


def test_two_writers_take_turns(tmp_path, encoder):
    draw_photos(tmp_path / "photos", 24)
    reports = []

    def add() -> None:
        with Collection.open(tmp_path / "c", encoder) as mine:
            reports.append(mine.add([tmp_path / "photos"], batch_size=3))

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.broken for report in reports] == [(), ()]
    with Collection.open(tmp_path / "c", encoder) as opened:
        assert len(opened) == 24
        assert opened.add([tmp_path / "photos"]).known == 24


def test_searches_while_the_index_is_built(tmp_path):
    store = SqliteStore(tmp_path / "c")
    vectors = make_vectors(4000)
    write_vectors(store, vectors)
    store.close()
    done, found = threading.Event(), []

    def read() -> None:
        reader, search = open_search(tmp_path / "c")
        for vector in vectors:
            query = Query([Term(vector, 1.0, True)], [], lambda: vectors)
            found.append(search.nearest(reader, query, [], 1)[1][0])
            if done.is_set():
                break
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    store, search = open_search(tmp_path / "c")
    search.optimise(store)
    done.set()
    thread.join()
    store.close()
    assert len(found) > 1
    assert np.allclose(found, 1, atol=1e-5)


def test_many_small_changes_leave_nothing_behind(tmp_path):
    vectors = make_vectors(400)

    def bytes_after(name: str, change: Callable[[SqliteStore], StoredModel]) -> int:
        (tmp_path / name).mkdir()
        store = SqliteStore(tmp_path / name / "c")
        model = change(store)
        assert store.count(model) == 200
        VectorSearch(tmp_path / name / "c", store.id, model).optimise(store)
        store.close()
        return sum(path.stat().st_size for path in (tmp_path / name).rglob("*") if path.is_file())

    def one_by_one(store: SqliteStore) -> StoredModel:
        for index in range(400):
            write_vectors(store, vectors[index, None], first=index)
            if index >= 200:
                store.forget_files([f"/{index - 200:06}.jpg"])
                store.remove_unplaced()
        return store.models()[0]

    at_once = bytes_after("at once", lambda store: write_vectors(store, vectors[200:]))
    assert bytes_after("one by one", one_by_one) < 3 * at_once


def test_a_clock_put_back(collection, photos):
    collection.add([photos])
    changed = photos / "photo_004.png"
    Image.new("RGB", (40, 40), "red").save(changed)
    os.utime(changed, (1000, 1000))
    report = collection.add([photos])
    assert (report.embedded, report.known, report.removed) == (1, 19, 1)


def test_sideways_photos_are_upright_ones(collection, tmp_path):
    folder = tmp_path / "turned"
    folder.mkdir()
    gradient = np.linspace(0, 255, 96 * 64).reshape(64, 96)
    upright = Image.fromarray(np.stack([gradient, gradient[::-1], gradient[:, ::-1]], -1).astype(np.uint8))
    upright.save(folder / "1.jpg", quality=95)
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.transpose(turn).save(folder / f"{orientation}.jpg", quality=95, exif=exif)
    collection.add([folder])
    hits = collection.search(image=folder / "1.jpg")
    assert len(hits) == 4
    assert min(hit.cosine for hit in hits) > 0.99
    assert {(hit.row.facts.width, hit.row.facts.height) for hit in hits} == {(96, 64)}


@pytest.mark.parametrize("content", ["another program's tables", ""])
def test_opening_writes_into_no_other_file(tmp_path, encoder, content):
    place = tmp_path / "f.db"
    place.touch()
    if content:
        with closing(sqlite3.connect(place)) as other:
            other.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    before = place.read_bytes()
    with pytest.raises(InvalidInput, match=r"f\.db is .* no collection"):
        Collection.open(place, encoder, create=False)
    if content:
        with pytest.raises(InvalidInput, match="database of another program"):
            Collection.open(place, encoder)
    assert place.read_bytes() == before
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="users as Linux has them")
@pytest.mark.parametrize("has_copies", [True, False])
def test_a_collection_that_cannot_be_written(monkeypatch, has_copies):
    with TemporaryDirectory() as name:
        folder, cache = Path(name) / "media", Path(name) / "cache"
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        folder.mkdir()
        cache.mkdir()
        place = folder / "a collection?"
        store = SqliteStore(place)
        model = write_vectors(store, make_vectors(3))
        if has_copies:
            VectorSearch(place, store.id, model).refresh(store)
        store.close()
        files = [*folder.rglob("*"), folder]
        for path in files:
            path.chmod(0o555 if path.is_dir() else 0o444)
        Path(name).chmod(0o755)
        cache.chmod(0o777)
        with without_rights(), Collection.open(place, create=False) as collection:
            assert collection.vectors.all(collection.store)[0].tolist() == [1, 2, 3]
            assert collection.store.rows([2])[0].paths == ("/000001.jpg",)
            with pytest.raises(Siglip2Error, match="cannot be written"):
                collection.store.forget_files(["/000001.jpg"])
        folder.chmod(0o755)
        assert [each for each in files if each.exists()] == files == [*folder.rglob("*"), folder]
