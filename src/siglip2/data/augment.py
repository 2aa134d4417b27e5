"""Augmentation of a batch of small images, in torch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from siglip2.data.share import Share


def draw_crops(
    share: Share,
    generator: torch.Generator,
    *,
    min_area: float,
    max_area: float = 1.0,
    flip: bool = True,
) -> Float[Tensor, "B 2 3"]:
    """Random square crops, mirrored half of the time, as affine maps from view to picture in -1..1."""
    draw, count = share.rand(4, generator=generator), len(share)
    scale = (min_area + (max_area - min_area) * draw[:, 0]).sqrt()
    shift = (1 - scale)[:, None] * (2 * draw[:, 1:3] - 1)
    mirror = torch.where(draw[:, 3] < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
    return theta


def apply_crops(
    images: UInt8[Tensor, "B S S 3"], crops: Float[Tensor, "B 2 3"], size: tuple[int, int]
) -> Float[Tensor, "B 3 H W"]:
    """The views that crops show, resized to (height, width), in [-1, 1]."""
    grid = F.affine_grid(
        crops.to(images.device, non_blocking=True), [len(images), 3, *size], align_corners=False
    )
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def crop_box(
    box: Sequence[float], crop: Sequence[Sequence[float]]
) -> tuple[float, float, float, float] | None:
    """Where a box of the picture lies in a view; None where less than half of it is to be seen.

    Args:
        box: x0, y0, x1, y1 in shares of the picture.
        crop: (2, 3) affine map of the view.
    """
    scale = (crop[0][0], crop[1][1])
    shift = (crop[0][2], crop[1][2])
    corners = []
    for axis in (0, 1):
        ends = [((2 * box[index] - 1 - shift[axis]) / scale[axis] + 1) / 2 for index in (axis, axis + 2)]
        corners.append((min(ends), max(ends)))
    (x0, x1), (y0, y1) = corners
    seen = (max(0.0, x0), max(0.0, y0), min(1.0, x1), min(1.0, y1))
    area = max(0.0, seen[2] - seen[0]) * max(0.0, seen[3] - seen[1])
    return seen if area >= 0.5 * (x1 - x0) * (y1 - y0) > 0 else None


def patchify(pixels: Float[Tensor, "B 3 H W"], patch_size: int) -> Float[Tensor, "B N P"]:
    """Patches in row-major order, each flattened as (row, column, channel)."""
    num_images, channels, height, width = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    x = pixels[:, :, : rows * patch_size, : columns * patch_size]
    x = x.reshape(num_images, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(num_images, rows * columns, -1)
