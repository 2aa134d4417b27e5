"""Measured values with their 95 % intervals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

RESAMPLES = 2_000
"""Bootstrap resamples: between seeds the ends of a 95 % interval move by some three per cent of its width."""

_Z = 1.959963984540054
_ENDS = (2.5, 97.5)
_MOST_WEIGHTS = 20_000_000  # in memory at a time: 160 MB


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A value, how sure it is, and the cases behind it.

    Attributes:
        value: in the measure's own unit; shares lie in 0..1.
        low: lower end of the 95 % interval.
        high: upper end.
        count: cases that were counted.
        method: how the interval was made: `Wilson`, or `bootstrap over images`.
        cases: (count,) the value of each case where the measure is their mean; for paired tests.
        groups: (count,) the image of each case, where several cases share one.
        kinds: (count,) the kind of each case, where the measure is the mean over kinds of their means.
        resamples: (R,) the value over each resample where there are no cases; equal draws in every run over
            so many images, so that those of two runs are pairs.
    """

    value: float
    low: float
    high: float
    count: int
    method: str
    cases: np.ndarray | None = field(default=None, repr=False, compare=False)
    groups: np.ndarray | None = field(default=None, repr=False, compare=False)
    kinds: np.ndarray | None = field(default=None, repr=False, compare=False)
    resamples: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("a measure of no cases")

    def contains(self, value: float) -> bool:
        """Whether a value lies within the interval."""
        return self.low <= value <= self.high


def share(cases: np.ndarray, groups: np.ndarray | None = None) -> Measure:
    """Share of the cases that are true.

    Wilson's score interval; where several cases belong to one image they are not independent, and the images
    are resampled instead.

    Args:
        cases: (C,) bool.
        groups: (C,) image of each case; None where every case is an image.
    """
    cases = np.asarray(cases)
    if groups is not None and len(np.unique(groups)) < len(groups):
        return mean(cases.astype(np.float64), groups)
    low, high = wilson(int(cases.sum()), len(cases))
    return Measure(
        value=float(cases.mean()),
        low=low,
        high=high,
        count=len(cases),
        method="Wilson",
        cases=cases,
        groups=groups,
    )


def wilson(hits: int, cases: int, *, z: float = _Z) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Raises:
        ValueError: no cases, or more hits than cases.
    """
    if not 0 <= hits <= cases or cases == 0:
        raise ValueError(f"{hits} hits of {cases} cases is not a share")
    p = hits / cases
    centre = (p + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z * math.sqrt(p * (1 - p) / cases + z * z / (4 * cases * cases)) / (1 + z * z / cases)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean(values: np.ndarray, groups: np.ndarray | None = None, kinds: np.ndarray | None = None) -> Measure:
    """Mean of values, images resampled.

    Args:
        values: (C,).
        groups: (C,) image of each value; None where every value is an image.
        kinds: (C,) kind of each value, such as its language, where every kind is to count the same: the mean
            over kinds of their means.
    """
    return means({"": values}, groups, kinds)[""]


def means(
    columns: Mapping[str, np.ndarray], groups: np.ndarray | None = None, kinds: np.ndarray | None = None
) -> dict[str, Measure]:
    """Means of several values of the same cases, by name; one draw of the images serves all.

    Args:
        columns: (C,) each.
        groups: as in `mean`.
        kinds: as in `mean`.
    """
    values = np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1)
    _, image = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    _, kind = np.unique(np.zeros(len(values)) if kinds is None else kinds, return_inverse=True)
    images, size = int(image.max()) + 1, int(kind.max()) + 1
    # The sizes ride along as one more column: weights are large, and every pass over them costs.
    summed = [np.bincount(image * size + kind, column, images * size) for column in (*values.T, None)]
    totals = np.stack(summed, axis=1).reshape(images, -1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = (weights @ totals).reshape(len(weights), size, -1)
        sums, sizes = drawn[..., :-1], drawn[..., -1:]
        # How many cases a kind has differs between resamples, and one without any leaves the kind out.
        return (sums / np.maximum(sizes, 1)).sum(axis=1) / (sizes > 0).sum(axis=1)

    found = statistic(np.ones((1, images)))[0]
    low, high = np.percentile(resample(statistic, images), _ENDS, axis=0)
    return {
        name: Measure(
            value=float(found[place]),
            low=float(low[place]),
            high=float(high[place]),
            count=len(column),
            method="bootstrap over images",
            cases=column,
            groups=groups,
            kinds=kinds,
        )
        for place, (name, column) in enumerate(zip(columns, values.T, strict=True))
    }


def resampled(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> Measure:
    """A measure that is no mean over images, such as one averaged over classes.

    Args:
        statistic: from (R, N) weights of the images to (R,) values.
        count: N, number of images.
    """
    value = float(statistic(np.ones((1, count)))[0])
    values = resample(statistic, count)
    low, high = np.nanpercentile(values, _ENDS)
    return Measure(
        value=value,
        low=float(low),
        high=float(high),
        count=count,
        method="bootstrap over images",
        resamples=values,
    )


def resample(
    statistic: Callable[[np.ndarray], np.ndarray], count: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """A statistic over resampled images, (R, ...).

    Args:
        statistic: from (R, N) weights, how often each image was drawn, to (R, ...) values.
        count: N, number of images.
        seed: of the draws.
        resamples: R over all calls.
    """
    if count * resamples <= _MOST_WEIGHTS:
        return statistic(_kept_weights(count, seed, resamples))
    random = np.random.default_rng(seed)
    rows = max(1, _MOST_WEIGHTS // count)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([statistic(_weights(count, size, random)) for size in sizes])


def _weights(count: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(R, N): how often each of N images was drawn."""
    counts = np.empty((resamples, count))
    # Row by row the bins stay in the processor's cache.
    for row, drawn in zip(counts, random.integers(0, count, (resamples, count)), strict=True):
        row[:] = np.bincount(drawn, minlength=count)
    return counts


@lru_cache(maxsize=2)
def _kept_weights(count: int, seed: int, resamples: int) -> np.ndarray:
    """The measures of one task draw the same images: drawing costs more than most of the measures."""
    return _weights(count, resamples, np.random.default_rng(seed))
