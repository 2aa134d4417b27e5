"""Health tells the truth: cheap while all is well, a real pass after trouble, 503 while a tower is stuck."""

import asyncio
from types import SimpleNamespace

import pytest

from siglip2.serve.engine import Engine
from siglip2.serve.errors import ApiError
from siglip2.serve.routes import probes
from siglip2.serve.settings import EngineSettings


class Broken:
    """A runtime that fails as often as told, and counts what it is asked."""

    def __init__(self, runtime):
        self.runtime, self.failures, self.asked = runtime, 0, 0

    def encode_images(self, batch):
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise MemoryError("out of memory")
        return self.runtime.encode_images(batch)

    def __getattr__(self, name):
        return getattr(self.runtime, name)


@pytest.fixture
def broken(encoder, monkeypatch):
    runtime = Broken(encoder.runtime)
    monkeypatch.setattr(encoder, "runtime", runtime)
    return runtime


def test_health_after_trouble(encoder, broken):
    async def work():
        engine = Engine(encoder, EngineSettings())
        await engine.start()
        try:
            begun = broken.asked
            await probes._check(engine)
            assert broken.asked == begun  # nothing was wrong, nothing is tried
            broken.failures = 2
            with pytest.raises(MemoryError):
                await engine.probe()
            assert engine.in_trouble
            with pytest.raises(ApiError) as caught:
                await probes._check(engine)
            await probes._check(engine)  # a real pass, which goes well
            assert not engine.in_trouble
            return caught.value
        finally:
            await engine.stop()

    error = asyncio.run(work())
    assert error.status == 503
    assert "memory" not in str(error.body())


@pytest.mark.parametrize(("alive", "stuck", "status"), [(True, 0, None), (True, 11, 503), (False, 0, 503)])
def test_stuck_and_dead_towers(alive, stuck, status):
    tower = SimpleNamespace(alive=alive)
    engine = SimpleNamespace(images=tower, texts=tower, stuck_seconds=stuck, in_trouble=False)
    try:
        asyncio.run(probes._check(engine))  # pyright: ignore[reportArgumentType]
        seen = None
    except ApiError as error:
        seen = error.status
    assert seen == status
