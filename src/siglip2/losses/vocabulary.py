"""Cross-entropy over a large vocabulary without ever holding the logits of all tokens.

At 256,000 pieces a batch of captions has more logits than the towers have activations. They are computed for
some tokens at a time, and the gradients are formed with them, so that nothing is computed twice.
`linear_cross_entropy` of torch 2.13 does the same and is used for float32; under autocast it adds the tokens
up in bfloat16, and older versions lack it.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from siglip2.losses.reduction import mean_over_ranks
from siglip2.network.transformer import product_dtype

CHUNK_LOGITS = {"cpu": 1 << 24, "cuda": 1 << 29}
"""Logits at a time: 64 MiB in float32, and 2 GiB on a GPU, whose products want many rows: with as few as a
processor is given, the gradient of 256,000 pieces passes through memory 200 times for a batch of 64."""


def vocabulary_loss(
    hidden: Float[Tensor, "M D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " M"],
    *,
    count: int | None = None,
    chunk_logits: int | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of tokens of all ranks; zero, with gradients, for none.

    Args:
        hidden: states of real tokens only: padding is dropped before, which is most of the saving.
        weight: of the output layer.
        targets: token ids.
        count: tokens of this rank's whole batch, where this is a part of it.
        chunk_logits: how many logits are held at a time; None for the device's own number.
    """
    chunk_logits = chunk_logits or CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS["cpu"])
    rows = max(1, chunk_logits // len(weight))
    mixed = torch.is_autocast_enabled(hidden.device.type)
    if len(hidden) == 0:
        total = (hidden.sum() + weight.sum()) * 0.0
    elif hasattr(F, "linear_cross_entropy") and not mixed:
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows, acc_policy="accurate")
        total = F.linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)
    else:
        total = chunked_cross_entropy(hidden, weight, targets, rows)
    return mean_over_ranks(total, len(hidden) if count is None else count)


def chunked_cross_entropy(
    hidden: Float[Tensor, "M D"], weight: Float[Tensor, "V D"], targets: Int[Tensor, " M"], rows: int
) -> Float[Tensor, ""]:
    """Sum of the cross-entropies of tokens; products in autocast's precision, everything else in float32.

    Args:
        hidden: states.
        weight: of the output layer.
        targets: token ids.
        rows: tokens at a time.
    """
    return _Chunks.apply(hidden, weight, targets, rows, product_dtype(hidden))  # type: ignore[return-value]


def _slope(scores: Tensor, targets: Tensor, exact: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies of logits, and its gradient with respect to them in their own precision."""
    right = targets[:, None]
    logs = F.log_softmax(scores, dim=1, dtype=exact)
    loss = -logs.gather(1, right).sum()
    slope = logs.exp_()
    slope.scatter_add_(1, right, slope.new_full((1, 1), -1.0).expand_as(right))
    return loss, slope.to(scores.dtype)


@functools.cache
def _compiled_slope() -> Callable[[Tensor, Tensor, torch.dtype], tuple[Tensor, Tensor]]:
    return torch.compile(_fused_slope)


def _fused_slope(scores: Tensor, targets: Tensor, exact: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same in a form that a compiler makes one kernel of: the logits are read twice and written once."""
    right = targets[:, None]
    logs = F.log_softmax(scores, dim=1, dtype=exact)
    hit = torch.arange(scores.shape[1], device=scores.device)[None] == right
    return -logs.gather(1, right).sum(), (logs.exp() - hit.to(exact)).to(scores.dtype)


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, dtype: torch.dtype
    ) -> Tensor:
        states, kernel = hidden.to(dtype), weight.to(dtype)
        exact = torch.promote_types(dtype, torch.float32)
        to_hidden = torch.empty(hidden.shape, dtype=exact, device=hidden.device)
        to_weight = torch.zeros(weight.shape, dtype=exact, device=weight.device)
        total = to_weight.new_zeros(())
        slopes = _compiled_slope() if hidden.is_cuda else _slope
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            loss, slope = slopes(states[part] @ kernel.T, targets[part], exact)
            total += loss
            to_hidden[part] = (slope @ kernel).to(exact)
            if hidden.is_cuda and dtype != exact:
                # The product adds to the sum itself: 786 MB at the published size, four passes less.
                torch.addmm(to_weight, slope.T, states[part], out_dtype=exact, out=to_weight)
            else:
                to_weight += (slope.T @ states[part]).to(exact)
        ctx.save_for_backward(to_hidden.to(hidden.dtype), to_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scaled = [each * gradient.to(each.dtype) for each in ctx.saved_tensors]
        return (*scaled, None, None, None)
