"""`GET /v1/models`, and what the caller has used."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request

from siglip2.serve.accounts.store import Caller, usage_by_day
from siglip2.serve.routes.answers import Listing, ModelEntry
from siglip2.serve.routes.readers import reader
from siglip2.serve.service import Service, find_caller, service_of

router = APIRouter(tags=["models"])

CREATED = 1740000000
"""The month in which SigLIP 2 came out."""


@router.get("/v1/models", response_model=Listing)
async def list_models(request: Request, caller: Annotated[Caller, Depends(find_caller)]) -> dict[str, Any]:
    """The served models, the default also under its other names."""
    service = service_of(request)
    names = dict.fromkeys((*service.models.names, *service.settings.aliases))
    return {"object": "list", "data": [_model(service, name) for name in names]}


@router.get("/v1/models/{name:path}", response_model=ModelEntry)
async def get_model(
    name: str, request: Request, caller: Annotated[Caller, Depends(find_caller)]
) -> dict[str, Any]:
    """One model."""
    service = service_of(request)
    return _model(service, name)


@router.get("/v1/usage", response_model=Listing)
async def usage(request: Request, caller: Annotated[Caller, Depends(reader)]) -> dict[str, Any]:
    """What the caller's account used, by day, key and model."""
    database = service_of(request).database
    if database is None or caller.account_id is None:
        return {"object": "list", "data": []}
    return {"object": "list", "data": await asyncio.to_thread(usage_by_day, database, caller.account_id)}


def _model(service: Service, name: str) -> dict[str, Any]:
    engine = service.with_model(name).engine
    encoder = engine.encoder
    config = encoder.checkpoint.config
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": "siglip2",
        "capabilities": ["embed", "classify", "score"],
        "modalities": ["text", "image"],
        "embedding_dim": encoder.embed_dim,
        "max_text_tokens": config.text.context_length,
        "max_num_patches": config.vision.max_num_patches if config.vision.naflex else None,
        "image_size": config.vision.image_size,
        "backend": encoder.runtime.name,
        "dtype": encoder.runtime.precision,
        "ready": engine.ready,
    }
