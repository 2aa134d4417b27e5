"""Heads on frozen patch features, in torch: a linear layer, or a small DPT.

Source: TIPS (arXiv 2410.16512) Section 4.1 with the pooled embedding in place of a class token, as the paper
does; the linear head's settings are DINOv3's (batch norm, then a 1x1 convolution; AdamW, one cycle).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siglip2.encoder import PatchFeatures

HeadName = Literal["linear", "dpt"]
Loss = Callable[[Tensor, Tensor], Tensor]

TARGETS_A_PATCH = 4
"""Training targets are sampled down to so many pixels a side of a patch; tests use all pixels."""


class LinearHead(nn.Module):
    """Batch norm and a linear layer on every patch."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.output = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, h, w) to (B, C, h, w)."""
        return self.output(self.norm(features))


class DPTHead(nn.Module):
    """The features at four scales, fused from coarse to fine (Ranftl et al. 2021, arXiv 2103.13413).

    Differs from the paper: all four scales come from the last layer, which is what the cache holds, and not
    from four layers of the tower.
    """

    def __init__(self, width: int, channels: int, hidden: int = 128):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.scales = nn.ModuleList(nn.Conv2d(width, hidden, 1) for _ in range(4))
        self.fuse = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
            )
            for _ in range(4)
        )
        self.output = nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, h, w) to (B, C, 4h, 4w)."""
        features = self.norm(features)
        height, width = features.shape[-2:]
        fused = None
        for scale, convolution, fuse in zip((0.5, 1, 2, 4), self.scales, self.fuse, strict=True):
            size = (max(1, int(height * scale)), max(1, int(width * scale)))
            level = functional.interpolate(convolution(features), size, mode="bilinear", align_corners=False)
            if fused is not None:
                level = level + functional.interpolate(fused, size, mode="bilinear", align_corners=False)
            fused = level + fuse(level)
        return self.output(fused)


def with_pooled(features: PatchFeatures) -> np.ndarray:
    """(h, w, 2D): each patch beside the pooled vector of its image."""
    height, width = features.grid
    pooled = np.broadcast_to(features.pooled, (height, width, features.pooled.size))
    return np.concatenate([features.features, pooled], axis=-1)


def fit_head(
    read: Callable[[list[int]], Sequence[np.ndarray]],
    grids: Sequence[tuple[int, int]],
    targets: Iterable[np.ndarray],
    channels: int,
    loss: Loss,
    *,
    head: HeadName = "linear",
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """Fit a head.

    Args:
        read: from positions of images to their features, (h, w, W) each; asked a batch at a time, since those
            of all images need not fit in memory.
        grids: per image (h, w).
        targets: per image (H, W) classes or depths, or (H, W, 3) normals; gone through once.
        channels: C of the output.
        loss: of (B, C, H', W') outputs and (B, H', W', ...) targets.
        head: which one.
        steps: of AdamW.
        batch_size: images a step, all of one grid.
        learning_rate: highest of the cycle.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = {"linear": LinearHead, "dpt": DPTHead}[head](read([0])[0].shape[-1], channels)
    small = [_sampled(target, grid) for target, grid in zip(targets, grids, strict=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    model.train()
    for batch in _batches(grids, small, batch_size, steps, random):
        x = torch.from_numpy(np.stack(read(batch))).permute(0, 3, 1, 2)
        target = torch.from_numpy(np.stack([small[index] for index in batch]))
        output = functional.interpolate(model(x), target.shape[1:3], mode="bilinear", align_corners=False)
        optimizer.zero_grad()
        loss(output, target).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def apply_head(model: nn.Module, features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Output for one image at a size: (H, W, C). Outputs are stretched, never the targets."""
    with torch.no_grad():
        output = model(torch.from_numpy(features).permute(2, 0, 1)[None])
        stretched = functional.interpolate(output, size, mode="bilinear", align_corners=False)
    return stretched[0].permute(1, 2, 0).numpy()


def _batches(
    grids: Sequence[tuple[int, int]],
    targets: Sequence[np.ndarray],
    size: int,
    steps: int,
    random: np.random.Generator,
) -> Iterator[list[int]]:
    """Batches of images whose grids and targets have one shape."""
    groups: dict[tuple, list[int]] = {}
    for index, (grid, target) in enumerate(zip(grids, targets, strict=True)):
        groups.setdefault((grid, target.shape), []).append(index)
    members = list(groups.values())
    shares = np.array([len(group) for group in members]) / len(grids)
    for _ in range(steps):
        group = members[random.choice(len(members), p=shares)]
        yield random.choice(group, min(size, len(group)), replace=False).tolist()


def _sampled(target: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """At most TARGETS_A_PATCH pixels a side of a patch, the nearest ones."""
    sizes = (
        min(count, TARGETS_A_PATCH * patches) for count, patches in zip(target.shape, grid, strict=False)
    )
    rows, columns = (
        ((np.arange(size) + 0.5) * count / size).astype(int)
        for count, size in zip(target.shape, sizes, strict=False)
    )
    return np.ascontiguousarray(target[np.ix_(rows, columns)])
