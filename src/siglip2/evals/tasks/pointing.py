"""Phrase grounding without training: whether the heat map's highest place lies in a box of the phrase.

Source: the pointing game (Zhang et al. 2016, arXiv 1608.00507). The paper has no
such column.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from siglip2.evals.formats.referring import Expressions
from siglip2.evals.intervals import share
from siglip2.evals.metrics.boxes import within
from siglip2.evals.results import Example, Outcome
from siglip2.evals.task import Context, DataSet
from siglip2.heatmap import project_patches


@dataclass(frozen=True, kw_only=True)
class PointingGame:
    """Share of phrases whose heat map peaks inside any box of the phrase's category.

    Attributes:
        read: phrases with boxes.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: Callable[[Context, DataSet], Expressions]
    published: str | None = None
    main: str = field(default="pointing_accuracy", init=False)
    trains: bool = field(default=False, init=False)

    def run(self, context: Context) -> Outcome:
        """Measure."""
        phrases = self.read(context, self.data[0])
        phrases = phrases.take(context.limited(len(phrases.texts)))
        texts = context.embed_texts(phrases.texts)
        checkpoint = context.encoder.checkpoint
        projected = [
            project_patches(checkpoint, each.features)
            for each in context.cache.patches(phrases.images, progress=context.progress)
        ]
        right = np.zeros(len(texts), bool)
        chances = np.zeros(len(texts))
        for index, (text, owner) in enumerate(zip(texts, phrases.image_of_text.tolist(), strict=True)):
            scores = projected[owner] @ text
            height, width = scores.shape
            row, column = np.unravel_index(int(scores.argmax()), scores.shape)
            boxes = phrases.others[index]
            right[index] = within(((column + 0.5) / width, (row + 0.5) / height), boxes)
            places = [((x + 0.5) / width, (y + 0.5) / height) for y in range(height) for x in range(width)]
            chances[index] = np.mean([within(place, boxes) for place in places])
        return Outcome(
            measures={"pointing_accuracy": share(right, phrases.image_of_text)},
            sizes={"phrases": len(texts), "images": len(phrases.images)},
            chance=float(chances.mean()),
            settings={"chance": "share of the patches whose centre lies in a box"},
            examples=_examples(phrases, projected, texts) if context.examples else (),
        )


def _examples(phrases: Expressions, projected: list[np.ndarray], texts: np.ndarray) -> tuple[Example, ...]:
    from siglip2.evals.examples import thumbnail
    from siglip2.heatmap import draw_heatmap
    from siglip2.inputs.decode import load_image

    found = []
    for index in np.linspace(0, len(texts) - 1, min(6, len(texts))).astype(int).tolist():
        owner = int(phrases.image_of_text[index])
        heat = draw_heatmap(load_image(phrases.images[owner].read()), projected[owner] @ texts[index])
        found.append(Example(kind="heat map", caption=phrases.texts[index], image=thumbnail(heat)))
    return tuple(found)
