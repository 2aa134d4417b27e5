"""The index: older ones go on serving, kills cost nothing but time, near-duplicates are the scan's."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.search.vector_rows import make_vectors, open_search, unit, write_vectors

from siglip2.groups import Groups
from siglip2.search import vector_search
from siglip2.search.collection import Collection
from siglip2.search.copies import CopyState
from siglip2.search.duplicates import duplicates
from siglip2.search.inverted_file import MAX_DEAD_SHARE, MAX_GROWTH, InvertedFile
from siglip2.search.k_means import k_means, nearest_centroids
from siglip2.search.query import Query, Term
from siglip2.search.recall import IndexQuality
from siglip2.search.sqlite_store import SqliteStore

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Indexes from 500 rows on; builds in the background are only noted."""
    asked: list[Path] = []

    def note(place: Path, _: str) -> bool:
        asked.append(place)
        return True

    monkeypatch.setattr(vector_search, "EXACT_ROWS", 500)
    monkeypatch.setattr(vector_search, "TAIL_ROWS", 100)
    monkeypatch.setattr(vector_search, "start_build", note)
    return asked


@pytest.fixture
def place(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "c")
    write_vectors(store, make_vectors(1000))
    store.close()
    return tmp_path / "c"


def nearest(search, store, vector: np.ndarray, mode="auto", count: int = 10) -> list[int]:
    query = Query([Term(vector, 1.0, True)], [], lambda: np.zeros((0, 16), np.float32))
    return search.nearest(store, query, [], count, mode)[0].tolist()


def test_past_the_exact_size_an_index_is_asked_for(place, small):
    store, search = open_search(place)
    search.refresh(store)
    nearest(search, store, make_vectors(1, seed=1)[0])
    assert small == [place]  # once
    search.optimise(store)
    store.close()
    store, search = open_search(place)
    search.refresh(store)
    assert small == [place]
    write_vectors(store, make_vectors(101, seed=2), first=1000)
    search.refresh(store)
    assert small == [place] * 2
    store.close()


def test_an_older_index_serves_what_came_and_went_since(place):
    store, search = open_search(place)
    search.optimise(store, 1.0)  # the least of differences would show
    new, gone = make_vectors(50, seed=3), make_vectors(1000)[:20]
    write_vectors(store, new, first=1000)
    store.forget_files([f"/{index:06}.jpg" for index in range(20)])
    assert store.remove_unplaced() == 20
    held = search.index_state(store)
    assert held is not None
    assert held.count == 1000
    for vector in [*new, *gone]:
        assert nearest(search, store, vector) == nearest(search, store, vector, "exact")
    # Half of it gone: not worth keeping, until it is built again.
    store.forget_files([f"/{index:06}.jpg" for index in range(20, int(1000 * MAX_DEAD_SHARE) + 1)])
    store.remove_unplaced()
    assert search.index_state(store) is None
    assert nearest(search, store, new[0]) == nearest(search, store, new[0], "exact")
    search.optimise(store)
    held = search.index_state(store)
    assert held is not None
    assert held.count == 849
    store.close()


@pytest.mark.parametrize("removing", [False, True])
def test_a_backup_put_back_and_other_rows_since(place, removing):
    """Copies and index of what was lost are not taken for those of as many rows that came instead."""
    backup = place.read_bytes()
    for seed in (4, 5):
        place.write_bytes(backup)
        store, search = open_search(place)
        vectors = make_vectors(50, seed=seed)
        write_vectors(store, vectors, first=1000)
        if removing:
            store.forget_files([f"/{seed:06}.jpg"])
            assert store.remove_unplaced() == 1
            write_vectors(store, make_vectors(1, seed=6), first=2000)
        ids = store.matching(store.models()[0], [])
        if seed == 4:
            search.optimise(store, 1.0)
        for mode in ("exact", "auto"):
            for vector in vectors:
                (found,) = nearest(search, store, vector, mode, count=1)
                stored = store.vector(store.models()[0], found)
                assert stored is not None
                assert np.array_equal(stored, vector)
        assert sorted(search.all(store)[0].tolist()) == ids.tolist()
        store.close()


