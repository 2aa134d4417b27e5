"""Gradients of a large batch through towers that see a part of it at a time (GradCache, arXiv 2101.06983).

The sigmoid loss compares every image with every text, so it cannot be cut into parts. But it needs the
embeddings only: all parts are embedded without keeping anything, the loss is computed on all embeddings, and
then each part is embedded again and receives the gradients that belong to it. Memory for activations is that
of one part; the gradients are those of the whole batch, of scale and bias too.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from siglip2.recipes.recipe import LossWeights
from siglip2.train.batches import Views
from siglip2.train.pairs import detached, total, weighted_pair_losses, with_carrier
from siglip2.train.parallel import Ranks
from siglip2.train.split import split_views, whole_counts

AS_IT_IS = nullcontext()


@dataclass(frozen=True, kw_only=True)
class CachedPairs:
    """What the losses of all pairs of the whole batch mean for one part.

    Attributes:
        losses: this part's share of the values, for the log.
        images: (B, E) gradients of the part's images.
        texts: (T, E) of its texts.
        log_scale: of the scale's logarithm; zero in all parts but one.
        bias: likewise.
    """

    losses: dict[str, Tensor]
    images: Tensor
    texts: Tensor
    log_scale: Tensor
    bias: Tensor

    def losses_of_part(
        self, images: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor
    ) -> dict[str, Tensor]:
        """Numbers with this part's share of the losses as values, together with the cached gradients."""
        carrier = (images * self.images).sum() + (texts * self.texts).sum()
        carrier = carrier + (log_scale * self.log_scale).sum() + (bias * self.bias).sum()
        return with_carrier(self.losses, carrier)


def backward_in_parts(
    module: nn.Module,
    views: Views,
    number: int,
    ranks: Ranks,
    weights: LossWeights,
    narrow: AbstractContextManager[Any] = AS_IT_IS,
) -> dict[str, Tensor]:
    """Add the gradients of a whole batch; returns the value of each loss.

    Args:
        module: the objective, wrapped or not.
        views: this rank's whole batch.
        number: of parts.
        ranks: of the run.
        weights: of the stage.
        narrow: autocast of the forward passes.
    """
    parts = split_views(views, number)
    states = []
    with torch.no_grad(), narrow:
        embedded = []
        for part in parts:
            states.append(_random_state(ranks.device))
            embedded.append(module(part, "embed"))
    sizes = [[len(each[index]) for each in embedded] for index in (0, 1)]
    images, texts = (torch.cat([each[index] for each in embedded]).requires_grad_() for index in (0, 1))
    log_scale, bias = (each.requires_grad_() for each in embedded[0][2:])
    with torch.enable_grad(), narrow:
        losses = weighted_pair_losses(images, texts, log_scale, bias, views, weights)
    gradients = torch.autograd.grad(total(losses), (images, texts, log_scale, bias), materialize_grads=True)
    pieces = [each.split(size) for each, size in zip(gradients[:2], sizes, strict=True)]
    counts = whole_counts(views)
    totals: dict[str, Tensor] = {}
    after = _random_state(ranks.device)
    for index, part in enumerate(parts):
        last = index + 1 == number
        cached = CachedPairs(
            losses=detached(losses, number),
            images=pieces[0][index],
            texts=pieces[1][index],
            log_scale=gradients[2] * last,
            bias=gradients[3] * last,
        )
        # Dropout draws again what it drew when the part was embedded.
        _set_random_state(ranks.device, states[index])
        with ranks.last_of_several(module, last):
            with narrow:
                found = module(part, "losses", cached, counts)
            torch.stack(list(found.values())).sum().backward()
        for name, value in found.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach()
    _set_random_state(ranks.device, after)
    return totals


def _random_state(device: str) -> Sequence[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.startswith("cuda") else states


def _set_random_state(device: str, states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states[1], device)
