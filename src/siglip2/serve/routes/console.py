"""`/console`: the page that comes with the package, under a policy that lets nothing else in."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from siglip2.serve.errors import ApiError

router = APIRouter(include_in_schema=False)

ASSETS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
}
"""All that may be asked for by name, so that no path of a caller ever reaches the disk."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@router.get("/")
async def home() -> Response:
    """To the console."""
    return RedirectResponse("/console", 307)


@router.get("/console")
async def page() -> Response:
    """The page."""
    return _asset("index.html", "text/html; charset=utf-8")


@router.get("/console/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in ASSETS:
        raise ApiError(404, "invalid_request_error", "not_found", "Not Found.")
    return _asset(name, ASSETS[name])


def _asset(name: str, media_type: str) -> Response:
    content = (files("siglip2.serve") / "console" / name).read_bytes()
    return Response(content, media_type=media_type, headers=HEADERS)
