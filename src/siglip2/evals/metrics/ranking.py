"""Where the right class stands among all classes.

Source: big_vision `evaluators/proj/image_text/discriminative_classifier.py`; ties are ours.
"""

import numpy as np

TIES = ("against", "for")
"""`against`: a wrong class of the same score stands in front. `for`: the right one, as argmax code has it
where the right class comes first. A model that gives everything one vector then scores nothing, or all."""


def class_ranks(
    images: np.ndarray, classes: np.ndarray, labels: np.ndarray, *, ties: str = "against", chunk: int = 4096
) -> np.ndarray:
    """Rank of the right class of each image, 0 for the best. Scale and bias do not change it.

    Args:
        images: (B, E) unit embeddings.
        classes: (C, E) unit class embeddings.
        labels: (B,) index of the right class.
        ties: one of `TIES`.
        chunk: images compared at a time.
    """
    ranks = np.zeros(len(images), np.int64)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        scores = images[part] @ classes.T
        own = np.take_along_axis(scores, labels[part, None], axis=1)
        # The right class itself reaches its own score.
        ranks[part] = (scores >= own).sum(axis=1) - 1 if ties == "against" else (scores > own).sum(axis=1)
    return ranks


def any_right(scores: np.ndarray, accepted: np.ndarray, *, ties: str = "against") -> np.ndarray:
    """Whether the best class of each image is any of those that are right for it (ImageNet ReaL).

    Args:
        scores: (B, C) of images and classes.
        accepted: (B, C) bool.
        ties: one of `TIES`.

    Returns:
        (B,) bool; False where no class is right.
    """
    best = np.where(accepted, scores, -np.inf).max(axis=1)
    others = np.where(accepted, -np.inf, scores).max(axis=1)
    # Where every class is right both sides of nothing are compared, and any answer will do.
    return best > others if ties == "against" else (best >= others) & accepted.any(axis=1)


def best_classes(images: np.ndarray, classes: np.ndarray, *, chunk: int = 4096) -> np.ndarray:
    """Index of the best class of each image; the first of equals.

    Args:
        images: (B, E) unit embeddings.
        classes: (C, E) unit class embeddings.
        chunk: images compared at a time.
    """
    starts = range(0, len(images), chunk)
    parts = [(images[start : start + chunk] @ classes.T).argmax(axis=1) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *parts])
