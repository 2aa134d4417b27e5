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


def read_shard(path: Path) -> Iterator[ShardSample]:
    """Samples of a tar, plain or gzipped, in file order."""
    key, files = "", {}
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            name, _, extension = member.name.partition(".")
            content = tar.extractfile(member)
            if content is None:
                continue
            if name != key and files:
                yield ShardSample(key, files)
                files = {}
            key = name
            files[extension] = content.read()
    if files:
        yield ShardSample(key, files)
