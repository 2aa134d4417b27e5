"""Position tables for grids other than the learned one, differentiable.

big_vision resizes the learned (16, 16, D) table with `jax.image.scale_and_translate`, bilinear and
anti-aliased; torch's anti-aliased bilinear interpolation is the same operation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from siglip2.errors import InvalidInput

MAX_SIDE = 64
"""big_vision's canvas: beyond it the reference gathers out of range and returns NaN."""


def resize_positions(
    table: Float[Tensor, "G G D"], grid: tuple[int, int], *, max_side: int = MAX_SIDE
) -> Float[Tensor, "N D"]:
    """The table at another grid, row-major. Computed in float32 whatever the table's dtype.

    Raises:
        InvalidInput: more than `max_side` patches on a side.
    """
    if max(grid) > max_side:
        raise InvalidInput(
            f"a grid of {grid[0]}x{grid[1]} patches has more than {max_side} on a side; "
            "use fewer patches or raise max_side"
        )
    if grid == tuple(table.shape[:2]):
        return table.flatten(0, 1)
    height, width = grid
    resized = table.permute(2, 0, 1)[None].float()
    # One axis after the other: resizing both at once, torch (2.13, and `transformers` with it) gets a grid of
    # one column wrong unless its height stays the same.
    for size in ((height, table.shape[1]), (height, width)):
        resized = F.interpolate(resized, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].flatten(1).T


def grid_positions(
    table: Float[Tensor, "G G D"], grids: Int[Tensor, "B 2"], num_patches: int
) -> Float[Tensor, "B N D"]:
    """Positions of a padded batch; padding gets the first position, as it does in the reference."""
    if bool((grids == grids[:1]).all()):  # the views of a batch are alike, and there are thousands of them
        high, wide = grids[0].tolist() if len(grids) else (1, 1)
        return _padded(table, (high, wide), num_patches).expand(len(grids), -1, -1)
    sizes: list[tuple[int, int]] = [(size[0], size[1]) for size in grids.tolist()]
    numbers = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
    rows = torch.stack([_padded(table, size, num_patches) for size in numbers])
    # A lookup, not a stack of as many pieces as there are images.
    chosen = torch.tensor([numbers[size] for size in sizes], device=table.device)
    return F.embedding(chosen, rows.flatten(1)).unflatten(1, (num_patches, -1))


def _padded(table: Float[Tensor, "G G D"], size: tuple[int, int], num_patches: int) -> Float[Tensor, "N D"]:
    positions = resize_positions(table, size)
    return torch.cat([positions, positions[:1].expand(num_patches - len(positions), -1)])
