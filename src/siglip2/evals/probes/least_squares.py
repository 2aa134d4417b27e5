"""Few-shot classification in closed form: ridge regression on standardised features.

Source: big_vision `evaluators/fewshot_lsr.py`, which the paper's 10-shot column comes from.
"""

import numpy as np

BIAS_FEATURE = 100.0
"""The constant feature; so large that the ridge hardly holds it back."""

RIDGE = 2.0**10
"""L2 penalty of the paper's column."""


def few_shot_predictions(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, num_classes: int, *, ridge: float = RIDGE
) -> np.ndarray:
    """Fit on a few examples, predict the others.

    Targets are +1 for the class and -1 for all others. Solved through the eigenvectors of the smaller of the
    two Gram matrices.

    Args:
        train: (N, D) features of the examples.
        labels: (N,) their classes.
        test: (B, D) features.
        num_classes: C.
        ridge: L2 penalty.

    Returns:
        (B,) predicted classes.
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-5
    x = _with_bias((train - mean) / deviation)
    targets = 2.0 * np.eye(num_classes)[labels] - 1.0
    if len(x) < x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        weights = x.T @ (vectors @ ((vectors.T @ targets) / (values[:, None] + ridge)))
    else:
        values, vectors = np.linalg.eigh(x.T @ x)
        weights = vectors @ ((vectors.T @ (x.T @ targets)) / (values[:, None] + ridge))
    return (_with_bias((test - mean) / deviation) @ weights).argmax(axis=1)


def draw_shots(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Positions of so many random examples of every class, fewer where a class has no more."""
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(labels == index))[:shots] for index in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def _with_bias(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 1)), constant_values=BIAS_FEATURE)
