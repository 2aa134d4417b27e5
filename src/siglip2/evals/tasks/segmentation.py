"""Semantic segmentation by a head on frozen patch features (paper Table 2)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.formats.dense import IGNORE, DenseImages
from siglip2.evals.intervals import Measure, resampled
from siglip2.evals.metrics.segmentation import mean_iou, overlaps
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context
from siglip2.evals.tasks.dense_probe import DenseProbe


@dataclass(frozen=True, kw_only=True)
class SegmentationProbe(DenseProbe):
    """MIoU of a linear or DPT head, fitted to the train split.

    Differs from the paper: whole images at the model's own resolution, and not sliding windows.
    """

    main: str = field(default="miou", init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        train, test = self.splits(context)
        count = len(test.class_names)

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(output, target.long(), ignore_index=IGNORE)

        head = self.fit(context, train, train.masks(), count, loss)
        outputs = self.outputs(context, head, test, test.masks())
        scores = score_masks(((each.argmax(axis=-1), mask) for each, mask in outputs), test.class_names)
        return Outcome(
            measures=scores.measures,
            sizes={"images": len(test.images), "train_images": len(train.images), "classes": count},
            # The padding of its convolutions shows a DPT where it is, so that it knows the layout at least.
            chance=scores.chance if self.head == "linear" else _layout_miou(train, test, count),
            settings={
                "head": self.head,
                "steps": self.steps,
                "train": self.train_split,
                "test": self.test_split,
                "chance": CHANCE if self.head == "linear" else LAYOUT,
            },
            details={"iou_per_class": scores.per_class},
        )


CHANCE = "as many pixels of each class as are predicted, laid at random"

LAYOUT = "at each place the class that is commonest there in the train split"


@dataclass(frozen=True, kw_only=True)
class MaskScores:
    """What predicted masks are worth.

    Attributes:
        measures: mIoU and pixel accuracy.
        per_class: IoU of each class that occurs.
        chance: mIoU of the same predictions if they knew nothing of where they lie.
    """

    measures: dict[str, Measure]
    per_class: dict[str, float]
    chance: float


def score_masks(pairs: Iterable[tuple[np.ndarray, np.ndarray]], names: tuple[str, ...]) -> MaskScores:
    """Compare predicted masks with the true ones, an image at a time.

    Args:
        pairs: (H, W) predicted and true classes of each image.
        names: of the C classes.
    """
    counts = [
        (
            *overlaps(mask, target, len(names), ignore=IGNORE),
            np.bincount(target[target != IGNORE], minlength=len(names)),
        )
        for mask, target in pairs
    ]
    intersections, unions, of_targets = (
        np.stack(part).astype(np.float64) for part in zip(*counts, strict=True)
    )
    pixels = of_targets.sum(axis=1)
    hits = intersections.sum(axis=1)
    measures = {
        "miou": resampled(lambda weights: mean_iou(weights @ intersections, weights @ unions), len(counts)),
        "pixel_accuracy": resampled(lambda weights: (weights @ hits) / (weights @ pixels), len(counts)),
    }
    total = intersections.sum(axis=0) / np.maximum(unions.sum(axis=0), 1)
    seen = unions.sum(axis=0) > 0
    per_class = {
        name: round(float(iou), 4) for name, iou, there in zip(names, total, seen, strict=True) if there
    }
    target = of_targets.sum(axis=0) / pixels.sum()
    said = (intersections + unions).sum(axis=0) / pixels.sum() - target
    chance = float(mean_iou(said * target, said + target - said * target))
    return MaskScores(measures=measures, per_class=per_class, chance=chance)


def _layout_miou(train: DenseImages, test: DenseImages, count: int, *, side: int = 32) -> float:
    """MIoU of one mask for all, made of `side` x `side` places."""
    votes = np.zeros((count + 1, side, side), np.int64)
    rows, columns = np.indices((side, side))
    for mask in train.masks():
        small = stretched(mask, (side, side))
        votes[np.where(small == IGNORE, count, small), rows, columns] += 1
    layout = votes[:count].argmax(axis=0)
    pairs = [
        overlaps(stretched(layout, target.shape), target, count, ignore=IGNORE) for target in test.masks()
    ]
    intersections, unions = (np.stack(part).sum(axis=0) for part in zip(*pairs, strict=True))
    return float(mean_iou(intersections, unions))


def stretched(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A mask at another size, the nearest pixel of each."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]
