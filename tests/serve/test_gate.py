"""The outermost layer: who leaves is forgotten, who is late gets 504, and what does not fit gets 503."""

import json
import logging
import socket
import threading
import time

import httpx
import pytest
from tests.serve.conftest import data_url

from siglip2.serve.settings import EngineSettings, ServeSettings

BODY = {"input": data_url(), "labels": ["cat", "dog"]}


@pytest.fixture
def held(encoder, monkeypatch):
    """A lock before the image tower: while it is held, the tower works."""
    lock, real = threading.Lock(), encoder.runtime.encode_images

    def encode_images(batch, **options):
        with lock:
            return real(batch, **options)

    monkeypatch.setattr(encoder.runtime, "encode_images", encode_images)
    return lock


def waiting(client):
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("siglip2_images_waiting{"))


def until(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def send(server, connection):
    content = json.dumps(BODY).encode()
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)


def test_who_leaves_frees_the_queue_and_pays_nothing(start, held):
    server = start(ServeSettings(engine=EngineSettings(max_image_batch=1)))
    address = httpx.URL(server.url)
    with server.client() as client:
        before = client.get("/v1/usage").json()
        with held:
            connections = [socket.create_connection((address.host, address.port)) for _ in range(5)]
            for connection in connections:
                send(server, connection)
            until(lambda: waiting(client) == 4)  # one is in the tower
            for connection in connections:
                connection.close()
            until(lambda: 'status="499"} 5.0' in client.get("/metrics").text)
        assert client.post("/v1/classify", json=BODY).status_code == 200
        until(lambda: waiting(client) == 0)
        after = client.get("/v1/usage").json()
    assert sum(day["requests"] for day in after["data"]) == sum(day["requests"] for day in before["data"]) + 1


def test_who_is_late_gets_504_and_pays_nothing(start, held, caplog):
    server = start(ServeSettings(deadline_seconds=0.5))
    with server.client() as client:
        with held, caplog.at_level(logging.INFO, "siglip2.serve"):
            late = client.post("/v1/classify", json=BODY)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "request_timeout")
        assert late.headers["x-should-retry"] == "false"
        until(lambda: waiting(client) == 0)
        assert client.get("/v1/usage").json()["data"] == []


def test_what_does_not_fit_gets_503(start, held):
    server = start(ServeSettings(max_requests=2, max_bytes_in_flight=100_000))
    address = httpx.URL(server.url)
    with server.client() as client:
        with held:
            connections = [socket.create_connection((address.host, address.port)) for _ in range(2)]
            for connection in connections:
                send(server, connection)
            until(lambda: client.post("/v1/classify", json=BODY).status_code == 503)
            assert client.get("/ready").status_code == 200
            refused = client.post("/v1/classify", json=BODY)
            for connection in connections:
                connection.close()
        assert refused.json()["error"]["code"] == "overloaded"
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        until(lambda: client.post("/v1/classify", json=BODY).status_code == 200)
        large = client.post("/v1/classify", json={**BODY, "user": "x" * 200_000})
        assert large.status_code == 503
        assert client.post("/v1/classify", json=BODY).status_code == 200
