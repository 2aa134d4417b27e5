"""Semantic segmentation by a head on frozen patch features (paper Table 2)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from siglip2.evals.formats.dense import IGNORE, DenseImages
from siglip2.evals.intervals import Measure, resampled
from siglip2.evals.metrics.segmentation import mean_iou, overlaps
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet

ReadDense = Callable[[Context, DataSet, str], DenseImages]


@dataclass(frozen=True, kw_only=True)
class SegmentationProbe:
    """MIoU of a linear or DPT head, fitted to the train split.

    Differs from the paper: whole images at the model's own resolution, and not sliding windows.

    Attributes:
        read: images and masks of a split.
        head: `linear` or `dpt`.
        steps: of fitting.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadDense
    train_split: str = "train"
    test_split: str = "test"
    head: Literal["linear", "dpt"] = "linear"
    steps: int = 1000
    published: str | None = None
    main: str = field(default="miou", init=False)
    trains: bool = field(default=True, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        import torch

        from siglip2.evals.probes.dense_head import apply_head, fit_head, with_pooled

        train = self.read(context, self.data[0], self.train_split)
        train = train.take(context.limited(len(train.images)))
        test = self.read(context, self.data[0], self.test_split)
        test = test.take(context.limited(len(test.images)))
        count = len(test.class_names)
        masks = list(train.masks())

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(output, target.long(), ignore_index=IGNORE)

        features = [with_pooled(each) for each in context.patches(train.images)]
        head = fit_head(features, masks, count, loss, head=self.head, steps=self.steps, seed=context.seed)
        targets = list(test.masks())
        tested = context.cache.patches(test.images, progress=context.progress)
        predicted = (
            apply_head(head, with_pooled(each), target.shape).argmax(axis=-1)
            for each, target in zip(tested, targets, strict=True)
        )
        measures, per_class = score_masks(predicted, targets, test.class_names)
        return Outcome(
            measures=measures,
            sizes={"images": len(test.images), "train_images": len(train.images), "classes": count},
            chance=_constant_miou(masks, targets, count),
            settings={
                "head": self.head,
                "steps": self.steps,
                "train": self.train_split,
                "test": self.test_split,
            },
            details={"iou_per_class": per_class},
        )


def score_masks(
    predicted, targets: list[np.ndarray], names: tuple[str, ...]
) -> tuple[dict[str, Measure], dict]:
    """MIoU, pixel accuracy and IoU of each class.

    Args:
        predicted: (H, W) classes of each image, in any iterable.
        targets: (H, W) true classes.
        names: of the C classes.
    """
    pairs = [
        overlaps(mask, target, len(names), ignore=IGNORE)
        for mask, target in zip(predicted, targets, strict=True)
    ]
    intersections, unions = (np.stack(part).astype(np.float64) for part in zip(*pairs, strict=True))
    pixels = np.array([(target != IGNORE).sum() for target in targets], np.float64)
    hits = intersections.sum(axis=1)
    measures = {
        "miou": resampled(lambda weights: mean_iou(weights @ intersections, weights @ unions), len(targets)),
        "pixel_accuracy": resampled(lambda weights: (weights @ hits) / (weights @ pixels), len(targets)),
    }
    total = intersections.sum(axis=0) / np.maximum(unions.sum(axis=0), 1)
    seen = unions.sum(axis=0) > 0
    per_class = {
        name: round(float(iou), 4) for name, iou, there in zip(names, total, seen, strict=True) if there
    }
    return measures, per_class


def _constant_miou(train: list[np.ndarray], targets: list[np.ndarray], count: int) -> float:
    """MIoU of painting everything in the commonest class of the train split."""
    counts = sum(np.bincount(mask[mask != IGNORE], minlength=count) for mask in train)
    best = int(np.argmax(counts))
    pairs = [overlaps(np.full(target.shape, best), target, count, ignore=IGNORE) for target in targets]
    intersections, unions = (
        np.stack(part).sum(axis=0).astype(np.float64) for part in zip(*pairs, strict=True)
    )
    return float(mean_iou(intersections, unions))
