"""Logistic regression on the pooled features, through scikit-learn."""

from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.intervals import share
from siglip2.evals.probes.least_squares import draw_shots
from siglip2.evals.readers import labelled_images
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet
from siglip2.evals.tasks.few_shot import same_classes

PENALTIES = (1e-2, 1e-1, 1e0)
"""Values of C that are tried on a tenth of the examples."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Accuracy of a linear classifier that was fitted to the train split.

    Attributes:
        per_class: examples of every class that are used; None for all.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    train_split: str = "train"
    test_split: str = "val"
    per_class: int | None = None
    published: str | None = None
    main: str = field(default="top_1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        folder = context.folder(self.data[0])
        train, test = (
            labelled_images(context, folder, split) for split in (self.train_split, self.test_split)
        )
        test = test.take(context.limited(len(test.images)))
        same_classes(train, test, self.title)
        if self.per_class is not None:
            train = train.take(draw_shots(train.labels, self.per_class, context.seed))
        x, tested = context.pooled(train.images), context.pooled(test.images)

        def fitted(penalty: float, rows: np.ndarray):
            # Features are standardised, so that one penalty means the same for every model. A fit that stops
            # at its last step is as good a probe as one that converged.
            model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=200, tol=1e-3))
            return model.fit(x[rows], train.labels[rows])

        held_out = np.random.default_rng(context.seed).random(len(x)) < 0.1
        scores = [
            fitted(penalty, np.flatnonzero(~held_out)).score(x[held_out], train.labels[held_out])
            for penalty in PENALTIES
        ]
        best = PENALTIES[int(np.argmax(scores))]
        right = fitted(best, np.arange(len(x))).predict(tested) == test.labels
        return Outcome(
            measures={"top_1": share(right)},
            sizes={"images": len(tested), "classes": len(train.class_keys), "examples": len(x)},
            chance=1 / len(train.class_keys),
            settings={"C": best, "per_class": self.per_class},
        )
