"""Image URLs whose servers are slow keep their caller waiting, and nobody else."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import httpx
import pytest
from tests.serve.conftest import png

from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.errors import ApiError
from siglip2.serve.fetch import Fetcher
from siglip2.serve.settings import FetchSettings, ServeSettings
from siglip2.serve.turns import Turns

SECONDS = 20
"""For what is answered at once: a fetch of the slow kind takes longer, until it is told to end."""


class Handler(BaseHTTPRequestHandler):
    """A picture: at once, or below /slow when it is told to."""

    def do_GET(self):
        if self.path.startswith("/slow"):
            self.server.begun.release()  # pyright: ignore[reportAttributeAccessIssue]
            self.server.go.wait(60)  # pyright: ignore[reportAttributeAccessIssue]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, format, *args):
        pass


@pytest.fixture
def pictures():
    """A server at every loopback address: as many hosts as there are addresses."""
    server = ThreadingHTTPServer(("", 0), Handler)
    server.daemon_threads = True
    server.begun, server.go = threading.Semaphore(0), threading.Event()  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.go.set()  # pyright: ignore[reportAttributeAccessIssue]
    server.shutdown()
    server.server_close()


def settings(pictures, **limits):
    limits = {"total_seconds": 60.0, "max_concurrent": 8, **limits}
    ports = frozenset({pictures.server_port})
    return FetchSettings(ports=ports, allowed_networks=(ip_network("127.0.0.0/8"),), **limits)


def url(pictures, host, path="fast"):
    return f"http://127.0.1.{host}:{pictures.server_port}/{path}"


@contextmanager
def two_callers(live, is_open):
    """Clients of two accounts; without accounts, of two network addresses."""
    if is_open:
        with (
            live.client() as first,
            live.client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as second,
        ):
            yield first, second
        return
    create_account(live.database, "bob@example.org", credit=10_000)
    key = create_key(live.database, "bob@example.org", "key")
    with live.client() as first, live.client() as second:
        second.headers["Authorization"] = f"Bearer {key}"
        yield first, second


@pytest.mark.parametrize("is_open", [False, True])
def test_slow_hosts_of_one_caller(start, pictures, is_open):
    live = start(ServeSettings(open=is_open, fetch=settings(pictures)))
    slow = [{"image": url(pictures, host, "slow")} for host in range(32)]
    with two_callers(live, is_open) as (first, second), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.post, "/v1/embeddings", json={"input": slow}, timeout=120)
        for _ in range(4):
            assert pictures.begun.acquire(timeout=SECONDS)
        try:
            fast = {"input": {"image": url(pictures, 99)}}
            answer = second.post("/v1/embeddings", json=fast, timeout=SECONDS)
        finally:
            pictures.go.set()
        assert answer.status_code == 200, answer.text
        assert waiting.result().status_code == 200


@contextmanager
def slow_fetches(fetches, urls):
    """A caller who waits for them."""
    tasks = [asyncio.create_task(fetches.fetch(each, "image", "slow")) for each in urls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def begun(pictures, number):
    for _ in range(number):
        assert await asyncio.to_thread(pictures.begun.acquire, timeout=SECONDS)


def test_a_caller_without_a_turn_keeps_no_place_at_a_host(pictures):
    async def work():
        fetches = Fetcher(settings(pictures))
        slow = [url(pictures, host, "slow") for host in range(8)]
        with slow_fetches(fetches, [*slow, *[url(pictures, 99) for _ in range(16)]]):
            await begun(pictures, 4)
            return await asyncio.wait_for(fetches.fetch(url(pictures, 99), "image", "other"), SECONDS)

    assert asyncio.run(work()) == png()


def test_a_caller_leaves_others_room_to_wait(pictures):
    async def work():
        fetches = Fetcher(settings(pictures, max_waiting=8))
        with slow_fetches(fetches, [url(pictures, host, "slow") for host in range(8)]) as tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            refused = [task.exception() for task in tasks if task.done()]
            file = await asyncio.wait_for(fetches.fetch(url(pictures, 99), "image", "other"), SECONDS)
        return refused, file

    refused, file = asyncio.run(work())
    assert [error.status for error in refused if isinstance(error, ApiError)] == [503] * 4
    assert file == png()


def test_names_that_nobody_answers_for(pictures, monkeypatch):
    """Their threads are busy for longer than anybody waits; others have threads left."""
    go = threading.Event()

    def getaddrinfo(host, port, *arguments, **options):
        if host.startswith("slow"):
            go.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def work():
        fetches = Fetcher(settings(pictures, max_concurrent=4, total_seconds=0.5))
        urls = [f"http://slow{number}.example:{pictures.server_port}/" for number in range(16)]
        with slow_fetches(fetches, urls) as tasks:
            try:
                await asyncio.wait(tasks[:2])
                fast = f"http://fast.example:{pictures.server_port}/"
                return await asyncio.wait_for(fetches.fetch(fast, "image", "other"), SECONDS), tasks[0]
            finally:
                go.set()

    file, first = asyncio.run(work())
    assert file == png()
    assert isinstance(first.exception(), ApiError)


def test_shares():
    async def work():
        turns = Turns(total=32, per_host=32)
        shares = []
        for caller in "abcdefg":
            tasks = [asyncio.create_task(turns.take(caller, "host")) for _ in range(32)]
            await asyncio.sleep(0)
            shares.append(sum(task.done() for task in tasks))
        turns.give_back("a", "host")
        await asyncio.sleep(0)
        assert tasks[0].done()  # who has none is next
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return shares

    assert asyncio.run(work()) == [16, 8, 4, 2, 1, 1, 0]


def test_a_turn_that_comes_as_its_caller_leaves_is_handed_on():
    async def work():
        turns = Turns(total=2, per_host=1)
        await turns.take("a", "host")
        leaving, left, next_one = (asyncio.create_task(turns.take(name, "host")) for name in "bcd")
        await asyncio.sleep(0)
        left.cancel()
        turns.give_back("a", "host")
        leaving.cancel()
        await asyncio.wait_for(next_one, SECONDS)
        turns.give_back("d", "host")
        await turns.take("a", "host")
        return await asyncio.gather(leaving, left, return_exceptions=True)

    assert [type(each) for each in asyncio.run(work())] == [asyncio.CancelledError] * 2
