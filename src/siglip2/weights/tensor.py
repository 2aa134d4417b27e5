"""One tensor as it lies in a file: memory-mapped, in the file's own precision."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

DType = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that stays in its file until it is read.

    Attributes:
        bits: the values; for bfloat16, which numpy lacks, the upper half of each float32 as uint16.
        dtype: precision of the values.
    """

    bits: np.ndarray
    dtype: DType

    @classmethod
    def of(cls, array: np.ndarray) -> "StoredTensor":
        """Wrap a float32 or float16 array."""
        if array.dtype == np.float16:
            return cls(array, "float16")
        return cls(np.asarray(array, np.float32), "float32")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.bits.shape

    def float32(self) -> np.ndarray:
        """All values; a view of the file where it holds float32 already."""
        return _to_float32(self.bits, self.dtype)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Rows of the first axis, any shape of indices; only the pages that hold them are read."""
        return _to_float32(self.bits[indices], self.dtype)

    def cast(self, dtype: DType) -> "StoredTensor":
        """The tensor in another precision, rounded to nearest even; itself if it has that one."""
        if dtype == self.dtype:
            return self
        values = self.float32()
        if dtype == "bfloat16":
            return StoredTensor(_bfloat16_bits(values), "bfloat16")
        return StoredTensor(values.astype(dtype), dtype)


def _to_float32(bits: np.ndarray, dtype: DType) -> np.ndarray:
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(bits, np.float32)


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    # Rounding would carry a NaN's payload into infinity.
    kept = np.where(np.isnan(values), np.uint32(0x7FC0_0000), rounded)
    return (kept >> 16).astype(np.uint16)
