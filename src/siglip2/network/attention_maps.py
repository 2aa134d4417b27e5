"""Attention weights on request: what the fused kernels do not give, computed a second time beside them.

The paper does not say: it shows none.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.network.transformer import EncoderLayer, split_heads
from siglip2.network.vision import PoolingHead, VisionOutput, VisionTower


def layer_attention(
    layer: nn.Module, x: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None = None
) -> Float[Tensor, "B H N N"]:
    """How much each token of a block looks at each other one; every row adds up to 1.

    Args:
        layer: an `EncoderLayer`.
        x: its input.
        mask: True at real patches; at the others nobody looks.
    """
    assert isinstance(layer, EncoderLayer)
    attention, normed = layer.self_attn, layer.layer_norm1(x)
    q, k = (split_heads(proj(normed), attention.num_heads) for proj in (attention.q_proj, attention.k_proj))
    return _softmax(q, k, mask)


def pooling_attention(
    head: PoolingHead, patches: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None = None
) -> Float[Tensor, "B H N"]:
    """How much of the pooled vector each head takes from each patch; every row adds up to 1.

    Args:
        head: of the tower.
        patches: after the last norm.
        mask: True at real patches.
    """
    attention, width = head.attention, patches.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(head.probe.to(patches.dtype), weight[:width], bias[:width])
    k = F.linear(patches, weight[width : 2 * width], bias[width : 2 * width])
    q, k = (split_heads(each, attention.num_heads) for each in (q, k))
    return _softmax(q, k, mask)[:, :, 0]


def all_attentions(
    tower: VisionTower, output: VisionOutput, mask: Bool[Tensor, "B N"] | None = None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The attention of every block, (B, H, N, N) each, and of the pooling head, (B, H, N).

    Args:
        tower: the image tower.
        output: what it gave with `return_intermediates=True`.
        mask: as the tower got it.
    """
    states = output.intermediates
    assert states is not None, "call the tower with return_intermediates=True"
    inputs = [states["stem"], *(states[f"block{index:02d}"] for index in range(len(tower.encoder.layers)))]
    blocks = zip(tower.encoder.layers, inputs, strict=False)
    return tuple(layer_attention(layer, x, mask) for layer, x in blocks), pooling_attention(
        tower.head, output.patches, mask
    )


def _softmax(
    q: Float[Tensor, "... Q K"], k: Float[Tensor, "B H N K"], mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B H Q N"]:
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.softmax(-1)
