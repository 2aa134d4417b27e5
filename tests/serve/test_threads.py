"""What callers can make slow never keeps the threads that the accounts use, even where there is but one."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from siglip2.search.collection import Collection
from siglip2.serve.engine import Engine
from siglip2.serve.fetch import Fetcher
from siglip2.serve.mounts import Mount
from siglip2.serve.routes import heatmap
from siglip2.serve.settings import FetchSettings


class Slow:
    """A function that takes until `go` is set; a collection, too, whose searches take as long.

    Attributes:
        begun: calls so far.
        most: that ran at a time.
    """

    def __init__(self):
        self.begun = self.most = self._running = 0
        self.go = threading.Event()
        self._lock = threading.Lock()

    def __len__(self):
        return 1

    def __call__(self, *arguments, **options):
        with self._lock:
            self.begun += 1
            self._running += 1
            self.most = max(self.most, self._running)
        self.go.wait(30)
        with self._lock:
            self._running -= 1
        return []

    search_terms = __call__


def look_up(slow, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    fetches = Fetcher(FetchSettings())
    return lambda: fetches.fetch("http://slow.example/", "image")


def search(slow, monkeypatch):
    thread = ThreadPoolExecutor(1)
    mount = Mount(name="photos", model="tiny", collection=cast("Collection", slow), thread=thread)
    return lambda: mount.search([], [], where=[], limit=1, offset=0, kind=None, min_probability=0.0)


def heat_map(slow, monkeypatch):
    monkeypatch.setattr(heatmap, "_patches", slow)
    queue = heatmap.Queue()
    return lambda: queue.patches(cast("Engine", None), b"", "input")


@pytest.mark.parametrize(("begin", "most"), [(look_up, 2), (search, 1), (heat_map, 1)])
def test_slow_work_has_threads_of_its_own(monkeypatch, begin, most):
    slow = Slow()
    call = begin(slow, monkeypatch)

    async def work():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        left = asyncio.create_task(call())
        while not slow.begun:
            await asyncio.sleep(0.01)
        left.cancel()  # its caller is gone, and it goes on
        await asyncio.gather(left, return_exceptions=True)
        stays = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        try:
            return await asyncio.wait_for(asyncio.to_thread(lambda: "an account"), 10)
        finally:
            slow.go.set()
            await asyncio.gather(stays, return_exceptions=True)

    assert asyncio.run(work()) == "an account"
    assert slow.begun == 2
    assert slow.most <= most
