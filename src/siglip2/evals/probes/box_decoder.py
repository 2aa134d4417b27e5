"""Six decoder layers on frozen patch features that point at what an expression means (paper Section 3.4).

Differs from the paper: the box is regressed with L1 and generalised IoU, and not written as location tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTH = 6


class BoxDecoder(nn.Module):
    """Expression tokens attend to the patches; their mean becomes a box."""

    def __init__(
        self, patch_width: int, vocab_size: int, context_length: int, *, width: int = 256, depth: int = DEPTH
    ):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width, padding_idx=0)
        self.positions = nn.Parameter(torch.randn(context_length, width) * 0.02)
        self.norm = nn.LayerNorm(patch_width)
        self.patches = nn.Linear(patch_width + 2, width)
        layer = nn.TransformerDecoderLayer(
            width, width // 64, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, depth, nn.LayerNorm(width))
        self.box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, ids: Tensor, patches: Tensor, places: Tensor, padding: Tensor) -> Tensor:
        """Boxes (T, 4) as x0, y0, x1, y1 in shares of the picture.

        Args:
            ids: (T, L) token ids, 0 for padding; L at most the context length.
            patches: (T, N, D) features.
            places: (T, N, 2) centre of each patch in shares of the picture.
            padding: (T, N) bool, True where there is no patch.
        """
        memory = self.patches(torch.cat([self.norm(patches), places], dim=-1))
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        x = self.layers(x, memory, tgt_key_padding_mask=ids == 0, memory_key_padding_mask=padding)
        real = (ids != 0).unsqueeze(-1).float()
        centre_x, centre_y, width, height = self.box((x * real).sum(1) / real.sum(1)).sigmoid().unbind(-1)
        return torch.stack(
            [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2], dim=-1
        )


def box_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 plus 1 - generalised IoU (DETR's weights 5 and 2)."""
    return 5 * functional.l1_loss(predicted, target) + 2 * (1 - generalised_iou(predicted, target)).mean()


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of pairs of boxes (T, 4) (Rezatofighi et al. 2019)."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(-1)

    overlap = area(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    union = area(first[:, :2], first[:, 2:]) + area(second[:, :2], second[:, 2:]) - overlap
    hull = area(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    return overlap / union.clamp(min=1e-9) - (hull - union) / hull.clamp(min=1e-9)


def fit_boxes(
    ids: np.ndarray,
    image_of_text: np.ndarray,
    boxes: np.ndarray,
    patches: Sequence[np.ndarray],
    vocab_size: int,
    *,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> BoxDecoder:
    """Fit a decoder.

    Args:
        ids: (T, L) token ids of the expressions.
        image_of_text: (T,) index of each one's picture.
        boxes: (T, 4) in shares of the picture.
        patches: per picture (h, w, D).
        vocab_size: of the model.
        steps: of AdamW.
        batch_size: expressions a step.
        learning_rate: highest of the cycle.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = BoxDecoder(patches[0].shape[-1], vocab_size, ids.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(steps):
        batch = random.choice(len(ids), min(batch_size, len(ids)), replace=False)
        predicted = model(*_batch(ids[batch], [patches[index] for index in image_of_text[batch]]))
        optimizer.zero_grad()
        box_loss(predicted, torch.from_numpy(boxes[batch])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def predict_boxes(
    model: BoxDecoder, ids: np.ndarray, image_of_text: np.ndarray, patches: Sequence[np.ndarray]
) -> np.ndarray:
    """Boxes (T, 4) of expressions; arguments as `fit_boxes`."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(ids), 128):
            part = slice(start, start + 128)
            chosen = [patches[index] for index in image_of_text[part]]
            parts.append(model(*_batch(ids[part], chosen)).numpy())
    return np.concatenate(parts)


def _batch(ids: np.ndarray, patches: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    longest = max(each.shape[0] * each.shape[1] for each in patches)
    features = torch.zeros(len(patches), longest, patches[0].shape[-1])
    places = torch.zeros(len(patches), longest, 2)
    padding = torch.ones(len(patches), longest, dtype=torch.bool)
    for row, each in enumerate(patches):
        height, width = each.shape[:2]
        y, x = np.meshgrid(
            (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
        )
        count = height * width
        features[row, :count] = torch.from_numpy(each.reshape(count, -1).copy())
        places[row, :count] = torch.from_numpy(np.stack([x, y], axis=-1).reshape(count, 2).astype(np.float32))
        padding[row, :count] = False
    # Expressions are short, and what lies behind the longest of them is padding for all.
    ids = ids[:, : max(1, int((ids != 0).sum(axis=1).max()))]
    return torch.from_numpy(ids).long(), features, places, padding
