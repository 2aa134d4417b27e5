"""Open-vocabulary segmentation: every patch takes the class whose text is nearest to it, without training.

Differs from the paper: Cat-Seg (its Table 4) fits a decoder; this measures what the towers know alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from siglip2.evals.results import Example, Outcome
from siglip2.evals.task import Context, DataSet
from siglip2.evals.tasks.dense_probe import ReadDense
from siglip2.evals.tasks.segmentation import CHANCE, score_masks
from siglip2.heatmap import project_patches


@dataclass(frozen=True, kw_only=True)
class OpenVocabularySegmentation:
    """MIoU of patch-text similarity.

    Attributes:
        read: images and masks of a split.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadDense
    test_split: str = "test"
    published: str | None = None
    main: str = field(default="miou", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        test = self.read(context, self.data[0], self.test_split)
        test = test.take(context.limited(len(test.images)))
        classes = context.class_embeddings([name.replace("_", " ") for name in test.class_names])
        tested = context.cache.patches(test.images, progress=context.progress)

        def predicted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for each, mask in zip(tested, test.masks(), strict=True):
                scores = project_patches(context.encoder.checkpoint, each.features) @ classes.T
                yield nearest_class(scores, mask.shape), mask

        scores = score_masks(predicted(), test.class_names)
        return Outcome(
            measures=scores.measures,
            sizes={"images": len(test.images), "classes": len(test.class_names)},
            chance=scores.chance,
            settings={"test": self.test_split, "chance": CHANCE},
            details={"iou_per_class": scores.per_class},
            examples=_examples(context, test.images[:3], test.class_names, classes)
            if context.examples
            else (),
        )


def nearest_class(scores: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Stretch (h, w, C) scores over (H, W) pixels and take the best class of each."""
    height, width = size
    best, value = np.zeros(size, np.int64), np.full(size, -np.inf, np.float32)
    # A class at a time: an image of 133 classes would take 30 MB otherwise.
    for index in range(scores.shape[-1]):
        plane = Image.fromarray(np.ascontiguousarray(scores[..., index], dtype=np.float32))
        stretched = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
        better = stretched > value
        best[better], value[better] = index, stretched[better]
    return best


def _examples(context: Context, images, names: tuple[str, ...], classes: np.ndarray) -> tuple[Example, ...]:
    from siglip2.evals.examples import thumbnail
    from siglip2.heatmap import draw_heatmap
    from siglip2.inputs.decode import load_image

    found = []
    for image, features in zip(images, context.cache.patches(images), strict=True):
        scores = project_patches(context.encoder.checkpoint, features.features) @ classes.T
        best = int(scores.mean(axis=(0, 1)).argmax())
        picture = thumbnail(draw_heatmap(load_image(image.read()), scores[..., best]))
        found.append(Example(kind="heat map", caption=f"where is {names[best]}", image=picture))
    return tuple(found)
