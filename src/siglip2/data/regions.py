"""`siglip2 data regions`: boxes with phrases for the captioning tasks of LocCa, by one's own detector."""

import io
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from siglip2.data.check import find_tars
from siglip2.data.detectors import Detector
from siglip2.data.inspection import (
    TABLE,
    Inspection,
    inspect_picture,
    read_lines,
    read_table,
    write_lines,
    write_table,
)
from siglip2.data.phrases import caption_phrases
from siglip2.data.random_access import write_index
from siglip2.data.request import begin_folder, files_fingerprint
from siglip2.data.sample import Box, Caption, describe, image_of
from siglip2.data.shards import ShardSample, read_shard
from siglip2.errors import InvalidInput
from siglip2.inputs.orientation import orient, orientation_of

logger = logging.getLogger("siglip2")

REQUEST = "regions.json"
LEAST_SIDE = 0.01
"""Of a box, as a share of the picture; thinner ones are specks."""


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """Which boxes are kept. The paper does not say: any of these.

    Attributes:
        longest: words of an n-gram.
        most_phrases: n-grams of one picture.
        overlap: two boxes with at least this intersection over union are one; the likelier phrase stays.
        most_boxes: of one picture, the likeliest.
    """

    longest: int = 4
    most_phrases: int = 64
    overlap: float = 0.7
    most_boxes: int = 16


def find_regions(
    picture: Image.Image,
    captions: Sequence[Caption],
    categories: Sequence[str],
    detect: Detector,
    settings: RegionSettings,
) -> tuple[Box, ...]:
    """Boxes for the n-grams of a picture's captions and for categories, the likeliest first."""
    texts = [each.text for each in captions]
    phrases = caption_phrases(texts, longest=settings.longest, most=settings.most_phrases)
    asked = list(dict.fromkeys([*phrases, *categories]))
    if not asked:
        return ()
    return suppress(map(_within, detect(picture, asked)), settings.overlap)[: settings.most_boxes]


def suppress(boxes: "Sequence[Box] | map[Box]", overlap: float) -> tuple[Box, ...]:
    """Of boxes that nearly coincide keep the likeliest, whatever its phrase (non-maximum suppression)."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda each: -(each.score or 0.0)):
        x0, y0, x1, y1 = box.box
        large = x1 - x0 >= LEAST_SIDE and y1 - y0 >= LEAST_SIDE
        if large and all(_overlap(box, other) < overlap for other in kept):
            kept.append(box)
    return tuple(kept)


def add_regions(
    shards: Path,
    out: Path,
    detect: Detector,
    categories: Sequence[str] = (),
    settings: RegionSettings | None = None,
    advance: Callable[[int], None] = lambda count: None,
    *,
    detector: Mapping[str, Any] | None = None,
) -> list[Inspection]:
    """Write the shards anew with boxes in their json; pictures and keys stay as they are.

    Boxes that people drew, which have no score, are kept and go before found ones. A shard appears under its
    name when it is complete; the same call goes on after a stop.

    Args:
        shards: folder to read.
        out: folder to write.
        detect: finds boxes.
        categories: looked for in every picture, besides the n-grams of its captions.
        settings: which boxes are kept.
        advance: called with the number of samples done.
        detector: what `detect` is (`describe_detector`), by which another one is told from it.

    Returns:
        What is known of each sample.

    Raises:
        InvalidInput: `out` is the folder of the shards or belongs to another request, or no sample is usable.
    """
    settings = settings or RegionSettings()
    if out.resolve() == shards.resolve():
        raise InvalidInput(f"{out} holds the shards that are read; name another folder")
    tars = find_tars(shards)
    request = {
        "shards": str(shards.resolve()),
        "fingerprint": files_fingerprint(tars),
        "categories": [*categories],
        **(detector or {}),
        **asdict(settings),
    }
    begin_folder(out, REQUEST, request)
    if (out / TABLE).exists():
        return read_table(out)
    parts = out / ".parts"
    parts.mkdir(exist_ok=True)
    inspected: list[Inspection] = []
    for path in tars:
        name = path.name.removesuffix(".gz")
        known = parts / f"{name}.jsonl"
        if not (out / name).exists():
            _write_shard(path, out / name, known, detect, categories, settings, advance)
        inspected += read_lines(known)
    usable = [each for each in inspected if not each.broken]
    if not usable:
        raise InvalidInput(f"no sample of {shards} can be used")
    write_index(out, len(usable))
    write_table(usable, out)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()
    return usable


def _write_shard(
    source: Path,
    target: Path,
    known: Path,
    detect: Detector,
    categories: Sequence[str],
    settings: RegionSettings,
    advance: Callable[[int], None],
) -> None:
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    unfinished = known.with_suffix(".tar")
    inspected: list[Inspection] = []
    with unfinished.open("wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
        for sample in read_shard(source):
            inspection, files = _with_regions(sample, target.name, detect, categories, settings)
            inspected.append(inspection)
            if inspection.broken:
                logger.warning("%s of %s is left out: %s", sample.key, source.name, inspection.broken)
            else:
                tar.write({"__key__": sample.key, **files})
            advance(1)
    write_lines(inspected, known)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(target)


def _with_regions(
    sample: ShardSample, shard: str, detect: Detector, categories: Sequence[str], settings: RegionSettings
) -> tuple[Inspection, dict[str, bytes]]:
    found = image_of(sample.files)
    try:
        if found is None:
            raise ValueError("no picture")
        description = describe(sample.files)
    except ValueError as error:
        return Inspection(key=sample.key, shard=shard, broken=str(error)), {}
    inspection, described = inspect_picture(sample.key, shard, *found, description)
    if described is None:
        return inspection, {}
    with Image.open(io.BytesIO(found[1])) as opened:
        opened.load()
        # Boxes are of the picture as people and training see it.
        upright = orient(opened, orientation_of(opened)).convert("RGB")
    boxes = find_regions(upright, described.captions, categories, detect, settings)
    drawn = tuple(box for box in described.regions if box.score is None)
    described = replace(described, regions=(*drawn, *boxes))
    files = {**sample.files, "json": described.to_json(sample.key)}
    return replace(inspection, num_regions=len(described.regions)), files


def _within(box: Box) -> Box:
    """Cut at the edges of the picture, beyond which detectors reach."""
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in box.box)
    return replace(box, box=(x0, y0, x1, y1))


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = one.box, other.box
    common = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    areas = itertools.starmap(lambda x0, y0, x1, y1: (x1 - x0) * (y1 - y0), (one.box, other.box))
    return common / max(sum(areas) - common, 1e-12)
