"""What servers answer to a fetch: redirects to forbidden places, lengths that lie, other contents."""

import asyncio
import io
import socket
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest
from PIL import Image
from tests.tiny_model import random_photo

from siglip2.serve.errors import ApiError
from siglip2.serve.fetch import Fetcher
from siglip2.serve.settings import FetchSettings, ServeSettings

OPEN, FORBIDDEN = "127.0.0.2", "127.0.0.1"
"""Two loopback addresses: operators may allow one and not the other."""


def photo():
    out = io.BytesIO()
    Image.fromarray(random_photo(1)).save(out, "PNG")
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers as its server is told to, and counts."""

    def do_GET(self):
        self.server.hits.append(self.path)  # pyright: ignore[reportAttributeAccessIssue]
        head, body = self.server.answers.get(self.path, ({}, b""))  # pyright: ignore[reportAttributeAccessIssue]
        self.send_response(int(head.get("status", 200)))
        for name, value in head.items():
            if name != "status":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@contextmanager
def serving(address):
    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    server.hits, server.answers = [], {}  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pair():
    """A server that may be fetched from, and one that must never be reached."""
    with serving(OPEN) as allowed, serving(FORBIDDEN) as forbidden:
        yield allowed, forbidden


def settings(*servers, **limits):
    ports = frozenset({80, 443, *(server.server_port for server in servers)})
    return FetchSettings(ports=ports, allowed_networks=(ip_network(f"{OPEN}/32"),), **limits)


def fetch(url, found):
    return asyncio.run(Fetcher(found).fetch(url, "image"))


def failure(url, found):
    with pytest.raises(ApiError) as caught:
        fetch(url, found)
    return caught.value


@pytest.mark.parametrize(
    "location",
    [
        "http://{address}:{port}/", "http://localhost:{port}/", "http://127.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
        "//{address}:{port}/", "http://2130706433:{port}/", "http://a@{address}:{port}/", "http://a\\@{address}:{port}/",
        "http:\\\\{address}:{port}/", "HTTP://{address}:{port}/#@b", "\thttp://{address}:{port}/",
    ],
)  # fmt: skip
def test_redirects_never_reach_a_forbidden_server(pair, location):
    allowed, forbidden = pair
    there = location.format(address=FORBIDDEN, port=forbidden.server_port)
    for status in (301, 302, 303, 307, 308):
        allowed.answers["/go"] = ({"status": status, "Location": there}, b"")
        error = failure(f"http://{OPEN}:{allowed.server_port}/go", settings(allowed, forbidden))
        assert error.code == "image_fetch_failed"
    assert len(allowed.hits) == 5
    assert forbidden.hits == []


def test_a_loop_of_redirects_ends(pair):
    allowed, _ = pair
    allowed.answers["/a"] = ({"status": 302, "Location": "/b"}, b"")
    allowed.answers["/b"] = ({"status": 302, "Location": "/a"}, b"")
    assert failure(f"http://{OPEN}:{allowed.server_port}/a", settings(allowed)).code == "image_fetch_failed"
    assert allowed.hits == ["/a", "/b", "/a", "/b"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_redirects_to_names_that_are_not_ascii(pair, encoding):
    allowed, _ = pair
    location = "/bücher".encode(encoding).decode("latin-1")  # as which the server writes it out
    allowed.answers["/go"] = ({"status": 302, "Location": location}, b"")
    allowed.answers["/b%C3%BCcher"] = ({}, photo())
    assert fetch(f"http://{OPEN}:{allowed.server_port}/go", settings(allowed)) == photo()


def test_no_way_from_https_to_http(pair, monkeypatch):
    allowed, _ = pair
    allowed.answers["/photo"] = ({}, photo())
    plain = f"http://{OPEN}:{allowed.server_port}/photo"
    asked = []
    real = Fetcher._get

    async def get(self, url, address):
        asked.append(url.scheme)
        return plain if url.scheme == "https" else await real(self, url, address)

    monkeypatch.setattr(Fetcher, "_get", get)
    assert failure(f"https://{OPEN}/", settings(allowed)).code == "image_fetch_failed"
    assert asked == ["https"]
    assert allowed.hits == []
    assert fetch(plain, settings(allowed)) == photo()


@pytest.mark.parametrize("name", ["forbidden.test", "alias.test", "mixed.test"])
def test_names_by_the_systems_own_resolver(pair, monkeypatch, name):
    """An alias (CNAME) shows in nothing but its addresses; one look-up gives all of them."""
    _, forbidden = pair
    asked = []
    answers = {
        "forbidden.test": [FORBIDDEN],
        "alias.test": ["::ffff:127.0.0.1"],
        "mixed.test": ["8.8.8.8", FORBIDDEN],
    }
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        if host not in answers:
            return real(host, port, *arguments, **options)
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "canonical.test", (text, port)) for text in answers[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = failure(f"http://{name}:{forbidden.server_port}/", settings(forbidden))
    assert error.code == "image_fetch_failed"
    assert asked == [name]
    assert forbidden.hits == []


def test_lengths_that_lie(pair):
    allowed, _ = pair
    allowed.answers["/short"] = ({"Content-Length": "10"}, b"x" * 3000)
    allowed.answers["/long"] = ({"Content-Length": "9000"}, b"x" * 3000)
    base, found = f"http://{OPEN}:{allowed.server_port}", settings(allowed, total_seconds=0.5)
    assert fetch(f"{base}/short", found) == b"x" * 10  # what was announced, and then the connection is closed
    assert failure(f"{base}/long", found).code == "image_fetch_failed"


def test_compressed_answers_are_not_unpacked(pair):
    allowed, _ = pair
    bomb = zlib.compress(bytes(30_000_000))
    base, found = f"http://{OPEN}:{allowed.server_port}", settings(allowed)
    for coding in ("gzip", "deflate", "br", "identity, gzip"):
        allowed.answers["/bomb"] = ({"Content-Encoding": coding, "Content-Length": str(len(bomb))}, bomb)
        assert failure(f"{base}/bomb", found).code == "image_fetch_failed"


def test_what_the_bytes_are_decides(pair, start):
    """Not what the server calls them."""
    allowed, _ = pair
    page = b"<!doctype html><p>secret of the network behind the server</p>"
    allowed.answers["/page"] = ({"Content-Type": "image/png", "Content-Length": str(len(page))}, page)
    allowed.answers["/photo"] = ({"Content-Type": "text/html", "Content-Length": str(len(photo()))}, photo())
    live = start(ServeSettings(fetch=settings(allowed)))
    base = f"http://{OPEN}:{allowed.server_port}"
    with live.client() as client:
        refused = client.post("/v1/classify", json={"input": f"{base}/page", "labels": ["cat"]})
        answered = client.post("/v1/classify", json={"input": f"{base}/photo", "labels": ["cat"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "image_decode_failed")
    assert "secret" not in refused.text
    assert OPEN not in refused.text
    assert answered.status_code == 200
