"""Mean average precision over classes, for images of several classes each."""

import numpy as np

from siglip2.evals.intervals import Measure, resampled


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> tuple[Measure, dict[int, float]]:
    """The mean with its interval, and each class's value through scikit-learn.

    Classes that no image has are left out. Images of equal scores stand together at the last of their places,
    so that no order among them flatters a model that cannot tell them apart.

    Args:
        scores: (B, C).
        labels: (B, C) bool.
    """
    from sklearn.metrics import average_precision_score

    present = np.flatnonzero(labels.any(axis=0)).tolist()
    precisions = {c: float(average_precision_score(labels[:, c], scores[:, c])) for c in present}
    order = {c: np.argsort(-scores[:, c], kind="stable") for c in present}
    ends = {c: _last_of_equals(-scores[ranked, c]) for c, ranked in order.items()}
    measure = resampled(lambda weights: _weighted(weights, labels, order, ends), len(scores))
    return measure, precisions


def _last_of_equals(rising: np.ndarray) -> np.ndarray:
    """For each place the last one of the same value."""
    return np.searchsorted(rising, rising, side="right") - 1


def _weighted(
    weights: np.ndarray, labels: np.ndarray, order: dict[int, np.ndarray], ends: dict[int, np.ndarray]
) -> np.ndarray:
    """Of images that count so often, (R,); a resample without a class leaves it out.

    Args:
        weights: (R, B).
        labels: (B, C) bool.
        order: of each class, images from best to worst.
        ends: of each class, for each place in that order the last one of the same score.
    """
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for index, ranked in order.items():
        drawn = weights[:, ranked]
        places = np.flatnonzero(labels[ranked, index])
        own = drawn[:, places]
        last = ends[index][places]
        # An image that was drawn several times stands in several places, and its last one decides.
        right = np.cumsum(own, axis=1)[:, np.searchsorted(places, last, side="right") - 1]
        precision = right / np.maximum(np.cumsum(drawn, axis=1)[:, last], 1e-12)
        size = own.sum(axis=1)
        total += np.where(size > 0, (own * precision).sum(axis=1) / np.maximum(size, 1e-12), 0.0)
        counted += size > 0
    return total / counted
