"""The losses that compare images with texts, over the batches of all ranks."""

import torch
import torch.distributed as dist
from torch import Tensor

from siglip2.losses.embedding_distillation import pair_distillation_loss
from siglip2.losses.gathered import gather_rows
from siglip2.losses.logits import pair_logits
from siglip2.losses.reduction import mean_over_ranks
from siglip2.losses.sigmoid_blockwise import blockwise_sigmoid_loss, same_group
from siglip2.losses.sigmoid_distributed import distributed_sigmoid_loss
from siglip2.losses.softmax import softmax_loss
from siglip2.recipes.recipe import LossWeights
from siglip2.train.batches import Views


def weighted_pair_losses(
    images: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor, views: Views, weights: LossWeights
) -> dict[str, Tensor]:
    """This rank's share of each loss of pairs, weighted; their means over ranks are the losses.

    Args:
        images: (B, E) unit embeddings of this rank's images.
        texts: (T, E) of its texts.
        log_scale: t.
        bias: b.
        views: which texts belong to which images, and what a larger model says of them.
        weights: of the stage.
    """
    found: dict[str, Tensor] = {}
    if weights.sigmoid:
        distributed = dist.is_available() and dist.is_initialized()
        loss = distributed_sigmoid_loss if distributed else blockwise_sigmoid_loss
        groups = views.true_texts, views.text_numbers
        value = loss(images, texts, log_scale, bias, image_groups=groups[0], text_groups=groups[1])
        found["sigmoid"] = weights.sigmoid * value
    if not (weights.softmax or weights.distillation):
        return found
    everyone = gather_rows(texts)
    if weights.softmax:
        pairs = same_group(gather_rows(views.true_texts), gather_rows(views.text_numbers))
        found["softmax"] = weights.softmax * softmax_loss(gather_rows(images), everyone, log_scale, pairs)
    if weights.distillation:
        taught = views.taught
        assert taught is not None
        logits = pair_logits(images, everyone, log_scale) + bias
        theirs = pair_logits(taught.images, gather_rows(taught.texts), taught.log_scale) + taught.bias
        count = len(images)
        total = pair_distillation_loss(logits, theirs) * count if count else logits.sum()
        found["distillation"] = weights.distillation * mean_over_ranks(total, count)
    return found


def with_carrier(found: dict[str, Tensor], carrier: Tensor) -> dict[str, Tensor]:
    """Values without gradients, but for one whose gradients are the carrier's."""
    first, *_ = found
    return {
        name: value + (carrier - carrier.detach()) if name == first else value
        for name, value in found.items()
    }


def detached(found: dict[str, Tensor], parts: int) -> dict[str, Tensor]:
    """One part's share of the values, for the log."""
    return {name: value.detach() / parts for name, value in found.items()}


def total(found: dict[str, Tensor]) -> Tensor:
    """The sum of all."""
    return torch.stack(list(found.values())).sum()
