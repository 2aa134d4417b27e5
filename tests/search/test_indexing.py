"""Folders as they are: changed, moved, broken, interrupted."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image
from tests.search.conftest import draw_photos, without_rights

from siglip2.errors import InvalidInput
from siglip2.search import indexing
from siglip2.search.collection import Collection
from siglip2.search.decoder_process import Failure
from siglip2.search.decoders import DecodedPhoto
from siglip2.search.rows import SeenFile
from siglip2.weights.load import save_checkpoint


def counts(report) -> tuple[int, int, int, int]:
    return report.embedded, report.known, report.placed, report.removed


def test_only_what_changed_is_embedded(collection, photos):
    collection.add([photos])
    assert counts(collection.add([photos])) == (0, 20, 0, 0)
    (photos / "photo_000.png").rename(photos / "renamed.png")
    photos.rename(photos.with_name("moved"))
    moved = photos.with_name("moved")
    assert counts(collection.add([moved])) == (0, 0, 20, 0)
    assert len(collection) == 20
    Image.new("RGB", (40, 40), "red").save(moved / "photo_001.png")
    (moved / "photo_002.png").unlink()
    draw_photos(moved, 1, first=50)
    # The old pictures of 001 and 002 still stand under the folder's old name, which was not looked at.
    assert counts(collection.add([moved])) == (2, 18, 0, 0)
    photos.mkdir()
    draw_photos(photos, 1, first=60)
    assert counts(collection.add([photos])) == (1, 0, 0, 2)
    assert len(collection) == 21
    assert collection.search("a", limit=50, where=["words=photo 002"]) == []


def test_same_time_and_size_but_other_content(collection, photos):
    path = photos / "photo_000.bmp"
    Image.new("RGB", (8, 8), "red").save(path)
    collection.add([photos])
    before = path.stat()
    Image.new("RGB", (8, 8), "blue").save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert collection.add([photos]).known == 21
    assert counts(collection.add([photos], check_content=True)) == (1, 0, 20, 1)


def test_an_emptied_folder_is_taken_for_an_unmounted_disk(collection, photos):
    collection.add([photos])
    for path in photos.iterdir():
        path.unlink()
    report = collection.add([photos])
    assert report.kept_folders == (str(photos),)
    assert len(collection) == 20


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="users as Linux has them")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_cannot_be_listed_keeps_its_photos(encoder, monkeypatch, mode):
    with TemporaryDirectory() as name, Collection.open(Path(name) / "c", encoder) as collection:
        private, folder = Path(name) / "photos" / "private", Path(name) / "photos"
        draw_photos(private, 2)
        draw_photos(folder, 2, first=10)
        collection.add([folder])
        for place in (name, folder):
            Path(place).chmod(0o755)
        (folder / "photo_010.png").unlink()
        private.chmod(mode)
        with monkeypatch.context() as patched:
            # The rights go for the walk and come back for the collection, which is root's.
            walk = indexing.find_photos

            def find_photos(*arguments) -> Iterator[SeenFile]:
                with without_rights():
                    found = list(walk(*arguments))
                yield from found

            patched.setattr(indexing, "find_photos", find_photos)
            # What lies in there is not said to exist, without rights.
            there = os.path.lexists
            patched.setattr(
                os.path, "lexists", lambda path: there(path) and not path.startswith(f"{private}/")
            )
            report = collection.add([folder])
        private.chmod(0o755)
        assert counts(report) == (0, 1, 0, 1)
        assert report.broken == ()
        assert [each.split(": ")[0] for each in report.unlisted] == [f"{private} cannot be listed"]
        assert counts(collection.add([folder])) == (0, 3, 0, 0)


def test_what_failed_for_other_reasons_is_tried_again(collection, photos, monkeypatch):
    """A missing plug-in, rights, a slow decoder: none is the file's, which stays as it is."""
    (photos / "damaged.jpg").write_bytes(b"no picture")
    tried: list[str] = []
    decode = indexing.decode_photos

    def decode_photos(asked, *arguments, **options):
        for each in decode(asked, *arguments, **options):
            path = each.photo.file.path
            tried.append(path)
            if len(tried) <= 21 and path.endswith("004.png"):
                yield DecodedPhoto(photo=each.photo, failure=Failure(reason=f"{path} is HEIC", lasting=False))
            else:
                yield each

    monkeypatch.setattr(indexing, "decode_photos", decode_photos)
    assert len(collection.add([photos]).broken) == 2
    tried.extend(["the second run"])
    report = collection.add([photos])
    assert tried[22:] == [str(photos / "photo_004.png")]
    assert (report.embedded, report.known, len(report.broken)) == (1, 19, 1)


