"""Rows of all ranks, with gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # type: ignore[override]
        own = torch.tensor(len(rows), device=rows.device)
        counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, own)
        sizes = [int(count) for count in counts]
        padded = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])]).contiguous()
        everyone = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(everyone, padded)
        ctx.first = sum(sizes[: dist.get_rank()])
        ctx.count = len(rows)
        return torch.cat([each[:size] for each, size in zip(everyone, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        # What all ranks' losses say of these rows, so that the mean over ranks of what follows is right.
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed[ctx.first : ctx.first + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks, one rank after the other; of one process, the rows themselves.

    The gradient of a row is summed over the losses of all ranks. With losses whose mean over ranks is the
    global loss, the mean of parameters' gradients over ranks is the global gradient.

    Args:
        rows: of this rank; ranks may have different numbers of them.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    return _Gather.apply(rows)  # type: ignore[return-value]
