"""One step of ACID: score a super-batch by learner and teacher, and keep a part of it."""

import torch
from torch import nn

from siglip2.recipes.recipe import Curation
from siglip2.train.batches import Views
from siglip2.train.curation import pair_losses, select_jointly
from siglip2.train.parallel import Ranks
from siglip2.train.split import chosen


@torch.no_grad()
def curate(
    module: nn.Module,
    views: Views,
    count: int,
    curation: Curation,
    generator: torch.Generator,
    ranks: Ranks,
) -> Views:
    """This rank's part of the batch that a super-batch is cut down to, with the texts still needed.

    All ranks score all pairs of all ranks, so that they agree. A rank may keep more images than another.

    Args:
        module: the objective, which holds learner and curator.
        views: of this rank's part of the super-batch.
        count: images to keep, of all ranks.
        curation: settings.
        generator: of the draws, in the same state on every rank.
        ranks: of the run.
    """
    positions = ranks.gather(views.positions)
    in_order = positions.argsort()
    text_of_image = ranks.gather(views.text_of_image)[in_order]
    same = text_of_image[:, None] == text_of_image
    losses = []
    for task in ("embed", "curator"):
        taught = views.taught
        if task == "curator" and curation.teacher != "average" and taught is not None:
            images, texts, log_scale, bias = taught.images, taught.texts, taught.log_scale, taught.bias
        else:
            images, texts, log_scale, bias = module(views, task)
        images, texts = ranks.gather(images)[in_order], ranks.gather(texts)
        losses.append(pair_losses(images, texts[text_of_image], log_scale, bias, same))
    kept = select_jointly(losses[0] - losses[1], count, generator, chunks=curation.chunks)
    kept = kept.to(positions.device)
    own = torch.isin(views.positions, positions[in_order][kept])
    needed = torch.isin(views.text_numbers, text_of_image[kept])
    return chosen(views, own.nonzero()[:, 0], needed.nonzero()[:, 0])
