"""Augmentation of a batch of small images, in torch."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F


def random_crop_and_flip(
    images: UInt8[Tensor, "B S S 3"],
    generator: torch.Generator,
    *,
    min_area: float,
    flip: bool = True,
    size: int | None = None,
) -> Float[Tensor, "B 3 R R"]:
    """Random square crops of `min_area` to all of the image, resized to `size`, flipped half of the time.

    Values go from 0..255 to [-1, 1]. The randomness comes from `generator` alone.
    """
    num_images, side = len(images), size or images.shape[1]
    draw = torch.rand(num_images, 4, generator=generator)
    scale = (min_area + (1 - min_area) * draw[:, 0]).sqrt()
    shift = (1 - scale)[:, None] * (2 * draw[:, 1:3] - 1)
    mirror = torch.where(draw[:, 3] < 0.5, -1.0, 1.0) if flip else torch.ones(num_images)
    theta = torch.zeros(num_images, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
    grid = F.affine_grid(theta.to(images.device), [num_images, 3, side, side], align_corners=False)
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def patchify(pixels: Float[Tensor, "B 3 S S"], patch_size: int) -> Float[Tensor, "B N P"]:
    """Patches in row-major order, each flattened as (row, column, channel)."""
    num_images, channels, height, width = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    x = pixels[:, :, : rows * patch_size, : columns * patch_size]
    x = x.reshape(num_images, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(num_images, rows * columns, -1)