def test_a_batch_of_nothing(collection, photos):
    with pytest.raises(InvalidInput, match="batch_size is 0"):
        collection.add([photos], batch_size=0)


def test_copies_are_one_row(collection, photos):
    (photos / "sub").mkdir()
    (photos / "sub" / "copy.png").write_bytes((photos / "photo_003.png").read_bytes())
    collection.add([photos])
    assert len(collection) == 20
    hit = collection.search(image=photos / "photo_003.png", limit=1)[0]
    assert hit.row.paths == (str(photos / "photo_003.png"), str(photos / "sub" / "copy.png"))


def make_odd_folder(folder: Path, repeats: int) -> tuple[int, int]:
    """Good and bad files of every kind; their numbers."""
    good = draw_photos(folder, 1)[0].read_bytes()
    num_good, num_bad = 1, 0
    for index in range(repeats):
        bad = {
            "empty.jpg": b"",
            "cut.png": good[: len(good) // 2],
            "text.jpg": b"no picture at all" * (index + 1),
            "huge.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\2\0\0\0"
            + good[29:],
        }
        for name, data in bad.items():
            (folder / f"{index}_{name}").write_bytes(data)
        (folder / f"{index}_loop.jpg").symlink_to(folder / f"{index}_loop.jpg")
        (folder / f"{index}_gone.jpg").symlink_to(folder / "nowhere.jpg")
        os.mkfifo(folder / f"{index}_pipe.jpg")
        num_bad += len(bad) + 3
        sub = folder / f"{index} with spaces"
        sub.mkdir()
        (sub / "again").symlink_to(folder, target_is_directory=True)
        for name in (b"new\nline.png", b"not \xff text.png", "naïve 猫.PNG".encode(), b"'quote\".png"):
            pixels = np.random.default_rng([index, *name]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            with open(os.path.join(os.fsencode(sub), name), "wb") as file:
                Image.fromarray(pixels).resize((40, 40)).save(file, "PNG")
            num_good += 1
        (sub / ".hidden.png").write_bytes(good)
        (sub / "notes.txt").write_text("no photo")
    return num_good, num_bad


@pytest.mark.parametrize("repeats", [3, pytest.param(72, marks=pytest.mark.slow)])
def test_odd_folders(collection, tmp_path, repeats):
    num_good, num_bad = make_odd_folder(tmp_path / "odd", repeats)
    report = collection.add([tmp_path / "odd"])
    assert report.embedded == num_good
    assert len(report.broken) == num_bad
    for broken in report.broken:
        assert broken.file.path in broken.reason
    hits = collection.search("a", limit=1000)
    assert sum("\udcff" in (hit.path or "") for hit in hits) == repeats
    again = collection.add([tmp_path / "odd"])
    assert (again.embedded, again.known, len(again.broken)) == (0, num_good, num_bad)


ADD = """
import sys
from siglip2.encoder import load
from siglip2.errors import InvalidInput
from siglip2.search.collection import Collection
with Collection.open(sys.argv[1], sys.argv[2]) as collection:
    print("ready", flush=True)
    collection.add([sys.argv[3]], batch_size=2)
    collection.vectors.optimise(collection.store)
    print("done", flush=True)
"""


def contents(path: Path) -> dict[str, bytes]:
    with Collection.open(path) as opened:
        rows = opened.store.rows(opened.store.matching(opened.model, []).tolist())
        found = {}
        for row in rows:
            vector = opened.store.vector(opened.model, row.id)
            assert vector is not None
            found.update({name: vector.tobytes() for name in row.paths})
        return found


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, encoder, kills):
    draw_photos(tmp_path / "photos", 40 if kills < 10 else 400)
    save_checkpoint(encoder.checkpoint, tmp_path / "model")
    arguments = [sys.executable, "-c", ADD, "{}", str(tmp_path / "model"), str(tmp_path / "photos")]

    def start(name: str) -> subprocess.Popen[str]:
        command = [part.format(tmp_path / name) if part == "{}" else part for part in arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=120)
        return output

    began = time.monotonic()
    assert "done" in finish(start("undisturbed"))
    seconds = time.monotonic() - began
    moments, known = random.Random(0), 0
    for _ in range(kills):
        process = start("killed")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 0.5 * seconds))
        process.send_signal(signal.SIGKILL)
        finish(process)
        with Collection.open(tmp_path / "killed", create=False) as opened:
            assert len(opened) >= known  # nothing that was acknowledged is lost
            known = len(opened)
    assert "done" in finish(start("killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