def test_groups_of_any_shape_are_joined():
    """A chain, a star, everything with everything: as one pair after another would join them."""
    rng = np.random.default_rng(0)
    chain, star = np.arange(999), np.zeros(999, int)
    pairs = [(chain, chain + 1), (star, chain + 1), tuple(rng.integers(0, 1000, (2, 300)))]
    for ones, others in pairs:
        order = rng.permutation(len(ones))
        groups = Groups(1000)
        groups.join(ones[order], others[order])
        found = {frozenset(members.tolist()) for members in groups.members()}
        expected = [{index} for index in range(1000)]
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            if expected[one] is not expected[other]:
                expected[one] |= expected[other]
                for index in expected[other]:
                    expected[index] = expected[one]
        assert found == {frozenset(each) for each in expected if len(each) > 1}


def test_cells_that_have_become_too_full_are_made_anew(place):
    store, search = open_search(place)
    search.optimise(store)
    for count in (1000 * MAX_GROWTH, 1000 * MAX_GROWTH + 1):
        held = store.count(store.models()[0])
        write_vectors(store, make_vectors(count - held, seed=count), first=held)
        search.optimise(store)
        state = search.index_state(store)
        assert state is not None
        assert state.count == count
        assert state.trained == (1000 if count <= 1000 * MAX_GROWTH else count)
    store.close()


@pytest.mark.parametrize("embed_dim", [7, 9, 10, 64])
@pytest.mark.parametrize("count", [1, 3, 700])
def test_any_width_and_number_of_rows(tmp_path, embed_dim, count):
    vectors = unit(np.random.default_rng(0).normal(size=(count, embed_dim)))
    index = InvertedFile(tmp_path / "vectors")
    matrix = CopyState(collection="c", count=count, number=count, removed=0, last_removal="")
    index.build(matrix, 10 + np.arange(count), 1 + np.arange(count), vectors)
    state = index.usable(matrix)
    assert state is not None
    found = index.search(state, vectors, min(count, 200), index.num_cells(state))
    assert found.shape == (count, min(count, 200))
    assert all(10 + row in near for row, near in enumerate(found))
    assert index.search(state, vectors[0], 5, 1).shape == (min(count, 5),)


def test_an_index_that_was_not_measured_is_looked_into_everywhere(place, monkeypatch):
    """As after a kill between building and measuring, or beside the measure of an older one."""
    asked: list[int] = []
    search_index = InvertedFile.search

    def noted(self, state, queries, count, cells):
        asked.append(cells)
        return search_index(self, state, queries, count, cells)

    store, search = open_search(place)
    quality = search.optimise(store, 0.5)
    monkeypatch.setattr(InvertedFile, "search", noted)
    probe = make_vectors(1, seed=9)[0]
    nearest(search, store, probe, "index")
    assert asked.pop() == quality.cells < quality.num_cells == 63
    measured = place.with_name("c.cache") / "made-up.quality.json"
    for changed in (measured.read_text().replace('"num_cells": 63', '"num_cells": 62'), "{}"):
        measured.write_text(changed)
        nearest(search, store, probe, "index")
        assert asked.pop() == 63
    store.close()


def test_deep_pages_are_full(place):
    store, search = open_search(place)
    search.optimise(store)
    probe = make_vectors(1, seed=8)[0]
    for count in (10, 500, 1000):
        assert len(nearest(search, store, probe, "index", count)) == count
    assert sorted(nearest(search, store, probe, "index", 1000)) == sorted(
        nearest(search, store, probe, "exact", 1000)
    )
    store.close()


def test_centroids_are_those_of_groups():
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(8, 32)))
    groups = rng.permutation(np.repeat(np.arange(8), 50))
    vectors = unit(centres[groups] + 0.02 * rng.normal(size=(400, 32)))
    centroids = k_means(vectors, 8, seed=3)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    cells = nearest_centroids(vectors, centroids)
    assert all(len(set(groups[cells == cell])) <= 2 for cell in range(8))
    assert len(set(zip(cells, groups, strict=True))) <= 12  # most groups are cells
    # More cells than there are different vectors: the empty ones get some vector.
    same = k_means(np.repeat(centres, 4, axis=0), 20)
    assert np.allclose(np.linalg.norm(same, axis=1), 1, atol=1e-6)


def test_the_recall_target_is_kept(place):
    store, search = open_search(place)
    assert search.optimise(store).target == 0.98
    assert search.optimise(store, 0.9).target == 0.9
    assert search.optimise(store).target == 0.9
    assert search.quality() == search.optimise(store)
    store.close()


MISSED = IndexQuality(recall_at_10=0.5, target=0.98, cells=15, num_cells=15, num_probes=200, num_rows=1000)


