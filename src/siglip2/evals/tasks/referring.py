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
        blind: fit a second decoder to the words alone, and take its score for chance; else what the mean box
            of the train split scores. Words such as "leftmost" tell much of where a box is.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read_train: Callable[[Context, DataSet], Expressions]
    tests: dict[str, Callable[[Context, DataSet], Expressions]]
    steps: int = 1000
    blind: bool = False
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

        def fitted(seen: list[np.ndarray]):
            return fit_boxes(
                encoder.tokenize(train.texts),
                train.image_of_text,
                train.boxes,
                seen,
                encoder.checkpoint.config.text.vocab_size,
                steps=self.steps,
                seed=context.seed,
            )

        model = fitted(patches)
        without = fitted(_hidden(patches)) if self.blind else None
        typical = train.boxes.mean(axis=0)
        measures, chances = {}, []
        for name, test in tests.items():
            test = test.take(context.limited(len(test.texts)))
            ids = encoder.tokenize(test.texts)
            shown = [each.features for each in context.patches(test.images)]
            boxes = predict_boxes(model, ids, test.image_of_text, shown)
            measures[name] = share(box_iou(boxes, test.boxes) >= 0.5, test.image_of_text)
            constant = np.broadcast_to(typical, test.boxes.shape)
            if without is not None:
                constant = predict_boxes(without, ids, test.image_of_text, _hidden(shown))
            chances.append(float((box_iou(constant, test.boxes) >= 0.5).mean()))
        return Outcome(
            measures=measures,
            sizes={
                "expressions": sum(len(each.texts) for each in tests.values()),
                "train_expressions": len(train.texts),
            },
            chance=chances[0],
            settings={
                "steps": self.steps,
                "chance": "a decoder of the words alone" if self.blind else "the mean box of the train split",
            },
        )


def _hidden(patches: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures of the same grids that show nothing."""
    return [np.zeros_like(each) for each in patches]
