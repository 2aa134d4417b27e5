"""The image tower: patches in, one vector per image and one per patch out.

Fixed resolution and NaFlex are one tower. They differ in the grid: a fixed tower adds its position table as
it is, a NaFlex tower resizes the table to each image's grid and ignores padding.
Source: paper section 2.1 and 2.4.2; big_vision `models/vit.py` and `models/proj/image_text/naflex_vit.py`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.config import VisionConfig
from siglip2.network.attention import attend
from siglip2.network.positions import grid_positions
from siglip2.network.transformer import MLP, Encoder, merge_heads, narrow_stream, split_heads


@dataclass(frozen=True, kw_only=True)
class VisionOutput:
    """What the image tower gives.

    Attributes:
        pooled: (B, D) output of the pooling head, not normalised; the image embedding.
        patches: (B, N, D) after the last norm and before pooling. Meaningless at padding.
        intermediates: named activations, if they were asked for.
    """

    pooled: Float[Tensor, "B D"]
    patches: Float[Tensor, "B N D"]
    intermediates: dict[str, Tensor] | None = None


class VisionEmbeddings(nn.Module):
    """Linear patch embedding plus learned positions."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Linear(config.patch_dim, config.width)
        self.position_embedding = nn.Embedding(config.num_positions, config.width)

    def forward(
        self, patches: Float[Tensor, "B N P"], grids: Int[Tensor, "B 2"] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Embed patches of the given grids; None means the grid of the position table itself."""
        table = self.position_embedding.weight
        x = self.patch_embedding(patches)
        if grids is None:
            return x + table.to(x.dtype)
        side = self.config.position_grid
        return x + grid_positions(table.unflatten(0, (side, side)), grids, x.shape[1]).to(x.dtype)


class PoolingAttention(nn.Module):
    """Attention of one query over all tokens, with the three input projections fused as in the files."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "B 1 D"],
        tokens: Float[Tensor, "B N D"],
        key_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B 1 D"]:
        """Attend from `query` to `tokens`."""
        width = query.shape[-1]
        q = F.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width])
        kv = F.linear(tokens, self.in_proj_weight[width:], self.in_proj_bias[width:])
        q, k, v = (split_heads(each, self.num_heads) for each in (q, *kv.chunk(2, dim=-1)))
        mask = None if key_mask is None else key_mask[:, None, None, :]
        return self.out_proj(merge_heads(attend(q, k, v, mask)))


class PoolingHead(nn.Module):
    """Multi-head attention pooling: a learned probe looks at all patches (big_vision `MAPHead`).

    The residual goes from the attention's output, before the norm; there is none from the probe.
    """

    def __init__(self, config: VisionConfig, eps: float):
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.width))
        self.attention = PoolingAttention(config.width, config.num_heads)
        self.layernorm = nn.LayerNorm(config.width, eps=eps)
        self.mlp = MLP(config.width, config.mlp_dim)

    def forward(
        self, tokens: Float[Tensor, "B N D"], key_mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Pool the tokens of each image."""
        x = self.attention(self.probe.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens, key_mask)
        return (x + self.mlp(self.layernorm(x)))[:, 0]


class VisionTower(nn.Module):
    """Patch embedding, encoder, norm, pooling head. There is no projection after the head."""

    def __init__(self, config: VisionConfig, eps: float = 1e-6):
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.encoder = Encoder(config.width, config.depth, config.mlp_dim, config.num_heads, eps)
        self.post_layernorm = nn.LayerNorm(config.width, eps=eps)
        self.head = PoolingHead(config, eps)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; patches have to come in it."""
        return self.embeddings.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.embeddings.patch_embedding.weight.device

    def forward(
        self,
        patches: Float[Tensor, "B N P"],
        *,
        grids: Int[Tensor, "B 2"] | None = None,
        mask: Bool[Tensor, "B N"] | None = None,
        return_intermediates: bool = False,
    ) -> VisionOutput:
        """Encode patches in [-1, 1].

        Args:
            patches: flattened patches in the order (row, column, channel).
            grids: patches high and wide of each image, to which the positions are resized, in a fixed tower
                too; None for the tower's own grid.
            mask: True at real patches; None where none is padding.
            return_intermediates: also return `stem`, `blockNN`, `patches`, `pooled`.

        Raises:
            InvalidInput: a grid has more than 64 patches on a side.
        """
        intermediates: dict[str, Tensor] | None = {} if return_intermediates else None
        x = self.embeddings(patches, grids)
        if intermediates is not None:
            intermediates["stem"] = x
        x = narrow_stream(self.post_layernorm(self.encoder(x, mask, intermediates)))
        pooled = self.head(x, mask)
        if intermediates is not None:
            intermediates |= {"patches": x, "pooled": pooled}
        return VisionOutput(pooled=pooled, patches=x, intermediates=intermediates)
