"""The gallery page on this machine: a query box, dropped examples, filters, more like this.

Answers to loopback only, and only to requests that name this machine as their host, so that no web page can
read a collection through the visitor's browser.
"""

import io
import json
import os
import threading
import webbrowser
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from siglip2.errors import InvalidInput, Siglip2Error
from siglip2.inputs.sources import MAX_FILE_BYTES
from siglip2.search.pictures import thumbnail
from siglip2.search.video import video_of

if TYPE_CHECKING:
    from siglip2.search.collection import Collection
    from siglip2.search.rows import Hit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
THUMBNAIL_HEIGHT = 320
PAGE_SIZE = 60
MAX_LIMIT = 500


def serve_gallery(
    collection: "Collection",
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    asked: Mapping[str, str] | None = None,
    open_browser: bool = False,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        collection: that it searches.
        host: to listen on.
        port: 0 takes a free one.
        asked: what its fields hold at first: `q`, `not`, and `where` with semicolons between filters.
        open_browser: show it in the user's browser.

    Raises:
        InvalidInput: a host that others could reach, or a port that is taken.
    """
    server = make_server(collection, host, port)
    address = f"http://{host}:{server.server_port}/" + (f"?{urlencode(asked)}" if asked else "")
    print(f"the gallery is at {address} until Ctrl-C", flush=True)
    if open_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def make_server(collection: "Collection", host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """The server, listening; port 0 takes a free one. Errors as in `serve_gallery`."""
    if host not in LOOPBACK:
        raise InvalidInput(f"the gallery has no password, so it listens on {', '.join(LOOPBACK)} only")
    # Two requests never run the model at once: it has all processors already.
    handler = type("Handler", (_Handler,), {"collection": collection, "turns": threading.Lock()})
    try:
        return ThreadingHTTPServer((host, port), handler)
    except OverflowError as error:
        raise InvalidInput(f"port {port} is not one of 0 to 65535") from error
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror}") from error


class _Handler(BaseHTTPRequestHandler):
    collection: "Collection"
    turns: threading.Lock

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_FILE_BYTES:
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large", "text/plain")
            return
        self._answer(self.rfile.read(int(length)))

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal is the user's."""

    def _answer(self, body: bytes) -> None:
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        origin = self.headers.get("Origin")
        if host not in LOOPBACK or (origin and urlsplit(origin).hostname not in LOOPBACK):
            self._send(HTTPStatus.FORBIDDEN, b"this gallery answers to its own machine only", "text/plain")
            return
        address = urlsplit(self.path)
        parameters = parse_qs(address.query)
        try:
            if address.path == "/":
                self._send(HTTPStatus.OK, _page(), "text/html; charset=utf-8")
            elif address.path == "/search":
                with self.turns:
                    result = self._search(parameters, body)
                self._send(HTTPStatus.OK, json.dumps(result).encode(), "application/json")
            elif address.path == "/favicon.ico":
                self._send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")  # browsers ask, and complain
            elif address.path in ("/thumbnail", "/photo"):
                self._send(HTTPStatus.OK, self._picture(parameters, address.path), "image/jpeg")
            else:
                self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        except (Siglip2Error, ValueError) as error:
            result = json.dumps({"error": str(error)}).encode()
            self._send(HTTPStatus.BAD_REQUEST, result, "application/json")

    def _search(self, parameters: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        limit = min(int(parameters.get("limit", [str(PAGE_SIZE)])[0]), MAX_LIMIT)
        options: dict[str, Any] = {
            "where": parameters.get("where", []),
            "limit": limit,
            "offset": int(parameters.get("offset", ["0"])[0]),
        }
        if "like" in parameters:
            hits = self.collection.like(int(parameters["like"][0]), **options)
        else:
            texts, unwanted = parameters.get("q", []), parameters.get("not", [])
            hits = self.collection.search(texts, [body] if body else None, not_=unwanted, **options)
        return {"hits": [_record(hit) for hit in hits], "total": len(self.collection)}

    def _picture(self, parameters: dict[str, list[str]], kind: str) -> bytes:
        rows = self.collection.store.rows([int(parameters.get("id", ["0"])[0])])
        if not rows:
            raise InvalidInput("no such photo")
        height = THUMBNAIL_HEIGHT if kind == "/thumbnail" else 4 * THUMBNAIL_HEIGHT
        picture = thumbnail(rows[0], height)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=85)
        return written.getvalue()

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline' blob:")
        if kind == "image/jpeg":
            self.send_header("Cache-Control", "private, max-age=600")
        self.end_headers()
        self.wfile.write(body)


@cache
def _page() -> bytes:
    return Path(__file__).with_name("gallery.html").read_bytes()


def _record(hit: "Hit") -> dict[str, Any]:
    facts = hit.row.facts
    name = os.path.basename(hit.path) if hit.path else hit.row.text or ""
    if hit.path and (frame := video_of(hit.path)):
        name = f"{os.path.basename(frame[0])}, {frame[1]:.0f} s"
    return {
        "id": hit.row.id,
        "name": name.encode(errors="replace").decode(),
        "is_photo": hit.row.kind == "image",
        "ratio": (facts.width or 4) / (facts.height or 3),
        "score": hit.score,
        "probability": hit.probability,
        "taken": facts.taken_at,
        "camera": facts.camera,
    }
