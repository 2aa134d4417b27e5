"""Boxes (x0, y0, x1, y1): overlap, and points within."""

import numpy as np


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, pair by pair.

    Args:
        first: (..., 4).
        second: (..., 4).
    """
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(-1) for box in (first, second)]
    return overlap / np.maximum(areas[0] + areas[1] - overlap, 1e-12)


def within(point: tuple[float, float], boxes: np.ndarray) -> bool:
    """Whether a point (x, y) lies in any of the boxes (N, 4)."""
    x, y = point
    return bool(((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])).any())
