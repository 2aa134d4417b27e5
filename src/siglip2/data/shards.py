"""Reading WebDataset tars: files that share a key make one sample."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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


def read_shard(path: Path) -> Iterator[ShardSample]:
    """Samples of a tar, plain or gzipped, in file order."""
    key, files = "", {}
    with tarfile.open(path, "r|*") as tar:
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
