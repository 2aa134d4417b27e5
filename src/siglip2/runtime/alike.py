"""NaFlex batches in runs of images of alike length, so that little of a run is padding."""

from collections.abc import Iterator

import numpy as np

from siglip2.inputs.batch import ImageBatch

MOST_PADDING = 64
"""Tokens of padding in one run. Fewer make more runs, each of which reads all weights once: for a B/16 in
bfloat16 on two cores, that costs as much as some 25 to 50 tokens."""


def runs_of(batch: ImageBatch, most_tokens: int) -> Iterator[tuple[np.ndarray, ImageBatch]]:
    """Cut a batch into runs.

    Args:
        batch: B images; where a mask has padding they are taken by their length, else in order.
        most_tokens: of a run, which has at least one image all the same.

    Yields:
        (K,) places of K images in the batch, and these images, without padding that none of them needs.
    """
    images, tokens = batch.patches.shape[:2]
    if batch.mask is None or batch.mask.all():
        step = max(1, most_tokens // max(1, tokens))
        for start in range(0, images, step):
            part = np.arange(start, min(start + step, images))
            yield part, _take(batch, slice(start, start + step), tokens)
        return
    lengths = batch.mask.sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    for part in _parts(lengths[order], most_tokens):
        places = order[part]
        yield places, _take(batch, places, max(1, int(lengths[places[0]])))


def _parts(lengths: np.ndarray, most_tokens: int) -> Iterator[slice]:
    """Neighbours in (B,) falling lengths that share a run."""
    start = padding = 0
    for end, length in enumerate(lengths):
        longest = lengths[start]
        padding += longest - length
        if padding > MOST_PADDING or longest * (end + 1 - start) > max(most_tokens, longest):
            yield slice(start, end)
            start, padding = end, 0
    if len(lengths):
        yield slice(start, len(lengths))


def _take(batch: ImageBatch, places: np.ndarray | slice, tokens: int) -> ImageBatch:
    return ImageBatch(
        patches=batch.patches[places, :tokens],
        grids=batch.grids[places],
        mask=None if batch.mask is None else batch.mask[places, :tokens],
    )
