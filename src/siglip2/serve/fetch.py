"""Fetch image URLs that strangers name. Nothing else in the package opens a URL for a caller.

A name is resolved once, every address of the answer has to be public, and the connection goes to the address
that was checked, under the name's own certificate. Redirects go through the same steps. Nothing of the
environment (proxies, `.netrc`) plays a part. Whatever hangs on the network ends in one and the same error, so
that answers do not map networks behind the server; refusals say why only where the URL alone decides.

Callers share what is fetched at a time: slow servers of one keep nobody else waiting.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

import httpcore
from httpcore import AnyIOBackend

from siglip2.serve.addresses import Address, may_reach, parse_address
from siglip2.serve.errors import ApiError, bad_request, overloaded, unusable_image
from siglip2.serve.places import hold_bytes
from siglip2.serve.settings import FetchSettings
from siglip2.serve.timings import record
from siglip2.serve.turns import Shares, Turns
from siglip2.serve.urls import ImageUrl, RefusedUrl, parse_url

Resolver = Callable[[str, int], Awaitable[list[str]]]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
RATE_GRACE = 2.0
"""Seconds before the minimum rate counts."""


class _FailedFetch(Exception):
    """Anything that hangs on the network; the reason stays here."""


class _TooManyBytes(Exception):
    """The body is larger than the limit."""


class SystemResolver:
    """All addresses of a name, by the system's resolver.

    In threads of its own: a look-up cannot be called off, and may take far longer than anybody waits for it.
    """

    def __init__(self, threads: int):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="siglip2-names")

    async def __call__(self, host: str, port: int) -> list[str]:
        """See `Resolver`."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(answer[4][0]) for answer in answers]


