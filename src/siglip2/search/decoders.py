"""Photos read and prepared by processes of their own, ahead of the tower and in order.

A file that crashes a decoder, or keeps it busy for ever, costs its process and is named like any broken file.
"""

import atexit
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from siglip2.errors import UnavailableImage
from siglip2.inputs.image import ImagePreprocessor
from siglip2.search.decoder_process import Failure, Prepared, Request, receive, send
from siglip2.search.rows import SeenFile

COMMAND = [sys.executable, "-P", "-c", "from siglip2.search.decoder_process import main; main()"]
"""-P: nothing is imported from the folder that it happens to be started in. Not run as a program, whose
classes would belong to another module than they do here."""

MAX_PROCESSES = 8

IDLE_SECONDS = 60
"""Decoders stay for the next photos that long: a watched folder brings a few at a time."""

PATIENCE_SECONDS = 120
"""No photo takes that long; a decoder that turns in circles does."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A file or a frame on its way to the tower.

    Attributes:
        file: where it lies.
        data: bytes of a frame; None reads the file.
        seconds: of a frame, from the beginning of its video.
    """

    file: SeenFile
    data: bytes | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class DecodedPhoto:
    """What became of a photo.

    Attributes:
        photo: what was asked for.
        digest: of its content; None if it cannot be read.
        prepared: None if its content is known, or it cannot be used.
        failure: why it cannot be used.
    """

    photo: Photo
    digest: bytes | None = None
    prepared: Prepared | None = None
    failure: Failure | None = None


def decode_photos(
    photos: Iterable[Photo],
    preprocessor: ImagePreprocessor,
    is_known: Callable[[bytes], bool],
    *,
    ahead: int,
) -> Iterator[DecodedPhoto]:
    """Prepare photos, in order.

    Args:
        photos: read by the calling thread, a bounded number ahead.
        preprocessor: of the model.
        is_known: whether a content of this digest needs no preparing; asked by several threads.
        ahead: how many photos may wait for the caller.
    """
    workers = min(MAX_PROCESSES, os.cpu_count() or 1)
    waiting: deque[Future[DecodedPhoto]] = deque()
    # A thread for each process: it only passes questions and answers on, while the caller runs the tower.
    pool = ThreadPoolExecutor(workers, thread_name_prefix="siglip2-photos")
    try:
        for photo in photos:
            waiting.append(pool.submit(_decode, photo, preprocessor, is_known))
            while len(waiting) > ahead + workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also on Ctrl-C and when the caller stops reading: what was not begun is dropped.
        pool.shutdown(wait=False, cancel_futures=True)
        _idle.end_later()


def _decode(photo: Photo, preprocessor: ImagePreprocessor, is_known: Callable[[bytes], bool]) -> DecodedPhoto:
    path = photo.file.path
    request = Request(path=path, data=photo.data, preprocessor=preprocessor)
    with _idle.borrow() as process:
        try:
            digest = process.ask(request, path)
            if isinstance(digest, Failure):
                return DecodedPhoto(photo=photo, failure=digest)
            known = is_known(digest)
            process.tell(not known)
            made = None if known else process.wait(path)
        except UnavailableImage as error:
            return DecodedPhoto(photo=photo, failure=Failure(reason=str(error), lasting=False))
    if isinstance(made, Failure):
        return DecodedPhoto(photo=photo, digest=digest, failure=made)
    return DecodedPhoto(photo=photo, digest=digest, prepared=made)


class _Process:
    """One decoder. Any failure ends it."""

    def __init__(self) -> None:
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        # It finds this package where this process did.
        found = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=quiet, env=found)
        self._usable = True

    @property
    def usable(self) -> bool:
        """Whether it can be asked."""
        return self._usable and self._process.poll() is None

    def ask(self, request: Request, path: str) -> Any:
        """Send a question and wait for its answer."""
        self.tell(request)
        return self.wait(path)

    def tell(self, message: Any) -> None:
        """Send; that nobody listens is noticed by `wait`."""
        assert self._process.stdin is not None
        with suppress(OSError):
            send(self._process.stdin, message)

    def wait(self, path: str) -> Any:
        """The next answer.

        Raises:
            UnavailableImage: the process ended, or took too long and was ended.
        """
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        patience = threading.Timer(PATIENCE_SECONDS, give_up)
        patience.daemon = True
        patience.start()
        try:
            return receive(self._process.stdout)
        except EOFError:
            code = self.end()
            raise UnavailableImage(
                f"{path} kept its decoder busy for more than {PATIENCE_SECONDS} s"
                if late.is_set()
                else f"{path} ended the process that decoded it (exit code {code})"
            ) from None
        finally:
            patience.cancel()

    def end(self) -> int:
        """Kill it; its exit code."""
        self._usable = False
        self._process.kill()
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):  # what was not sent yet cannot be sent any more
                stream.close()
        return code


class _Idle:
    """Decoders that wait: starting one takes longer than most photos."""

    def __init__(self) -> None:
        self._processes: list[_Process] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        atexit.register(self.end)

    @contextmanager
    def borrow(self) -> Iterator[_Process]:
        """A decoder, for the length of a `with` block."""
        process = self._take()
        try:
            yield process
        except BaseException:
            process.end()
            raise
        if process.usable:
            with self._lock:
                self._processes.append(process)
        else:
            process.end()

    def _take(self) -> _Process:
        with self._lock:
            while self._processes:
                process = self._processes.pop()
                if process.usable:
                    return process
                process.end()
        return _Process()

    def end_later(self) -> None:
        """End those that are idle in a while."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(IDLE_SECONDS, self.end)
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """End those that are idle."""
        with self._lock:
            for process in self._processes:
                process.end()
            self._processes.clear()


_idle = _Idle()
