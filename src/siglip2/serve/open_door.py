"""The door of a service without accounts: for this machine's programs and pages, not for other sites' pages.

A browser on the same machine reaches the service too, and so do the pages of other sites in it: by a name of
theirs that they point at loopback, and by requests that they send without being able to read the answers.
"""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from siglip2.serve.addresses import is_loopback
from siglip2.serve.cookies import SAFE, answer_refusal, is_ours, wrong_origin
from siglip2.serve.errors import ApiError
from siglip2.serve.sign_in_settings import SignInSettings


class OpenDoor:
    """ASGI middleware that stands before every route."""

    def __init__(self, app: ASGIApp, *, settings: SignInSettings):
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer 403."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        if refusal is not None:
            await answer_refusal(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, request: Request) -> ApiError | None:
        host = _hostname(f"//{request.headers.get('host', '')}")
        known = host is not None and (is_loopback(host) or host == _hostname(self.settings.public_url or ""))
        if not known:
            return ApiError(
                403,
                "permission_error",
                "wrong_host",
                "This server is open to its own machine: call it localhost or 127.0.0.1; the operator names "
                "another host in SIGLIP2_PUBLIC_URL.",
            )
        if request.method not in SAFE and not is_ours(request, self.settings):
            return wrong_origin()
        return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
