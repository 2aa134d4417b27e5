"""Which samples a step sees: a function of the seed and the step, so that resuming needs no state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from siglip2.data.share import Share
from siglip2.data.source import CaptionedSource
from siglip2.recipes.recipe import Source


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one step: this rank's images, and all texts.

    Attributes:
        images: per source, (B_s, S, S, 3) uint8; none where they were not asked for.
        rows: per source, (B_s,) which of its pictures these are.
        shares: per source, which rows of the global batch these are.
        texts: T different texts of the global batch; images of one class share one, and so do a picture
            that is drawn twice and pictures with the same caption: their pairs are true ones.
        text_of_image: (B,) index of each image's text, sources one after the other.
        positions: (B,) place of each image in the global batch.
        regions: per image, its boxes with phrases.
        keys: per image, `source/index`, for messages.
        aspects: (B,) width over height of each picture before it was squashed.
    """

    images: Sequence[np.ndarray]
    rows: Sequence[np.ndarray]
    shares: Sequence[Share]
    texts: Sequence[str]
    text_of_image: np.ndarray
    positions: np.ndarray
    regions: Sequence[Sequence[tuple[tuple[float, float, float, float], str]]]
    keys: Sequence[str]
    aspects: np.ndarray


def draw_batch(
    sources: Sequence[Source],
    data: Sequence[CaptionedSource],
    *,
    seed: int,
    step: int,
    rank: int = 0,
    world: int = 1,
    pictures: bool = True,
) -> Batch:
    """The batch of one step: every image of a source once an epoch, with a caption drawn anew.

    The global batch is the same for every number of ranks, so that a run that goes on with more or fewer of
    them neither loses nor repeats a sample.

    Args:
        sources: of the recipe.
        data: one data set for each.
        seed: of the run.
        step: of the run.
        rank: whose images to return.
        world: number of ranks.
        pictures: False for their rows alone.
    """
    images, rows, shares, text_of_image, positions, regions, keys = [], [], [], [], [], [], []
    aspects = []
    number_of_text: dict[str, int] = {}
    before = 0
    for number, (source, captioned) in enumerate(zip(sources, data, strict=True)):
        rng = np.random.default_rng((seed, number, step))
        indices = _indices(len(captioned), source.images_per_batch, (seed, number), step)
        share = Share.of(len(indices), rank, world)
        own = indices[share.rows]
        rows.append(own)
        if pictures:
            images.append(np.asarray(captioned.images[own]))
        shares.append(share)
        positions.append(before + np.arange(share.first, share.last))
        before += len(indices)
        for index in own.tolist():
            keys.append(f"{captioned.name}/{index}")
            regions.append(captioned.regions[index] if captioned.regions else ())
            aspects.append(float(captioned.aspects[index]) if len(captioned.aspects) else 1.0)
        of_source = []
        known: dict[tuple[str, int], int] = {}
        for index in map(int, indices):
            label = int(captioned.classes[index])
            described = ("picture", index) if label < 0 else ("class", label)
            if described not in known:
                choices = captioned.captions[index]
                text = choices[int(rng.integers(len(choices)))]
                known[described] = number_of_text.setdefault(text, len(number_of_text))
            of_source.append(known[described])
        text_of_image += of_source[share.rows]
    return Batch(
        images=images,
        rows=rows,
        shares=shares,
        texts=list(number_of_text),
        text_of_image=np.array(text_of_image, dtype=np.int64),
        positions=np.concatenate(positions),
        regions=regions,
        keys=keys,
        aspects=np.array(aspects),
    )


def draw_super_batch(
    sources: Sequence[Source],
    data: Sequence[CaptionedSource],
    *,
    seed: int,
    step: int,
    parts: int,
    rank: int = 0,
    world: int = 1,
    pictures: bool = True,
) -> Batch:
    """So many batches in one, source by source; what `draw_batch` would give at `parts` times the step."""
    wide = [replace(source, images_per_batch=parts * source.images_per_batch) for source in sources]
    place = {"seed": seed, "step": step, "rank": rank, "world": world}
    return draw_batch(wide, data, **place, pictures=pictures)


def _indices(num_samples: int, batch: int, seed: tuple[int, int], step: int) -> np.ndarray:
    positions = np.arange(step * batch, (step + 1) * batch)
    places = [divmod(int(position), num_samples) for position in positions]
    return np.array([_permutation(num_samples, (*seed, epoch))[offset] for epoch, offset in places])


@lru_cache(maxsize=16)
def _permutation(num_samples: int, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(num_samples)
