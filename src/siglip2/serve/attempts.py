"""How often somebody may try to sign in or sign up."""

import asyncio
from time import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter

from siglip2.serve.errors import MAX_RETRY_AFTER, ApiError
from siglip2.serve.rates import close_storage, counters_answer, open_storage
from siglip2.serve.settings import ServeSettings

FROM_ONE_ADDRESS = 6
"""A network address may try so many times as often, for whatever accounts: offices share one."""

FOR_ONE_ACCOUNT = 100
"""An hour, from anywhere: against many machines that guess one password together."""


MAX_HASHING = 4
"""Argon2 takes 64 MB and a core for each password at a time; the others wait."""


class Attempts:
    """Counts in memory, or in the Redis of the rate limits.

    Attributes:
        hashing: to be held while a password is hashed.
    """

    def __init__(self, settings: ServeSettings):
        self._storage = open_storage(settings.rate_limit_storage)
        self._window = MovingWindowRateLimiter(self._storage)
        self._limit = settings.sign_in.attempts
        self.hashing = asyncio.Semaphore(MAX_HASHING)

    async def close(self) -> None:
        """Give back the connections."""
        await close_storage(self._storage)

    async def sign_in(self, address: str, email: str) -> None:
        """Count an attempt to sign in.

        Args:
            address: of the network, from which it comes.
            email: whom it is about, whether there is such an account or not.

        Raises:
            ApiError: 429, too many.
        """
        who = email.strip().lower()[:320]
        await self._hit(RateLimitItemPerMinute(self._limit, 5), "sign-in", address, who)
        await self._hit(RateLimitItemPerMinute(FROM_ONE_ADDRESS * self._limit, 5), "sign-in", address)
        await self._hit(RateLimitItemPerHour(max(FOR_ONE_ACCOUNT, self._limit)), "sign-in-of", who)

    async def sign_up(self, address: str) -> None:
        """Count an attempt to sign up.

        Raises:
            ApiError: 429, too many.
        """
        await self._hit(RateLimitItemPerHour(2 * self._limit), "sign-up", address)

    async def _hit(self, limit: RateLimitItem, *names: str) -> None:
        with counters_answer():
            if await self._window.hit(limit, *names):
                return
            reset, _ = await self._window.get_window_stats(limit, *names)
        wait = min(MAX_RETRY_AFTER, max(1, round(reset - time() + 0.5)))
        raise ApiError(
            429,
            "rate_limit_error",
            "too_many_attempts",
            "Too many attempts; wait a few minutes and try again.",
            headers={"retry-after": str(wait), "x-should-retry": "false"},
        )
