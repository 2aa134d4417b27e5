"""Batching across requests: together when busy, apart when broken, not at all when nobody waits."""

import asyncio
import threading
import time

import numpy as np
import pytest
from tests.serve.conftest import png

from siglip2.serve.batcher import Batcher
from siglip2.serve.engine import Engine, embed_token_ids
from siglip2.serve.errors import ApiError
from siglip2.serve.settings import EngineSettings


def run(work, batcher):
    async def inside():
        batcher.start()
        try:
            return await work()
        finally:
            await batcher.stop()

    return asyncio.run(inside())


def test_requests_share_a_batch():
    sizes = []

    def double(items):
        sizes.append(len(items))
        return [2 * item for item in items]

    async def work():
        return await asyncio.gather(*(batcher.submit([number]) for number in range(8)))

    batcher = Batcher(double, name="test", max_batch=8, max_wait=5)
    assert run(work, batcher) == [[2 * number] for number in range(8)]
    assert sizes == [8]


def test_only_the_culprit_fails():
    def halve(items):
        return [1 / item for item in items]

    async def work():
        return await asyncio.gather(*(batcher.submit([n]) for n in (1, 0, 2)), return_exceptions=True)

    batcher = Batcher(halve, name="test", max_batch=3, max_wait=5)
    first, second, third = run(work, batcher)
    assert (first, third) == ([1.0], [0.5])
    assert isinstance(second, ZeroDivisionError)


def test_work_of_a_caller_who_left_is_dropped():
    seen, busy = [], threading.Event()

    def note(items):
        seen.extend(items)
        busy.wait(10)
        return items

    async def work():
        first = asyncio.create_task(batcher.submit(["first"]))
        while not seen:
            await asyncio.sleep(0.001)
        left = asyncio.create_task(batcher.submit(["left"]))
        stays = asyncio.create_task(batcher.submit(["stays"]))
        await asyncio.sleep(0)
        left.cancel()
        busy.set()
        await asyncio.gather(first, stays)

    batcher = Batcher(note, name="test", max_batch=1, max_wait=0)
    run(work, batcher)
    assert seen == ["first", "stays"]


def test_padding_bounds_a_batch():
    sizes = []

    def lengths(items):
        sizes.append([len(item) for item in items])
        return items

    async def work():
        await batcher.submit(["a", "bb", "cccc", "d", "eeeeeeeeeeee"])

    batcher = Batcher(lengths, name="test", max_batch=8, max_wait=0, size_of=len, max_size=8)
    run(work, batcher)
    assert sizes == [[1, 2], [4, 1], [12]]


def test_a_slow_tower_runs_smaller_batches():
    sizes = []

    def slow(items):
        sizes.append(len(items))
        time.sleep(0.02 * len(items))
        return items

    async def work():
        await batcher.submit(list(range(8)))
        await batcher.submit(list(range(7)))

    batcher = Batcher(slow, name="test", max_batch=8, max_wait=0, max_seconds=0.05)
    run(work, batcher)
    assert sizes[0] == 8  # nothing is known yet
    assert max(sizes[1:]) <= 2
    assert sum(sizes[1:]) == 7


def test_the_door_closes_before_memory_grows(encoder):
    async def work():
        engine = Engine(encoder, EngineSettings(max_images_in_flight=2, max_texts_in_flight=2))
        await engine.start()
        try:
            with pytest.raises(ApiError) as images:
                await engine.embed_images([png()] * 3, ["image"] * 3)
            with pytest.raises(ApiError) as texts:
                await engine.embed_texts(["a", "b", "c"])
            after = await engine.embed_images([png()] * 2, ["image"] * 2)
            return images.value, texts.value, after, engine.images_in_flight
        finally:
            await engine.stop()

    images, texts, after, in_flight = asyncio.run(work())
    for error in (images, texts):
        assert error.status == 503
        assert int(error.headers["retry-after"]) <= 120
    assert after.embeddings.shape == (2, encoder.embed_dim)
    assert in_flight == 0


def test_texts_are_remembered_within_a_bound(encoder):
    async def work():
        engine = Engine(encoder, EngineSettings(cached_texts=2))
        await engine.start()
        try:
            first = await engine.embed_texts(["a cat", "a dog", "a cat"])
            again = await engine.embed_texts(["a cat"])
            await engine.embed_texts(["b", "c"])
            gone = await engine.embed_texts(["a cat"])
            return first, again, gone, len(engine._cache)
        finally:
            await engine.stop()

    first, again, gone, cached = asyncio.run(work())
    assert (first.cached_tokens, again.cached_tokens, gone.cached_tokens) == (0, again.tokens[0], 0)
    assert cached == 2
    np.testing.assert_array_equal(first.embeddings[0], again.embeddings[0])
    np.testing.assert_array_equal(first.embeddings[0], first.embeddings[2])


def test_numbers_that_are_none_never_become_scores(encoder, monkeypatch):
    nothing = np.full((1, encoder.embed_dim), np.nan, np.float32)
    monkeypatch.setattr(encoder.runtime, "encode_texts", lambda ids: nothing.repeat(len(ids), 0))
    with pytest.raises(FloatingPointError):
        embed_token_ids(encoder, ["a"])
