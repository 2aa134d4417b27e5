"""Key frames of videos, through the program ffmpeg. Without it, videos are passed over.

A frame is a photo whose place is `VIDEO/t=SECONDS`, as if the video were a folder.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from siglip2.errors import InvalidImage, UnavailableImage

_ENDINGS = "mp4 m4v mov mkv webm avi mts m2ts 3gp"
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split(" "))
LEAST_GAP_SECONDS = 2.0
MAX_FRAMES = 300
MAX_SIDE = 1024
"""More than any tower sees."""

TIMEOUT_SECONDS = 900

_PLACE = re.compile(r"(.+)[/\\]t=(\d+\.\d{3})", re.DOTALL)
_SHOWN = re.compile(r"Parsed_showinfo.*? pts_time:\s*([\d.]+)")
_SCALE = f"scale='min({MAX_SIDE},iw)':'min({MAX_SIDE},ih)':force_original_aspect_ratio=decrease"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A key frame.

    Attributes:
        path: its place.
        seconds: from the beginning of the video.
        data: bytes of a JPEG.
    """

    path: str
    seconds: float
    data: bytes


def has_ffmpeg() -> bool:
    """Whether the program is there."""
    return shutil.which("ffmpeg") is not None


def is_video(path: str) -> bool:
    """By the ending of its name."""
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def frame_place(video: str, seconds: float) -> str:
    """Where a frame is said to lie."""
    return os.path.join(video, f"t={seconds:.3f}")


def video_of(path: str) -> tuple[str, float] | None:
    """Video and seconds of a frame's place; None for a file's."""
    match = _PLACE.fullmatch(path)
    return (match[1], float(match[2])) if match and is_video(match[1]) else None


def real_path(path: str) -> str:
    """The file that a place is in: itself, or the video of a frame."""
    frame = video_of(path)
    return frame[0] if frame else path


def key_frames(video: str) -> Iterator[Frame]:
    """Key frames, at least LEAST_GAP_SECONDS apart and at most MAX_FRAMES.

    The first one comes last: a collection that has it has all of them, whatever killed the run.

    Raises:
        InvalidImage: ffmpeg finds no picture in the file, or takes longer than TIMEOUT_SECONDS.
    """
    gap = f"isnan(prev_selected_t)+gte(t-prev_selected_t\\,{LEAST_GAP_SECONDS})"
    with TemporaryDirectory(prefix="siglip2-frames-") as folder:
        options = [
            *("-vf", f"select='{gap}',{_SCALE},showinfo", "-fps_mode", "passthrough"),
            *("-frames:v", str(MAX_FRAMES), "-q:v", "3", os.path.join(folder, "%06d.jpg")),
        ]
        said = _ffmpeg(video, ["-skip_frame", "nokey"], options)
        files = sorted(Path(folder).iterdir())
        seconds = [float(match[1]) for match in _SHOWN.finditer(said)][: len(files)]
        if not files or len(seconds) != len(files):
            raise InvalidImage(f"{video} is a video in which ffmpeg finds no key frame: {_last_line(said)}")
        # The first one is said to be at 0, which is where it is looked for, whatever clock the video keeps.
        for second, file in [*zip(seconds[1:], files[1:], strict=True), (0.0, files[0])]:
            yield Frame(path=frame_place(video, second), seconds=second, data=file.read_bytes())


def frame_at(video: str, seconds: float) -> bytes:
    """Bytes of a JPEG of the frame at a moment.

    Raises:
        InvalidImage: ffmpeg is missing or finds no picture there.
    """
    if not has_ffmpeg():
        raise InvalidImage(f"{video} is a video: showing a frame of it needs ffmpeg")
    with TemporaryDirectory(prefix="siglip2-frame-") as folder:
        place = Path(folder) / "frame.jpg"
        options = ["-vf", _SCALE, "-frames:v", "1", "-q:v", "3", str(place)]
        # Half a millisecond early: the place was rounded, and ffmpeg takes the first frame not before it.
        said = _ffmpeg(video, ["-ss", f"{max(seconds - 0.0005, 0):.4f}"], options)
        if not place.exists():
            raise InvalidImage(f"{video} has no picture at {seconds} s: {_last_line(said)}")
        return place.read_bytes()


def picture_source(path: str) -> str | bytes:
    """What a row's place is read from: a file's path, or the bytes of a frame.

    Raises:
        InvalidImage: as `frame_at`.
    """
    frame = video_of(path)
    return frame_at(*frame) if frame else path


def _ffmpeg(video: str, before: list[str], after: list[str]) -> str:
    # `file:` and the list of protocols: a playlist in disguise must not make ffmpeg open anything else.
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-protocol_whitelist", "file", *before]
    command += ["-i", f"file:{video}", "-an", "-sn", "-dn", *after]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnavailableImage(f"{video}: ffmpeg took longer than {TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise UnavailableImage(f"{video}: ffmpeg cannot be started: {error.strerror}") from error
    return done.stderr.decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
