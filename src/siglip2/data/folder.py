"""Captioned photos of one's own: a folder with `captions.csv` or `captions.jsonl`."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.data.captioned import CaptionedImages, stack_images
from siglip2.data.raw_sources import read_rows
from siglip2.data.sample import printable
from siglip2.errors import InvalidInput

logger = logging.getLogger("siglip2")

MOST_BROKEN = 0.05
"""Share of unusable pictures above which nothing is trained."""


def captioned_folder(folder: Path, size: int, *, most_broken: float = MOST_BROKEN) -> CaptionedImages:
    """Read the table and the pictures, squashed to squares.

    The columns are `path`, relative to the folder, and `caption`; a picture may have several rows.
    A broken picture is left out and named in the log.

    Raises:
        InvalidInput: no table, one that cannot be read, a row without its columns, no picture at all, or too
            many broken ones.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(_rows(folder), 1):
        if not row.get("path") or not row.get("caption"):
            raise InvalidInput(f"{folder}, row {number} of the table: expected the columns path and caption")
        captions[row["path"]].append(row["caption"])
    images, aspects, kept, broken = [], [], [], []
    for name, texts in captions.items():
        try:
            pixels, aspect = stack_images([(folder / name).read_bytes()], size)
            images.append(pixels[0])
            aspects.append(float(aspect[0]))
            kept.append(texts)
        except (OSError, ValueError, SyntaxError) as error:
            broken.append(printable(name))
            logger.warning("%s is left out: %s", printable(str(folder / name)), error)
    if len(broken) > most_broken * len(captions) or not images:
        raise InvalidInput(
            f"{len(broken)} of {len(captions)} pictures of {folder} cannot be used, such as "
            f"{', '.join(broken[:5])}; at most {most_broken:.0%} may be"
            if captions
            else f"the table in {folder} is empty"
        )
    return CaptionedImages(
        name="folder",
        images=np.stack(images),
        captions=kept,
        classes=np.full(len(images), -1),
        aspects=aspects,
    )


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for name in ("captions.csv", "captions.jsonl"):
        if (folder / name).exists():
            return read_rows(folder / name)
    raise InvalidInput(
        f"{folder} holds neither captions.csv nor captions.jsonl with the columns path, caption"
    )
