"""Two runs over the same images: the difference of each measure, tested pair by pair.

A measure that is a mean over cases is paired case by case. One that is not, such as mIoU, is paired resample
by resample: equal seeds draw equal images, so that both values of one resample are of the same images.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siglip2.evals.intervals import mean
from siglip2.evals.results import read_cases, read_results


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of two runs.

    Attributes:
        task: its name.
        measure: its name.
        first: value of the first run.
        second: value of the second run.
        low: lower end of the 95 % interval of second - first; None where the runs kept no cases to pair.
        high: upper end.
    """

    task: str
    measure: str
    first: float
    second: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.low is None or self.high is None:
            return "cannot be paired"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "no difference shown"


def compare_folders(first: Path, second: Path) -> list[Difference]:
    """Every measure that both folders hold; images are resampled in pairs.

    Raises:
        InvalidInput: a folder holds no results.
    """
    results = [read_results(folder) for folder in (first, second)]
    differences = []
    for task in results[0]:
        if task not in results[1]:
            continue
        cases = [read_cases(folder, task) for folder in (first, second)]
        for measure, value in results[0][task]["measures"].items():
            other = results[1][task]["measures"].get(measure)
            if other is None:
                continue
            interval = _paired(cases[0], cases[1], measure) if _alike(results, task) else None
            differences.append(
                Difference(
                    task=task,
                    measure=measure,
                    first=value["value"],
                    second=other["value"],
                    low=interval[0] if interval else None,
                    high=interval[1] if interval else None,
                )
            )
    return differences


def _alike(results: list[dict], task: str) -> bool:
    """Whether both runs of a task measured the same images: sizes, sample and seed."""
    first, second = (each[task] for each in results)
    return first["sizes"] == second["sizes"] and all(
        first["identity"].get(key) == second["identity"].get(key) for key in ("limit", "seed")
    )


def _paired(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], measure: str
) -> tuple[float, float] | None:
    key = f"{measure}|resamples"
    if key in first and key in second and len(first[key]) == len(second[key]):
        low, high = np.nanpercentile(second[key].astype(np.float64) - first[key], (2.5, 97.5))
        return float(low), float(high)
    if measure not in first or measure not in second or len(first[measure]) != len(second[measure]):
        return None
    gaps = second[measure].astype(np.float64) - first[measure]
    shared = [f"{measure}|groups", f"{measure}|kinds"]
    if not all(np.array_equal(first.get(key, ()), second.get(key, ())) for key in shared):
        return None
    difference = mean(gaps, *(first.get(key) for key in shared))
    return difference.low, difference.high
