"""Zero-shot classification: share of images whose best class is the right one."""

from collections.abc import Sequence

import numpy as np

from siglip2.evals.intervals import Share


def top_k_accuracy(
    images: np.ndarray, classes: np.ndarray, labels: np.ndarray, *, ks: Sequence[int] = (1, 5)
) -> dict[int, Share]:
    """Top-k accuracy of unit embeddings.

    Scale and bias do not change it. A tie counts against the model.

    Args:
        images: (B, E) image embeddings.
        classes: (C, E) class embeddings.
        labels: (B,) index of the right class.
        ks: cut-offs.
    """
    scores = images @ classes.T
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    ranks = (scores >= own).sum(axis=1) - 1
    return {k: Share.of(int((ranks < k).sum()), len(ranks)) for k in ks}
