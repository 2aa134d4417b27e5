"""Requests per minute: of each key by itself, and in a Redis for several processes together."""

import asyncio

import pytest
from tests.serve.servers import free_port

from siglip2.serve.accounts.store import Caller
from siglip2.serve.attempts import Attempts
from siglip2.serve.errors import ApiError
from siglip2.serve.rates import RateLimiter
from siglip2.serve.settings import ServeSettings


def caller(key_id, limit=None):
    return Caller(account_id=1, key_id=key_id, scopes=frozenset(), requests_per_minute=limit)


@pytest.fixture(params=["memory", "redis"])
def storage(request):
    return "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")


def test_each_key_has_its_minute(storage):
    async def work():
        limiter = RateLimiter(ServeSettings(requests_per_minute=2, rate_limit_storage=storage))
        first = await limiter.hit(caller(101))
        second = await limiter.hit(caller(101))
        with pytest.raises(ApiError) as caught:
            await limiter.hit(caller(101))
        other = await limiter.hit(caller(102))
        wide = [await limiter.hit(caller(103, limit=50)) for _ in range(10)]
        await limiter.close()
        return first, second, caught.value, other, wide

    first, second, error, other, wide = asyncio.run(work())
    assert first["x-ratelimit-limit-requests"] == "2"
    assert (first["x-ratelimit-remaining-requests"], second["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert error.status == 429
    assert 1 <= int(error.headers["retry-after"]) <= 61
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert other["x-ratelimit-remaining-requests"] == "1"
    assert wide[-1]["x-ratelimit-remaining-requests"] == "40"


def test_a_redis_that_is_gone_lets_nobody_in():
    pytest.importorskip("redis", reason="needs redis: pip install redis")
    # Nobody listens at the port of a server that has just been closed.
    settings = ServeSettings(rate_limit_storage=f"redis://127.0.0.1:{free_port()}")

    async def work():
        limiter, attempts = RateLimiter(settings), Attempts(settings)
        for asked in (limiter.hit(caller(1)), attempts.sign_in("203.0.113.1", "ada@example.org")):
            with pytest.raises(ApiError) as caught:
                await asked
            assert (caught.value.status, caught.value.code) == (503, "overloaded")
        await limiter.close()
        await attempts.close()

    asyncio.run(work())


def test_processes_share_a_redis(redis_url):
    settings = ServeSettings(requests_per_minute=10, rate_limit_storage=redis_url)

    async def ask(limiter):
        try:
            await limiter.hit(caller(7))
        except ApiError:
            return False
        return True

    async def work():
        limiters = [RateLimiter(settings) for _ in range(3)]
        within = await asyncio.gather(*(ask(limiters[number % 3]) for number in range(30)))
        for limiter in limiters:
            await limiter.close()
        return within

    assert sum(asyncio.run(work())) == 10
