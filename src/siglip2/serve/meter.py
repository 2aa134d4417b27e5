"""How many tokens a request has read, for usage: counted where they are known, read where they are billed."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Meter:
    """Tokens of a request so far: patches of images, and tokens of texts."""

    tokens: int = 0


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def start_meter() -> Meter:
    """Begin to count what this context reads from now on."""
    meter = Meter()
    _meter.set(meter)
    return meter


def count_tokens(number: int) -> None:
    """Add to the current request's count."""
    meter = _meter.get()
    if meter is not None:
        meter.tokens += number
