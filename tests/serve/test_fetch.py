"""URLs of strangers: what must never be reached is never reached, in any notation."""

import ast
import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest

import siglip2.serve
from siglip2.serve.errors import ApiError
from siglip2.serve.fetch import Fetcher
from siglip2.serve.settings import EngineSettings, FetchSettings, ServeSettings
from siglip2.serve.urls import RefusedUrl, parse_url

BODY = b"x" * 3000


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and counts."""

    def do_GET(self):
        self.server.hits.append((self.path, self.headers))  # pyright: ignore[reportAttributeAccessIssue]
        action, _, rest = self.path.lstrip("/").partition("/")
        if action == "go":
            self.send_response(302)
            self.send_header("Location", rest.replace("_", ":", 1) if "_" in rest else rest)
            self.end_headers()
        elif action == "slow":
            time.sleep(1.5)
        elif action == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(BODY)
            except OSError:
                return
        elif action == "lying":
            self.send_response(200)
            self.send_header("Content-Length", "99999")
            self.end_headers()
            self.wfile.write(BODY)
        elif action == "drip":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(40):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            except OSError:
                return
        else:
            self.send_response(404 if action == "gone" else 200)
            if action == "gzip":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def forbidden():
    """A server on loopback, with the list of requests that reached it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hits = []  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetcher(server, *, allow=False, names=None, **limits):
    """One that resolves names by a table, and may reach loopback if `allow`."""
    settings = FetchSettings(
        ports=frozenset({80, 443, server.server_port}),
        allowed_networks=(ip_network("127.0.0.0/8"),) if allow else (),
        **limits,
    )
    lookups = []

    async def resolve(host, port):
        lookups.append(host)
        answers = (names or {}).get(host, ["127.0.0.1"])
        return answers.pop(0) if answers and isinstance(answers[0], list) else answers

    made = Fetcher(settings, resolver=resolve)
    made.lookups = lookups  # pyright: ignore[reportAttributeAccessIssue]
    return made


def failure(fetch, url):
    with pytest.raises(ApiError) as caught:
        asyncio.run(fetch.fetch(url, "image"))
    return caught.value


HOSTS = [
    "localhost", "localhost.", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "0.0.0.0", "[::]", "0", "１２７.0.0.1", "127。0。0。1", "169.254.169.254", "[fd00:ec2::254]",
    "metadata.google.internal",
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[fc00::1]", "[ff02::1]", "[2001::1]",
    "[2001:db8::1]", "[fe80::1%25eth0]", "127.0.0.1.nip.example", "user@127.0.0.1", "example.org@127.0.0.1",
    "example.org\\@127.0.0.1", "127.0.0.1\\@example.org", "127.0.0.1\t", "127.0.0.1\n", "127.0.0.1%00",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_private_hosts_in_every_notation(forbidden, host):
    error = failure(fetcher(forbidden), f"http://{host}:{forbidden.server_port}/")
    assert error.status in (400, 422)
    assert "127" not in error.message
    assert forbidden.hits == []


URLS = [
    "file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "javascript:alert(1)", "//127.0.0.1/",
    "http:/127.0.0.1/", "http:127.0.0.1", "http://", "http:///x", "https://[::1", "http://a b/", "http://-a/",
    "http://a..b/", "http://example.org:99999/", "http://example.org:22/", "http://example.org:/",
    "http://example.org/\\x", "http://" + "a" * 300 + "/", "http://example.org/" + "a" * 9000, " http://example.org/",
    "http://127.0.0.1#@example.org/", "http://example.org\x00/", "http://ex%61mple.org/", "dict://127.0.0.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_urls_with_two_readings_or_none(forbidden, url):
    assert failure(fetcher(forbidden), url).status in (400, 422)
    assert forbidden.hits == []


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["::ffff:127.0.0.1"],
        ["nonsense"],
        [],
    ],
)
def test_names_with_a_private_answer(forbidden, answers):
    fetch = fetcher(forbidden, names={"evil.example": answers})
    assert failure(fetch, f"http://evil.example:{forbidden.server_port}/").code == "image_fetch_failed"
    assert forbidden.hits == []


def test_one_look_up_decides(forbidden):
    """A name that is harmless when checked and private when connected to: there is no second question."""
    answers = [["192.0.2.1"], ["127.0.0.1"]]
    fetch = fetcher(forbidden, names={"rebind.example": answers}, connect_seconds=0.2)
    failure(fetch, f"http://rebind.example:{forbidden.server_port}/")
    assert fetch.lookups == ["rebind.example"]  # pyright: ignore[reportAttributeAccessIssue]
    assert forbidden.hits == []


def test_the_connection_goes_to_the_address_that_was_checked(forbidden):
    fetch = fetcher(forbidden, allow=True, names={"good.example": [["127.0.0.1"]]})
    assert asyncio.run(fetch.fetch(f"http://good.example:{forbidden.server_port}/a")) == BODY
    ((path, headers),) = forbidden.hits
    assert path == "/a"
    assert headers["Host"] == f"good.example:{forbidden.server_port}"
    assert headers["Accept-Encoding"] == "identity"
    assert fetch.lookups == ["good.example"]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxies_of_the_environment_play_no_part(forbidden, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://192.0.2.1:9")
    fetch = fetcher(forbidden, allow=True)
    assert asyncio.run(fetch.fetch(f"http://good.example:{forbidden.server_port}/a")) == BODY


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "http://example.org:22/",
        "http://a\\@b/", "http://user@127.0.0.1/", "//10.0.0.1/", "http://[::1", "",
    ],
)  # fmt: skip
def test_redirects_are_checked_like_the_first_url(forbidden, location):
    fetch = fetcher(forbidden, allow=True)
    error = failure(fetch, f"http://good.example:{forbidden.server_port}/go/{location}".replace("\\", "%5C"))
    assert error.code == "image_fetch_failed"


