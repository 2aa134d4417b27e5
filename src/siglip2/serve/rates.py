"""Requests per minute of each key."""

from time import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.store import Caller
from siglip2.serve.errors import rate_limited
from siglip2.serve.settings import ServeSettings


class RateLimiter:
    """Counts in memory, or in a Redis that several processes share."""

    def __init__(self, settings: ServeSettings):
        self._storage = _storage(settings.rate_limit_storage)
        self._window = MovingWindowRateLimiter(self._storage)
        self._default = settings.requests_per_minute

    async def close(self) -> None:
        """Give back the connections."""
        if isinstance(self._storage, RedisStorage):
            await self._storage.bridge.storage.aclose()  # pyright: ignore[reportAttributeAccessIssue]

    async def hit(self, caller: Caller) -> dict[str, str]:
        """Count a request; the headers that tell the caller where it stands.

        Raises:
            ApiError: 429, beyond the limit.
        """
        if caller.account_id is None:
            return {}
        limit = RateLimitItemPerMinute(caller.requests_per_minute or self._default)
        key = str(caller.key_id)
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


def _storage(url: str) -> Storage:
    if url == "memory://":
        return MemoryStorage()
    try:
        # Of the clients that the library can use, the one of Redis itself.
        found = storage_from_string(f"async+{url}", implementation="redispy")
    except ConfigurationError as error:
        raise InvalidInput(
            f"--rate-limit-storage takes memory:// or redis://HOST:PORT, the latter with "
            f"pip install 'siglip2[redis]': {error}"
        ) from error
    assert isinstance(found, Storage)
    return found
