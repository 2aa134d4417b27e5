"""Mean average precision over classes, for images of several classes each."""

import numpy as np

from siglip2.evals.intervals import Measure, resampled


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> tuple[Measure, dict[int, float]]:
    """The mean with its interval, and each class's value through scikit-learn.

    Classes that no image has are left out.

    Args:
        scores: (B, C).
        labels: (B, C) bool.
    """
    from sklearn.metrics import average_precision_score

    present = np.flatnonzero(labels.any(axis=0)).tolist()
    precisions = {c: float(average_precision_score(labels[:, c], scores[:, c])) for c in present}
    order = {c: np.argsort(-scores[:, c], kind="stable") for c in present}
    measure = resampled(lambda weights: _weighted(weights, labels, order), len(scores))
    return measure, precisions


def _weighted(weights: np.ndarray, labels: np.ndarray, order: dict[int, np.ndarray]) -> np.ndarray:
    """Of images that count so often, (R,); a resample without a class leaves it out.

    Args:
        weights: (R, B).
        labels: (B, C) bool.
        order: of each class, images from best to worst.
    """
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for index, ranked in order.items():
        drawn = weights[:, ranked]
        places = np.flatnonzero(labels[ranked, index])
        own = drawn[:, places]
        # An image that was drawn several times stands in several places, and its last one decides.
        precision = np.cumsum(own, axis=1) / np.maximum(np.cumsum(drawn, axis=1)[:, places], 1e-12)
        size = own.sum(axis=1)
        total += np.where(size > 0, (own * precision).sum(axis=1) / np.maximum(size, 1e-12), 0.0)
        counted += size > 0
    return total / counted
