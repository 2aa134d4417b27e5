"""Photos named on the command line: files, folders, patterns; and those that turn out unusable."""

import glob
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from siglip2.errors import InvalidInput
from siglip2.inputs.suffixes import SUFFIXES

if TYPE_CHECKING:
    from siglip2.pipeline import BrokenImage


def find_photos(names: Sequence[str]) -> list[str]:
    """All photos that the names stand for, each once, folders and patterns in alphabetical order.

    A name that leads nowhere is kept: reading it reports it with the other unusable photos.

    Raises:
        InvalidInput: no names, a folder without images, or a pattern that fits nothing.
    """
    if not names:
        raise InvalidInput("name at least one photo, folder or pattern, such as photos/*.jpg")
    return list(dict.fromkeys(photo for name in names for photo in _expand(name)))


def _expand(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        found = sorted(
            str(each) for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file()
        )
        if not found:
            raise InvalidInput(f"the folder {name} holds no image ({' '.join(sorted(SUFFIXES))})")
        return found
    if not path.exists() and glob.has_magic(name):
        found = sorted(each for each in glob.glob(name, recursive=True) if Path(each).is_file())
        if not found:
            raise InvalidInput(f"no file fits the pattern {name}")
        return found
    return [name]


class BrokenPhotos:
    """Collects unusable photos while the others are worked on."""

    def __init__(self) -> None:
        self.found: list[BrokenImage] = []

    def add(self, broken: Sequence["BrokenImage"]) -> None:
        """Remember some."""
        self.found.extend(broken)

    def report(self, total: int) -> int:
        """Name them on standard error; the command's exit code: 0 none, 1 some, 2 all of `total`."""
        if not self.found:
            return 0
        print(f"siglip2: {len(self.found)} of {total} photos could not be used:", file=sys.stderr)
        for broken in self.found:
            print(f"  {broken.reason}", file=sys.stderr)
        return 2 if len(self.found) == total else 1
