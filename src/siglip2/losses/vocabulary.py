"""Cross-entropy over a large vocabulary without ever holding the logits of all tokens.

At 256,000 pieces a batch of captions has more logits than the towers have activations. They are computed for
some tokens at a time, and again in the backward pass. torch 2.13 has `linear_cross_entropy` for this, which
gives the same number; older versions lack it.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from siglip2.losses.reduction import mean_over_ranks

CHUNK_LOGITS = 1 << 25
"""Logits at a time: 128 MiB in float32."""


def vocabulary_loss(
    hidden: Float[Tensor, "M D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " M"],
    *,
    count: int | None = None,
    chunk_logits: int = CHUNK_LOGITS,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of tokens of all ranks; zero, with gradients, for none.

    Args:
        hidden: states of real tokens only: padding is dropped before, which is most of the saving.
        weight: of the output layer.
        targets: token ids.
        count: tokens of this rank's whole batch, where this is a part of it.
        chunk_logits: how many logits are held at a time.
    """
    rows = max(1, chunk_logits // len(weight))
    total = (hidden.sum() + weight.sum()) * 0.0
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        total = total + checkpoint(_sum, hidden[part], weight, targets[part], use_reentrant=False)
    return mean_over_ranks(total, len(hidden) if count is None else count)


def _sum(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ weight.T).float(), targets, reduction="sum")
