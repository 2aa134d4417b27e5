"""The door for browsers: a session's cookie becomes a credential, if the request comes from our own pages.

A browser sends cookies along with requests that other sites' pages make. So the cookie is `SameSite=Lax`, a
request that changes something must carry a token which only our pages can read, and an `Origin` that is not
ours is refused. A request with a key in its header needs none of this: other sites cannot set it.
"""

import hmac
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from siglip2.serve.accounts.sessions import SESSION_PREFIX, WHOLE_TIME, csrf_token
from siglip2.serve.errors import ApiError
from siglip2.serve.sign_in_settings import SignInSettings

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-csrf-token"
NAME = "siglip2"

BEGINNINGS = frozenset({"/account/sign-in", "/account/sign-up"})
"""What a browser may do without a session: it can have no token, and any cookie is an old one."""


class CookieDoor:
    """ASGI middleware that stands before every route."""

    def __init__(self, app: ASGIApp, *, settings: SignInSettings):
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, with its cookie's token as credential, or answer 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        token = cookie_token(request, self.settings)
        begins = request.url.path in BEGINNINGS
        if not begins and (token is None or "authorization" in request.headers):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(request, token, begins)
        if refusal is not None:
            await answer_refusal(refusal, scope, receive, send)
            return
        if not begins:
            headers = MutableHeaders(scope=scope)
            headers["authorization"] = f"Bearer {token}"
        await self.app(scope, receive, send)

    def _refusal(self, request: Request, token: str | None, begins: bool) -> ApiError | None:
        if request.method in SAFE:
            return None
        if not is_ours(request, self.settings):
            return wrong_origin()
        if begins:
            return None
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(token or "").encode()):
            return ApiError(
                403,
                "permission_error",
                "csrf_token_missing",
                f"Beside a session's cookie send its csrf_token in the header {CSRF_HEADER}.",
            )
        return None


def cookie_token(request: Request, settings: SignInSettings) -> str | None:
    """The session's token that a browser has sent; None if there is none that could be one."""
    token = request.cookies.get(cookie_name(request, settings), "")
    return token if token.startswith(SESSION_PREFIX) else None


def set_cookie(response: Response, request: Request, settings: SignInSettings, token: str | None) -> None:
    """Give the browser a token, or (None) take it away."""
    response.set_cookie(
        cookie_name(request, settings),
        token or "",
        max_age=int(WHOLE_TIME.total_seconds()) if token is not None else 0,
        path="/",
        secure=is_secure(request, settings),
        httponly=True,
        samesite="lax",
    )


def cookie_name(request: Request, settings: SignInSettings) -> str:
    """Over https with the prefix that keeps subdomains and plain http from setting it."""
    return f"__Host-{NAME}" if is_secure(request, settings) else NAME


def is_secure(request: Request, settings: SignInSettings) -> bool:
    """Whether the browser speaks https, as the operator says, or else the proxy."""
    return base_url(request, settings).startswith("https:")


def base_url(request: Request, settings: SignInSettings) -> str:
    """Where the browser finds the service: scheme and host, nothing after."""
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()
    return f"{request.url.scheme}://{request.url.netloc}".lower()


def is_ours(request: Request, settings: SignInSettings) -> bool:
    """Whether a request comes from our own pages, or from a program, which says nothing of it."""
    headers: Headers = request.headers
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return headers.get("origin", ours := base_url(request, settings)).lower() == ours


def wrong_origin() -> ApiError:
    """403: a page of another site sends it."""
    message = "This request comes from a page of another site."
    return ApiError(403, "permission_error", "wrong_origin", message)


async def answer_refusal(refusal: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a failure, for a door before the routes."""
    answer = Response(json.dumps(refusal.body()), refusal.status, media_type="application/json")
    await answer(scope, receive, send)
