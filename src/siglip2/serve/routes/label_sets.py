"""`/v1/label_sets`: labels saved under a name, which `/v1/classify` then takes as `label_set`."""

import asyncio
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import ConfigDict, Field

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.label_sets import MAX_SETS
from siglip2.serve.errors import ApiError, bad_request, too_large
from siglip2.serve.routes.answers import Deleted, LabelSetAnswer, LabelSetPage
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.labels import num_prompts, parse_labels
from siglip2.serve.service import Exchange, Service, allowed

router = APIRouter(tags=["label sets"])

MAX_BYTES = 1024**2
"""Of one set as it is stored."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

Caller = Annotated[Exchange, Depends(allowed("classify"))]
Name = Annotated[str, Path(pattern=f"^{NAME}$", examples=["pets"])]


class LabelSetRequest(RequestBody):
    """Labels, and how they become texts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "pets", "labels": ["cat", "dog"], "template": "a photo of a {label}"}]
        }
    )
    name: str = Field(pattern=f"^{NAME}$", description="One that exists is replaced.")
    labels: list[str | dict[str, Any]] = Field(description="As in /v1/classify.")
    template: str | None = None


@router.post("/v1/label_sets", response_model=LabelSetAnswer)
async def save(body: LabelSetRequest, exchange: Caller) -> dict[str, Any]:
    """Save labels under a name."""
    service = exchange.service
    labels = parse_labels(service, body.labels, body.template, "labels")
    content = {"labels": body.labels, "template": body.template}
    if len(json.dumps(content)) > MAX_BYTES:
        raise too_large(f"A label set has at most {MAX_BYTES} bytes.", "labels")
    try:
        created = await asyncio.to_thread(
            service.label_sets.put, exchange.caller.account_id, body.name, content
        )
    except InvalidInput as error:
        raise bad_request(str(error), "name") from None
    return {**_object(body.name, content, created), "num_prompts": num_prompts(labels)}


@router.get("/v1/label_sets", response_model=LabelSetPage)
async def list_all(
    exchange: Caller,
    limit: Annotated[int, Query(ge=1, le=MAX_SETS)] = 100,
    after: Annotated[str | None, Query(pattern=f"^{NAME}$", description="Only later names.")] = None,
) -> dict[str, Any]:
    """The account's label sets by name, without their labels, which each says when it is asked for."""
    account = exchange.caller.account_id
    saved = await asyncio.to_thread(exchange.service.label_sets.list, account, limit=limit + 1, after=after)
    data = [
        {
            "id": name,
            "object": "label_set",
            "name": name,
            "created": int(created.timestamp()),
            "num_labels": num_labels,
        }
        for name, num_labels, created in saved[:limit]
    ]
    return {"object": "list", "data": data, "has_more": len(saved) > limit}


@router.get("/v1/label_sets/{name}", response_model=LabelSetAnswer, response_model_exclude_unset=True)
async def show(name: Name, exchange: Caller) -> dict[str, Any]:
    """One label set."""
    return _object(name, *await find_label_set(exchange.service, exchange.caller.account_id, name, "name"))


@router.delete("/v1/label_sets/{name}", response_model=Deleted)
async def forget(name: Name, exchange: Caller) -> dict[str, Any]:
    """Delete a label set."""
    account = exchange.caller.account_id
    if not await asyncio.to_thread(exchange.service.label_sets.delete, account, name):
        raise _missing("name")
    return {"id": name, "object": "label_set.deleted", "deleted": True}


async def find_label_set(
    service: Service, account_id: int | None, name: str, param: str
) -> tuple[dict[str, Any], datetime]:
    """A set of an account: `labels` and `template`, and when it was saved.

    Raises:
        ApiError: 404, there is none of that name.
    """
    found = await asyncio.to_thread(service.label_sets.get, account_id, name)
    if found is None:
        raise _missing(param)
    return found


def _missing(param: str) -> ApiError:
    return ApiError(
        404,
        "invalid_request_error",
        "label_set_not_found",
        "There is no label set of that name.",
        param=param,
    )


def _object(name: str, content: dict[str, Any], created: datetime) -> dict[str, Any]:
    return {
        "id": name,
        "object": "label_set",
        "name": name,
        "created": int(created.timestamp()),
        "labels": content["labels"],
        "template": content["template"],
    }
