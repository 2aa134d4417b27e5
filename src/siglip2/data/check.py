"""`siglip2 data check`: what a folder of shards holds, and what is wrong with it."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.data.duplicates import alike, exact_duplicates, near_vectors
from siglip2.data.inspection import Inspection, inspect_sample
from siglip2.data.sample import image_of
from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput

logger = logging.getLogger("siglip2")

Embed = Callable[[Sequence[bytes]], np.ndarray]
"""Encoded pictures to (N, D) vectors of length 1."""

EMBED_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found.

    Attributes:
        shards: file name and size in bytes.
        samples: all of them, the broken ones too.
        damaged: shards that end too early or are no tars, with the reason.
        exact: groups of keys whose pictures are equal byte by byte.
        near: groups of keys whose pictures look the same.
        repeated_keys: keys that stand for more than one sample.
    """

    shards: dict[str, int]
    samples: Sequence[Inspection]
    damaged: dict[str, str]
    exact: Sequence[Sequence[str]]
    near: Sequence[Sequence[str]]
    repeated_keys: Sequence[str]

    @property
    def usable(self) -> list[Inspection]:
        """Samples that are not broken."""
        return [each for each in self.samples if not each.broken]

    @property
    def broken(self) -> list[Inspection]:
        """Samples that are."""
        return [each for each in self.samples if each.broken]

    @property
    def languages(self) -> dict[str, int]:
        """Number of captions in each language, the commonest first."""
        found = Counter(language for each in self.usable for language in each.languages)
        return dict(found.most_common())

    @property
    def sound(self) -> bool:
        """Whether nothing is broken, damaged or repeated; duplicates are for people to judge."""
        return not (self.broken or self.damaged or self.repeated_keys)

    def summary(self) -> dict[str, Any]:
        """Numbers and lists, as `--json` prints them."""
        usable = self.usable
        return {
            "shards": len(self.shards),
            "bytes": sum(self.shards.values()),
            "samples": len(self.samples),
            "captions": sum(len(each.languages) for each in usable),
            "languages": self.languages,
            "samples_with_boxes": sum(each.num_regions > 0 for each in usable),
            "boxes": sum(each.num_regions for each in usable),
            "sizes": _quantiles([max(each.width, each.height) for each in usable]),
            "caption_lengths": _quantiles([length for each in usable for length in each.lengths]),
            "exact_duplicates": [list(group) for group in self.exact],
            "near_duplicates": [list(group) for group in self.near],
            "repeated_keys": list(self.repeated_keys),
            "damaged_shards": self.damaged,
            "broken": [{"key": each.key, "shard": each.shard, "reason": each.broken} for each in self.broken],
        }


def find_tars(folder: Path) -> list[Path]:
    """Tars of a folder, plain or gzipped; or the one tar itself.

    Raises:
        InvalidInput: there are none.
    """
    tars = [folder] if folder.is_file() else sorted([*folder.glob("*.tar"), *folder.glob("*.tar.gz")])
    if not tars:
        raise InvalidInput(f"no .tar or .tar.gz in {folder}")
    return tars


def check_shards(
    folder: Path,
    *,
    embed: Embed | None = None,
    similarity: float = 0.97,
    advance: Callable[[int], None] = lambda count: None,
) -> Checked:
    """Read and decode every sample once.

    Args:
        folder: of shards.
        embed: finds near duplicates by vectors; without it they are found by a hash of how they look.
        similarity: least cosine of near duplicates.
        advance: called with the number of samples done.

    Raises:
        InvalidInput: no shards.
    """
    samples: list[Inspection] = []
    damaged: dict[str, str] = {}
    vectors, waiting = [], []
    for path in find_tars(folder):
        try:
            for sample in read_shard(path):
                inspected, _ = inspect_sample(sample, path.name)
                samples.append(inspected)
                if inspected.broken:
                    logger.warning("%s of %s is broken: %s", sample.key, path.name, inspected.broken)
                elif embed is not None:
                    found = image_of(sample.files)
                    assert found is not None
                    waiting.append(found[1])
                    if len(waiting) == EMBED_AT_ONCE:
                        vectors.append(embed(waiting))
                        waiting = []
                advance(1)
        except InvalidInput as error:
            damaged[path.name] = str(error)
            logger.warning("%s", error)
    usable = [each for each in samples if not each.broken]
    if embed is not None and (waiting or vectors):
        vectors += [embed(waiting)] if waiting else []
        near = near_vectors(np.concatenate(vectors), similarity)
    else:
        near = alike(usable)
    exact = exact_duplicates(usable)
    same = {tuple(group) for group in exact}
    counted = Counter(each.key for each in samples)
    return Checked(
        shards={path.name: path.stat().st_size for path in find_tars(folder)},
        samples=samples,
        damaged=damaged,
        exact=[[usable[index].key for index in group] for group in exact],
        near=[[usable[index].key for index in group] for group in near if tuple(group) not in same],
        repeated_keys=[key for key, count in counted.items() if count > 1],
    )


def _quantiles(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {}
    names = ("min", "median", "p95", "max")
    return dict(zip(names, np.quantile(values, [0, 0.5, 0.95, 1]).round(1).tolist(), strict=True))