def test_redirects_end(forbidden):
    base = f"http://good.example:{forbidden.server_port}"
    fetch = fetcher(forbidden, allow=True)
    assert asyncio.run(fetch.fetch(f"{base}/go//go//go//a")) == BODY
    before = len(forbidden.hits)
    assert failure(fetch, f"{base}/go//go//go//go//a").code == "image_fetch_failed"
    assert len(forbidden.hits) - before == 4


def test_limits_of_a_transfer(forbidden):
    base = f"http://good.example:{forbidden.server_port}"
    fetch = fetcher(forbidden, allow=True, max_bytes=2000)
    assert failure(fetch, f"{base}/a").code == "image_too_large"
    assert failure(fetch, f"{base}/endless").code == "image_too_large"
    fetch = fetcher(forbidden, allow=True, total_seconds=0.5)
    for path in ("slow", "drip", "lying", "gzip", "gone"):
        assert failure(fetch, f"{base}/{path}").code == "image_fetch_failed"


def test_blocked_and_unreachable_read_the_same(forbidden):
    fetch = fetcher(forbidden, names={"unresolved.example": []})
    blocked = failure(fetch, "http://10.0.0.1/")
    assert blocked.body() == failure(fetch, "http://unresolved.example/").body()


def test_operators_switches(forbidden):
    base = f"http://good.example:{forbidden.server_port}/a"
    assert failure(fetcher(forbidden, allow=True, enabled=False), base).status == 400
    assert failure(fetcher(forbidden, allow=True, allowed_hosts=("other.example",)), base).status == 400
    assert failure(fetcher(forbidden, allow=True, denied_hosts=("example",)), base).status == 400
    assert forbidden.hits == []
    allowed = fetcher(forbidden, allow=True, allowed_hosts=("good.example",))
    assert asyncio.run(allowed.fetch(base)) == BODY


def test_international_names_and_paths():
    url = parse_url("HTTP://Bücher.Example:8080/ä b".replace(" ", "%20"))
    assert (url.host, url.port, url.target) == ("xn--bcher-kva.example", 8080, "/%C3%A4%20b")
    with pytest.raises(RefusedUrl):
        parse_url("http://exa\u2024mple.org/")


def test_the_clock_stands_still_until_it_is_a_fetchs_turn(monkeypatch):
    """Images of one host wait for each other, and none fails for it."""

    async def get(self, url, address):
        await asyncio.sleep(0.3)
        return "/next" if url.target == "/first" else BODY

    monkeypatch.setattr(Fetcher, "_get", get)
    settings = FetchSettings(total_seconds=1.0, max_concurrent_per_host=1, max_redirects=9)

    async def fetch(*targets):
        fetches = Fetcher(settings)
        return await asyncio.gather(
            *(fetches.fetch(f"http://8.8.8.8{target}", "image") for target in targets)
        )

    assert asyncio.run(fetch("/a", "/b", "/first", "/c", "/d", "/e")) == [BODY] * 6

    async def wander(self, url, address):
        await asyncio.sleep(0.3)
        return "/next"

    monkeypatch.setattr(Fetcher, "_get", wander)
    with pytest.raises(ApiError, match="could not be fetched"):
        asyncio.run(fetch("/a"))


def test_a_busy_host_keeps_nobody_from_another(monkeypatch):
    async def get(self, url, address):
        if url.host == "8.8.8.8":
            await asyncio.sleep(60)
        return BODY

    monkeypatch.setattr(Fetcher, "_get", get)

    async def work():
        fetches = Fetcher(FetchSettings(max_concurrent=4, max_concurrent_per_host=1))
        busy = [asyncio.create_task(fetches.fetch("http://8.8.8.8/")) for _ in range(4)]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(fetches.fetch("http://9.9.9.9/"), 5)
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    assert asyncio.run(work()) == BODY


def test_so_many_may_wait(forbidden):
    url = f"http://127.0.0.1:{forbidden.server_port}/a"

    async def work():
        fetches = fetcher(forbidden, allow=True, max_waiting=4)
        first = await asyncio.gather(*(fetches.fetch(url) for _ in range(3)), return_exceptions=True)
        return [*first, await fetches.fetch(url)]

    *fetched, refused, later = asyncio.run(work())
    assert fetched == [BODY] * 2
    assert isinstance(refused, ApiError)
    assert refused.status == 503
    assert later == BODY


def test_a_request_with_too_many_bytes_ends_while_it_is_fetched(start, forbidden):
    settings = fetcher(forbidden, allow=True, max_concurrent_per_host=1).settings
    most = 3 * len(BODY)
    server = start(ServeSettings(fetch=settings, engine=EngineSettings(max_image_bytes_in_flight=most)))
    url = f"http://127.0.0.1:{forbidden.server_port}/a"
    with server.client() as client:
        answer = client.post("/v1/embeddings", json={"input": [{"image": url}] * 16})
        again = client.post("/v1/embeddings", json={"input": [{"image": url}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large"), answer.text
    assert f"more than {most} bytes together" in answer.text
    assert len(forbidden.hits) < 8  # the rest was called off
    assert again.json()["error"]["code"] == "image_decode_failed"  # what the first one held is given back


def test_nothing_else_opens_urls():
    forbidden = {
        "httpx",
        "httpx2",
        "httpcore",
        "requests",
        "aiohttp",
        "urllib3",
        "urllib.request",
        "http.client",
    }
    for path in Path(siglip2.serve.__path__[0]).rglob("*.py"):
        if path.name == "fetch.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden.intersection(names), path
