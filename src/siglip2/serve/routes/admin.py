"""`/v1/admin`: what only the operator may do."""

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.store import Caller
from siglip2.serve.accounts.tables import Account
from siglip2.serve.errors import ApiError
from siglip2.serve.routes.answers import Reloaded
from siglip2.serve.service import Service, find_caller, service_of

router = APIRouter(tags=["admin"])
log = logging.getLogger("siglip2.serve")


async def admin_only(request: Request, caller: Annotated[Caller, Depends(find_caller)]) -> Service:
    """A dependency: the service, for the key of an admin; for anybody where it is open, on loopback.

    Raises:
        ApiError: 403 for others.
    """
    service = service_of(request)
    if service.database is not None and (
        caller.account_id is None
        or not await asyncio.to_thread(_is_admin, service.database, caller.account_id)
    ):
        raise ApiError(403, "permission_error", "admin_only", "Only the operator's own keys may do this.")
    return service


@router.post("/v1/admin/models/{name:path}/reload", response_model=Reloaded)
async def reload(
    name: Annotated[str, Path(examples=["nano"])], service: Annotated[Service, Depends(admin_only)]
) -> dict[str, Any]:
    """Load a model again from where it came, while requests go on."""
    model = service.with_model(name).model
    try:
        engine = await service.models.reload(model)
    except Exception:  # whatever a damaged file makes of the reading, the old model goes on
        log.exception("model %s was not loaded anew", model)
        raise ApiError(
            409,
            "invalid_request_error",
            "reload_failed",
            "The model could not be loaded; the one from before goes on. The log says why.",
            headers={"x-should-retry": "false"},
        ) from None
    return {"id": model, "object": "model.reloaded", "fingerprint": engine.encoder.fingerprint}


def _is_admin(database: Database, account_id: int) -> bool:
    with database.reading() as session:
        account = session.get(Account, account_id)
        return account is not None and account.role == "admin"
