"""Whether this machine has the kernels, and whether they compute on its GPU what a processor computes.

A GPU or a release of Triton that nobody here has seen might turn them into something else, and a run would
train a wrong model for days before anyone noticed: a run on a GPU compares them once, before it begins.
"""

import importlib.util
from collections.abc import Iterator

import torch
from torch import Tensor

from siglip2.errors import Siglip2Error
from siglip2.kernels.bias_gelu import bias_gelu, bias_gelu_backward
from siglip2.kernels.split_projections import join_gradients

HAS_TRITON = importlib.util.find_spec("triton") is not None
"""Torch for CUDA brings it, except on Windows."""

SHAPE = (3, 180, 300)
"""More rows than one program goes through, and no multiples of a block."""
MOST_ERROR = 1e-2
"""Relative; bfloat16 rounds to 2e-3."""


class KernelsDisagree(Siglip2Error):
    """A kernel gives other numbers on this GPU than on the processor; says which, and by how much."""


def check_kernels(device: str) -> None:
    """Compare every kernel with the processor's version of it, in bfloat16 on random numbers.

    Args:
        device: the GPU.

    Raises:
        KernelsDisagree: one of them is wrong there.
    """
    for name, found, right in _pairs(device):
        error = ((found.cpu().double() - right.double()).norm() / right.double().norm()).item()
        # Written so that NaN is refused.
        if not error <= MOST_ERROR:
            raise KernelsDisagree(
                f"{name} is off by {error:.1e} on {device} with torch {torch.__version__}: a fault of the "
                "driver or of Triton, which another version of torch may not have. Nothing was trained"
            )


def _pairs(device: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name of each result, what the device says and what the processor says."""
    drawn = torch.Generator().manual_seed(0)
    x, slope, third = (torch.randn(SHAPE, generator=drawn).bfloat16() for _ in range(3))
    bias = torch.randn(SHAPE[-1], generator=drawn)
    there = [each.to(device) for each in (x, slope, third, bias)]
    yield "bias_gelu", bias_gelu(there[0], there[3]), bias_gelu(x, bias)
    found = bias_gelu_backward(there[1], there[0], there[3])
    right = bias_gelu_backward(slope, x, bias)
    yield "the gradient of bias_gelu", found[0], right[0]
    yield "the bias's gradient of bias_gelu", found[1], right[1]
    found, right = join_gradients(*there[:3]), join_gradients(x, slope, third)
    yield "join_gradients", found[0], right[0]
    yield "the sums of join_gradients", found[1], right[1]
