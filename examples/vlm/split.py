"""Photographs of one split with what is said about them, looked at once where the tower is frozen."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from model import Seen, VisionLanguageModel

from data import Picture, Sample, Turn, to_picture, views

PHOTOS_AT_ONCE = 256
"""Looked at before the next are decoded: their pixels need more memory than their features."""


class Split:
    """Photographs, what is said about them, and their features where the tower does not change."""

    def __init__(
        self,
        samples: Sequence[Sample],
        turns: dict[str, list[Turn]],
        model: VisionLanguageModel,
        max_num_patches: int,
        *,
        cuts: int = 0,
        tiles: int = 1,
    ):
        """Make pictures, and look at them where the tower is frozen.

        Args:
            samples: photographs.
            turns: what is said about them, by kind.
            model: whose tower looks.
            max_num_patches: of a picture, NaFlex only.
            cuts: parts of each photo that are kept beside the whole, so that fewer are learned by heart.
            tiles: of a picture, each way; see `to_picture`.
        """
        self.turns, self.views = turns, cuts + 1
        vision, random = model.tower.config, np.random.default_rng(0)
        frozen = not any(each.requires_grad for each in model.tower.parameters())
        self.count, self.pictures, self.seen = len(samples), [], []
        for start in range(0, len(samples), PHOTOS_AT_ONCE):
            pictures = [
                to_picture(view, vision, max_num_patches, tiles)
                for each in samples[start : start + PHOTOS_AT_ONCE]
                for view in views(each.photo, cuts, random)
            ]
            if frozen:
                self.seen += look_at_all(model, pictures)
            else:
                self.pictures += pictures

    def __len__(self) -> int:
        """How many photographs."""
        return self.count

    def look(
        self, model: VisionLanguageModel, photos: Sequence[int], random: np.random.Generator | None = None
    ) -> list[Seen]:
        """Features of some photographs, kept or computed now; with randomness of any view of each."""
        count = len(photos)
        drawn = [0] * count if random is None else random.integers(self.views, size=count).tolist()
        indices = [photo * self.views + view for photo, view in zip(photos, drawn, strict=True)]
        if self.pictures:
            return model.look([self.pictures[index] for index in indices])
        kept = (self.seen[index] for index in indices)
        return [replace(each, features=each.features.float()) for each in kept]


@torch.no_grad()
def look_at_all(model: VisionLanguageModel, pictures: Sequence[Picture], batch_size: int = 32) -> list[Seen]:
    """Features of all pictures in float16, those of alike length together.

    They lie in one piece of memory: thousands of small ones among large ones that come and go would leave
    most of it unusable.
    """
    order = sorted(range(len(pictures)), key=lambda index: pictures[index].patches.shape[1])
    seen: dict[int, Seen] = {}
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        seen |= zip(chunk, model.look([pictures[index] for index in chunk]), strict=True)
    found = [seen[index] for index in range(len(pictures))]
    counts = [len(each.pooled) for each in found]
    lengths = [each.features.shape[:2].numel() for each in found]
    features = torch.cat([each.features.flatten(0, 1) for each in found]).half().split(lengths)
    pooled = torch.cat([each.pooled for each in found]).split(counts)
    return [
        Seen(features=part.view(each.features.shape), grid=each.grid, pooled=vector)
        for each, part, vector in zip(found, features, pooled, strict=True)
    ]
