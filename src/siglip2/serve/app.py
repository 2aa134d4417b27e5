"""The FastAPI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from threadpoolctl import threadpool_limits

from siglip2 import __version__
from siglip2.encoder import Encoder, load
from siglip2.errors import InvalidInput
from siglip2.serve.accounts.charging import release_all
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.label_sets import RememberedLabelSets, StoredLabelSets
from siglip2.serve.attempts import Attempts
from siglip2.serve.cookies import CookieDoor
from siglip2.serve.engine import Engine
from siglip2.serve.errors import ApiError, bad_request
from siglip2.serve.fetch import Fetcher
from siglip2.serve.gate import Gate
from siglip2.serve.metrics import Metrics
from siglip2.serve.models import Models
from siglip2.serve.mounts import Mounts
from siglip2.serve.notices import NoticeDoor
from siglip2.serve.open_door import OpenDoor
from siglip2.serve.rates import RateLimiter
from siglip2.serve.routes import (
    account_pages,
    admin,
    chat,
    classify,
    cohere,
    console,
    embeddings,
    heatmap,
    huggingface,
    label_sets,
    openid,
    organization,
    probes,
    rerank,
    score,
    search,
    sessions,
    vector_stores,
    voyage,
)
from siglip2.serve.routes import (
    models as model_list,
)
from siglip2.serve.routes.answers import ABOUT, REASONS, failures
from siglip2.serve.service import Service
from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

ROUTERS = (
    classify,
    heatmap,
    label_sets,
    embeddings,
    score,
    rerank,
    cohere,
    voyage,
    chat,
    huggingface,
    search,
    vector_stores,
    model_list,
    organization,
    admin,
    sessions,
    account_pages,
    openid,
    probes,
    console,
)


PROBE_FAILURES = (413, 500, 503, 504)


def create_app(
    settings: ServeSettings | None = None,
    *,
    encoder: Encoder | None = None,
    fetcher: Fetcher | None = None,
    load_model: Callable[[str], Encoder] = load,
    make_engine: Callable[[Encoder], Engine] | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: None for the defaults, with accounts in a SQLite file of the working folder.
        encoder: the default model; None loads it as the others.
        fetcher: of image URLs; None makes one from the settings.
        load_model: makes the models of the settings, and makes them again when they are reloaded.
        make_engine: what runs a model; None for its towers in this process.

    Raises:
        Siglip2Error: a model or a collection cannot be opened.
    """
    settings = settings or ServeSettings()
    models = Models(settings, load_model, encoder, make_engine)
    metrics = Metrics(models)
    database = None if settings.open else Database(settings.database)
    service = Service(
        settings=settings,
        models=models,
        fetcher=fetcher or Fetcher(settings.fetch),
        metrics=metrics,
        database=database,
        rates=RateLimiter(settings),
        label_sets=RememberedLabelSets() if database is None else StoredLabelSets(database),
        mounts=Mounts(settings.collections, models),
    )

    attempts = Attempts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service.database is not None:
            service.database.migrate()
            if service.database.url.startswith("sqlite"):
                # Its only process begins: what is still held was held by one that died.
                release_all(service.database)
        await models.start()
        # After a product of many labels the threads of numpy's linear algebra spin for a while, on the cores
        # that the next image's tower needs: a request of 1,000 labels slowed it by a half.
        with threadpool_limits(1, user_api="blas"):
            yield
        await models.stop()
        service.picture_threads.shutdown(wait=True, cancel_futures=True)
        service.mounts.close()
        await service.rates.close()
        await attempts.close()
        if service.database is not None:
            service.database.close()

    app = FastAPI(
        title="SigLIP 2",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # see routes.console
        redoc_url=None,
    )
    app.state.service = service
    app.state.attempts = attempts
    app.state.openid = _openid(settings.sign_in)
    app.state.heatmaps = heatmap.Queue()
    for module in ROUTERS:
        statuses = PROBE_FAILURES if module is probes else REASONS
        app.include_router(module.router, responses=failures(*statuses))
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    if database is None:
        app.add_middleware(OpenDoor, settings=settings.sign_in)
    else:
        app.add_middleware(NoticeDoor)
        app.add_middleware(CookieDoor, settings=settings.sign_in)
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    return app


def _openid(settings: SignInSettings) -> object | None:
    if settings.openid_issuer is None:
        return None
    try:
        from siglip2.serve.openid import Provider
    except ModuleNotFoundError as error:
        raise InvalidInput(f"OpenID needs {error.name}: pip install 'siglip2[openid]'") from error
    return Provider(settings)


async def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    headers = {**getattr(request.state, "headers", {}), **error.headers}
    return JSONResponse(error.body(), error.status, headers=headers)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's 422 as 400, with the first fault's place as a JSON path."""
    assert isinstance(error, RequestValidationError)
    fault: dict[str, Any] = error.errors()[0] if error.errors() else {}
    path = ""
    for step in fault.get("loc", ())[1:]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    missing = fault.get("type") == "missing"
    if fault.get("type") == "json_invalid":
        return await _on_api_error(request, bad_request("The body is not valid JSON.", None, "invalid_json"))
    message = f"{fault.get('msg', 'The request is not valid')}."
    failure = bad_request(message, path.lstrip(".") or None, "missing" if missing else "invalid_value")
    return await _on_api_error(request, failure)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Routing's own errors, such as 404 and 405."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    failure = ApiError(error.status_code, "invalid_request_error", code, f"{phrase}.")
    failure.headers.update({name.lower(): value for name, value in (error.headers or {}).items()})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        failure.headers["allow"] = _methods(request)
    return await _on_api_error(request, failure)


def _methods(request: Request) -> str:
    """All that a path takes; the router itself names those of the first route only."""
    found: set[str] = set()
    for module in ROUTERS:
        for route in module.router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(request.url.path):
                found |= route.methods or set()
    return ", ".join(sorted(found))
