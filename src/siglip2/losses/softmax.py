"""CLIP's softmax loss, for comparison with the sigmoid one (Radford et al. 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def softmax_loss(
    images: Float[Tensor, "B E"], texts: Float[Tensor, "B E"], log_scale: Float[Tensor, "1"]
) -> Float[Tensor, ""]:
    """Mean of the cross-entropies over rows and over columns of exp(t) * cosine; the bias has no effect.

    Args:
        images: unit embeddings.
        texts: unit embeddings, pair by pair.
        log_scale: t.
    """
    logits = log_scale.exp() * (images.float() @ texts.float().T)
    right = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
