"""Places at an engine: a rush is turned away, waiting for other servers is none, and bytes have a bound."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from tests.serve.conftest import data_url, png

from siglip2.serve.errors import ApiError
from siglip2.serve.fetch import Fetcher
from siglip2.serve.places import Places, fetching, hold_bytes
from siglip2.serve.settings import EngineSettings, FetchSettings, ServeSettings


def test_a_rush_is_turned_away_by_the_time_it_would_take():
    """Beyond a second of work, and a full batch, requests get 503 with the time until there is room."""
    places = Places(EngineSettings(max_image_batch=2))
    with places.take(1):
        time.sleep(0.02)
    assert places.seconds_per_image >= 0.02
    places.seconds_per_image = 10.0
    with ExitStack() as stack:
        for images in (1, 64, 64, 64):  # few requests, however large, are waited for
            stack.enter_context(places.take(images))
        with places.take(0):  # texts have room
            pass
        with pytest.raises(ApiError) as caught, places.take(1):
            pytest.fail("it must not begin")
    assert (caught.value.status, caught.value.headers["retry-after"]) == (503, "120")
    places._rush_until = 0.0  # the rush is long over
    places.seconds_per_image = 0.4
    with ExitStack() as stack:
        for _ in range(3):  # less than a second of work is in the way of the last
            stack.enter_context(places.take(1))
    assert places.images_expected == 0


def test_a_rush_that_goes_on_leaves_a_short_queue():
    """After one was turned away, half a second of work may wait, for some seconds; then a whole one again."""
    places = Places(EngineSettings(max_image_batch=2))
    places.seconds_per_image = 0.2
    with ExitStack() as stack:
        for _ in range(6):  # 1.2 seconds of work
            stack.enter_context(places.take(1))
        with pytest.raises(ApiError), places.take(1):
            pytest.fail("it must not begin")
    with ExitStack() as stack:
        places.seconds_per_image = 0.12
        for _ in range(5):
            stack.enter_context(places.take(1))
        with pytest.raises(ApiError) as caught, places.take(1):  # 0.6 seconds
            pytest.fail("it must not begin")
        places._rush_until = 0.0
        stack.enter_context(places.take(1))
    assert caught.value.status == 503


def test_waiting_for_other_servers_is_in_nobodys_way():
    places = Places(EngineSettings(max_image_batch=2))
    places.seconds_per_image = 0.01
    with places.take(6):
        assert places.images_expected == 6
        with fetching():
            time.sleep(0.5)
            assert (places.images_expected, places.requests_with_images) == (0, 0)
        assert (places.images_expected, places.requests_with_images) == (6, 1)
    assert (places.images_expected, places.requests_with_images) == (0, 0)
    assert places.seconds_per_image <= 0.01  # a mean that half a second for six images would have raised


def test_fetched_images_need_a_place_again():
    places = Places(EngineSettings(max_image_batch=2))

    def fetch():
        with places.take(1), fetching():
            places.seconds_per_image = 0.3
            places.images_expected = places.requests_with_images = 4  # others came meanwhile

    with pytest.raises(ApiError) as caught:
        fetch()
    assert caught.value.status == 503
    assert (places.images_expected, places.requests_with_images) == (4, 4)


def test_bytes_have_a_bound():
    places = Places(EngineSettings(max_image_bytes_in_flight=100))
    with places.take(1):
        hold_bytes(60)
        with pytest.raises(ApiError) as alone:
            hold_bytes(41)  # never, however often it is tried
        with places.take(1):
            hold_bytes(40)
            with pytest.raises(ApiError) as together:
                hold_bytes(1)  # once the other request is done
        assert places.bytes_in_flight == 60
    assert (alone.value.status, together.value.status) == (413, 503)
    assert "x-should-retry" not in alone.value.headers
    assert places.bytes_in_flight == 0


class BlockedFetcher(Fetcher):
    """Every URL's server says nothing until it is told to."""

    def __init__(self):
        super().__init__(FetchSettings())
        self.waiting = 0
        self.go = threading.Event()

    async def fetch(self, url, param=None, asked_by=""):
        self.waiting += 1
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        return png()


def test_slow_servers_turn_nobody_away(start):
    fetcher = BlockedFetcher()
    server = start(ServeSettings(engine=EngineSettings(max_queue_seconds=0.0)), fetcher=fetcher)

    def send(*images):
        with server.client() as client:
            return client.post("/v1/embeddings", json={"input": [{"image": each} for each in images]})

    assert send(data_url()).status_code == 200  # from now on images are known to take time
    with ThreadPoolExecutor(4) as others:
        slow = [
            others.submit(send, *[f"https://slow.example/{number}" for number in range(6)]) for _ in "1234"
        ]
        until = time.monotonic() + 20
        while fetcher.waiting < 24:
            assert time.monotonic() < until
            time.sleep(0.02)
        answer = send(data_url())
        fetcher.go.set()
        assert slow[0].result().status_code in (200, 503)
    assert answer.status_code == 200, answer.text


def test_files_in_a_request_count_too(start):
    most = 3 * len(png())
    server = start(ServeSettings(engine=EngineSettings(max_image_bytes_in_flight=most)))
    with server.client() as client:
        statuses = [
            client.post("/v1/embeddings", json={"input": [{"image": data_url()}] * number}).status_code
            for number in (4, 3)
        ]
    assert statuses == [413, 200]
