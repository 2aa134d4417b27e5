"""ACID: of a super-batch keep the pairs that the learner can still learn and the teacher has learned.

Source: paper Section 2.5; joint selection as in JEST (Evans et al. 2024, arXiv 2406.17711): learnability is
the learner's loss less the teacher's, of every pair of an image and a text of the super-batch; chunks are
drawn one after the other, each given those before it (blocked Gibbs sampling).
The paper does not say: the number of chunks; 16 is JEST's.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from siglip2.losses.logits import pair_logits

CHUNKS = 16


def pair_losses(
    images: Float[Tensor, "S E"],
    texts: Float[Tensor, "S E"],
    log_scale: Float[Tensor, "1"],
    bias: Float[Tensor, "1"],
    same: Bool[Tensor, "S S"] | None = None,
) -> Float[Tensor, "S S"]:
    """Sigmoid loss of every pair.

    Args:
        images: unit embeddings.
        texts: unit embeddings, pair by pair.
        log_scale: t.
        bias: b.
        same: which pairs belong together; None for the diagonal.
    """
    logits = pair_logits(images, texts, log_scale) + bias
    if same is None:
        same = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return -F.logsigmoid(torch.where(same, logits, -logits))


def select_jointly(
    learnability: Float[Tensor, "S S"], count: int, generator: torch.Generator, *, chunks: int = CHUNKS
) -> Int[Tensor, " C"]:
    """Indices of the pairs to train on, in increasing order.

    The first chunk is drawn by the learnability of each true pair alone, the others by that plus the
    learnability of its pairs with everything drawn before. Drawing without replacement is by Gumbel noise.

    Args:
        learnability: learner's losses less the teacher's.
        count: how many to keep.
        generator: of the noise; ranks that share its seed agree on the selection.
        chunks: draws.
    """
    size = len(learnability)
    if count >= size:
        return torch.arange(size)
    learnability = learnability.detach().float().cpu()
    own = learnability.diagonal()
    chosen = torch.zeros(size, dtype=torch.bool)
    # Even chunks, the first ones larger by one where they do not divide.
    sizes = [count // chunks + (index < count % chunks) for index in range(chunks)]
    for size_of_chunk in sizes:
        if size_of_chunk == 0:
            continue
        with_chosen = learnability[:, chosen].sum(dim=1) + learnability[chosen].sum(dim=0)
        uniform = torch.rand(size, generator=generator).clamp_(1e-9, 1 - 1e-7)
        keys = own + with_chosen - (-uniform.log()).log()
        keys = keys.masked_fill(chosen, float("-inf"))
        chosen[keys.topk(size_of_chunk).indices] = True
    return chosen.nonzero()[:, 0]
