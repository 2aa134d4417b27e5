"""The towers as graphs of tensors alone: any batch, and for NaFlex any grid, with no loop over images.

Position tables are resized inside the graph. Anti-aliased bilinear interpolation of one axis is a triangle
filter, so that a token's position is a weighted sum over the rows of the table times one over its columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.config import VisionConfig
from siglip2.network.model import SigLIP2, normalize
from siglip2.network.vision import VisionTower


class FixedImages(nn.Module):
    """Pixels (B, 3, S, S) in [-1, 1] to unit `image_embeds` (B, E) and `last_hidden_state` (B, N, D)."""

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the image tower."""
        patch, grid = self.tower.config.patch_size, self.tower.config.position_grid
        # So400m/14 at 384 pixels uses 378 of them.
        used = pixel_values[:, :, : grid * patch, : grid * patch]
        x = used.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1)
        output = self.tower(x.reshape(-1, grid * grid, 3 * patch * patch))
        return normalize(output.pooled), output.patches


class NaFlexImages(nn.Module):
    """Patches of any grids, as `transformers`' processor gives them, to the same two outputs."""

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower

    def forward(
        self, pixel_values: Tensor, pixel_attention_mask: Tensor, spatial_shapes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the image tower.

        Args:
            pixel_values: (B, N, P) in [-1, 1].
            pixel_attention_mask: (B, N), 1 at real patches.
            spatial_shapes: (B, 2) patches high and wide.
        """
        tower = self.tower
        table = tower.embeddings.position_embedding.weight
        positions = positions_in_graph(table, tower.config, spatial_shapes, pixel_values.shape[1])
        mask = pixel_attention_mask.bool()
        x = tower.embeddings.patch_embedding(pixel_values) + positions
        patches = tower.post_layernorm(tower.encoder(x, mask))
        return normalize(tower.head(patches, mask)), patches


class Texts(nn.Module):
    """Token ids (T, L) to `text_embeds` (T, E) of unit length."""

    def __init__(self, model: SigLIP2):
        super().__init__()
        self.tower = model.text_model

    def forward(self, input_ids: Tensor) -> Tensor:
        """Run the text tower."""
        return normalize(self.tower(input_ids).pooled)


def positions_in_graph(table: Tensor, config: VisionConfig, grids: Tensor, num_patches: int) -> Tensor:
    """Positions (B, N, D) of row-major tokens of each grid; at padding something that nobody attends to."""
    side = config.position_grid
    token = torch.arange(num_patches, device=table.device)[None]
    height, width = grids[:, :1], grids[:, 1:]
    rows = _triangle(torch.div(token, width, rounding_mode="floor"), height, side)
    columns = _triangle(token % width, width, side)
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(2)
    return weights @ table.float()


def _triangle(place: Tensor, count: Tensor, side: int) -> Tensor:
    """Weights (B, N, side) of an anti-aliased bilinear filter at places among `count`."""
    scale = side / count.float()
    reach = scale.clamp(min=1.0)
    centre = (place.float() + 0.5) * scale
    taps = torch.arange(side, device=place.device, dtype=torch.float32) + 0.5
    weights = F.relu(1 - ((taps - centre[..., None]) / reach[..., None]).abs())
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12)
