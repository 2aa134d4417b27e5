"""Whether the service lives, is ready, and how it does."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from siglip2.serve.engine import Engine
from siglip2.serve.errors import overloaded
from siglip2.serve.routes.answers import Status
from siglip2.serve.service import Service, service_of

router = APIRouter(tags=["probes"])

PROBE_SECONDS = 10.0


@router.get("/health", response_model=Status)
@router.get("/ping", include_in_schema=False)
async def health(request: Request) -> dict[str, str]:
    """Every tower answers: looked at while all is well, a real pass of both once a batch has failed."""
    for _, engine in service_of(request).models:
        await _check(engine)
    return {"status": "ok"}


@router.get("/ready", response_model=Status)
async def ready(request: Request) -> dict[str, str]:
    """The models are warm and the database answers."""
    service = service_of(request)
    if not all(engine.ready for _, engine in service.models):
        raise overloaded("The model is being loaded.")
    try:
        await asyncio.to_thread(_ask_database, service)
    except SQLAlchemyError:
        raise overloaded("The database does not answer.") from None
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return PlainTextResponse(service_of(request).metrics.page(), media_type="text/plain; version=0.0.4")


async def _check(engine: Engine) -> None:
    if not (engine.images.alive and engine.texts.alive) or engine.stuck_seconds > PROBE_SECONDS:
        raise overloaded("The model does not answer.")
    if engine.in_trouble:
        # Trouble is over when a batch has gone well again, which this one may be.
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await engine.probe()
        except Exception:
            raise overloaded("The model does not answer.") from None


def _ask_database(service: Service) -> None:
    if service.database is not None:
        with service.database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
