"""Which samples a step sees: a function of the seed and the step, so that resuming needs no state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from siglip2.data.captioned import CaptionedImages
from siglip2.recipes.recipe import Source


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one step.

    Attributes:
        images: per source, (B_s, S, S, 3) uint8.
        texts: T texts; images of one class in the batch share one.
        text_of_image: (B,) index of each image's text, sources one after the other.
        regions: per image, its boxes with phrases.
        keys: per image, `source/index`, for messages.
    """

    images: Sequence[np.ndarray]
    texts: Sequence[str]
    text_of_image: np.ndarray
    regions: Sequence[Sequence[tuple[tuple[float, float, float, float], str]]]
    keys: Sequence[str]


def draw_batch(sources: Sequence[Source], data: Sequence[CaptionedImages], *, seed: int, step: int) -> Batch:
    """The batch of one step: every image of a source once an epoch, with a caption drawn anew."""
    images, texts, text_of_image, regions, keys = [], [], [], [], []
    for number, (source, captioned) in enumerate(zip(sources, data, strict=True)):
        rng = np.random.default_rng((seed, number, step))
        indices = _indices(len(captioned), source.images_per_batch, (seed, number), step)
        images.append(captioned.images[indices])
        regions += [captioned.regions[index] if captioned.regions else () for index in indices.tolist()]
        keys += [f"{captioned.name}/{index}" for index in indices.tolist()]
        class_text: dict[int, int] = {}
        for index in indices.tolist():
            label = int(captioned.classes[index])
            if label < 0 or label not in class_text:
                choices = captioned.captions[index]
                class_text[label] = len(texts)
                texts.append(choices[int(rng.integers(len(choices)))])
            text_of_image.append(class_text[label])
    return Batch(
        images=images, texts=texts, text_of_image=np.array(text_of_image), regions=regions, keys=keys
    )


def draw_super_batch(
    sources: Sequence[Source], data: Sequence[CaptionedImages], *, seed: int, step: int, parts: int
) -> Batch:
    """So many batches in one, source by source; what `draw_batch` would give at `parts` times the step."""
    wide = [replace(source, images_per_batch=parts * source.images_per_batch) for source in sources]
    return draw_batch(wide, data, seed=seed, step=step)


def _indices(num_samples: int, batch: int, seed: tuple[int, int], step: int) -> np.ndarray:
    positions = np.arange(step * batch, (step + 1) * batch)
    places = [divmod(int(position), num_samples) for position in positions]
    return np.array([_permutation(num_samples, (*seed, epoch))[offset] for epoch, offset in places])


@lru_cache(maxsize=16)
def _permutation(num_samples: int, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(num_samples)
