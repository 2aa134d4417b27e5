"""What training takes samples from: in memory (`CaptionedImages`), in shards, or a blend of such."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

Region = tuple[tuple[float, float, float, float], str]
"""x0, y0, x1, y1 in shares of the picture, and what is there."""


@runtime_checkable
class PicturesByIndex(Protocol):
    """Pictures that are read when they are asked for."""

    def __getitem__(self, indices: Any, /) -> np.ndarray:
        """(n,) whole numbers to (n, S, S, 3) uint8."""
        ...

    def __len__(self) -> int: ...


@runtime_checkable
class CaptionedSource(Protocol):
    """Samples by index.

    The trainer draws indices as a function of seed and step, so a source has no state: the order is exact
    after every resume and the same for any number of ranks.
    """

    @property
    def name(self) -> str:
        """What it is called in recipes and logs."""
        ...

    @property
    def images(self) -> PicturesByIndex | np.ndarray:
        """(N, S, S, 3) uint8, indexed by an array."""
        ...

    @property
    def captions(self) -> Sequence[Sequence[str]]:
        """For every image, the texts that describe it."""
        ...

    @property
    def classes(self) -> np.ndarray:
        """(N,) int, images of one class share their captions; -1 where each image has its own."""
        ...

    @property
    def regions(self) -> Sequence[Sequence[Region]]:
        """For every image, its boxes with phrases; empty for none at all."""
        ...

    @property
    def aspects(self) -> Sequence[float] | np.ndarray:
        """(N,) width over height of each picture before it was squashed; empty where all were squares."""
        ...

    def __len__(self) -> int: ...
