"""k-means by cosine, and the nearest centroids.

faiss has both, but its wheels multiply matrices by a library that takes a new processor for an old one: 39
GFLOP/s where numpy does 200.
"""

import numpy as np

STEPS = 10
CHUNK = 4096


def k_means(vectors: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Centroids (K, E) of unit length of vectors (N, E) of unit length, N >= K."""
    rng = np.random.default_rng(seed)
    centroids = vectors[np.sort(rng.choice(len(vectors), count, replace=False))].copy()
    for _ in range(STEPS):
        cells = nearest_centroids(vectors, centroids)
        sizes = np.bincount(cells, minlength=count)
        # Of a cell that has become empty any vector is as good a centroid as another.
        empty = np.flatnonzero(sizes == 0)
        centroids[empty] = vectors[rng.choice(len(vectors), len(empty), replace=False)]
        order = np.argsort(cells, kind="stable")
        filled = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        centroids[filled] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centroids


def nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centroid (N,) of the largest cosine to each of the vectors (N, E)."""
    nearest = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), CHUNK):
        nearest[start : start + CHUNK] = (vectors[start : start + CHUNK] @ centroids.T).argmax(axis=1)
    return nearest
