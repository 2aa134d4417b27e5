"""Distillation from the embeddings of a larger model of another width.

The paper has no such stage; users ask for it. What is matched are not the vectors, whose widths differ, but
the probabilities that both models give to the pairs of a batch.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def pair_distillation_loss(
    logits: Float[Tensor, "B T"], teacher_logits: Float[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy under the teacher's probabilities, summed over texts, averaged over images.

    Its least value is the teacher's own entropy; where the teacher is certain it is the sigmoid loss.

    Args:
        logits: exp(t) * cosine + b of the student.
        teacher_logits: the same of the teacher; no gradient goes there.
    """
    probability = teacher_logits.detach().float().sigmoid()
    each = F.binary_cross_entropy_with_logits(logits.float(), probability, reduction="none")
    return each.sum(dim=1).mean()
