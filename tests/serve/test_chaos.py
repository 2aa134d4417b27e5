"""Exactly once or not at all, while clients leave, retry and race and the server is killed."""

import socket
import threading
import time

import httpx
import pytest
from tests.serve.chaos import run

from siglip2.serve import service
from siglip2.serve.accounts import charging


def storm(folder, url, requests, kills):
    ended, outcome = run(folder, url, requests=requests, kills=kills)
    print(ended, outcome.seen)
    assert ended["answered"] > 0.6 * requests
    for misfortune in ("left", "asked again", "raced", "broken connections"):
        assert outcome.seen[misfortune] > 0, misfortune


def test_charges_survive_a_storm(tmp_path):
    storm(tmp_path, f"sqlite:///{tmp_path / 'accounts.sqlite'}", 160, 1)


@pytest.mark.slow
def test_charges_survive_a_longer_storm(database_url, tmp_path):
    storm(tmp_path, database_url, 2000, 3)


@pytest.mark.slow
def test_charges_survive_a_hundred_thousand_requests(database_url, tmp_path):
    storm(tmp_path, database_url, 100_000, 20)


def test_who_leaves_while_credit_is_held_gets_it_back(server, monkeypatch):
    began, go_on = threading.Event(), threading.Event()

    def slow(database, bill):
        began.set()
        go_on.wait(20)
        return charging.reserve(database, bill)

    monkeypatch.setattr(service, "reserve", slow)
    body = b'{"input": "a cat"}'
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    head += (
        f"Idempotency-Key: leaves\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(head.encode() + body)
        assert began.wait(20)
    time.sleep(0.1)  # the server sees that the connection is gone, while the thread still works
    go_on.set()
    monkeypatch.undo()
    named = {"Idempotency-Key": "leaves", "Content-Type": "application/json"}
    until = time.monotonic() + 20
    with server.client() as client:
        while True:
            again = client.post("/v1/embeddings", content=body, headers=named)
            if again.status_code != 409:
                break
            assert time.monotonic() < until, "the credit stays held"
            time.sleep(0.02)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
