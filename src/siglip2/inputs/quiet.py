"""Decode without Pillow's warnings, from several threads."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_PILLOW = r"(PIL|pi_heif|pillow_heif)(\.|$)"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore the warnings that Pillow's modules raise while the block runs.

    `warnings.catch_warnings` swaps a list that all threads share: two threads that leave it in the wrong
    order would leave a filter behind, or lose one of the caller's. Here the first thread in adds one filter
    for Pillow's modules, and the last one out takes away that filter and no other.
    """
    global _depth
    with _lock:
        if _depth == 0:
            warnings.filterwarnings("ignore", module=_PILLOW)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _forget_filter()


def _forget_filter() -> None:
    for position, entry in enumerate(warnings.filters):
        module = entry[3]
        if entry[0] == "ignore" and getattr(module, "pattern", None) == _PILLOW:
            del warnings.filters[position]  # pyright: ignore[reportIndexIssue]
            return
