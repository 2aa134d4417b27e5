"""One step of ACID: score a super-batch by learner and teacher, and keep a part of it."""

from dataclasses import replace

import torch

from siglip2.recipes.recipe import Curation
from siglip2.train.batches import Views
from siglip2.train.curation import pair_losses, select_jointly
from siglip2.train.objective import Objective


@torch.no_grad()
def curate(
    objective: Objective, views: Views, count: int, curation: Curation, generator: torch.Generator
) -> Views:
    """The batch of `count` images that a super-batch is cut down to, with the texts that are still needed.

    Args:
        objective: holds learner and teacher.
        views: of the super-batch.
        count: images to keep.
        curation: settings.
        generator: of the draws.
    """
    curator = objective.curator
    assert curator is not None
    losses = []
    for model in (objective.model, curator):
        arguments = {} if views.grids is None else {"grids": views.grids, "mask": views.mask}
        images = model.embed_images(views.patches, **arguments)
        texts = model.embed_texts(views.ids)[views.text_of_image]
        same = views.text_of_image[:, None] == views.text_of_image
        losses.append(pair_losses(images, texts, model.logit_scale, model.logit_bias, same))
    kept = select_jointly(losses[0] - losses[1], count, generator, chunks=curation.chunks)
    kept = kept.to(views.patches.device)
    needed, text_of_image = views.text_of_image[kept].unique(return_inverse=True)
    return replace(
        views,
        patches=views.patches[kept],
        grids=None if views.grids is None else views.grids[kept.cpu()],
        mask=None if views.mask is None else views.mask[kept],
        ids=views.ids[needed],
        text_of_image=text_of_image,
    )
