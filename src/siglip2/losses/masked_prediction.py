"""TIPS' masked prediction: from half of the patches the student must say what the teacher sees in the rest.

Source: paper Section 2.3: half of the embedded patches masked, the loss at masked patches only, same form as
self-distillation, a head of its own.
The paper does not say: whether positions are added before or after masking. Here the mask token replaces the
patch embedding and keeps its position.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from siglip2.network.transformer import narrow_stream
from siglip2.network.vision import VisionTower

MASKED_SHARE = 0.5


def draw_mask(drawn: Float[Tensor, "B N"], *, share: float = MASKED_SHARE) -> Bool[Tensor, "B N"]:
    """True at the masked patches: the same number in every image, at random places.

    Args:
        drawn: uniform numbers.
        share: of the patches.
    """
    return drawn.argsort(dim=1) < round(share * drawn.shape[1])


def masked_patches(
    tower: VisionTower,
    patches: Float[Tensor, "B N P"],
    mask: Bool[Tensor, "B N"],
    mask_token: Float[Tensor, " D"],
) -> Float[Tensor, "B N D"]:
    """Un-pooled output of the image tower where some patches are hidden.

    Args:
        tower: the student.
        patches: of the fixed grid.
        mask: True at the hidden ones.
        mask_token: stands in for their embedding.
    """
    embedded = tower.embeddings.patch_embedding(patches)
    hidden = torch.where(mask[..., None], mask_token.to(embedded.dtype), embedded)
    x = hidden + tower.embeddings.position_embedding.weight
    return narrow_stream(tower.post_layernorm(tower.encoder(x)))
