"""Images of any grids in one sequence without padding, each attending to itself alone.

A padded NaFlex batch computes as if every image were the longest. Here the patches of all images follow each
other, and the linear layers see exactly the real ones. Attention is block-diagonal (`attention`).

Differs from the paper: it pads, as big_vision does. Values and gradients are the same.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from siglip2.errors import InvalidInput
from siglip2.network.attention import Segments, attend_packed
from siglip2.network.positions import MAX_SIDE, resize_positions
from siglip2.network.vision import PoolingHead, VisionOutput, VisionTower


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
    # The encoder's own blocks, so that what wraps them (compilation, checkpointing, sharding) has its effect.
    x = tower.post_layernorm(tower.encoder(x[None], segments)[0])
    return PackedOutput(pooled=_pool(tower.head, x, segments), patches=x, lengths=lengths)


def _pool(head: PoolingHead, x: Float[Tensor, "S D"], segments: Segments) -> Float[Tensor, "B D"]:
    attention, width, count = head.attention, x.shape[-1], len(segments.lengths)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    q = F.linear(head.probe[0].to(x.dtype), weight[:width], bias[:width]).repeat(count, 1)
    k, v = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
    q, k, v = (each.unflatten(-1, (attention.num_heads, -1)) for each in (q, k, v))
    pooled = attention.out_proj(attend_packed(q, k, v, segments, one_query=True).flatten(1))
    return pooled + head.mlp(head.layernorm(pooled))


def encode_in_one_sequence(
    tower: VisionTower,
    patches: Float[Tensor, "B N P"],
    grids: Int[Tensor, "B 2"],
    mask: Bool[Tensor, "B N"],
    *,
    multiple: int,
) -> VisionOutput:
    """A padded batch through the tower without its padding; the output is padded as `VisionTower`'s.

    The sequence is filled up with empty images to the next multiple, so that compiled blocks see few lengths:
    one alone where the multiple is that of a full batch.

    Args:
        tower: a NaFlex tower.
        patches: as `VisionTower.forward`.
        grids: as there.
        mask: as there.
        multiple: of patches, to which the sequence is filled up.
    """
    real = patches[mask]
    sizes: list[tuple[int, int]] = [(size[0], size[1]) for size in grids.tolist()]
    missing = -len(real) % multiple if len(real) else multiple  # a rank or a part without images
    # Rows of one patch's height: any number of patches can be made of them.
    fillers = [(1, MAX_SIDE)] * (missing // MAX_SIDE) + [(1, missing % MAX_SIDE)] * (missing % MAX_SIDE > 0)
    sequence = torch.cat([real, real.new_zeros(missing, real.shape[1])])
    output = encode_packed(tower, sequence, sizes + fillers)
    padded = output.patches.new_zeros(*mask.shape, output.patches.shape[-1])
    padded[mask] = output.patches[: len(real)]
    return VisionOutput(pooled=output.pooled[: len(patches)], patches=padded)
