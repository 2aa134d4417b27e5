"""Images are decoded in a small thread pool, ahead of the tower.

Pillow gives up the interpreter's lock while it decodes and resizes, so threads are enough. However long the
input is, no more than a few batches of it are in memory.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFile

from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.image import PreparedImage
from siglip2.inputs.sources import ImageSource

MAX_WORKERS = 8

_Submitted: TypeAlias = tuple[int, str, Future[PreparedImage]]


@dataclass(frozen=True, kw_only=True)
class BrokenImage:
    """An image that could not be used.

    Attributes:
        index: its position in the input.
        name: its path, or `image INDEX`.
        reason: a sentence that says what is wrong with it and names it.
    """

    index: int
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PreparedImages:
    """Some neighbours of the input, ready for the tower.

    Attributes:
        indices: (B,) int64, positions in the input of the images in `batch`.
        images: the B usable ones.
        broken: the others.
    """

    indices: np.ndarray
    images: tuple[PreparedImage, ...]
    broken: tuple[BrokenImage, ...]

    @property
    def num_seen(self) -> int:
        """Images of the input that this stands for."""
        return len(self.indices) + len(self.broken)


def prepare_groups(
    images: Iterable[ImageSource], prepare: Callable[[ImageSource], PreparedImage], batch_size: int
) -> Iterator[PreparedImages]:
    """Prepare images in threads, keep their order, and group them by `batch_size`.

    Args:
        images: what `prepare` takes; read by the calling thread, a bounded number ahead. Open files of an
            iterator, and Pillow images as they were opened, are read before it goes on: it may seek in them
            or close them.
        prepare: reads one image.
        batch_size: images of the input per group.

    Raises:
        InvalidInput: one image instead of several.
    """
    check_several(images)
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    group: list[_Submitted] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="siglip2-images")
    try:
        for entry in _submit_ahead(pool, images, prepare, ahead=batch_size + workers):
            group.append(entry)
            if len(group) == batch_size:
                yield _collect(group)
                group = []
        if group:
            yield _collect(group)
    finally:
        # Also on Ctrl-C and when the caller stops reading: what was not begun is dropped.
        pool.shutdown(wait=False, cancel_futures=True)


def check_several(images: Iterable[ImageSource]) -> None:
    """Refuse a single image where several are expected.

    Raises:
        InvalidInput: it is one.
    """
    single = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image.Image)
    opened = hasattr(images, "read")
    array = isinstance(images, np.ndarray) and images.ndim in (2, 3) and images.dtype != object
    if single or opened or array:
        raise InvalidInput(f"expected several images, got one {type(images).__name__}: put it in a list")


def checked_batch_size(batch_size: int | None, default: int) -> int:
    """The batch size to use: the default for None.

    Raises:
        InvalidInput: below 1.
    """
    if batch_size is None:
        return default
    if batch_size < 1:
        raise InvalidInput(f"batch_size is {batch_size}; it must be at least 1")
    return batch_size


def image_name(image: ImageSource, index: int) -> str:
    """How a message calls an image: its path if it has one, otherwise its position."""
    if isinstance(image, str | os.PathLike):
        return os.fsdecode(image)
    return getattr(image, "filename", "") or f"image {index}"


def _stays(image: ImageSource) -> bool:
    """Whether it is a Pillow image of its own, as `convert` gives one: no file to seek in or to close."""
    return isinstance(image, Image.Image) and not isinstance(image, ImageFile.ImageFile)


def _submit_ahead(
    pool: ThreadPoolExecutor,
    images: Iterable[ImageSource],
    prepare: Callable[[ImageSource], PreparedImage],
    ahead: int,
) -> Iterator[_Submitted]:
    waiting: deque[_Submitted] = deque()
    # Pillow images and open files change while they are read, so that one thread at a time may hold them. A
    # list gives no code of the caller a turn; a generator may seek, close or reuse what it gave.
    listed = isinstance(images, list | tuple)
    running: dict[int, Future[PreparedImage]] = {}
    for index, image in enumerate(images):
        name = image_name(image, index)
        if isinstance(image, Image.Image) or hasattr(image, "read"):
            running = {key: future for key, future in running.items() if not future.done()}
            if id(image) in running:
                wait([running[id(image)]])
            future = running[id(image)] = pool.submit(prepare, image)
            if not (listed or _stays(image)):
                wait([future])
        else:
            future = pool.submit(prepare, image)
        waiting.append((index, name, future))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _collect(group: Sequence[_Submitted]) -> PreparedImages:
    indices: list[int] = []
    images: list[PreparedImage] = []
    broken: list[BrokenImage] = []
    for index, name, future in group:
        try:
            images.append(future.result())
            indices.append(index)
        except InvalidImage as error:
            reason = str(error) if name in str(error) else f"{name}: {error}"
            broken.append(BrokenImage(index=index, name=name, reason=reason))
    return PreparedImages(
        indices=np.array(indices, np.int64),
        images=tuple(images),
        broken=tuple(broken),
    )
