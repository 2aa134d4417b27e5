"""Patch features as code for multimodal models takes them: as a grid, and with neighbours joined."""

from jaxtyping import Float
from torch import Tensor

from siglip2.errors import InvalidInput


def pixel_shuffle(
    features: Float[Tensor, "B N D"], grid: tuple[int, int], factor: int, *, require_square: bool = True
) -> Float[Tensor, "B M E"]:
    """Join each `factor` x `factor` neighbours to one token of E = D * factor^2, M = N / factor^2.

    The channels of a token are in the order (row, column, D), as in Idefics3 and SmolVLM.

    Args:
        features: patch features, row-major.
        grid: patches high and wide.
        factor: how many patches a side become one.
        require_square: refuse grids that code which derives the side from the root of N would scramble.

    Raises:
        InvalidInput: the grid does not hold N patches, is not square, or a side is no multiple of `factor`.
    """
    height, width = grid
    if factor < 1:
        raise InvalidInput(f"a pixel shuffle by {factor} joins nothing; use a factor of 1 or more")
    if height * width != features.shape[1]:
        raise InvalidInput(
            f"a grid of {height}x{width} has {height * width} patches, not {features.shape[1]}"
        )
    if require_square and height != width:
        raise InvalidInput(
            f"a grid of {height}x{width} is not square, as most multimodal models assume; "
            "use a square image, or require_square=False where the consumer is told the grid"
        )
    if height % factor or width % factor:
        raise InvalidInput(
            f"a grid of {height}x{width} cannot be joined by {factor}: "
            f"both sides have to be multiples of {factor}"
        )
    blocks = features.unflatten(1, (height // factor, factor, width // factor, factor))
    return blocks.transpose(2, 3).flatten(3).flatten(1, 2)
