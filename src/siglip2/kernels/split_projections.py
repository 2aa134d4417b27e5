"""Queries, keys and values out of one product, with one kernel for what comes back, for training on a GPU.

Their gradients have to lie side by side again for the product's own gradients, and their sums over tokens are
those of the biases. The compiler makes one kernel of each, and the second reads what the first wrote.
"""

from typing import Any

import torch
from torch import Tensor


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joint: Tensor, bias: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.bias_dtype = bias.dtype
        return joint.chunk(3, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        joint, to_bias = join_gradients(*gradients)
        return joint, to_bias.to(ctx.bias_dtype)


def split_projections(joint: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, each (B, N, D).

    Args:
        joint: (B, N, 3 D), side by side, the bias already added, as a constant.
        bias: (3 D,); its gradient is formed here.
    """
    return _Split.apply(joint, bias)  # type: ignore[return-value]


@torch.library.custom_op("siglip2::join_gradients", mutates_args=(), device_types="cuda")
def join_gradients(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
    """Three (B, N, D) side by side: (B, N, 3 D), and their sums over B and N: (3 D,) in float32."""
    from siglip2.kernels.triton_kernels import launch_join

    return launch_join(first, second, third)


@join_gradients.register_kernel("cpu")
def _(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
    joint = torch.cat([first, second, third], dim=-1)
    return joint, joint.float().flatten(0, -2).sum(dim=0)


@join_gradients.register_fake
def _(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
    width = 3 * first.shape[-1]
    return first.new_empty(*first.shape[:-1], width), first.new_empty(width, dtype=torch.float32)
