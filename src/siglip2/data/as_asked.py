"""What a `CaptionedSource` has of every sample, read when it is asked for."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np


@runtime_checkable
class ReadsPictures(Protocol):
    """A source that reads pictures by index."""

    def __len__(self) -> int: ...

    def pictures(self, indices: np.ndarray, /) -> np.ndarray:
        """(n,) whole numbers to (n, S, S, 3) uint8."""
        ...


class Pictures:
    """(N, S, S, 3) uint8, indexed by an array."""

    def __init__(self, source: ReadsPictures):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: Any) -> np.ndarray:
        return self._source.pictures(np.arange(len(self))[indices])


class PerSample(Sequence[Any]):
    """Something of every sample of a source."""

    def __init__(self, source: ReadsPictures, read: Callable[[int], Any]):
        self._source, self._read = source, read

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._read(each) for each in range(*index.indices(len(self)))]
        return self._read(range(len(self))[index])
