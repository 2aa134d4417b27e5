"""Videos: a row for each key frame, in the video's place."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.search.conftest import draw_photos

from siglip2.errors import InvalidImage
from siglip2.search import files, indexing
from siglip2.search.pictures import thumbnail
from siglip2.search.upkeep import verify
from siglip2.search.video import frame_place, key_frames, real_path, video_of


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve seconds of three scenes, a key frame a second."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt-get install ffmpeg")
    folder = tmp_path / "videos"
    folder.mkdir()
    colours = "".join(f"[{index}:v]" for index in range(3))
    sources = [
        part
        for colour in ("red", "green", "blue")
        for part in ("-f", "lavfi", "-i", f"color={colour}:s=64x48:d=4:r=10")
    ]
    command = ["ffmpeg", "-v", "error", *sources, "-filter_complex", f"{colours}concat=n=3:v=1", "-g", "10"]
    subprocess.run([*command, str(folder / "odd name é.mp4")], check=True, timeout=60)
    return folder / "odd name é.mp4"


def test_places():
    assert video_of(frame_place("/a/b.mp4", 12.5)) == ("/a/b.mp4", 12.5)
    assert video_of("/a/b/t=1.000") is None
    assert real_path("/a/b.mp4/t=0.000") == "/a/b.mp4"
    assert real_path("/a/b.jpg") == "/a/b.jpg"


def test_frames_come_apart_and_the_first_one_last(video):
    frames = list(key_frames(str(video)))
    assert [frame.seconds for frame in frames] == pytest.approx([2, 4, 6, 8, 10, 0])
    assert all(frame.data.startswith(b"\xff\xd8") for frame in frames)


def test_a_video_in_a_collection(collection, video):
    draw_photos(video.parent, 2)
    report = collection.add([video.parent])
    assert (report.found, report.broken) == (3, ())
    blue = video.parent / "blue.png"
    cut = ["ffmpeg", "-v", "error", "-ss", "9", "-i", str(video), "-frames:v", "1", str(blue)]
    subprocess.run(cut, check=True, timeout=60)
    hit = collection.search(image=blue, limit=1)[0]
    assert hit.row.columns["seconds"] >= 8
    assert real_path(hit.path) == str(video)
    assert thumbnail(hit.row, 24).size == (32, 24)
    red, _, blueness = np.asarray(thumbnail(hit.row, 24)).mean(axis=(0, 1))
    assert blueness > 200 > 100 > red
    assert len(collection.search("a", where=[f"folder={video}"])) == len(collection) - 2
    assert verify(collection, 100).problems == ()
    blue.unlink()
    assert collection.add([video.parent]).known == 3
    # Moved: extracted again, but not embedded again.
    moved = video.rename(video.with_name("moved.mp4"))
    assert collection.add([moved.parent]).embedded == 0
    assert all(real_path(path) != str(video) for hit in collection.search("a") for path in hit.row.paths)
    # Cut short: later frames are forgotten.
    shorter = video.with_name("moved.tmp.mp4")
    cut = ["ffmpeg", "-v", "error", "-i", str(moved), "-t", "3", "-c", "copy", str(shorter)]
    subprocess.run(cut, check=True, timeout=60)
    shorter.replace(moved)
    collection.add([moved.parent])
    assert {path for hit in collection.search("a", where=[f"folder={moved}"]) for path in hit.row.paths} == {
        frame_place(str(moved), 0),
        frame_place(str(moved), 2),
    }
    moved.unlink()
    assert collection.add([moved.parent]).removed > 0
    assert len(collection) == 2


def test_what_is_no_video(collection, video):
    video.write_bytes(b"no video at all")
    with pytest.raises(InvalidImage, match="no key frame"):
        list(key_frames(str(video)))
    (broken,) = collection.add([video.parent]).broken
    assert str(video) in broken.reason
    assert collection.add([video.parent]).broken == (broken,)


def test_without_ffmpeg_videos_are_passed_over(collection, photos, monkeypatch):
    (photos / "film.mp4").write_bytes(b"whatever")
    monkeypatch.setattr(files, "has_ffmpeg", lambda: False)
    monkeypatch.setattr(indexing, "has_ffmpeg", lambda: False)
    report = collection.add([photos])
    assert (report.found, report.broken) == (20, ())
