"""Several sources as one, each with its share of the samples: nine in ten English, for instance."""

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.data.as_asked import PerSample, Pictures
from siglip2.data.selection import Languages
from siglip2.data.sharded import ShardedImages
from siglip2.data.source import CaptionedSource, Region
from siglip2.errors import InvalidInput

PAPER_LANGUAGES = {"en": 0.9, "other": 0.1}
"""Share of the training pairs by language in the paper (section 2.1)."""

MOST_PLACES = 10**9
"""In an epoch; each has 8 bytes in memory."""


class Blend:
    """A `CaptionedSource` whose samples come from several sources, in the shares of their weights.

    An epoch of the blend has as many places as it takes to see every sample of every source at least once;
    in it, a source has exactly its share of the places, and its samples stand there equally often, give or
    take one. The trainer's permutation of the places mixes them. So the shares need no state either.

    Attributes:
        name: of the blend.
        parts: its sources.
        places: of each source in an epoch.
        images: (N, S, S, 3) uint8, indexed by an array.
        captions: of each place.
        regions: of each place.
        classes: (N,) of each place; those of different sources stay apart.
        aspects: of each place.
    """

    def __init__(self, parts: Sequence[CaptionedSource], weights: Sequence[float], name: str = "blend"):
        """Blend.

        Args:
            parts: sources.
            weights: one for each; their sum is of no account.
            name: of the blend.

        Raises:
            InvalidInput: no parts, or weights that are not positive or too far apart.
        """
        if not parts or len(parts) != len(weights) or not all(0 < weight < math.inf for weight in weights):
            raise InvalidInput(f"{name}: expected sources, each with a weight above 0, not {list(weights)}")
        self.name = name
        self.parts = tuple(parts)
        self.places = epoch_places([len(part) for part in parts], weights)
        if sum(self.places) > MOST_PLACES:
            raise InvalidInput(
                f"{name}: with the weights {list(weights)} an epoch takes {sum(self.places):,} places to "
                f"show each sample once, and can have {MOST_PLACES:,}: give the smallest weights more"
            )
        self._ends = np.cumsum(self.places)
        self.classes = self._classes()
        self.images = Pictures(self)
        self.captions = PerSample(self, self.texts)
        with_boxes = any(len(part.regions) for part in parts)
        self.regions = PerSample(self, self.boxes) if with_boxes else ()
        self.aspects = PerSample(self, self.aspect) if any(len(part.aspects) for part in parts) else ()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, place: int) -> tuple[int, int]:
        """Number of the source and index in it of a place of the epoch."""
        part = int(np.searchsorted(self._ends, place, side="right"))
        begin = int(self._ends[part]) - self.places[part]
        return part, (place - begin) % len(self.parts[part])

    def pictures(self, places: np.ndarray) -> np.ndarray:
        """Read each source's pictures at once: (n,) places to (n, S, S, 3) uint8."""
        located = np.array([self.locate(place) for place in places.tolist()]).reshape(-1, 2)
        numbers = np.unique(located[:, 0])
        if len(numbers) == 0:
            return self.parts[0].images[np.zeros(0, dtype=np.int64)]
        read = {number: self.parts[number].images[located[located[:, 0] == number, 1]] for number in numbers}
        pictures = np.empty((len(places), *read[numbers[0]].shape[1:]), np.uint8)
        for number, found in read.items():
            pictures[located[:, 0] == number] = found
        return pictures

    def texts(self, place: int) -> Sequence[str]:
        """Captions of a place."""
        part, index = self.locate(place)
        return self.parts[part].captions[index]

    def boxes(self, place: int) -> Sequence[Region]:
        """Boxes with phrases of a place."""
        part, index = self.locate(place)
        regions = self.parts[part].regions
        return regions[index] if len(regions) else ()

    def aspect(self, place: int) -> float:
        """Width over height of the picture of a place."""
        part, index = self.locate(place)
        aspects = self.parts[part].aspects
        return float(aspects[index]) if len(aspects) else 1.0

    def _classes(self) -> np.ndarray:
        classes, before = [], 0
        for part, count in zip(self.parts, self.places, strict=True):
            own = part.classes[np.arange(count) % len(part)]
            classes.append(np.where(own < 0, -1, own + before))
            before += max(0, int(part.classes.max()) + 1)
        return np.concatenate(classes)


def epoch_places(lengths: Sequence[int], weights: Sequence[float]) -> tuple[int, ...]:
    """Places of each source in an epoch: in the shares of the weights, and at least one for each sample.

    What is left over goes to the sources that miss most, so that none is off by a whole place.
    """
    # Beside the smallest: by themselves, small weights would be rounded to nothing.
    smallest = min(map(Fraction, weights))
    shares = [(Fraction(weight) / smallest).limit_denominator(10**6) for weight in weights]
    shares = [share / sum(shares) for share in shares]
    total = max(math.ceil(length / share) for length, share in zip(lengths, shares, strict=True))
    places = [math.floor(share * total) for share in shares]
    by_need = sorted(range(len(shares)), key=lambda part: places[part] - shares[part] * total)
    for part in by_need[: total - sum(places)]:
        places[part] += 1
    return tuple(places)


def by_language(
    folder: Path | str, size: int, shares: dict[str, float] | None = None, **options: Any
) -> Blend:
    """One folder of shards with a share for each language.

    Args:
        folder: of shards.
        size: pixels a side.
        shares: weight of each language, `other` for all that are not named; the paper's nine in ten English
            where there are none.
        options: of `ShardedImages`.
    """
    shares = shares or PAPER_LANGUAGES
    named = tuple(language for language in shares if language != "other")
    parts = [
        ShardedImages(
            folder,
            size,
            languages=Languages(without=named) if language == "other" else Languages(only=(language,)),
            **options,
        )
        for language in shares
    ]
    return Blend(parts, list(shares.values()), parts[0].name)


def open_shards(path: Path | str, size: int) -> CaptionedSource:
    """A folder of shards, or the blend that a .json describes.

    The file holds `{"parts": [{"shards": "FOLDER", "weight": 3, "languages": {"en": 0.9, "other": 0.1},
    "keep_weights": "balance.parquet"}, ...]}`; only `shards` is needed. Relative paths begin at the file.

    Args:
        path: of the folder or the file.
        size: pixels a side.

    Raises:
        InvalidInput: the file has another form, or a folder cannot be used.
    """
    if isinstance(path, str) and "://" in path:
        return ShardedImages(path, size)
    path = Path(path)
    if path.is_dir():
        described = path / "blend.json"
        return open_shards(described, size) if described.exists() else ShardedImages(path, size)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["parts"]
        parts = [_part(entry, path.parent, size) for entry in entries]
        weights = [float(entry.get("weight", 1)) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path} does not describe a blend: {error!r}") from None
    return Blend(parts, weights, path.stem)


def _part(entry: dict[str, Any], beside: Path, size: int) -> CaptionedSource:
    unknown = set(entry) - {"shards", "weight", "languages", "keep_weights", "most_broken"}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    folder = entry["shards"] if "://" in entry["shards"] else beside / entry["shards"]
    options: dict[str, Any] = {}
    if "keep_weights" in entry:
        options["keep_weights"] = beside / entry["keep_weights"]
    if "most_broken" in entry:
        options["most_broken"] = float(entry["most_broken"])
    if "languages" in entry:
        return by_language(folder, size, entry["languages"], **options)
    return ShardedImages(folder, size, **options)
