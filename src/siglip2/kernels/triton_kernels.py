"""The Triton kernels of this room, and how they are launched.

Each passes once over (rows, columns), some rows at a time, and keeps a running sum of its columns where one
is wanted; what the programs of one column leave is added up at the end, in a fixed order. Block sizes are
among the best of those tried on an H200 at 131,072 rows of 3,072 and 2,304: 4.0 of the 4.2 TB/s of a copy.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TWICE_ROOT = 1.5957691216057308
"""2 sqrt(2 / pi): x (1 + tanh u) / 2, the tanh approximation, is x sigmoid(2 u), which is faster on a GPU."""
CUBIC = 0.044715

ROWS = 512
"""That one program goes through, so that few partial sums are left."""
BLOCK = {"block_rows": 8, "block_columns": 256, "stages": 3}
WARPS = 4


def launch_bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """`bias_gelu` of x (..., D) on a GPU."""
    x = x.contiguous()
    out = torch.empty_like(x)
    rows, columns = _flat(x)
    if rows:
        _launch(_bias_gelu, 1, columns, rows, (x, bias, out, rows, columns, TWICE_ROOT, CUBIC))
    return out


def launch_bias_gelu_backward(gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (..., D) and, in float32, of the bias (D,)."""
    gradient, x = gradient.contiguous(), x.contiguous()
    to_x = torch.empty_like(x)
    rows, columns = _flat(x)
    parts = _parts(x, rows, columns)
    if rows:
        arguments = (gradient, x, bias, to_x, parts, rows, columns, TWICE_ROOT, CUBIC)
        _launch(_bias_gelu_backward, 1, columns, rows, arguments)
    return to_x, parts.sum(dim=0)


def launch_join(first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, Tensor]:
    """Three (..., D) side by side, and the sums of their columns (3 D,) in float32."""
    three = [each.contiguous() for each in (first, second, third)]
    rows, width = _flat(three[0])
    joint = first.new_empty(*first.shape[:-1], 3 * width)
    parts = _parts(joint, rows, 3 * width)
    if rows:
        _launch(_join, 3, width, rows, (*three, joint, parts, rows, width))
    return joint, parts.sum(dim=0)


def _flat(x: Tensor) -> tuple[int, int]:
    columns = x.shape[-1]
    return x.numel() // max(1, columns), columns


def _parts(like: Tensor, rows: int, columns: int) -> Tensor:
    return like.new_empty(triton.cdiv(rows, ROWS), columns, dtype=torch.float32)


def _launch(kernel: Any, tensors: int, columns: int, rows: int, arguments: tuple) -> None:
    grid = (tensors * triton.cdiv(columns, BLOCK["block_columns"]), triton.cdiv(rows, ROWS))
    kernel[grid](*arguments, program_rows=ROWS, **BLOCK, num_warps=WARPS)


@triton.jit
def _bias_gelu(
    x,
    bias,
    out,
    rows,
    columns,
    twice_root: tl.constexpr,
    cubic: tl.constexpr,
    program_rows: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
    stages: tl.constexpr,
):
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    known = column < columns
    shift = tl.load(bias + column, mask=known, other=0.0).to(tl.float32)
    for start in tl.range(0, program_rows, block_rows, num_stages=stages):
        row = tl.program_id(1) * program_rows + start + tl.arange(0, block_rows)
        at = row[:, None].to(tl.int64) * columns + column[None]
        real = (row < rows)[:, None] & known[None]
        wide = tl.load(x + at, mask=real, other=0.0).to(tl.float32) + shift[None]
        value = wide * tl.sigmoid(twice_root * (wide + cubic * wide * wide * wide))
        tl.store(out + at, value.to(out.dtype.element_ty), mask=real)


@triton.jit
def _bias_gelu_backward(
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
    stages: tl.constexpr,
):
    column = tl.program_id(0) * block_columns + tl.arange(0, block_columns)
    known = column < columns
    shift = tl.load(bias + column, mask=known, other=0.0).to(tl.float32)
    total = tl.zeros([block_rows, block_columns], tl.float32)
    for start in tl.range(0, program_rows, block_rows, num_stages=stages):
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


@triton.jit
def _join(
    first,
    second,
    third,
    joint,
    parts,
    rows,
    width,
    program_rows: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
    stages: tl.constexpr,
):
    blocks = tl.cdiv(width, block_columns)
    which = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * block_columns + tl.arange(0, block_columns)
    known = column < width
    total = tl.zeros([block_rows, block_columns], tl.float32)
    for start in tl.range(0, program_rows, block_rows, num_stages=stages):
        row = tl.program_id(1) * program_rows + start + tl.arange(0, block_rows)
        at = row[:, None].to(tl.int64) * width + column[None]
        real = (row < rows)[:, None] & known[None]
        # One of the three is read: the masks of the others are empty.
        value = tl.load(first + at, mask=real & (which == 0), other=0.0)
        value += tl.load(second + at, mask=real & (which == 1), other=0.0)
        value += tl.load(third + at, mask=real & (which == 2), other=0.0)
        to = row[:, None].to(tl.int64) * (3 * width) + which * width + column[None]
        tl.store(joint + to, value, mask=real)
        total += value.to(tl.float32)
    tl.store(
        parts + tl.program_id(1) * (3 * width) + which * width + column, tl.sum(total, axis=0), mask=known
    )
