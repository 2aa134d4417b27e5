"""CLIP's softmax loss, for comparison with the sigmoid one (Radford et al. 2021)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from siglip2.losses.logits import pair_logits


def softmax_loss(
    images: Float[Tensor, "B E"],
    texts: Float[Tensor, "T E"],
    log_scale: Float[Tensor, "1"],
    positives: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of the cross-entropies over rows and over columns of exp(t) * cosine; the bias has no effect.

    Differs from CLIP: where several images share a text, each is as right an answer to it as the others.

    Args:
        images: unit embeddings.
        texts: unit embeddings.
        log_scale: t.
        positives: which pairs belong together; None for the diagonal.
    """
    logits = pair_logits(images, texts, log_scale)
    if positives is None:
        positives = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    right = positives.to(logits.dtype)
    return (
        sum(
            F.cross_entropy(scores, target / target.sum(dim=1, keepdim=True).clamp(min=1))
            for scores, target in ((logits, right), (logits.T, right.T))
        )
        / 2
    )  # type: ignore[return-value]
