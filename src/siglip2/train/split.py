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
    found = []
    for part in range(parts):
        images, texts = (Share.of(len(each), part, parts) for each in (views.patches, views.ids))
        found.append(chosen(views, _rows(images, views), _rows(texts, views)))
    return found


def _rows(share: Share, views: Views) -> Tensor:
    return torch.arange(share.first, share.last, device=views.positions.device)


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
        images = (views.positions % 2 == half).nonzero()[:, 0]
        needed = ranks.gather(views.true_texts[images])
        found.append(chosen(views, images, torch.isin(views.text_numbers, needed).nonzero()[:, 0]))
    return found


def chosen(views: Views, images: Tensor, texts: Tensor) -> Views:
    """Some images with their targets and views, and some texts.

    Args:
        views: of this rank.
        images: their rows, in increasing order.
        texts: their rows.
    """

    def rows(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[images.to(tensor.device)]

    local_views = views.local_views
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
        targets=None if views.targets is None else _targets(views.targets, images, len(views.patches)),
        global_view=rows(views.global_view),
        local_views=None if local_views is None else local_views[:, images],
        hidden=rows(views.hidden),
        taught=None if views.taught is None else part_of(views.taught, images, texts),
    )


def _targets(targets: DecoderTargets, images: Tensor, before: int) -> DecoderTargets:
    number = torch.full((before,), -1, device=images.device)
    number[images] = torch.arange(len(images), device=images.device)
    image = number[targets.image]
    own = (image >= 0).nonzero()[:, 0]
    return DecoderTargets(ids=targets.ids[own], image=image[own], parallel=targets.parallel[own])


def whole_counts(views: Views) -> dict[str, int]:
    """What the losses of parts are divided by: tokens and images of this rank's whole batch."""
    tokens = 0 if views.targets is None else int(torch.count_nonzero(views.targets.ids))
    images = 0 if views.global_view is None else len(views.global_view)
    return {"tokens": tokens, "images": images}
