"""Zero-shot classification: the class whose averaged prompts lie nearest to the image.

Source: big_vision `evaluators/proj/image_text/discriminative_classifier.py`; paper Table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.class_order import in_order
from siglip2.evals.examples import pick_examples
from siglip2.evals.formats.labelled import LabelledImages
from siglip2.evals.intervals import Measure, resampled, share
from siglip2.evals.metrics.average_precision import mean_average_precision
from siglip2.evals.metrics.calibration import reliability, softmax
from siglip2.evals.metrics.ranking import any_right, class_ranks
from siglip2.evals.readers import labelled_images
from siglip2.evals.results import Outcome
from siglip2.evals.task import Context, DataSet


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassification:
    """Top-1 and top-5 accuracy over the classes of a data set.

    Attributes:
        split: folder or file prefix of the split that is measured.
        class_names: the protocol's names in the order of the labels; empty where the data bring them.
        class_keys: folder names of these classes, where they are called otherwise.
        templates: the data set's own prompts.
        read: another reader than the one for labelled folders, tars and Parquet.
        main: `mean_average_precision` where images of several classes are measured by it.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    split: str = "val"
    class_names: tuple[str, ...] = ()
    class_keys: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    published: str | None = None
    read: Callable[[Context, DataSet], LabelledImages] | None = None
    main: str = "top_1"
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        labelled = self.named(self.load(context))
        names = labelled.class_names
        labelled = labelled.take(context.limited(len(labelled.images)))
        images = context.embed_images(labelled.images)
        classes = context.class_embeddings(names, self.templates or labelled.templates)
        if self.main == "mean_average_precision" and labelled.labels.ndim == 1:
            raise InvalidInput(f"{self.title}: each image has one class here, and several were expected")
        if labelled.labels.ndim == 2:
            return self._several_labels(context, labelled, images @ classes.T, names)
        ranks = class_ranks(images, classes, labelled.labels, ties=self.ties(context))
        encoder = context.encoder
        best, stated = _stated(images, classes, encoder.logit_scale, encoder.logit_bias)
        right = best == labelled.labels
        bins = reliability(stated, right)
        measures = {
            "top_1": share(ranks < 1),
            "top_5": share(ranks < 5),
            "mean_per_class_recall": _per_class(ranks < 1, labelled.labels),
            "calibration_error": _calibration(stated, right),
        }
        captions = [
            f"{names[label]} / {names[said]}" for label, said in zip(labelled.labels, best, strict=True)
        ]
        return Outcome(
            measures=measures,
            sizes={"images": len(images), "classes": len(names)},
            chance=1 / len(names),
            settings={"split": self.split, "templates": context.protocol.templates},
            details={
                "per_class": _class_accuracies(ranks < 1, labelled.labels, names),
                "confusions": _confusions(best, labelled.labels, names),
                "reliability": {
                    "stated": _rounded(bins.stated),
                    "right": _rounded(bins.right),
                    "counts": bins.counts.tolist(),
                },
            },
            examples=pick_examples(labelled.images, ranks < 1, captions) if context.examples else (),
        )

    def load(self, context: Context) -> LabelledImages:
        """The data set, whole."""
        if self.read is not None:
            return self.read(context, self.data[0])
        return labelled_images(context, context.folder(self.data[0]), self.split)

    def named(self, labelled: LabelledImages) -> LabelledImages:
        """With a name for each class: of a file beside the data, else the protocol's, else the data's own.

        Raises:
            InvalidInput: a class has no name, or it cannot be told which of the protocol's is its own.
        """
        if self.class_names:
            labelled = in_order(labelled, self.class_names, self.class_keys or self.class_names, self.title)
        names = labelled.class_names
        if not all(names):
            unnamed = labelled.class_keys[names.index("")]
            raise InvalidInput(
                f"{self.title}: no name for class {unnamed}; put a classnames.txt, one name a line, "
                "beside the data"
            )
        return labelled

    def ties(self, context: Context) -> str:
        """Which way ties go; argmax code gives them to the first class."""
        return "against" if context.protocol.ties == "against" else "for"

    def _several_labels(
        self, context: Context, labelled: LabelledImages, scores: np.ndarray, names: tuple[str, ...]
    ) -> Outcome:
        """Images of several classes each: right if the best is any of them, or mean average precision."""
        kept = labelled.labels.any(axis=1)  # images without a label do not count (ImageNet ReaL)
        right = any_right(scores[kept], labelled.labels[kept], ties=self.ties(context))
        measures, details = {"top_1": share(right)}, {}
        if self.main == "mean_average_precision":  # dear where classes are many
            measures["mean_average_precision"], precisions = mean_average_precision(scores, labelled.labels)
            details["average_precision_per_class"] = {
                f"{index} {names[index]}": round(value, 4) for index, value in precisions.items()
            }
        return Outcome(
            measures=measures,
            sizes={"images": len(scores), "classes": scores.shape[1]},
            chance=float(labelled.labels[kept].mean()),
            settings={"split": self.split, "templates": context.protocol.templates},
            details=details,
        )


def _stated(
    images: np.ndarray, classes: np.ndarray, scale: float, bias: float
) -> tuple[np.ndarray, np.ndarray]:
    """Best class of each image and the softmax share that the model gives it."""
    best, stated = [], []
    for start in range(0, len(images), 4096):
        shares = softmax(scale * (images[start : start + 4096] @ classes.T) + bias)
        best.append(shares.argmax(axis=1))
        stated.append(shares.max(axis=1))
    return np.concatenate(best), np.concatenate(stated)


def _calibration(stated: np.ndarray, right: np.ndarray) -> Measure:
    edges = np.clip((stated * 15).astype(int), 0, 14)
    gaps = np.eye(15)[edges] * (right - stated)[:, None]
    return resampled(lambda weights: np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1), len(right))


def _per_class(right: np.ndarray, labels: np.ndarray) -> Measure:
    # Sums over the images of each class, which stand together once sorted.
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(labels[order]) > 0])
    hits = right[order].astype(np.float64)

    def weighted(weights: np.ndarray) -> np.ndarray:
        # Every image is drawn alike, so that the sorted ones may take the weights as they come.
        sizes = np.add.reduceat(weights, starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            recalls = np.add.reduceat(weights * hits, starts, axis=1) / sizes
        return np.nanmean(recalls, axis=1)

    return resampled(weighted, len(right))


def _class_accuracies(right: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    found = {index: float(right[labels == index].mean()) for index in np.unique(labels).tolist()}
    return {f"{index} {names[index]}": round(value, 4) for index, value in found.items()}


def _confusions(
    best: np.ndarray, labels: np.ndarray, names: tuple[str, ...], *, count: int = 20
) -> list[dict]:
    wrong = best != labels
    pairs, counts = np.unique(np.stack([labels[wrong], best[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:count]
    return [
        {"class": names[pairs[i, 0]], "taken_for": names[pairs[i, 1]], "images": int(counts[i])}
        for i in order
    ]


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
