"""A process that reads, hashes and prepares photos for another one, which survives whatever a decoder does.

Started by `decoders`. It takes a `Request` on its standard input, answers with a digest, is told whether to
go on, and answers with what it made of the photo. Both ends speak in pickles, which only the process that
started it can send.
"""

import hashlib
import io
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from typing import IO, Any

from siglip2.errors import InvalidImage, UnavailableImage
from siglip2.inputs.image import ImagePreprocessor, PreparedImage
from siglip2.inputs.sources import read_source
from siglip2.search.photo_facts import read_facts
from siglip2.search.rows import PhotoFacts

NICENESS = 5
"""The tower goes first: where both want a processor, decoders fill what it leaves."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be prepared.

    Attributes:
        path: of the file; the name that errors call it by.
        data: bytes that were read already, of a frame; None reads the file.
        preprocessor: of the model.
    """

    path: str
    data: bytes | None
    preprocessor: ImagePreprocessor


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a photo cannot be used, and whether that lasts as long as the file is the same."""

    reason: str
    lasting: bool


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A photo, ready for the tower."""

    image: PreparedImage
    facts: PhotoFacts


class _NamedBytes(io.BytesIO):
    """Bytes of a file; errors call it by its path."""

    def __init__(self, data: bytes, path: str):
        super().__init__(data)
        self.name = path


def content_digest(data: bytes) -> bytes:
    """Of a photo's whole content: what tells that two files are one photo."""
    return hashlib.blake2b(data, digest_size=20).digest()


def send(stream: IO[bytes], message: Any) -> None:
    """One message.

    Raises:
        OSError: nobody is at the other end.
    """
    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """One message.

    Raises:
        EOFError: nobody is at the other end.
    """
    try:
        return pickle.load(stream)
    except pickle.UnpicklingError as error:  # cut off in the middle
        raise EOFError(str(error)) from error


def answer(request: Request, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Read, hash, ask whether to go on, prepare. Where something fails, the answer is a `Failure`."""
    source = request.path if request.data is None else request.data
    was_read = False
    try:
        data = read_source(source, request.path)
        was_read = True
        send(answers, content_digest(data))
        if receive(requests):
            image = request.preprocessor.prepare_one(_NamedBytes(data, request.path))
            send(answers, Prepared(image=image, facts=read_facts(data)))
    except InvalidImage as error:
        # What cannot be read may be another time: its rights are none of its content.
        lasting = was_read and not isinstance(error, UnavailableImage)
        send(answers, Failure(reason=str(error), lasting=lasting))


def main() -> None:
    """Answer until the other end is closed."""
    # Ctrl-C ends the process that asks, which lets go of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print must not be taken for answers
    while True:
        try:
            answer(receive(requests), requests, answers)
        except (EOFError, OSError):
            return