class Fetcher:
    """Fetches image files within limits."""

    def __init__(self, settings: FetchSettings, *, resolver: Resolver | None = None):
        self.settings = settings
        self._resolve = resolver or SystemResolver(settings.max_concurrent)
        self._tls = ssl.create_default_context()
        self._turns = Turns(settings.max_concurrent, settings.max_concurrent_per_host)
        self._pending = Shares(settings.max_waiting)

    async def fetch(self, url: str, param: str | None = None, asked_by: str = "") -> bytes:
        """The body of a URL.

        Args:
            url: as the caller gave it.
            param: where it stands in the request, for errors.
            asked_by: the caller, with whom others share.

        Raises:
            ApiError: 400 where the URL itself is refused, 413 beyond the limit of bytes, 503 where too many
                wait or hold too much, 422 for all else.
        """
        if not self.settings.enabled:
            raise bad_request(
                "This server does not fetch URLs: send the image as base64.", param, "image_url_blocked"
            )
        if not self._pending.may(asked_by):
            raise overloaded()
        self._pending.change(asked_by, 1)
        try:
            return await self._follow(self._checked(url), asked_by)
        except RefusedUrl as error:
            raise bad_request(str(error), param, "image_url_blocked") from None
        except _TooManyBytes:
            raise ApiError(
                413,
                "invalid_request_error",
                "image_too_large",
                f"The image has more than {self.settings.max_bytes} bytes.",
                param=param,
            ) from None
        except (_FailedFetch, TimeoutError, OSError, httpcore.NetworkError) as error:
            raise _not_fetched(param) from error
        except (httpcore.TimeoutException, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise _not_fetched(param) from error
        finally:
            self._pending.change(asked_by, -1)

    def _checked(self, text: str) -> ImageUrl:
        url = parse_url(text)
        settings = self.settings
        if url.port not in settings.ports:
            raise RefusedUrl(f"The URL's port must be one of {', '.join(map(str, sorted(settings.ports)))}.")
        if settings.allowed_hosts and not _below(url.host, settings.allowed_hosts):
            raise RefusedUrl("The operator of this server does not fetch from this host.")
        if _below(url.host, settings.denied_hosts):
            raise RefusedUrl("The operator of this server does not fetch from this host.")
        return url

    async def _follow(self, url: ImageUrl, asked_by: str) -> bytes:
        left = self.settings.total_seconds
        for _ in range(self.settings.max_redirects + 1):
            await self._turns.take(asked_by, url.host)
            start = perf_counter()
            look_up = asyncio.ensure_future(self._look_up(url))
            try:
                async with asyncio.timeout(left):
                    await asyncio.wait([look_up])
                    answer = await self._get(url, self._public(look_up.result()))
            finally:
                left -= perf_counter() - start
                record("fetch", self.settings.total_seconds - left)
                # A look-up cannot be called off: as long as its thread is busy, its caller has the turn.
                look_up.add_done_callback(partial(self._end_turn, asked_by, url.host))
            if isinstance(answer, bytes):
                return answer
            try:
                following = self._checked(url.join(answer))
            except (RefusedUrl, ValueError) as error:
                # What a redirect says is the network's doing, and no sentence may repeat it.
                raise _FailedFetch from error
            if (url.scheme, following.scheme) == ("https", "http"):
                raise _FailedFetch
            url = following
        raise _FailedFetch

    def _end_turn(self, asked_by: str, host: str, look_up: asyncio.Future[list[str]]) -> None:
        if not look_up.cancelled():
            look_up.exception()  # or asyncio complains that nobody asked, where the time was over before
        self._turns.give_back(asked_by, host)

    async def _look_up(self, url: ImageUrl) -> list[str]:
        return [str(url.address)] if url.address else await self._resolve(url.host, url.port)

    def _public(self, texts: list[str]) -> Address:
        addresses = [parse_address(text) for text in texts]
        # One private address among public ones is enough to refuse: the next answer might be that one.
        if not addresses or not all(
            address is not None and may_reach(address, self.settings.allowed_networks)
            for address in addresses
        ):
            raise _FailedFetch
        first = addresses[0]
        assert first is not None
        return first

    async def _get(self, url: ImageUrl, address: Address) -> bytes | str:
        """The body, or where to go instead."""
        settings = self.settings
        seconds = {
            "connect": settings.connect_seconds,
            "read": settings.total_seconds,
            "write": 5.0,
            "pool": 5.0,
        }
        backend = _PinnedBackend(address)
        async with httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
            request = pool.stream(
                "GET",
                httpcore.URL(
                    scheme=url.scheme.encode(),
                    host=url.host.encode(),
                    port=url.port,
                    target=url.target.encode(),
                ),
                headers=[
                    (b"Host", url.host_header.encode()),
                    (b"User-Agent", settings.user_agent.encode()),
                    (b"Accept", b"image/*"),
                    (b"Accept-Encoding", b"identity"),
                    (b"Connection", b"close"),
                ],
                extensions={"timeout": seconds},
            )
            async with request as response:
                headers = {name.lower(): value for name, value in response.headers}
                if response.status in REDIRECTS and b"location" in headers:
                    return _text_of(headers[b"location"])
                encoding = headers.get(b"content-encoding", b"identity").strip().lower()
                if response.status != 200 or encoding not in (b"", b"identity"):
                    raise _FailedFetch
                return await self._body(response)

    async def _body(self, response: httpcore.Response) -> bytes:
        start = perf_counter()
        body = bytearray()
        async for chunk in response.aiter_stream():
            hold_bytes(len(chunk))
            body += chunk
            if len(body) > self.settings.max_bytes:
                raise _TooManyBytes
            late = perf_counter() - start - RATE_GRACE
            if late > 0 and len(body) < late * self.settings.minimum_rate:
                raise _FailedFetch
        return bytes(body)


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to one address, whatever name it is asked for."""

    def __init__(self, address: Address):
        self._address = address
        self._inner: httpcore.AsyncNetworkBackend = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, and look once more at whom we reached."""
        stream = await self._inner.connect_tcp(
            str(self._address), port, timeout, local_address, socket_options
        )
        peer = stream.get_extra_info("server_addr")
        if peer is None or parse_address(peer[0]) != self._address:
            await stream.aclose()
            raise _FailedFetch
        return stream

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise _FailedFetch

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _below(host: str, names: Iterable[str]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _text_of(header: bytes) -> str:
    """UTF-8, as most servers mean what is not ASCII; otherwise Latin-1, as HTTP once had it."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _not_fetched(param: str | None) -> ApiError:
    return unusable_image("The URL could not be fetched.", param, "image_fetch_failed")
