r"""The sigmoid loss (SigLIP, arXiv 2303.15343; SigLIP 2 section 2.1).

    L = -(1/B) sum_i sum_j log sigmoid(y_ij (exp(t) x_i . y_j + b)),   y_ij = 1 for pairs, -1 otherwise

One term per image and text, summed over texts and averaged over images, in float32 whatever the towers'
precision. Source: big_vision `trainers/proj/image_text/siglip.py`, `update_fn`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from siglip2.losses.logits import pair_logits


def sigmoid_loss(
    images: Float[Tensor, "B E"],
    texts: Float[Tensor, "T E"],
    log_scale: Float[Tensor, "1"],
    bias: Float[Tensor, "1"],
    positives: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """The loss of unit embeddings.

    Args:
        images: unit image embeddings.
        texts: unit text embeddings.
        log_scale: logarithm of the scale, as stored in the model. Never clamped.
        bias: added to every logit.
        positives: which pairs belong together; None means row i with column i.
            Differs from the paper: there every text belongs to exactly one image. A batch that holds two
            photographs of one class would then teach that the class name is wrong for one of them.

    Raises:
        ValueError: without `positives`, the numbers of images and texts differ.
    """
    logits = pair_logits(images, texts, log_scale) + bias
    if positives is None:
        if len(images) != len(texts):
            raise ValueError(
                f"{len(images)} images and {len(texts)} texts need `positives` to say which belong together"
            )
        positives = torch.eye(len(images), dtype=torch.bool, device=images.device)
    return -F.logsigmoid(torch.where(positives, logits, -logits)).sum() / len(images)
