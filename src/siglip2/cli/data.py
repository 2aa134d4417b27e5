"""`siglip2 data`: make shards of captioned pictures, check and balance them, and find boxes for phrases."""

import logging
import sys
from pathlib import Path
from typing import Literal

from siglip2.errors import InvalidInput

Action = Literal["prepare"]


def data(
    action: Action,
    source: Path,
    out: Path | None = None,
    *,
    shard_size: int = 10_000,
    most_broken: float = 0.05,
    image_column: str = "",
    caption_column: str = "",
    language_column: str = "",
    split: str = "",
) -> int:
    """Work on the data that a model is trained with.

    prepare SOURCE OUT: write WebDataset tars with an index from a folder with captions.csv, .jsonl or
    .parquet, from one that Hugging Face `datasets` saved, or from the output of img2dataset. The same command
    goes on after a stop.

    Args:
        action: what to do.
        source: what to read; for all but prepare a folder of shards.
        out: where to write.
        shard_size: prepare: pictures in each tar.
        most_broken: prepare: share of unusable pictures above which it stops.
        image_column: prepare: which column of a table holds the picture or its path.
        caption_column: prepare: which one holds the caption.
        language_column: prepare: which one holds its language; identified where there is none.
        split: prepare: of a data set that has several.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    match action:
        case "prepare":
            from siglip2.data.raw_sources import Columns

            columns = Columns(
                picture=image_column, caption=caption_column, language=language_column, split=split
            )
            return _prepare(source, _named(out, action), columns, shard_size, most_broken)


def _prepare(source: Path, out: Path, columns: object, shard_size: int, most_broken: float) -> int:
    from siglip2.data.prepare import prepare_shards
    from siglip2.data.raw_sources import Columns, open_raw
    from siglip2.progress import progress_bar

    assert isinstance(columns, Columns)
    if shard_size < 1:
        raise InvalidInput("--shard-size must be at least 1")
    raw = open_raw(source, columns)
    with progress_bar("pictures", raw.total, enabled=sys.stderr.isatty()) as advance:
        done = prepare_shards(raw, out, shard_size=shard_size, most_broken=most_broken, advance=advance)
    print(
        f"{len(done.samples)} samples in {done.shards} shards in {out} (from {raw.kind}); "
        f"{len(done.broken)} left out"
    )
    return 0


def _named(out: Path | None, action: str) -> Path:
    if out is None:
        raise InvalidInput(f"say where to write: siglip2 data {action} SOURCE OUT")
    return out
