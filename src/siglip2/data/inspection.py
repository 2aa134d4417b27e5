"""What is known of each sample of a folder of shards, and the Parquet table that keeps it."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from siglip2.data.languages import with_languages
from siglip2.data.random_access import read_beside
from siglip2.data.request import write_whole
from siglip2.data.sample import Description, describe, image_of
from siglip2.data.shards import ShardSample
from siglip2.errors import InvalidInput
from siglip2.inputs.orientation import orient, orientation_of

TABLE = "samples.parquet"
"""Name of the table, in the folder of the shards."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One sample, read and decoded once.

    Attributes:
        key: of the sample, unique in the folder.
        shard: file name.
        source: where the picture came from.
        image: extension of the picture.
        languages: of each caption, in their order.
        lengths: of each caption, in characters.
        width: in pixels, of the picture turned upright.
        height: in pixels, of the picture turned upright.
        num_bytes: of the encoded picture.
        sha256: of the encoded picture, in hexadecimal digits.
        look: 64 bits that stay nearly the same when a picture is encoded or scaled anew.
        num_regions: boxes with phrases.
        broken: why the sample cannot be used; empty where it can.
    """

    key: str
    shard: str
    source: str = ""
    image: str = ""
    languages: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    width: int = 0
    height: int = 0
    num_bytes: int = 0
    sha256: str = ""
    look: int = 0
    num_regions: int = 0
    broken: str = ""


def inspect_sample(sample: ShardSample, shard: str) -> tuple[Inspection, Description | None]:
    """Decode a sample and identify its languages; a fault becomes its `broken`."""
    found = image_of(sample.files)
    if found is None:
        listed = ", ".join(sample.files) or "nothing"
        return Inspection(key=sample.key, shard=shard, broken=f"no picture, only {listed}"), None
    try:
        description = describe(sample.files)
    except (ValueError, UnicodeDecodeError) as error:
        return Inspection(key=sample.key, shard=shard, broken=f"captions: {error}"), None
    return inspect_picture(sample.key, shard, *found, description)


def inspect_picture(
    key: str, shard: str, extension: str, encoded: bytes, description: Description
) -> tuple[Inspection, Description | None]:
    """Decode a picture wholly and identify the languages of its captions.

    Returns:
        What was seen, and the description with languages; None in its place for a broken sample.
    """
    common: dict[str, Any] = {
        "key": key,
        "shard": shard,
        "source": description.source,
        "image": extension,
        "num_bytes": len(encoded),
    }
    if not description.captions:
        return Inspection(**common, broken="no caption"), None
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            opened.load()
            upright = orient(opened, orientation_of(opened))
            size, grey = upright.size, upright.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Inspection(**common, broken=f"picture: {error or type(error).__name__}"), None
    captions = with_languages(description.captions)
    inspected = Inspection(
        **common,
        languages=tuple(each.language or "" for each in captions),
        lengths=tuple(len(each.text) for each in captions),
        width=size[0],
        height=size[1],
        sha256=hashlib.sha256(encoded).hexdigest(),
        look=_look(grey),
        num_regions=len(description.regions),
    )
    described = Description(
        captions=captions,
        regions=description.regions,
        source=description.source,
        other=description.other,
    )
    return inspected, described


def _look(grey: Image.Image) -> int:
    """Difference hash: whether each of 8 by 8 cells is brighter than the next one in its row."""
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BILINEAR), dtype=np.int16)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def write_table(samples: Sequence[Inspection], folder: Path) -> None:
    """Write the table; whole or not at all."""
    pyarrow, parquet = _pyarrow()
    columns = {each.name: [getattr(sample, each.name) for sample in samples] for each in fields(Inspection)}
    schema = pyarrow.schema(
        [
            ("key", pyarrow.string()),
            ("shard", pyarrow.string()),
            ("source", pyarrow.string()),
            ("image", pyarrow.string()),
            ("languages", pyarrow.list_(pyarrow.string())),
            ("lengths", pyarrow.list_(pyarrow.int32())),
            ("width", pyarrow.int32()),
            ("height", pyarrow.int32()),
            ("num_bytes", pyarrow.int64()),
            ("sha256", pyarrow.string()),
            ("look", pyarrow.int64()),
            ("num_regions", pyarrow.int32()),
            ("broken", pyarrow.string()),
        ]
    )
    unfinished = folder / f".{TABLE}.{os.getpid()}"
    parquet.write_table(pyarrow.table(columns, schema=schema), unfinished)
    unfinished.replace(folder / TABLE)


def read_table(folder: Path | str) -> list[Inspection]:
    """Read the table of a folder of shards, local or `msc://PROFILE/PATH`.

    Raises:
        InvalidInput: there is none.
    """
    content = read_beside(folder, TABLE)
    if content is None:
        raise InvalidInput(
            f"{folder} has no {TABLE}: `siglip2 data check {folder} --index` makes one, "
            "`siglip2 data prepare` writes shards that have it"
        )
    pyarrow, parquet = _pyarrow()
    return [from_row(row) for row in parquet.read_table(pyarrow.BufferReader(content)).to_pylist()]


def from_row(row: dict[str, Any]) -> Inspection:
    """An inspection from a row of the table."""
    return Inspection(**{**row, "languages": tuple(row["languages"]), "lengths": tuple(row["lengths"])})


def to_row(sample: Inspection) -> dict[str, Any]:
    """A row of the table."""
    return asdict(sample)


def write_lines(samples: Iterable[Inspection], path: Path) -> None:
    """Write what is known of samples as lines of JSON; whole or not at all."""
    lines = (json.dumps(to_row(each), ensure_ascii=False) + "\n" for each in samples)
    write_whole(path, "".join(lines).encode())


def read_lines(path: Path) -> list[Inspection]:
    """Read what `write_lines` wrote."""
    with path.open(encoding="utf-8", newline="\n") as file:  # texts hold other ends of lines
        return [from_row(json.loads(line)) for line in file]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InvalidInput("tables of samples need pyarrow: pip install 'siglip2[data]'") from None
    return pyarrow, pyarrow.parquet
