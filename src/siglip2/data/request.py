"""What a folder of shards is made of, so that another request neither goes on in it nor finds it done."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from siglip2.errors import InvalidInput


def begin_folder(out: Path, note: str, request: Mapping[str, Any]) -> None:
    """Make a folder and note in it what was asked for; or find that it was begun with the same.

    The note stays when all is done, since what is done has to be told from another request as well.

    Args:
        out: folder to write.
        note: name of the file in it.
        request: everything that decides what is written, as JSON has it.

    Raises:
        InvalidInput: `out` is a file, holds other things, or was begun with another request.
    """
    path = out / note
    if path.exists():
        _same(out, json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(request)))
        return
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file; name a new folder")
    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{out} holds other things; name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(request).encode())


def _same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        then, this = ({name: each.get(name) for name in differing} for each in (before, now))
        raise InvalidInput(f"{out} was begun with {then}, and this is {this}; name another folder")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def content_fingerprint(path: Path) -> str:
    """Of what a file holds, in 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Of names, sizes and times of change, in 16 hexadecimal digits: of files too large to read for it.

    Sizes alone would not do, since those of tars are rounded up.
    """
    found = ((path.name, path.stat()) for path in paths)
    listed = [(name, status.st_size, status.st_mtime_ns) for name, status in found]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
