"""Photographs of one split with what is said about them, looked at once where the tower is frozen."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from model import Seen, VisionLanguageModel

from data import Picture, Sample, Turn, to_picture


class Split:
    """Photographs, what is said about them, and their features where the tower does not change."""

    def __init__(
        self,
        samples: Sequence[Sample],
        turns: dict[str, list[Turn]],
        model: VisionLanguageModel,
        max_num_patches: int,
    ):
        self.turns = turns
        vision = model.tower.config
        self.pictures = [to_picture(each.photo, vision, max_num_patches) for each in samples]
        frozen = not any(each.requires_grad for each in model.tower.parameters())
        self.seen = look_at_all(model, self.pictures) if frozen else None

    def look(self, model: VisionLanguageModel, indices: Sequence[int]) -> list[Seen]:
        """Features of some pictures, kept or computed now."""
        if self.seen is None:
            return model.look([self.pictures[index] for index in indices])
        kept = (self.seen[index] for index in indices)
        return [replace(each, features=each.features.float()) for each in kept]


@torch.no_grad()
def look_at_all(model: VisionLanguageModel, pictures: Sequence[Picture], batch_size: int = 64) -> list[Seen]:
    """Features of all pictures in float16, those of alike length together."""
    order = sorted(range(len(pictures)), key=lambda index: len(pictures[index].patches))
    seen: dict[int, Seen] = {}
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        for index, each in zip(chunk, model.look([pictures[index] for index in chunk]), strict=True):
            seen[index] = replace(each, features=each.features.half().clone())
    return [seen[index] for index in range(len(pictures))]
