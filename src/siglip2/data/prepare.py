"""`siglip2 data prepare`: captioned pictures into WebDataset tars, whole shards at a time.

A shard appears under its name only when it is complete, so that a stopped run goes on with the next one.
"""

import io
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from siglip2.data.inspection import (
    TABLE,
    Inspection,
    inspect_picture,
    read_lines,
    read_table,
    write_lines,
    write_table,
)
from siglip2.data.random_access import write_index
from siglip2.data.raw_sources import RawSample, RawSource
from siglip2.data.request import begin_folder
from siglip2.data.sample import printable
from siglip2.errors import InvalidInput

logger = logging.getLogger("siglip2")

MOST_BROKEN = 0.05
"""Share of unusable samples above which nothing more is written."""

REQUEST = "prepared.json"
PARTS = ".parts"
BROKEN = "broken.jsonl"
EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
}


@dataclass(frozen=True)
class Prepared:
    """What is in the folder when all is done."""

    samples: Sequence[Inspection]
    broken: Sequence[Inspection]
    shards: int


def prepare_shards(
    source: RawSource,
    out: Path,
    *,
    shard_size: int = 10_000,
    most_broken: float = MOST_BROKEN,
    advance: Callable[[int], None] = lambda count: None,
) -> Prepared:
    """Write `shard-000000.tar` and so on, the table of samples, and energon's index of them.

    The bytes of pictures are kept as they are. Each sample has a picture and a json: key, source, captions
    with their languages, regions with phrases.

    Args:
        source: what to read.
        out: new folder, or one that the same command began.
        shard_size: rows of the source for each shard.
        most_broken: share of broken samples that is left out silently but for the log.
        advance: called with the number of rows done.

    Raises:
        InvalidInput: `out` belongs to another request, or too much is broken.
    """
    request = {
        "source": source.kind,
        "fingerprint": source.fingerprint,
        "columns": asdict(source.columns),
        "shard_size": shard_size,
    }
    begin_folder(out, REQUEST, request)
    parts = out / PARTS
    if (out / TABLE).exists():
        return _prepared(read_table(out), read_lines(out / BROKEN), out)
    parts.mkdir(exist_ok=True)
    samples: list[Inspection] = []
    broken: list[Inspection] = []
    rows = enumerate(source.samples())
    for shard in itertools.count():
        chunk = itertools.islice(rows, shard_size)
        name = f"shard-{shard:06d}.tar"
        if (out / name).exists():
            done = sum(1 for _ in chunk)
            inspected = read_lines(parts / f"{name}.jsonl")
            advance(done)
        else:
            inspected = _write_shard(chunk, out, name, advance)
            if inspected is None:
                break
        samples += [each for each in inspected if not each.broken]
        broken += [each for each in inspected if each.broken]
        _stop_above(most_broken, broken, len(samples) + len(broken))
    if not samples:
        raise InvalidInput(f"nothing of {source.kind} can be used")
    write_lines(broken, out / BROKEN)
    write_index(out, len(samples))
    write_table(samples, out)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()
    return _prepared(samples, broken, out)


def _write_shard(
    rows: Iterator[tuple[int, RawSample]], out: Path, name: str, advance: Callable[[int], None]
) -> list[Inspection] | None:
    """One shard; None where no rows are left."""
    try:
        import webdataset
    except ModuleNotFoundError:
        raise InvalidInput("writing shards needs webdataset: pip install 'siglip2[data]'") from None
    unfinished = out / PARTS / name
    inspected: list[Inspection] = []
    with (
        unfinished.open("wb") as file,
        webdataset.TarWriter(file, encoder=False, mtime=0) as tar,  # pyright: ignore[reportAttributeAccessIssue]
    ):
        for number, raw in rows:
            inspection, files = _convert(f"{number:09d}", name, raw)
            inspected.append(inspection)
            if inspection.broken:
                logger.warning("%s is left out: %s", inspection.source, inspection.broken)
            else:
                tar.write({"__key__": inspection.key, **files})
            advance(1)
    if not inspected:
        unfinished.unlink()
        return None
    # What is known of the samples comes first: a shard with its name has it.
    write_lines(inspected, out / PARTS / f"{name}.jsonl")
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(out / name)
    return inspected


def _convert(key: str, shard: str, raw: RawSample) -> tuple[Inspection, dict[str, bytes]]:
    try:
        encoded, description = raw.read(), raw.describe()
        with Image.open(io.BytesIO(encoded)) as opened:
            extension = EXTENSIONS.get(opened.format or "")
        if extension is None:
            raise ValueError(f"pictures of the format {opened.format} are not for shards")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = printable(str(error) or type(error).__name__)
        return Inspection(key=key, shard=shard, source=printable(raw.source), broken=reason), {}
    description = replace(description, source=printable(description.source))
    inspection, described = inspect_picture(key, shard, extension, encoded, description)
    if described is None:
        return inspection, {}
    return inspection, {extension: encoded, "json": described.to_json(key)}


def _stop_above(most_broken: float, broken: Sequence[Inspection], seen: int) -> None:
    if len(broken) > most_broken * seen:
        listed = "\n".join(f"  {each.source}: {each.broken}" for each in broken[:20])
        more = f"\n  and {len(broken) - 20} more" if len(broken) > 20 else ""
        raise InvalidInput(
            f"{len(broken)} of {seen} samples cannot be used, at most {most_broken:.0%} may be "
            f"(--most-broken):\n{listed}{more}"
        )


def _prepared(samples: Sequence[Inspection], broken: Sequence[Inspection], out: Path) -> Prepared:
    return Prepared(samples, broken, len(list(out.glob("shard-*.tar"))))
