"""One tensor as it lies in a file: memory-mapped, in the file's own precision."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from siglip2.errors import InvalidCheckpoint, InvalidInput

DType = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that stays in its file until it is read.

    Attributes:
        bits: the values; for bfloat16, which numpy lacks, the upper half of each float32 as uint16.
        dtype: precision of the values.
    """

    bits: np.ndarray = field(repr=False)
    dtype: DType

    @classmethod
    def of(cls, array: np.ndarray) -> "StoredTensor":
        """Wrap an array of float32, float16, or bfloat16 (of `ml_dtypes`, or two-byte void as in `.npz`).

        Raises:
            InvalidCheckpoint: numbers of another type.
        """
        if array.dtype in (np.float32, np.float16):
            return cls(array, "float16" if array.dtype == np.float16 else "float32")
        if array.dtype.name == "bfloat16" or array.dtype == np.dtype("V2"):
            return cls(array.view(np.uint16), "bfloat16")
        raise InvalidCheckpoint(f"a weight of type {array.dtype}: float32, float16 and bfloat16 are read")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.bits.shape

    def float32(self) -> np.ndarray:
        """All values; a view of the file where it holds float32 already."""
        return _to_float32(self.bits, self.dtype)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Rows of the first axis, any shape of indices; only the pages that hold them are read.

        Raises:
            InvalidInput: an index outside of the table.
        """
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self.bits):
            raise InvalidInput(f"row {indices.max()} of a table of {len(self.bits)}: another vocabulary?")
        return _to_float32(self.bits[indices], self.dtype)

    def cast(self, dtype: DType) -> "StoredTensor":
        """The tensor in another precision, rounded to nearest even; itself if it has that one.

        Raises:
            InvalidInput: a value lies outside of the range of float16.
        """
        if dtype == self.dtype:
            return self
        values = self.float32()
        if dtype == "bfloat16":
            return StoredTensor(_bfloat16_bits(values), "bfloat16")
        with np.errstate(over="ignore"):
            cast = values.astype(dtype)
        if np.isinf(cast).any() and not np.isinf(values).any():
            raise InvalidInput(f"{np.abs(values).max():g} is too large for float16: use bfloat16")
        return StoredTensor(cast, dtype)


def _to_float32(bits: np.ndarray, dtype: DType) -> np.ndarray:
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    # A file whose header is not padded leaves its numbers unaligned.
    return np.require(bits, np.float32, ["ALIGNED"])


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    # Just under half of the last kept bit, plus that bit: ties go to even.
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    # Rounding would carry a NaN's payload into infinity.
    kept = np.where(np.isnan(values), np.uint32(0x7FC0_0000), rounded)
    return (kept >> 16).astype(np.uint16)
