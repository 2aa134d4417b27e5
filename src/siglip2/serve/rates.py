"""Requests per minute of each key."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.store import Caller
from siglip2.serve.errors import overloaded, rate_limited
from siglip2.serve.settings import ServeSettings

log = logging.getLogger("siglip2.serve")


class RateLimiter:
    """Counts in memory, or in a Redis that several processes share."""

    def __init__(self, settings: ServeSettings):
        self._storage = open_storage(settings.rate_limit_storage)
        self._window = MovingWindowRateLimiter(self._storage)
        self._default = settings.requests_per_minute

    async def close(self) -> None:
        """Give back the connections."""
        await close_storage(self._storage)

    async def hit(self, caller: Caller) -> dict[str, str]:
        """Count a request; the headers that tell the caller where it stands.

        Raises:
            ApiError: 429, beyond the limit; 503, the counters do not answer.
        """
        if caller.account_id is None:
            return {}
        limit = RateLimitItemPerMinute(caller.requests_per_minute or self._default)
        key = str(caller.key_id)
        with counters_answer():
            within = await self._window.hit(limit, key)
            reset, remaining = await self._window.get_window_stats(limit, key)
        seconds = max(0.0, reset - time())
        headers = {
            "x-ratelimit-limit-requests": str(limit.amount),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{seconds:.0f}s",
        }
        if not within:
            refusal = rate_limited(seconds)
            refusal.headers.update(headers)
            raise refusal
        return headers


@contextmanager
def counters_answer() -> Iterator[None]:
    """Turn counters that cannot be reached into 503: without them nobody is let in."""
    try:
        yield
    except StorageError as error:
        log.error("the rate limits' storage does not answer: %s", type(error.storage_error).__name__)
        raise overloaded("The server cannot count requests now; try again shortly.") from None


async def close_storage(storage: Storage) -> None:
    """Give back the connections."""
    if isinstance(storage, RedisStorage):
        await storage.bridge.storage.aclose()  # pyright: ignore[reportAttributeAccessIssue]


def open_storage(url: str) -> Storage:
    """Where counters are kept.

    Raises:
        InvalidInput: neither memory nor a Redis, or its client is missing.
    """
    if url == "memory://":
        return MemoryStorage()
    try:
        # Of the clients that the library can use, the one of Redis itself.
        found = storage_from_string(f"async+{url}", implementation="redispy", wrap_exceptions=True)
    except ConfigurationError as error:
        raise InvalidInput(
            f"--rate-limit-storage takes memory:// or redis://HOST:PORT, the latter with "
            f"pip install 'siglip2[redis]': {error}"
        ) from error
    assert isinstance(found, Storage)
    return found