def test_an_index_that_finds_too_little_is_not_asked(place, monkeypatch):
    """As among unrelated vectors: the target is out of reach, so rows are compared."""
    store, search = open_search(place)
    monkeypatch.setattr(vector_search, "tune", lambda *_: MISSED)
    assert search.optimise(store) == MISSED
    assert search.misses_target()
    monkeypatch.setattr(InvertedFile, "search", lambda *_: pytest.fail("the index was asked"))
    for probe in make_vectors(5, seed=7):
        assert nearest(search, store, probe) == nearest(search, store, probe, "exact")
    store.close()


def test_an_older_collection_put_back_in_place(place, tmp_path):
    store, search = open_search(place)
    search.optimise(store)
    store.close()
    older = place.read_bytes()
    store, search = open_search(place)
    write_vectors(store, make_vectors(700, seed=4), first=1000)
    search.optimise(store)
    store.close()
    place.write_bytes(older)
    store, search = open_search(place)
    probe = make_vectors(1, seed=5)[0]
    assert len(search.open(store).ids) == 1000
    assert nearest(search, store, probe) == nearest(search, store, probe, "exact")
    store.close()


BUILD = """
import sys
from pathlib import Path
from siglip2.search import inverted_file, vector_search
inverted_file.ADD_CHUNK, inverted_file.FIRST_CHECKPOINT, vector_search.EXACT_ROWS = 20, 100, 500
from tests.search.vector_rows import open_search
store, search = open_search(Path(sys.argv[1]))
print("ready", flush=True)
search.optimise(store)
print("done", flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_while_it_builds(tmp_path, kills):
    store = SqliteStore(tmp_path / "c")
    vectors = make_vectors(6000)
    write_vectors(store, vectors)
    store.close()
    moments, probes = random.Random(0), make_vectors(20, seed=6)
    held: list[int] = []

    def build(seconds: float | None) -> bool:
        command = [sys.executable, "-c", BUILD, str(tmp_path / "c")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if seconds is not None:
                time.sleep(seconds)
                process.kill()
            return "done" in process.stdout.read()

    for _ in range(kills):
        build(moments.uniform(0, 0.6))
        store, search = open_search(tmp_path / "c")
        state = search.index_state(store)
        held.append(state.count if state else 0)
        for probe in probes:
            assert nearest(search, store, probe)[0] == nearest(search, store, probe, "exact")[0]
        store.close()
    assert held == sorted(held)  # what was saved once is gone on from
    assert build(None)
    store, search = open_search(tmp_path / "c")
    state = search.index_state(store)
    assert state is not None
    assert state.count == 6000
    assert len(list((tmp_path / "c.cache").glob("*.faiss"))) == 1
    same = [
        set(nearest(search, store, probe)) & set(nearest(search, store, probe, "exact")) for probe in probes
    ]
    assert np.mean([len(each) for each in same]) > 9.8
    store.close()


def test_the_background_process_builds(place):
    command = [sys.executable, "-m", "siglip2.search.background", str(place), "made-up"]
    subprocess.run(command, check=True, timeout=60)
    store, search = open_search(place)
    state, quality = search.index_state(store), search.quality()
    assert state is not None
    assert state.count == 1000
    assert quality is not None
    assert quality.recall_at_10 > 0.98
    store.close()


def test_duplicates_by_index_are_those_by_scan(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    centres = make_vectors(300)
    # Groups of 1 to 5, and one of 100: more than are asked for at first.
    sizes = [*rng.integers(1, 6, size=299), 100]
    spread = np.repeat(centres, sizes, axis=0) + rng.normal(scale=0.01, size=(sum(sizes), 16))
    store = SqliteStore(tmp_path / "c")
    model = write_vectors(store, unit(spread))
    search = vector_search.VectorSearch(tmp_path / "c", store.id, model)
    search.optimise(store)

    def no_encoder():
        raise AssertionError("duplicates need no model")

    collection = Collection(store, model, search, no_encoder)
    by_index = list(duplicates(collection, 0.97))
    monkeypatch.setattr(vector_search, "EXACT_ROWS", 10_000)
    by_scan = list(duplicates(collection, 0.97))
    assert [[row.id for row in group.rows] for group in by_index] == [
        [row.id for row in group.rows] for group in by_scan
    ]
    assert [group.least_cosine for group in by_index] == [group.least_cosine for group in by_scan]
    assert max(len(group.rows) for group in by_scan) == 100
    assert len(by_scan) > 200
    store.close()
