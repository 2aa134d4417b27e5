"""What a request takes of an engine: a place among those that embed images, and bytes of image files.

Images count from the door on, so that a rush is turned away before it costs anything. While their URLs are
fetched they do not: waiting for other servers keeps nobody from the towers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from siglip2.serve.batcher import running_mean
from siglip2.serve.errors import overloaded, too_large
from siglip2.serve.settings import EngineSettings

FEW_REQUESTS = 4
"""Whose images are waited for however long they take: one large request is no rush."""

RUSH_SECONDS = 5.0
"""That a rush counts on after a request was turned away for a queue as long as it may be without one."""


class Places:
    """The places at one engine.

    Attributes:
        images_expected: of all places.
        requests_with_images: those places that have any.
        seconds_per_image: that they took of late, waiting included, an image and each ahead of it.
        bytes_in_flight: of image files, held by all requests.
    """

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.images_expected = self.requests_with_images = 0
        self.seconds_per_image = 0.0
        self.bytes_in_flight = 0
        self._rush_until = 0.0

    @property
    def seconds_ahead(self) -> float:
        """How long the images that are expected will take."""
        return self.images_expected * self.seconds_per_image

    @contextmanager
    def take(self, images: int) -> Iterator[None]:
        """A place to the end of the block, for which `fetching` and `hold_bytes` count in this context.

        Args:
            images: that the block will embed. How long such blocks take says when there are too many.

        Raises:
            ApiError: 503, so many images are on their way that these would come too late; nothing is done.
        """
        place = _Place(self, images)
        place.enter()
        before = _place.set(place)
        try:
            yield
            place.note_time()
        finally:
            _place.reset(before)
            place.leave()
            self.bytes_in_flight -= place.held

    def check_room(self) -> None:
        """Whether images may still come.

        Raises:
            ApiError: 503, they would come too late.
        """
        if self.requests_with_images < FEW_REQUESTS:
            return
        seconds = self.seconds_ahead
        full = self.images_expected >= self.settings.max_image_batch
        if full and seconds > self.settings.max_queue_seconds:
            self._rush_until = perf_counter() + RUSH_SECONDS
            raise overloaded(seconds=seconds)
        # Requests turned away here prolong nothing: callers who keep a longer queue busy get it back.
        if seconds > self.settings.rush_queue_seconds and perf_counter() < self._rush_until:
            raise overloaded(seconds=seconds)


class _Place:
    """One request's."""

    def __init__(self, places: Places, images: int):
        self._places = places
        self._images = images
        self._entered = False
        self._ahead = 0
        self._start = 0.0
        self.held = 0

    def enter(self) -> None:
        places = self._places
        if self._images:
            places.check_room()
        self._ahead, self._start = places.images_expected, perf_counter()
        places.images_expected += self._images
        places.requests_with_images += self._images > 0
        self._entered = True

    def leave(self) -> None:
        if self._entered:
            self._places.images_expected -= self._images
            self._places.requests_with_images -= self._images > 0
            self._entered = False

    def note_time(self) -> None:
        if self._images:
            # Those ahead were waited for: this holds whether the towers, the database or Python is slow.
            took = (perf_counter() - self._start) / (self._ahead + self._images)
            self._places.seconds_per_image = running_mean(self._places.seconds_per_image, took)

    def hold(self, number: int) -> None:
        places, most = self._places, self._places.settings.max_image_bytes_in_flight
        if self.held + number > most:
            raise too_large(f"The images of the request have more than {most} bytes together.")
        if places.bytes_in_flight + number > most:
            raise overloaded(seconds=places.seconds_ahead)
        self.held += number
        places.bytes_in_flight += number


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


@contextmanager
def fetching() -> Iterator[None]:
    """The current request gives up its place for the block, and has to get one again at its end.

    Raises:
        ApiError: 503, its images would come too late now.
    """
    place = _place.get()
    if place is not None:
        place.leave()
    yield
    if place is not None:
        place.enter()


def hold_bytes(number: int) -> None:
    """Count so many more bytes of image files, which the current request holds to its end.

    Raises:
        ApiError: 413, more than one request may hold; 503, more than all may hold together.
    """
    place = _place.get()
    if place is not None:
        place.hold(number)
