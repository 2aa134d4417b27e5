"""Pixels to patches, and images of unequal numbers of patches to one batch."""

from collections.abc import Sequence

import numpy as np

from siglip2.errors import InvalidInput


def patchify(pixels: np.ndarray, patch_size: int) -> np.ndarray:
    """Cut an image into patches.

    Only whole patches are taken, from the top left, as the reference's convolution without padding does:
    so400m-patch14-384 sees 378 of its 384 pixels.

    Args:
        pixels: (H, W, 3) of any number type.
        patch_size: side p of a patch, in pixels.

    Returns:
        (N, p * p * 3), patches row-major, each flattened in the order (row, column, channel).
    """
    high, wide = pixels.shape[0] // patch_size, pixels.shape[1] // patch_size
    used = pixels[: high * patch_size, : wide * patch_size]
    grid = used.reshape(high, patch_size, wide, patch_size, pixels.shape[2]).swapaxes(1, 2)
    return grid.reshape(high * wide, patch_size * patch_size * pixels.shape[2])


def pad_patches(patches: Sequence[np.ndarray], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stack images of unequal length; zeros stand at the padding.

    Args:
        patches: one (N_i, P) for each image.
        length: N of the batch; the longest image if None.

    Returns:
        (B, N, P) of the images' number type, and the mask (B, N) bool, True at real patches.

    Raises:
        InvalidInput: an image is longer than `length`.
    """
    longest = max(len(image) for image in patches)
    length = longest if length is None else length
    if longest > length:
        raise InvalidInput(f"an image of {longest} patches does not fit into a batch of {length} patches")
    padded = np.zeros((len(patches), length, patches[0].shape[1]), dtype=patches[0].dtype)
    mask = np.zeros((len(patches), length), dtype=bool)
    for row, image in enumerate(patches):
        padded[row, : len(image)] = image
        mask[row, : len(image)] = True
    return padded, mask
