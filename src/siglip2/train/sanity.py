"""Before the first step from given weights: do true pairs still cost little?

Users of every peer have trained for hours on weights that were loaded or fed wrongly. True pairs must lie
nearer to each other than shuffled ones; where they do not, something between data and towers is off.
"""

import torch
from torch import nn

from siglip2.errors import Siglip2Error
from siglip2.train.batches import Views
from siglip2.train.parallel import Ranks


class NotSane(Siglip2Error):
    """Pretrained weights do not tell true pairs from shuffled ones."""


@torch.no_grad()
def check_true_pairs(module: nn.Module, views: Views, ranks: Ranks) -> dict[str, float]:
    """Mean cosine of true and of shuffled pairs, and the mean logit of the true ones, over all ranks.

    Args:
        module: the objective.
        views: of the first batch.
        ranks: of the run.

    Raises:
        NotSane: true pairs are no nearer than shuffled ones.
    """
    images, texts, log_scale, bias = module(views, "embed")
    images, texts, text_of_image = (ranks.gather(each) for each in (images, texts, views.text_of_image))
    cosines = images @ texts.T
    true = cosines[torch.arange(len(images)), text_of_image]
    same = text_of_image[:, None] == torch.arange(len(texts), device=texts.device)
    others = cosines[~same]
    if others.numel() == 0:
        return {"true": true.mean().item()}
    # The standard error of the difference of two means, so that a small batch is not blamed for chance.
    error = (true.var() / len(true) + others.var() / len(true)).sqrt()
    found = {
        "true": true.mean().item(),
        "shuffled": others.mean().item(),
        "logit": (log_scale.exp() * true + bias).mean().item(),
    }
    if not found["true"] - found["shuffled"] > 2 * error.item():
        raise NotSane(
            "the initial weights do not tell true pairs from shuffled ones: mean cosine "
            f"{found['true']:.3f} against {found['shuffled']:.3f}. Usual causes: captions that are not "
            "lower-cased or not padded to the model's length, another vocabulary, pixels outside of [-1, 1], "
            "captions of other pictures. If the data are merely unlike anything the model knows, --unchecked "
            "trains anyway"
        )
    return found
