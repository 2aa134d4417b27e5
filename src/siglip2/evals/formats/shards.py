"""WebDataset tars, plain or gzipped: files that share a key make one sample."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siglip2.data.shards import opened_tar, split_name
from siglip2.errors import InvalidInput
from siglip2.evals.images import ImageFile, TarSlice

PICTURES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Sample:
    """One sample of a tar: its picture left where it is, its small files read.

    Attributes:
        image: the picture.
        files: contents of the other files, by extension.
    """

    image: ImageFile
    files: dict[str, bytes]

    def json(self) -> dict[str, Any]:
        """The content of its `.json`.

        Raises:
            InvalidInput: it has none, or it holds no JSON object.
        """
        try:
            content = json.loads(self.files["json"])
        except (KeyError, ValueError) as error:
            raise InvalidInput(f"{self.image.key}.json is missing or no JSON: {error}") from error
        if not isinstance(content, dict):
            raise InvalidInput(f"{self.image.key}.json holds no JSON object")
        return content

    def text(self, extension: str) -> str:
        """The content of a file of UTF-8; empty where there is none.

        Raises:
            InvalidInput: it is no UTF-8.
        """
        try:
            return self.files.get(extension, b"").decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{self.image.key}.{extension} is no UTF-8") from error


def read_samples(folder: Path, pattern: str = "*.tar*") -> Iterator[Sample]:
    """Samples of all tars of a folder that match, in name order.

    Raises:
        InvalidInput: no tar matches, one is damaged, or none of them holds a picture.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise InvalidInput(f"{folder} holds no {pattern}")
    empty = True
    for path in paths:
        for sample in _samples_of(path):
            empty = False
            yield sample
    if empty:
        raise InvalidInput(f"{folder}: no file of {pattern} is called KEY.{' or KEY.'.join(PICTURES)}")


def _samples_of(path: Path) -> Iterator[Sample]:
    key, picture, files = "", None, {}
    # A plain tar stays on disk: only the place of each picture is kept.
    with opened_tar(path) as (tar, zipped):
        for member in tar:
            name, extension = split_name(member.name)
            if not name or not member.isfile():
                continue
            if name != key and picture is not None:
                yield Sample(picture, files)
            if name != key:
                key, picture, files = name, None, {}
            content = tar.extractfile(member)
            assert content is not None
            if extension.lower() in PICTURES and picture is None:
                whole = content.read() if zipped else TarSlice(path, member.offset_data, member.size)
                picture = ImageFile(Path(name).name, whole)
            else:
                files[extension.lower()] = content.read()
    if picture is not None:
        yield Sample(picture, files)
