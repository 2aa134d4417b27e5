"""Bias and GELU of an MLP with their gradients in one kernel: an experiment of benchmarks/training.py.

The widest activation of a block is what passes through a GPU's memory most often. The compiler makes one
kernel of GELU's gradient and another that reads the result again to add up the bias's; this makes both at
once. It is not in the package: its values were compared in Triton's interpreter alone so far, and `use`
compares them on the card before anything is measured.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.network.transformer import MLP

TWICE_ROOT = 1.5957691216057308
"""2 sqrt(2 / pi): x (1 + tanh u) / 2, the tanh approximation, is x sigmoid(2 u), which is faster on a GPU."""
CUBIC = 0.044715
ROWS = 512
"""That one program goes through, so that few partial sums are left."""
BLOCK_ROWS, BLOCK_COLUMNS = 16, 256


def use() -> None:
    """Give it to every compiled MLP of this process.

    Raises:
        AssertionError: its values or gradients are not those of torch.
    """
    _compare()
    plain = MLP.forward

    def forward(self: MLP, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and torch.is_grad_enabled() and type(self.fc1) is nn.Linear:
            return self.fc2(bias_gelu(F.linear(x, self.fc1.weight), self.fc1.bias))
        return plain(self, x)

    MLP.forward = forward


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU (tanh approximation) of x (..., D) + bias (D,), computed in float32, in the precision of x."""
    return _BiasGelu.apply(x, bias)  # type: ignore[return-value]


class _BiasGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, bias)
        wide = x.float() + bias.float()
        return (wide * torch.sigmoid(TWICE_ROOT * (wide + CUBIC * wide * wide * wide))).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, bias = ctx.saved_tensors
        to_x, parts = bias_gelu_backward(gradient, x, bias)
        return to_x, parts.sum(dim=0).to(bias.dtype)


@torch.library.custom_op("siglip2_benchmarks::bias_gelu_backward", mutates_args=())
def bias_gelu_backward(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of x (..., D), and of the bias in parts (P, D) that are to be added up, in float32."""
    gradient, x = gradient.contiguous(), x.contiguous()
    to_x, parts = _empty(x)
    columns = x.shape[-1]
    grid = (triton.cdiv(columns, BLOCK_COLUMNS), len(parts))
    sizes, blocks = (x.numel() // columns, columns), (ROWS, BLOCK_ROWS, BLOCK_COLUMNS)
    launch: Any = _gradients
    launch[grid](gradient, x, bias, to_x, parts, *sizes, TWICE_ROOT, CUBIC, *blocks, num_warps=8)
    return to_x, parts


@bias_gelu_backward.register_fake
def _(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return _empty(x)


def _empty(x: Tensor) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    parts = (x.numel() // width + ROWS - 1) // ROWS
    return x.new_empty(x.shape), x.new_empty(parts, width, dtype=torch.float32)


@triton.jit
def _gradients(
    gradient,
    x,
    bias,
    to_x,
    parts,
    rows,
    columns,
    twice_root: tl.constexpr,
    cubic: tl.constexpr,
    program_rows: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    known = column < columns
    shift = tl.load(bias + column, mask=known, other=0.0).to(tl.float32)
    total = tl.zeros([block_rows, block_columns], tl.float32)
    for start in range(0, program_rows, block_rows):
        row = tl.program_id(1) * program_rows + start + tl.arange(0, block_rows)
        at = row[:, None].to(tl.int64) * columns + column[None]
        real = (row < rows)[:, None] & known[None]
        wide = tl.load(x + at, mask=real, other=0.0).to(tl.float32) + shift[None]
        slope = tl.load(gradient + at, mask=real, other=0.0).to(tl.float32)
        share = tl.sigmoid(twice_root * (wide + cubic * wide * wide * wide))
        steep = twice_root * (1.0 + 3.0 * cubic * wide * wide)
        slope = slope * (share + wide * share * (1.0 - share) * steep)
        tl.store(to_x + at, slope.to(to_x.dtype.element_ty), mask=real)
        total += slope
    tl.store(parts + tl.program_id(1) * columns + column, tl.sum(total, axis=0), mask=known)


def _compare(device: str = "cuda") -> None:
    """Rows and columns are no multiples of what the kernel takes at a time."""
    drawn = torch.Generator().manual_seed(0)
    shapes = ((3, 700, 300), (300,), (3, 700, 300))
    x, bias, slope = (torch.randn(*shape, generator=drawn).to(device) for shape in shapes)
    right_x, right_bias = (each.double().requires_grad_() for each in (x, bias))
    right = F.gelu(right_x + right_bias, approximate="tanh")
    right.backward(slope.double())
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        for function in (bias_gelu, torch.compile(bias_gelu, fullgraph=True)):
            ours, shift = x.to(dtype, copy=True).requires_grad_(), bias.clone().requires_grad_()
            found = function(ours, shift)
            found.backward(slope.to(dtype))
            pairs = ((found, right), (ours.grad, right_x.grad), (shift.grad, right_bias.grad))
            for mine, theirs in pairs:
                assert mine is not None
                assert theirs is not None
                error = (mine.double() - theirs).norm() / theirs.norm()
                assert error < most, f"bias_gelu is wrong here by {error:.1e} in {dtype}"
