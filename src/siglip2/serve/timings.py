"""Where the time of a request goes, for the header `Server-Timing`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

_phases: ContextVar[dict[str, float] | None] = ContextVar("phases", default=None)


def start_timings() -> dict[str, float]:
    """Begin a request: phases recorded from now on in this context end up in the dictionary, in seconds."""
    phases: dict[str, float] = {}
    _phases.set(phases)
    return phases


def record(phase: str, seconds: float) -> None:
    """Note the time of a phase. Of items side by side the slowest counts."""
    phases = _phases.get()
    if phases is not None:
        phases[phase] = max(phases.get(phase, 0.0), seconds)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Note how long the block takes."""
    start = perf_counter()
    try:
        yield
    finally:
        record(phase, perf_counter() - start)


def server_timing(phases: dict[str, float], total: float) -> str:
    """The header's value, in milliseconds."""
    entries = [*phases.items(), ("total", total)]
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in entries)
