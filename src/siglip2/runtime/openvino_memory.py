"""Weights that stay in their file: constants over memory maps, and pages given back once packed."""

import ctypes
import mmap

import numpy as np


def writable_view(array: np.ndarray) -> np.ndarray:
    """The same float32 memory without numpy's read-only flag, which OpenVINO refuses though it never writes.

    The view keeps the array, and so the mapped file, alive.
    """
    array = np.ascontiguousarray(array, np.float32)
    buffer = (ctypes.c_float * array.size).from_address(array.ctypes.data)
    buffer.owner = array  # type: ignore[attr-defined]
    return np.ctypeslib.as_array(buffer).reshape(array.shape)


def mapped_file(array: np.ndarray) -> mmap.mmap | None:
    """The read-only file mapping that an array lies in, if it lies in one."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def release_pages(file: mmap.mmap) -> None:
    """Let go of a mapped file's resident pages; what is used again comes back from the page cache.

    OpenVINO packs the large weights into its own layout, after which the mapped copy is not read any more.
    """
    if hasattr(mmap, "MADV_DONTNEED") and memoryview(file).readonly:
        file.madvise(mmap.MADV_DONTNEED)
