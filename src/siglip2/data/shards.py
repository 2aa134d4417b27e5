"""Reading WebDataset tars: files that share a key make one sample."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from siglip2.errors import InvalidInput


@dataclass(frozen=True)
class ShardSample:
    """One sample: its key and the bytes of each of its files by extension (`jpg`, `json`, `seg.png`)."""

    key: str
    files: dict[str, bytes]


def split_name(name: str) -> tuple[str, str]:
    """Key and extension of a file in a tar, cut at the first dot of its base name as WebDataset does.

    Folders may have dots: `./a/0001.seg.png` is `seg.png` of `./a/0001`.

    Returns:
        Both empty where the file belongs to no sample: it has no extension, or its name begins with a dot.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}{slash}{stem}", extension) if stem and extension else ("", "")


@contextmanager
def opened_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """A tar to be read from its beginning to its end, and whether it is gzipped.

    Raises:
        InvalidInput: it cannot be read, or is damaged, be it in its midst.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with (
            gzip.open(path) if zipped else path.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            yield tar, zipped
            _check_end(stream, tar.offset, zipped=zipped)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read as a tar: {error}") from error


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


def read_shard(path: Path) -> Iterator[ShardSample]:
    """Samples of a tar, plain or gzipped, in file order.

    Raises:
        InvalidInput: it cannot be read, or is damaged; samples before the damage were given.
    """
    key, files = "", {}
    with opened_tar(path) as (tar, _):
        for member in tar:
            name, extension = split_name(member.name)
            content = tar.extractfile(member) if name else None
            if content is None:
                continue
            if name != key and files:
                yield ShardSample(key, files)
                files = {}
            key = name
            files[extension] = content.read()
    if files:
        yield ShardSample(key, files)
