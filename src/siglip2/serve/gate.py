"""The outermost layer: request ids, sizes, deadlines, clients that leave, and failures nobody foresaw."""

import asyncio
import json
import logging
import re
import secrets
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siglip2.serve.errors import ApiError, internal_error, overloaded, timed_out, too_large
from siglip2.serve.metrics import METHODS, Metrics
from siglip2.serve.settings import ServeSettings
from siglip2.serve.timings import server_timing, start_timings

log = logging.getLogger("siglip2.serve")

_REQUEST_ID = re.compile(rb"[\w-]{1,128}")


class _ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Gate:
    """ASGI middleware around every route.

    The body is read here, whole and within the limit, so that from then on a message of the client can only
    mean that it left: its work is cancelled.

    Attributes:
        requests: that are being served.
        bytes: of their bodies.
    """

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, metrics: Metrics):
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.requests = 0
        self.bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.requests += 1
        try:
            await _Exchange(self, scope, receive, send).run()
        finally:
            self.requests -= 1


class _Exchange:
    """One request and its answer."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send):
        self.gate = gate
        self.scope = scope
        self._receive = receive
        self._send = send
        self.start = perf_counter()
        self.phases = start_timings()
        self.request_id = _request_id(scope)
        self.status = 0
        self.held = 0

    async def run(self) -> None:
        seconds = self.gate.settings.deadline_seconds
        self.scope.setdefault("state", {}).update(request_id=self.request_id, phases=self.phases)
        try:
            async with asyncio.timeout(seconds):
                if self.scope["method"] == "POST" and self.gate.requests > self.gate.settings.max_requests:
                    raise overloaded()  # probes, and the console, are let in
                await self._serve(await self._body())
        except ApiError as error:
            await self._fail(error)
        except TimeoutError:
            await self._fail(timed_out(seconds))
        except _ClientLeft:
            self.status = 499
        except Exception:
            # The traceback goes to the log, never to the caller.
            log.exception("request failed", extra={"request_id": self.request_id})
            await self._fail(internal_error())
        finally:
            self.gate.bytes -= self.held
            route = getattr(self.scope.get("route"), "path", "none")
            elapsed = perf_counter() - self.start
            self.gate.metrics.observe(self.scope["method"], route, self.status, elapsed)
            said = {
                "method": self.scope["method"] if self.scope["method"] in METHODS else "other",
                "route": route,
                "status": self.status,
                "milliseconds": round(1000 * elapsed, 1),
                "request_id": self.request_id,
                "phases": {name: round(1000 * seconds, 1) for name, seconds in self.phases.items()},
            }
            log.info("%s %s %d", said["method"], route, self.status, extra=said)

    async def _body(self) -> bytes:
        most = self.gate.settings.max_body_bytes
        declared = dict(self.scope["headers"]).get(b"content-length", b"0")
        body = bytearray()
        if declared.isdigit() and int(declared) > most:
            raise too_large(f"The request has more than {most} bytes.")
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            part = message.get("body", b"")
            body += part
            self.held += len(part)
            self.gate.bytes += len(part)
            if len(body) > most:
                raise too_large(f"The request has more than {most} bytes.")
            if self.gate.bytes > self.gate.settings.max_bytes_in_flight:
                raise overloaded()
            if not message.get("more_body", False):
                return bytes(body)

    async def _serve(self, body: bytes) -> None:
        left = asyncio.Event()
        given = False

        async def receive() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            left.set()

        work = asyncio.ensure_future(self.gate.app(self.scope, receive, self.send))
        watcher = asyncio.ensure_future(watch())
        try:
            await asyncio.wait({work, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and self.status == 0:
                raise _ClientLeft
            await work
        finally:
            work.cancel()
            watcher.cancel()
            await asyncio.gather(work, watcher, return_exceptions=True)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            elapsed = perf_counter() - self.start
            message = {**message, "headers": [*message["headers"], *self._headers(elapsed)]}
        await self._send(message)

    def _headers(self, elapsed: float) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-request-id", self.request_id.encode()),
            (b"server-timing", server_timing(self.phases, elapsed).encode()),
            (b"openai-processing-ms", str(round(1000 * elapsed)).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def _fail(self, error: ApiError) -> None:
        if self.status:  # an answer has begun, which nothing can take back
            return
        body = json.dumps(error.body()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
