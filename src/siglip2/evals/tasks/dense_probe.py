"""What the probes of patch features share: their data, a head that is fitted, its outputs (paper Table 2)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from siglip2.evals.formats.dense import DenseImages
from siglip2.evals.task import Context, DataSet

if TYPE_CHECKING:
    from torch import nn

    from siglip2.evals.probes.dense_head import HeadName, Loss

ReadDense = Callable[[Context, DataSet, str], DenseImages]


@dataclass(frozen=True, kw_only=True)
class DenseProbe:
    """A head on frozen patch features, fitted to one split and measured on another.

    Attributes:
        read: images of a split, with what is to be told of each pixel.
        head: `linear` or `dpt`.
        steps: of fitting.
    """

    name: str
    title: str
    data: tuple[DataSet, ...]
    read: ReadDense
    train_split: str = "train"
    test_split: str = "test"
    head: "HeadName" = "linear"
    steps: int = 1000
    published: str | None = None
    trains: bool = field(default=True, init=False)

    def splits(self, context: Context) -> tuple[DenseImages, DenseImages]:
        """Images to fit to, all of them, and to measure on, no more than the run asks for."""
        train, test = (self.read(context, self.data[0], name) for name in (self.train_split, self.test_split))
        return train, test.take(context.limited(len(test.images)))

    def fit(
        self,
        context: Context,
        images: DenseImages,
        targets: Iterable[np.ndarray],
        channels: int,
        loss: "Loss",
    ) -> "nn.Module":
        """Fit a head with so many output channels.

        Args:
            context: of the run.
            images: of the train split.
            targets: (H, W, ...) of each, gone through once: those of a whole split need not fit in memory.
            channels: that the loss takes.
            loss: of (B, C, h, w) outputs and (B, h, w, ...) targets.
        """
        from siglip2.evals.probes.dense_head import fit_head, with_pooled

        # The first pass embeds what is missing; every batch is then read from the cache again.
        seen = context.cache.patches(images.images, progress=context.progress)
        grids = [each.grid for each in seen]

        def read(batch: list[int]) -> list[np.ndarray]:
            chosen = [images.images[index] for index in batch]
            return [with_pooled(each) for each in context.cache.patches(chosen)]

        return fit_head(
            read, grids, targets, channels, loss, head=self.head, steps=self.steps, seed=context.seed
        )

    def outputs(
        self, context: Context, head: "nn.Module", images: DenseImages, targets: Iterable[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Outputs (H, W, C) of the head for each image in the size of its target, and that target."""
        from siglip2.evals.probes.dense_head import apply_head, with_pooled

        seen = context.cache.patches(images.images, progress=context.progress)
        for each, target in zip(seen, targets, strict=True):
            yield apply_head(head, with_pooled(each), target.shape[:2]), target
