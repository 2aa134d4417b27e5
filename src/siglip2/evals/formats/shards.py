"""WebDataset tars, plain or gzipped: files that share a key make one sample."""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siglip2.data.shards import split_name
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
        try:
            for sample in _samples_of(path):
                empty = False
                yield sample
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InvalidInput(f"{path} cannot be read as a tar: {error}") from error
    if empty:
        raise InvalidInput(f"{folder}: no file of {pattern} is called KEY.{' or KEY.'.join(PICTURES)}")


def _samples_of(path: Path) -> Iterator[Sample]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    key, picture, files = "", None, {}
    # A plain tar stays on disk: only the place of each picture is kept.
    with (
        gzip.open(path) if zipped else path.open("rb") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
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
        _check_end(stream, tar.offset, zipped=zipped)
    if picture is not None:
        yield Sample(picture, files)


def _check_end(stream: io.BufferedIOBase, offset: int, *, zipped: bool) -> None:
    """A damaged header ends a tar without a word, as if the files behind it had never been there.

    Args:
        stream: of the tar.
        offset: where its reading ended.
        zipped: whether the stream is decompressed, which does not go back, and checks itself at its end.
    """
    if zipped:
        while stream.read(1 << 20):
            pass
        return
    stream.seek(offset)
    if any(stream.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"what is at byte {offset} is neither a file nor the end")
