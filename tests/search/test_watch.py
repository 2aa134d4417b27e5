"""A folder that is watched: what comes, changes, moves and goes."""

import threading
from collections.abc import Callable

import pytest
from tests.search.conftest import draw_photos

from siglip2.search.watch import take_in, watch


def test_changes_are_taken_in(collection, photos):
    collection.add([photos])
    (photos / "photo_000.png").rename(photos / "renamed.png")
    (photos / "photo_001.png").unlink()
    draw_photos(photos / "new", 2, first=30)
    changed = [str(photos / name) for name in ("photo_000.png", "renamed.png", "photo_001.png", "new")]
    report = take_in(collection, changed, [str(photos)])
    assert (report.embedded, report.placed, report.removed) == (2, 1, 1)
    (photos / "new").rename(photos / "elsewhere")
    report = take_in(collection, [str(photos / "new"), str(photos / "elsewhere")], [str(photos)])
    assert (report.embedded, report.placed, report.removed) == (0, 2, 0)


def test_an_unmounted_folder_forgets_nothing(collection, photos):
    collection.add([photos])
    photos.rename(photos.with_name("away"))
    changed = [str(photos), str(photos / "photo_001.png")]
    assert take_in(collection, changed, [str(photos)]).removed == 0
    photos.mkdir()
    assert take_in(collection, changed, [str(photos)]).removed == 0
    assert len(collection) == 20


def test_a_watched_folder(collection, photos):
    pytest.importorskip("watchfiles")
    collection.add([photos])
    stop, began = threading.Event(), threading.Event()
    reports = []

    def until(condition: Callable[[], bool], change: Callable[[int], object]) -> None:
        # The watcher takes a moment to begin, and says nothing when it has: change again until it is seen.
        for turn in range(100):
            if condition():
                return
            change(turn)
            began.wait(0.2)
        raise AssertionError(reports)

    def act() -> None:
        try:
            until(lambda: bool(reports), lambda turn: draw_photos(photos, 1, first=100 + turn))
            (photos / "photo_005.png").unlink()
            until(lambda: any(each.removed for each in reports), lambda _: None)
        finally:
            stop.set()

    (photos / ".hidden.png").write_bytes(b"nothing of interest")
    thread = threading.Thread(target=act)
    thread.start()
    reports.extend(watch(collection, [photos], stop=stop, quiet_ms=50))
    thread.join()
    assert sum(report.embedded for report in reports) >= 1
    assert any(report.removed == 1 for report in reports)
    assert all(report.broken == () for report in reports)
