"""Depth and surface normals: errors of each image over its valid pixels."""

import numpy as np


def depth_errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Errors of one image.

    Args:
        predicted: (H, W) metres, above 0.
        target: (H, W) metres, 0 where nothing was measured.

    Returns:
        `rmse` in metres, `abs_rel`, and `delta_1`: the share of pixels within a factor of 1.25.
    """
    valid = target > 0
    d, t = np.maximum(predicted[valid], 1e-6), target[valid]
    factor = np.maximum(d / t, t / d)
    return {
        "rmse": float(np.sqrt(((d - t) ** 2).mean())),
        "abs_rel": float((np.abs(d - t) / t).mean()),
        "delta_1": float((factor < 1.25).mean()),
    }


def normal_errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Angles between normals of one image, in degrees.

    Args:
        predicted: (H, W, 3), any length.
        target: (H, W, 3) of unit length, zero where nothing is known.

    Returns:
        `angular_rmse` in degrees, and the share of pixels within 11.25 and 30 degrees.
    """
    valid = (target**2).sum(-1) > 0.5
    p, t = predicted[valid], target[valid]
    p = p / np.maximum(np.linalg.norm(p, axis=-1, keepdims=True), 1e-12)
    angles = np.degrees(np.arccos(np.clip((p * t).sum(-1), -1, 1)))
    return {
        "angular_rmse": float(np.sqrt((angles**2).mean())),
        "within_11.25": float((angles < 11.25).mean()),
        "within_30": float((angles < 30).mean()),
    }


def normals_from_depth(depth: np.ndarray, focal: float) -> np.ndarray:
    """Normals of the surface that a depth image shows, towards the camera.

    Args:
        depth: (H, W) metres, 0 where nothing was measured.
        focal: focal length in pixels; the centre of the image is the principal point.

    Returns:
        (H, W, 3) of unit length, zero at the border and wherever a neighbour is missing or far off.
    """
    height, width = depth.shape
    x = (np.arange(width) - (width - 1) / 2) / focal
    y = (np.arange(height) - (height - 1) / 2) / focal
    points = np.stack([depth * x, depth * y[:, None], depth], axis=-1)
    right, down = np.zeros_like(points), np.zeros_like(points)
    right[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normals = np.cross(down, right)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    known = depth > 0
    whole = known.copy()
    # A step of over five per cent between neighbours is an edge of an object, not a surface.
    for axis in (0, 1):
        for shift in (-1, 1):
            neighbour = np.roll(depth, shift, axis)
            whole &= (neighbour > 0) & (np.abs(neighbour - depth) < 0.05 * np.maximum(depth, 1e-6))
    whole[[0, -1]], whole[:, [0, -1]] = False, False
    return np.where(whole[..., None], normals, 0.0)
