"""Parts of a batch, for gradients that are added up over several of them."""

from dataclasses import replace

import torch
from torch import Tensor

from siglip2.data.share import Share
from siglip2.train.batches import DecoderTargets, Views
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


def whole_counts(views: Views) -> dict[str, int]:
    """What the losses of parts are divided by: tokens and images of this rank's whole batch."""
    tokens = 0 if views.targets is None else int(torch.count_nonzero(views.targets.ids))
    images = 0 if views.global_view is None else len(views.global_view)
    return {"tokens": tokens, "images": images}
