"""Referring expressions by a six-layer decoder on frozen features, Acc@0.5 (paper Table 5)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.formats.referring import Expressions
from siglip2.evals.intervals import share
from siglip2.evals.metrics.boxes import box_iou
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet


@dataclass(frozen=True, kw_only=True)
class ReferringExpressions:
    """Share of expressions whose one predicted box overlaps the right one by at least half.

    Attributes:
        read_train: expressions to fit to; no picture of a test split among them.
        tests: a reader for each test split, by the name of its measure.
        steps: of fitting.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read_train: Callable[[Context, DataSet], Expressions]
    tests: dict[str, Callable[[Context, DataSet], Expressions]]
    steps: int = 1000
    published: str | None = None
    trains: bool = field(default=True, init=False)

    @property
    def main(self) -> str:
        """The first test split's."""
        return next(iter(self.tests))

    def run(self, context: Context) -> Outcome:
        """Measure."""
        from siglip2.evals.probes.box_decoder import fit_boxes, predict_boxes

        tests = {name: read(context, self.data[0]) for name, read in self.tests.items()}
        train = self.read_train(context, self.data[0])
        # RefCOCO's three sets share pictures across their splits: none that is tested may be fitted to.
        tested = {image.key for each in tests.values() for image in each.images}
        free = np.array([train.images[index].key not in tested for index in train.image_of_text.tolist()])
        train = train.take(np.flatnonzero(free))
        encoder = context.encoder
        patches = [each.features for each in context.patches(train.images)]
        model = fit_boxes(
            encoder.tokenize(train.texts),
            train.image_of_text,
            train.boxes,
            patches,
            encoder.checkpoint.config.text.vocab_size,
            steps=self.steps,
            seed=context.seed,
        )
        typical = train.boxes.mean(axis=0)
        measures, chances = {}, []
        for name, test in tests.items():
            test = test.take(context.limited(len(test.texts)))
            features = [each.features for each in context.patches(test.images)]
            boxes = predict_boxes(model, encoder.tokenize(test.texts), test.image_of_text, features)
            measures[name] = share(box_iou(boxes, test.boxes) >= 0.5, test.image_of_text)
            chances.append(
                float((box_iou(np.broadcast_to(typical, test.boxes.shape), test.boxes) >= 0.5).mean())
            )
        return Outcome(
            measures=measures,
            sizes={
                "expressions": sum(len(each.texts) for each in tests.values()),
                "train_expressions": len(train.texts),
            },
            chance=chances[0],
            settings={"steps": self.steps, "chance": "the mean box of the train split for everything"},
        )
