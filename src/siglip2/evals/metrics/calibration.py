"""Whether stated shares come true: reliability bins and the expected calibration error."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Predictions sorted into bins of equal width by their stated share.

    Attributes:
        error: expected calibration error, the mean of |share that was right - share stated| over images.
        stated: (K,) mean stated share of each bin; NaN where it is empty.
        right: (K,) share that was right.
        counts: (K,) images in the bin.
    """

    error: float
    stated: np.ndarray
    right: np.ndarray
    counts: np.ndarray


def reliability(stated: np.ndarray, right: np.ndarray, *, bins: int = 15) -> Reliability:
    """Compare stated shares with what came true (Guo et al. 2017, arXiv 1706.04599).

    Args:
        stated: (B,) share that the model gave to its answer.
        right: (B,) bool, whether the answer was right.
        bins: K.
    """
    index = np.clip((stated * bins).astype(int), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_stated = np.bincount(index, stated, bins) / counts
        mean_right = np.bincount(index, right.astype(float), bins) / counts
    gaps = np.abs(np.nan_to_num(mean_right) - np.nan_to_num(mean_stated))
    return Reliability(float((gaps * counts).sum() / counts.sum()), mean_stated, mean_right, counts)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
