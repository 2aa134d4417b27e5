"""Bias and GELU between the layers of an MLP: one kernel forward, one backward, for training on a GPU.

The widest activation of a block is what passes through a GPU's memory most often. The compiler makes one
kernel of GELU's gradient and another that reads the same again to add up the bias's; here both are one.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.library.custom_op("siglip2::bias_gelu", mutates_args=(), device_types="cuda")
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU (tanh approximation) of x (..., D) + bias (D,), computed in float32, in the precision of x."""
    from siglip2.kernels.triton_kernels import launch_bias_gelu

    return launch_bias_gelu(x, bias)


@torch.library.custom_op("siglip2::bias_gelu_backward", mutates_args=(), device_types="cuda")
def bias_gelu_backward(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of x (..., D), and that of the bias (D,) in float32."""
    from siglip2.kernels.triton_kernels import launch_bias_gelu_backward

    return launch_bias_gelu_backward(gradient, x, bias)


@bias_gelu.register_kernel("cpu")
def _(x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x.float() + bias.float(), approximate="tanh").to(x.dtype)


@bias_gelu_backward.register_kernel("cpu")
def _(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    wide = x.float() + bias.float()
    slope = torch.ops.aten.gelu_backward(gradient.float(), wide, approximate="tanh")
    return slope.to(x.dtype), slope.flatten(0, -2).sum(dim=0)


@bias_gelu.register_fake
def _(x: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@bias_gelu_backward.register_fake
def _(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[-1], dtype=torch.float32)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x, bias = ctx.saved_tensors
    to_x, to_bias = bias_gelu_backward(gradient, x, bias)
    return to_x, to_bias.to(bias.dtype)


bias_gelu.register_autograd(_backward, setup_context=_remember)
