"""Before the first step from given weights: do true pairs still cost little?

Users of every peer have trained for hours on weights that were loaded or fed wrongly. True pairs must lie
nearer to each other than shuffled ones; where they do not, something between data and towers is off.
"""

import torch

from siglip2.errors import Siglip2Error
from siglip2.network.model import SigLIP2
from siglip2.train.batches import Views


class NotSane(Siglip2Error):
    """Pretrained weights do not tell true pairs from shuffled ones."""


@torch.no_grad()
def check_true_pairs(model: SigLIP2, views: Views) -> dict[str, float]:
    """Mean cosine of true and of shuffled pairs, and the mean logit of the true ones.

    Raises:
        NotSane: true pairs are no nearer than shuffled ones.
    """
    images = model.embed_images(views.patches)
    texts = model.embed_texts(views.ids)
    cosines = images @ texts.T
    true = cosines[torch.arange(len(images)), views.text_of_image]
    same = views.text_of_image[:, None] == torch.arange(len(texts), device=texts.device)
    others = cosines[~same]
    if others.numel() == 0:
        return {"true": true.mean().item()}
    # The standard error of the difference of two means, so that a small batch is not blamed for chance.
    error = (true.var() / len(true) + others.var() / len(true)).sqrt()
    found = {
        "true": true.mean().item(),
        "shuffled": others.mean().item(),
        "logit": (model.logit_scale.exp() * true + model.logit_bias).mean().item(),
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
