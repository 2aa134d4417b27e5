"""Whether the service lives, is ready, and how it does."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from siglip2.serve.errors import overloaded
from siglip2.serve.service import Service, service_of

router = APIRouter(tags=["probes"])

PROBE_SECONDS = 10.0


@router.get("/health")
@router.get("/ping", include_in_schema=False)
async def health(request: Request) -> dict[str, str]:
    """Both towers answer: a real pass, unless requests keep them busy at this moment."""
    engine = service_of(request).engine
    if not (engine.images.alive and engine.texts.alive):
        raise overloaded("The model does not answer.")
    if not engine.images_in_flight:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await engine.probe()
        except Exception:
            raise overloaded("The model does not answer.") from None
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """The model is warm and the database answers."""
    service = service_of(request)
    if not service.engine.ready:
        raise overloaded("The model is being loaded.")
    try:
        await asyncio.to_thread(_ask_database, service)
    except SQLAlchemyError:
        raise overloaded("The database does not answer.") from None
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return PlainTextResponse(service_of(request).metrics.page(), media_type="text/plain; version=0.0.4")


def _ask_database(service: Service) -> None:
    if service.database is not None:
        with service.database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
