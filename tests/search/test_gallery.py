"""The gallery's server, over a real socket."""

import json
import threading
from http.client import HTTPConnection

import pytest

from siglip2.errors import InvalidInput
from siglip2.search.gallery import make_server


@pytest.fixture
def ask(collection, photos):
    collection.add([photos])
    server = make_server(collection)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def request(path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result

    yield request
    server.shutdown()
    thread.join()
    server.server_close()


def test_page_search_and_pictures(ask, photos):
    assert ask("/")[1].startswith(b"<!doctype html>")
    status, body = ask("/search?q=a%20dog&limit=5")
    hits = json.loads(body)["hits"]
    assert (status, len(hits)) == (200, 5)
    status, body = ask("/search?limit=1", (photos / "photo_004.png").read_bytes())
    assert json.loads(body)["hits"][0]["name"] == "photo_004.png"
    assert ask(f"/thumbnail?id={hits[0]['id']}")[1].startswith(b"\xff\xd8")
    like = json.loads(ask(f"/search?like={hits[0]['id']}")[1])["hits"]
    assert len(like) == 19
    assert hits[0]["id"] not in [hit["id"] for hit in like]


@pytest.mark.parametrize(
    "path", ["/search?q=a&limit=x", "/search?q=a&where=nonsense", "/photo?id=99", "/search"]
)
def test_mistakes_are_sentences(ask, path):
    status, body = ask(path)
    assert status == 400
    assert json.loads(body)["error"]


def test_other_sites_are_refused(ask):
    assert ask("/search?q=a", Host="evil.example")[0] == 403
    assert ask("/search?q=a", Origin="http://evil.example")[0] == 403
    assert ask("/nothing")[0] == 404


def test_loopback_only(collection):
    with pytest.raises(InvalidInput, match="no password"):
        make_server(collection, host="0.0.0.0")
