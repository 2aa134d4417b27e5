"""Mean intersection over union: sums over all images first, then the mean over classes."""

import numpy as np


def overlaps(
    predicted: np.ndarray, target: np.ndarray, num_classes: int, *, ignore: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of intersection and of union of each class in one image.

    Args:
        predicted: (H, W) class of each pixel.
        target: (H, W) true class, or `ignore`.
        num_classes: C.
        ignore: value of pixels that do not count.

    Returns:
        Two arrays (C,) int64.
    """
    valid = target != ignore
    predicted, target = predicted[valid], target[valid]
    hit = np.bincount(target[predicted == target], minlength=num_classes)[:num_classes]
    total = np.bincount(target, minlength=num_classes) + np.bincount(predicted, minlength=num_classes)
    return hit, total[:num_classes] - hit


def mean_iou(intersections: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """MIoU of weighted images.

    Classes that occur neither in targets nor in predictions count as absent, not as zero.

    Args:
        intersections: (..., C), summed over images.
        unions: (..., C), summed over images.

    Returns:
        (...,).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(unions > 0, intersections / np.maximum(unions, 1e-12), np.nan)
    return np.nanmean(iou, axis=-1)
