"""`/console`: the pages that come with the package, under a policy that lets nothing else in."""

import io
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from siglip2.errors import InvalidImage
from siglip2.inputs.decode import load_image
from siglip2.serve.contents import ImageInput, read_images
from siglip2.serve.errors import ApiError, unusable_image
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.service import Exchange, allowed

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

ASSETS = {
    entry.name: MEDIA_TYPES[f".{entry.name.rpartition('.')[2]}"]
    for entry in (files("siglip2.serve") / "console").iterdir()
    if f".{entry.name.rpartition('.')[2]}" in MEDIA_TYPES
}
"""All that may be asked for by name, so that no path of a caller ever reaches the disk."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}

PICTURE_SIDE = 1024
"""Pixels of the longer side of a linked picture, as the console shows and sends it."""


class Link(RequestBody):
    """Where a picture is."""

    url: str = Field(max_length=8192)


@router.get("/")
async def home() -> Response:
    """To the console."""
    return RedirectResponse("/console", 307)


@router.get("/docs")
async def docs() -> Response:
    """To the reference, which is a view of the console: the framework's own page needs another host."""
    return RedirectResponse("/console#/api", 307)


@router.get("/console")
async def page() -> Response:
    """The page."""
    return _asset("index.html", "text/html; charset=utf-8")


@router.post("/console/picture")
async def picture(body: Link, exchange: Annotated[Exchange, Depends(allowed("classify"))]) -> Response:
    """A linked picture, fetched by the rules of all image URLs, decoded and written anew as a small JPEG.

    The page's policy lets it load nothing of other hosts, so that it could not show the picture otherwise.
    """
    service = exchange.service
    with service.engine.in_use():
        (file,) = await read_images([ImageInput(body.url, "url")], service)
        try:
            data = await service.in_picture_thread(lambda: _small(file))
        except InvalidImage as error:
            raise unusable_image("The picture cannot be read: it is damaged or too large.", "url") from error
    return Response(data, media_type="image/jpeg", headers={**exchange.headers, "cache-control": "no-store"})


@router.get("/console/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in ASSETS:
        raise ApiError(404, "invalid_request_error", "not_found", "Not Found.")
    return _asset(name, ASSETS[name])


def _small(file: bytes) -> bytes:
    image = load_image(file, target=(PICTURE_SIDE, PICTURE_SIDE))
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=90)
    return written.getvalue()


def _asset(name: str, media_type: str) -> Response:
    content = (files("siglip2.serve") / "console" / name).read_bytes()
    return Response(content, media_type=media_type, headers=HEADERS)
