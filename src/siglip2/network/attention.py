"""Softmax attention through torch's kernels, but for one case in which they are slow."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

SHORT = 128
"""Keys up to which a processor trains faster on the plain formula in bfloat16."""


def attend(
    q: Float[Tensor, "B H Q K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N K"],
    mask: Bool[Tensor, "#B #H #Q N"] | None = None,
) -> Float[Tensor, "B H Q K"]:
    """Softmax attention.

    On a processor the backward pass of torch's bfloat16 kernel is several times slower than its float32 one
    for few tokens: 370 ms against 80 for 384 images of 16 patches with three heads on two cores. There the
    formula is written out.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: True where a query may see a key.
    """
    learns = torch.is_grad_enabled() and q.requires_grad
    if not (learns and q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= SHORT):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).to(v.dtype) @ v
