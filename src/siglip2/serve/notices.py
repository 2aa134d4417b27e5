"""`x-credits-low`: the header by which an answer says that a soft limit is passed.

It is known where the request is paid, in a thread, and said at the door: a box goes along, as for `meter`.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Notice:
    """What the answer to a request is to say."""

    low: bool = False


_notice: ContextVar[Notice | None] = ContextVar("notice", default=None)


def notice_low_credit() -> None:
    """The request that is being paid has gone beyond a soft limit."""
    notice = _notice.get()
    if notice is not None:
        notice.low = True


class NoticeDoor:
    """ASGI middleware that adds the header."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notice = Notice()
        _notice.set(notice)

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start" and notice.low:
                MutableHeaders(scope=message)["x-credits-low"] = "true"
            await send(message)

        await self.app(scope, receive, say)
