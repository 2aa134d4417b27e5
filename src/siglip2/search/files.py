"""Photos below folders, however odd the folders are."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from siglip2.errors import InvalidInput
from siglip2.inputs.suffixes import SUFFIXES
from siglip2.search.rows import SeenFile
from siglip2.search.video import VIDEO_SUFFIXES, has_ffmpeg, real_path

_SKIPPED_FOLDERS = {"@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX"}


def absolute(name: str | os.PathLike[str]) -> str:
    """The path under which a collection keeps a file. Links are kept as they are.

    Raises:
        InvalidInput: there is no such file or folder.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(name)))
    if not os.path.lexists(path):
        raise InvalidInput(f"there is no file or folder {path}")
    return path


def find_photos(
    root: str, cannot_list: Callable[[str, str], object] = lambda folder, reason: None
) -> Iterator[SeenFile]:
    """Files with an image's ending below a folder, or the file itself; videos too where ffmpeg is installed.

    Hidden files and folders are left out, and thumbnails that storage devices keep beside photos. Links to
    folders are followed, each folder once, so that loops end. Memory does not grow with the number of files.

    Args:
        root: an absolute path.
        cannot_list: told of each folder whose files cannot be seen, and why.
    """
    if not os.path.isdir(root):
        yield _seen(root)
        return
    endings = SUFFIXES | VIDEO_SUFFIXES if has_ffmpeg() else SUFFIXES
    visited: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        cannot_list(os.fsdecode(error.filename), error.strerror or str(error))

    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        for name in sorted(names):
            if Path(name).suffix.lower() in endings and not name.startswith("."):
                file = _seen(os.path.join(folder, name))
                if file.size < 0 and not os.access(folder, os.X_OK):
                    cannot_list(folder, "its names can be read, but not its files")
                    break
                yield file


def is_wanted(path: str, roots: Iterable[str]) -> bool:
    """Whether `find_photos` would give a changed file below one of the roots; folders count as wanted."""
    for root in roots:
        if path == root:
            return True
        if path.startswith(os.path.join(root, "")):
            parts = Path(path[len(os.path.join(root, "")) :]).parts
            if any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in parts):
                return False
            ending = Path(path).suffix.lower()
            wanted = ending in SUFFIXES or (ending in VIDEO_SUFFIXES and has_ffmpeg())
            # Of what is gone nobody can tell whether it was a folder.
            return wanted or not os.path.lexists(path) or os.path.isdir(path)
    return False


def likeliest(paths: Sequence[str], folders: Sequence[str] = ()) -> str | None:
    """Of a photo's places the one to open: in these folders, and still there, if any is; None of none."""

    def misses(path: str) -> tuple[int, bool]:
        outside = sum(not path.startswith(os.path.join(folder, "")) for folder in folders)
        return outside, not os.path.exists(real_path(path))

    return min(paths, key=misses) if len(paths) > 1 else next(iter(paths), None)


def name_words(paths: Iterable[str]) -> str:
    """The words by which a photo is found: names of its files without endings; of a frame, the video's."""
    names = [os.path.splitext(os.path.basename(real_path(path)))[0] for path in paths]
    # Underscores join words in names of files. Bytes that are no text would be refused by stores.
    return " ".join(dict.fromkeys(names)).replace("_", " ").encode(errors="replace").decode()


def is_regular(path: str) -> bool:
    """Whether reading the file ends: no pipe, no device, no dangling link."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _seen(path: str) -> SeenFile:
    try:
        status = os.stat(path)
    except OSError:  # a dangling or looping link: reading it will say so
        return SeenFile(path=path, size=-1, mtime_ns=-1)
    return SeenFile(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns)
