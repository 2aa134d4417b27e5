"""Which samples of a folder of shards are trained on: by language, by keep-weight, none that is broken."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from siglip2.data.inspection import Inspection
from siglip2.errors import InvalidInput

logger = logging.getLogger("siglip2")

MOST_BROKEN = 0.05
MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Languages:
    """A set of languages: those named, or all but those named.

    Attributes:
        only: codes such as `en`; empty for all.
        without: codes that are left out.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __contains__(self, language: object) -> bool:
        return (not self.only or language in self.only) and language not in self.without


def select(
    samples: Sequence[Inspection],
    *,
    name: str,
    languages: Languages,
    keep: Mapping[str, float] | None = None,
    most_broken: float = MOST_BROKEN,
) -> list[Inspection]:
    """Samples to train on, in the order of the table.

    Args:
        samples: of the table.
        name: of the source, for messages.
        languages: a sample needs one caption in one of them.
        keep: probability with which each key is kept (`siglip2 data balance`). Whether it is depends on the
            key alone, so that every rank and every run has the same ones.
        most_broken: share of broken samples above which nothing is trained.

    Raises:
        InvalidInput: too many are broken, a key has no probability, or nothing is left.
    """
    broken = [each for each in samples if each.broken]
    for each in broken:
        logger.warning("%s/%s is left out: %s", name, each.key, each.broken)
    if len(broken) > most_broken * len(samples):
        listed = "\n".join(f"  {each.shard}/{each.key}: {each.broken}" for each in broken[:MOST_LISTED])
        more = f"\n  and {len(broken) - MOST_LISTED} more" if len(broken) > MOST_LISTED else ""
        raise InvalidInput(
            f"{len(broken)} of {len(samples)} samples of {name} are broken, at most {most_broken:.0%} may be:"
            f"\n{listed}{more}"
        )
    if broken:
        logger.warning("%s: %d of %d samples are left out as broken", name, len(broken), len(samples))
    kept = [
        each
        for each in samples
        if not each.broken
        and any(language in languages for language in each.languages)
        and (keep is None or _uniform(each.key) < _probability(keep, each.key, name))
    ]
    if not kept:
        raise InvalidInput(f"{name}: none of {len(samples)} samples is left to train on")
    return kept


def read_keep_weights(path: Path) -> dict[str, float]:
    """Keep-weights of `siglip2 data balance`, by key."""
    if not path.is_file():
        raise InvalidInput(f"{path} is not there; `siglip2 data balance` writes keep-weights")
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["key", "keep"])
    return dict(zip(table["key"].to_pylist(), table["keep"].to_pylist(), strict=True))


def _probability(keep: Mapping[str, float], key: str, name: str) -> float:
    if key not in keep:
        raise InvalidInput(f"{name}: the keep-weights have no sample {key}; they are of other shards")
    return keep[key]


def _uniform(key: str) -> float:
    """A number in [0, 1) that only the key decides."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56
