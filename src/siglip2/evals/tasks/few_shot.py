"""10-shot classification in closed form on the pooled features (paper Table 1, column 10s)."""

from dataclasses import dataclass, field

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.labelled import LabelledImages
from siglip2.evals.intervals import mean
from siglip2.evals.probes.least_squares import RIDGE, draw_shots, few_shot_predictions
from siglip2.evals.readers import labelled_images
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet

SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Least squares on a few examples of every class, the mean of three draws.

    The paper does not say: which split the examples come from. As in big_vision's `configs/common_fewshot.py`
    they come from the train split and are tested on all of the test split.

    Attributes:
        shots: examples of every class.
        seeds: of the draws.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    train_split: str = "train"
    test_split: str = "val"
    shots: int = 10
    seeds: tuple[int, ...] = SEEDS
    published: str | None = None
    main: str = field(default="top_1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        folder = context.folder(self.data[0])
        train, test = (
            labelled_images(context, folder, split) for split in (self.train_split, self.test_split)
        )
        test = test.take(context.limited(len(test.images)))
        same_classes(train, test, self.title)
        # Only the examples that some draw takes go through the tower.
        draws = [draw_shots(train.labels, self.shots, context.seed + seed) for seed in self.seeds]
        needed = np.unique(np.concatenate(draws))
        features = context.pooled([train.images[index] for index in needed.tolist()])
        tested = context.pooled(test.images)
        count = len(train.class_keys)
        right = np.zeros((len(self.seeds), len(tested)))
        for row, draw in zip(right, draws, strict=True):
            places = np.searchsorted(needed, draw)
            row[:] = few_shot_predictions(features[places], train.labels[draw], tested, count) == test.labels
        return Outcome(
            measures={"top_1": mean(right.mean(axis=0))},
            sizes={"images": len(tested), "classes": count, "examples": len(draws[0])},
            chance=1 / count,
            settings={"shots": self.shots, "seeds": list(self.seeds), "ridge": RIDGE},
            details={"per_seed": [round(float(row.mean()), 4) for row in right]},
        )


def same_classes(train: LabelledImages, test: LabelledImages, title: str) -> None:
    """Check that both splits count their classes alike.

    Raises:
        InvalidInput: they do not.
    """
    if train.class_keys != test.class_keys:
        raise InvalidInput(
            f"{title}: the train split has {len(train.class_keys)} classes and the test split "
            f"{len(test.class_keys)}, or other ones"
        )
