"""Images of any grids in one sequence without padding, each attending to itself alone.

A padded NaFlex batch computes as if every image were the longest. Here the patches of all images follow each
other, and the linear layers see exactly the real ones. Attention is block-diagonal: on CUDA in half precision
through torch's variable-length flash kernel, elsewhere image by image, alike grids together.

Differs from the paper: it pads, as big_vision does. Values and gradients are the same.
"""

import functools
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from siglip2.errors import InvalidInput
from siglip2.network.positions import resize_positions
from siglip2.network.transformer import Attention, EncoderLayer
from siglip2.network.vision import PoolingHead, VisionTower


@dataclass(frozen=True, kw_only=True)
class PackedOutput:
    """What the image tower gives for a packed batch.

    Attributes:
        pooled: (B, D) output of the pooling head, not normalised.
        patches: (S, D) after the last norm, S patches of all images one after the other.
        lengths: patches of each image.
    """

    pooled: Float[Tensor, "B D"]
    patches: Float[Tensor, "S D"]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Segments:
    """Where each image lies in the sequence.

    Attributes:
        lengths: patches of each image.
        device: where the sequence is.
    """

    lengths: tuple[int, ...]
    device: torch.device
    bounds: Tensor = field(init=False)
    runs: tuple[tuple[int, int], ...] = field(init=False)
    """(images, patches of each) for neighbours of one length: they share a call of the kernel."""

    def __post_init__(self) -> None:
        ends = torch.tensor((0, *self.lengths)).cumsum(0)
        object.__setattr__(self, "bounds", ends.to(self.device, torch.int32))
        changes = [i for i, pair in enumerate(pairwise(self.lengths), 1) if pair[0] != pair[1]]
        edges = (0, *changes, len(self.lengths))
        runs = tuple((end - start, self.lengths[start]) for start, end in pairwise(edges))
        object.__setattr__(self, "runs", runs)


def encode_packed(
    tower: VisionTower, patches: Float[Tensor, "S P"], grids: list[tuple[int, int]]
) -> PackedOutput:
    """The image tower over images of any grids, as `VisionTower.forward` gives it for a padded batch.

    Images of one grid next to each other are the fastest where attention runs image by image.

    Args:
        tower: a NaFlex tower, or a fixed one with its own grid only.
        patches: in [-1, 1], the images one after the other.
        grids: patches high and wide of each image.

    Raises:
        InvalidInput: the grids do not hold S patches, there is none, or one is not the fixed tower's.
    """
    lengths = tuple(height * width for height, width in grids)
    if not grids or min(lengths) < 1 or sum(lengths) != len(patches):
        raise InvalidInput(
            f"{len(grids)} grids hold {sum(lengths)} patches, but the sequence has {len(patches)}; "
            "every image needs a grid, and at least one patch"
        )
    side = tower.config.position_grid
    if not tower.config.naflex and set(grids) != {(side, side)}:
        raise InvalidInput(f"this tower takes grids of {side}x{side} patches only; use a NaFlex tower")
    segments = Segments(lengths, patches.device)
    table = tower.embeddings.position_embedding.weight.unflatten(0, (side, side))
    resized = {grid: resize_positions(table, grid) for grid in dict.fromkeys(grids)}
    x = tower.embeddings.patch_embedding(patches)
    x = x + torch.cat([resized[grid] for grid in grids]).to(x.dtype)
    for layer in tower.encoder.layers:
        assert isinstance(layer, EncoderLayer)
        x = x + _self_attention(layer.self_attn, layer.layer_norm1(x), segments)
        x = x + layer.mlp(layer.layer_norm2(x))
    x = tower.post_layernorm(x)
    return PackedOutput(pooled=_pool(tower.head, x, segments), patches=x, lengths=lengths)


def attend(
    q: Float[Tensor, "Q H K"],
    k: Float[Tensor, "S H K"],
    v: Float[Tensor, "S H K"],
    segments: Segments,
    *,
    one_query: bool = False,
) -> Float[Tensor, "Q H K"]:
    """Softmax attention of every image to itself.

    Args:
        q: queries: as many as keys, or with `one_query` one for each image.
        k: keys.
        v: values.
        segments: where each image lies.
        one_query: see `q`.
    """
    kernel = _varlen_kernel() if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) else None
    if kernel is not None:
        count, longest = len(segments.lengths), max(segments.lengths)
        single = torch.arange(count + 1, device=q.device, dtype=torch.int32)
        bounds, most = (single, 1) if one_query else (segments.bounds, longest)
        out = kernel(q, k, v, bounds, segments.bounds, most, longest)
        assert isinstance(out, Tensor)  # a pair only if more was asked for
        return out
    parts, query, key = [], 0, 0
    for images, length in segments.runs:
        queries, keys = images * (1 if one_query else length), images * length
        q_part, k_part, v_part = (
            each[start : start + size].unflatten(0, (images, -1)).transpose(1, 2)
            for each, start, size in ((q, query, queries), (k, key, keys), (v, key, keys))
        )
        parts.append(F.scaled_dot_product_attention(q_part, k_part, v_part).transpose(1, 2).flatten(0, 1))
        query, key = query + queries, key + keys
    return torch.cat(parts)


def _self_attention(attention: Attention, x: Float[Tensor, "S D"], segments: Segments) -> Tensor:
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (proj(x).unflatten(-1, (attention.num_heads, -1)) for proj in projections)
    return attention.out_proj(attend(q, k, v, segments).flatten(1))


def _pool(head: PoolingHead, x: Float[Tensor, "S D"], segments: Segments) -> Float[Tensor, "B D"]:
    attention, width, count = head.attention, x.shape[-1], len(segments.lengths)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(head.probe[0].to(x.dtype), weight[:width], bias[:width]).repeat(count, 1)
    k, v = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
    q, k, v = (each.unflatten(-1, (attention.num_heads, -1)) for each in (q, k, v))
    pooled = attention.out_proj(attend(q, k, v, segments, one_query=True).flatten(1))
    return pooled + head.mlp(head.layernorm(pooled))


@functools.cache
def _varlen_kernel():
    """Torch's variable-length flash attention, or None in a version without it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn
