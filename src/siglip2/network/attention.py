"""Softmax attention through torch's kernels: of whole images, with a mask, or of packed images.

Packed images follow each other in one sequence and see themselves alone: on CUDA in half precision through
torch's variable-length flash kernel, elsewhere image by image, alike grids together.
"""

import functools
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

WITHOUT_PLANS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Kernels on a GPU but cuDNN's, which are planned anew for every shape."""

SHORT = 128
"""Keys up to which a processor trains faster on the plain formula in bfloat16."""


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


def attend(
    q: Float[Tensor, "B H Q K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N K"],
    mask: Bool[Tensor, "#B #H #Q N"] | Segments | None = None,
    *,
    changing: bool = False,
) -> Float[Tensor, "B H Q K"]:
    """Softmax attention.

    On a processor the backward pass of torch's bfloat16 kernel is several times slower than its float32 one
    for few tokens: 370 ms against 80 for 384 images of 16 patches with three heads on two cores. There the
    formula is written out.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: True where a query may see a key; or where the images of one packed sequence (B = 1) lie.
        changing: that shapes are other ones at every call; `WITHOUT_PLANS` then serve on a GPU.
    """
    if isinstance(mask, Segments):
        each = (tensor[0].transpose(0, 1) for tensor in (q, k, v))
        return _uncompiled(*each, mask).transpose(0, 1)[None]
    if changing and q.is_cuda:
        with sdpa_kernel(WITHOUT_PLANS):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    learns = torch.is_grad_enabled() and q.requires_grad
    if not (learns and q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= SHORT):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).to(v.dtype) @ v


def attend_packed(
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
        parts.append(attend(q_part, k_part, v_part).transpose(1, 2).flatten(0, 1))
        query, key = query + queries, key + keys
    return torch.cat(parts)


# Loops over images: traced, every batch would be compiled anew.
_uncompiled: Any = torch.compiler.disable(attend_packed)


@functools.cache
def _varlen_kernel():
    """Torch's variable-length flash attention, or None in a version without it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn
