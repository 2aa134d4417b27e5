"""Cultural diversity: zero-shot over places and incomes, and 10-shot geolocation (paper Tables 8 and 9)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.places import PlacedImages
from siglip2.evals.intervals import Measure, mean, resampled, share
from siglip2.evals.metrics.ranking import any_right, class_ranks
from siglip2.evals.probes.least_squares import draw_shots, few_shot_predictions
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet

ReadPlaces = Callable[[Context, DataSet], PlacedImages]


@dataclass(frozen=True, kw_only=True)
class PlacesZeroShot:
    """Zero-shot top-1, and the gap between the best and the worst group.

    `disparity` is the largest accuracy of a group less the smallest. Small groups push it up by chance alone,
    which its interval shows.

    Attributes:
        read: images, classes and groups.
        group: the column that `disparity` compares; None for none.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadPlaces
    group: str | None = None
    published: str | None = None
    main: str = field(default="top_1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        placed = self.read(context, self.data[0])
        chosen = context.limited(len(placed.images))
        images = context.embed_images([placed.images[index] for index in chosen.tolist()])
        classes = context.class_embeddings(placed.class_names)
        ties = "against" if context.protocol.ties == "against" else "for"
        if placed.accepted is None:
            right = class_ranks(images, classes, placed.labels[chosen], ties=ties) < 1
            chance = 1 / len(placed.class_names)
        else:
            right = any_right(images @ classes.T, placed.accepted[chosen], ties=ties)
            chance = float(placed.accepted[chosen].mean())
        measures = {"top_1": share(right)}
        details = {}
        for column, values in placed.groups.items():
            groups = values[chosen]
            details[f"per_{column}"] = {
                name: {
                    "images": int((groups == name).sum()),
                    "top_1": round(float(right[groups == name].mean()), 4),
                }
                for name in np.unique(groups).tolist()
            }
            if column == self.group:
                measures["disparity"] = _disparity(right, groups)
        return Outcome(
            measures=measures,
            sizes={"images": len(right), "classes": len(placed.class_names)},
            chance=chance,
            details=details,
        )


@dataclass(frozen=True, kw_only=True)
class PlacesFewShot:
    """10-shot classification of the place by least squares, or of the class where `column` is None.

    The paper does not say: how examples are drawn. Ten of each place, three draws, tested on all others.

    Attributes:
        read: images and groups.
        column: `country` or `region`; None for the class.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadPlaces
    column: str | None
    shots: int = 10
    published: str | None = None
    main: str = field(default="top_1", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        placed = self.read(context, self.data[0])
        chosen = context.limited(len(placed.images))
        values = (placed.labels if self.column is None else placed.groups[self.column])[chosen]
        names, labels = np.unique(values, return_inverse=True)
        features = context.pooled([placed.images[index] for index in chosen.tolist()])
        right = []
        for seed in range(3):
            examples = draw_shots(labels, self.shots, context.seed + seed)
            others = np.setdiff1d(np.arange(len(labels)), examples)
            if not len(others):
                raise InvalidInput(
                    f"{self.title}: all {len(labels)} images are among the {self.shots} examples of each "
                    f"{self.column or 'class'}, and none is left to test"
                )
            said = few_shot_predictions(features[examples], labels[examples], features[others], len(names))
            right.append((others, said == labels[others]))
        groups, cases = (np.concatenate(part) for part in zip(*right, strict=True))
        return Outcome(
            measures={"top_1": mean(cases, groups)},
            sizes={"images": len(features), "classes": len(names)},
            chance=1 / len(names),
            settings={"shots": self.shots, "seeds": [0, 1, 2]},
        )


def _disparity(right: np.ndarray, groups: np.ndarray) -> Measure:
    _, index = np.unique(groups, return_inverse=True)
    members = np.eye(index.max() + 1)[index]

    def gap(weights: np.ndarray) -> np.ndarray:
        # A resample without a group says nothing of it.
        with np.errstate(invalid="ignore"):
            accuracy = (weights @ (members * right[:, None])) / (weights @ members)
        return np.nanmax(accuracy, axis=1) - np.nanmin(accuracy, axis=1)

    return resampled(gap, len(right))
