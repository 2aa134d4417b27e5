"""A run that is asked to stop ends its step and saves first: SIGTERM and Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A run was asked to stop before its end; its state is saved. Says at which step, and how to go on."""


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that fills when the process is asked to stop; a second Ctrl-C stops at once.

    Afterwards signals do what they did before. Only the main thread hears of signals, so that in another one
    the list stays empty; and a signal that the process ignores, as under `nohup`, stays ignored.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGINT)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, remember)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
