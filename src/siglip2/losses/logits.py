"""Logits of images and texts, in float32 whatever the towers' precision."""

from jaxtyping import Float
from torch import Tensor

from siglip2.network.precision import without_autocast


def pair_logits(
    images: Float[Tensor, "B E"], texts: Float[Tensor, "T E"], log_scale: Float[Tensor, "1"]
) -> Float[Tensor, "B T"]:
    """The cosines of unit embeddings times exp(t), without the bias."""
    with without_autocast(images):
        return log_scale.exp() * (images.float() @ texts.float().T)
