"""What is done with vectors before and after they are compared."""

import numpy as np


def to_unit_length(vectors: np.ndarray) -> np.ndarray:
    """Divide each row by its length plus 1e-8, as big_vision's `two_towers.py` does."""
    return (vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-8)).astype(np.float32)


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logit)): no overflow, and the small probabilities keep all their digits."""
    return np.exp(-np.logaddexp(np.zeros((), logit.dtype), -logit))
