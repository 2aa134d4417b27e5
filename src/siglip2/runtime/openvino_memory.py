"""Weights that stay in their file: constants over memory maps, and pages given back once packed."""

import ctypes
import mmap
import sys

import numpy as np


def writable_view(array: np.ndarray) -> np.ndarray:
    """The same float32 memory without numpy's read-only flag, which OpenVINO refuses though it never writes.

    The view keeps the array, and so the mapped file, alive.
    """
    array = np.ascontiguousarray(array, np.float32)
    return writable_bytes(array.view(np.uint8).reshape(-1)).view(np.float32).reshape(array.shape)


def writable_bytes(array: np.ndarray) -> np.ndarray:
    """The same for (N,) bytes."""
    buffer = (ctypes.c_uint8 * array.size).from_address(array.ctypes.data)
    buffer.owner = array  # type: ignore[attr-defined]
    return np.ctypeslib.as_array(buffer)


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


def trim_heap() -> None:
    """Return freed heap to the system: reading a vocabulary and packing weights leave some 40 MB of it.

    glibc alone has the call; elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
