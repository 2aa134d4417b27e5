"""Requests per minute of each key."""

from time import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string

from siglip2.serve.accounts.store import Caller
from siglip2.serve.errors import rate_limited
from siglip2.serve.settings import ServeSettings


class RateLimiter:
    """Counts in memory, or in a Redis that several processes share."""

    def __init__(self, settings: ServeSettings):
        url = settings.rate_limit_storage
        storage = MemoryStorage() if url == "memory://" else storage_from_string(f"async+{url}")
        self._window = MovingWindowRateLimiter(storage)  # pyright: ignore[reportArgumentType]
        self._default = settings.requests_per_minute

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
        if not within:
            raise rate_limited(seconds)
        return {
            "x-ratelimit-limit-requests": str(limit.amount),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{seconds:.0f}s",
        }
