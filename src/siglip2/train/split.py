"""Parts of a batch: for gradients that are added up over several of them, or for a step each."""

from dataclasses import replace

import torch
from torch import Tensor

from siglip2.data.share import Share
from siglip2.recipes.recipe import Stage
from siglip2.train.batches import DecoderTargets, Views
from siglip2.train.parallel import Ranks
from siglip2.train.taught import part_of


def split_views(views: Views, parts: int) -> list[Views]:
    """Cut the images and the texts of a batch into so many parts; targets go with their images.

    Args:
        views: of this rank.
        parts: at most as many as there are images.
    """
    return [
        _part(views, Share.of(len(views.patches), each, parts), Share.of(len(views.ids), each, parts))
        for each in range(parts)
    ]


def _part(views: Views, images: Share, texts: Share) -> Views:
    def rows(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[images.rows]

    return replace(
        views,
        patches=views.patches[images.rows],
        positions=views.positions[images.rows],
        ids=views.ids[texts.rows],
        text_numbers=views.text_numbers[texts.rows],
        text_of_image=views.text_of_image[images.rows],
        also_true=rows(views.also_true),
        grids=rows(views.grids),
        mask=rows(views.mask),
        targets=None if views.targets is None else _targets(views.targets, images),
        global_view=rows(views.global_view),
        local_views=None if views.local_views is None else views.local_views[:, images.rows],
        hidden=rows(views.hidden),
        taught=None if views.taught is None else part_of(views.taught, images.rows, texts.rows),
    )


def _targets(targets: DecoderTargets, images: Share) -> DecoderTargets:
    own = (targets.image >= images.first) & (targets.image < images.last)
    return DecoderTargets(
        ids=targets.ids[own], image=targets.image[own] - images.first, parallel=targets.parallel[own]
    )


def is_halved(views: Views, stage: Stage) -> bool:
    """Whether a batch is taken in two steps."""
    return 0 < stage.halved_from <= views.patches.shape[1]


def halves(views: Views, ranks: Ranks) -> list[Views]:
    """Two batches, each of every other image of all ranks and of the texts that are true of these.

    Args:
        views: of this rank.
        ranks: of the run.
    """
    found = []
    for half in (0, 1):
        images = views.positions % 2 == half
        texts = torch.isin(views.text_numbers, ranks.gather(views.true_texts[images]))
        found.append(chosen(views, images, texts))
    return found


def chosen(views: Views, images: Tensor, texts: Tensor) -> Views:
    """Some images with their targets and views, and some texts; by masks."""
    targets, views_of_images = views.targets, views.local_views
    if targets is not None:
        own, number = images[targets.image], images.long().cumsum(0) - 1
        targets = DecoderTargets(
            ids=targets.ids[own], image=number[targets.image[own]], parallel=targets.parallel[own]
        )

    def rows(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[images.to(tensor.device)]

    return replace(
        views,
        patches=views.patches[images],
        positions=views.positions[images],
        ids=views.ids[texts],
        text_numbers=views.text_numbers[texts],
        text_of_image=views.text_of_image[images],
        also_true=rows(views.also_true),
        grids=rows(views.grids),
        mask=rows(views.mask),
        targets=targets,
        global_view=rows(views.global_view),
        local_views=None if views_of_images is None else views_of_images[:, images],
        hidden=rows(views.hidden),
        taught=None if views.taught is None else part_of(views.taught, images, texts),
    )


def whole_counts(views: Views) -> dict[str, int]:
    """What the losses of parts are divided by: tokens and images of this rank's whole batch."""
    tokens = 0 if views.targets is None else int(torch.count_nonzero(views.targets.ids))
    images = 0 if views.global_view is None else len(views.global_view)
    return {"tokens": tokens, "images": images}
