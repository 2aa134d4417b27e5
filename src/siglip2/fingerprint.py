"""A short name for a model's weights, to tell whether stored vectors belong to it."""

import hashlib

import numpy as np

from siglip2.weights.checkpoint import Checkpoint

_SAMPLES = 256
"""Numbers read of each tensor."""


def weights_fingerprint(checkpoint: Checkpoint) -> str:
    """Hash of names, shapes and a sample of every tensor, in 16 hexadecimal digits.

    The sample is evenly spaced, so that a model of several gigabytes is not read for its name. Any training
    changes every tensor. A copy in another precision counts as another model.
    """
    digest = hashlib.sha256(repr(checkpoint.config).encode())
    for name in sorted(checkpoint.tensors):
        tensor = checkpoint.tensors[name]
        digest.update(f"{name}|{tensor.shape}|{tensor.dtype}".encode())
        size = int(np.prod(tensor.shape))
        positions = np.unique(np.linspace(0, size - 1, min(size, _SAMPLES)).astype(np.int64))
        digest.update(tensor.bits[np.unravel_index(positions, tensor.shape)].tobytes())
    return digest.hexdigest()[:16]
