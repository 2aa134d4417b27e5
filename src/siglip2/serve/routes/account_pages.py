"""`/account/keys`, `usage`, `ledger`: what an account sees of itself when it is signed in."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.account_keys import (
    CONSOLE,
    MAX_DAYS,
    MAX_REQUESTS_PER_MINUTE,
    add_key,
    last_days,
    list_keys,
    revoke_own_key,
)
from siglip2.serve.accounts.history import list_entries
from siglip2.serve.accounts.keys import SCOPES
from siglip2.serve.accounts.limits import MAX_LIMIT, read_limits, set_limits
from siglip2.serve.accounts.tables import ApiKey
from siglip2.serve.accounts.usage import sum_usage
from siglip2.serve.errors import ApiError, bad_request
from siglip2.serve.routes.answers import Listing
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.sessions import sentence
from siglip2.serve.routes.signed_in import Visitor, visitor

router = APIRouter(tags=["account"])

Visit = Annotated[Visitor, Depends(visitor)]
Scope = Literal["classify", "embed", "score", "search"]
Micro = Annotated[int | None, Field(ge=0, le=MAX_LIMIT, description="Micro-units in a month.")]


class KeyRequest(RequestBody):
    """A key to be made."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"name": "laptop", "scopes": ["classify"], "days": 90}]}
    )
    name: str = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(list(SCOPES), min_length=1)
    days: int | None = Field(None, ge=1, le=MAX_DAYS, description="Until it expires; null is never.")
    requests_per_minute: int | None = Field(None, ge=1, le=MAX_REQUESTS_PER_MINUTE)
    soft_limit: Micro = None
    hard_limit: Micro = None


class KeyAnswer(BaseModel):
    """A key; its secret only in the answer that made it."""

    id: int
    object: Literal["api_key"]
    name: str = Field(examples=["laptop"])
    shown: str = Field(examples=["sg2_AbCd...wXyZ"])
    console: bool = Field(description="Stands for the console itself, and cannot be used elsewhere.")
    scopes: list[str]
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    works: bool
    requests_per_minute: int | None
    soft_limit: int | None
    hard_limit: int | None
    last_used: str | None = Field(default=None, description="The latest day in UTC on which it was charged.")
    secret: str | None = None


class LimitsRequest(RequestBody):
    """What the account may spend in a month."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"soft_limit": 500_000, "hard_limit": 1_000_000}]}
    )
    soft_limit: Micro = None
    hard_limit: Micro = None


class LimitsAnswer(BaseModel):
    """Where the account stands this month, in micro-units."""

    object: Literal["limits"]
    spent: int = Field(description="With what running requests hold.")
    soft_limit: int | None = Field(description="Beyond it answers carry x-credits-low.")
    hard_limit: int | None = Field(description="Requests that would go beyond it get 429.")


class EntriesPage(BaseModel):
    """Lines of the ledger, the latest first."""

    object: Literal["list"]
    balance: int
    data: list[dict[str, Any]]
    has_more: bool


@router.get("/account/keys", response_model=Listing)
async def keys(visit: Visit) -> dict[str, Any]:
    """The account's keys, the revoked ones too, the latest first."""
    found = await asyncio.to_thread(list_keys, visit.database, visit.who.account_id)
    used = await asyncio.to_thread(last_days, visit.database, visit.who.account_id)
    answers = [_key(key).model_copy(update={"last_used": used.get(key.id)}) for key in found]
    return {"object": "list", "data": [answer.model_dump(mode="json") for answer in answers]}


@router.post("/account/keys", response_model=KeyAnswer, status_code=201)
async def make_key(body: KeyRequest, visit: Visit) -> KeyAnswer:
    """Make a key. Its secret is in this answer and never again."""

    def make() -> tuple[ApiKey, str]:
        with visit.database.transaction() as session:
            return add_key(session, visit.who.account_id, **body.model_dump())

    if "\0" in body.name:  # which PostgreSQL cannot store
        raise bad_request("The name cannot hold the character NUL.", "name")
    try:
        key, secret = await asyncio.to_thread(make)
    except InvalidInput as error:
        raise bad_request(sentence(error), None, "too_many_keys") from None
    return _key(key).model_copy(update={"secret": secret})


@router.delete("/account/keys/{key_id}", response_model=KeyAnswer)
async def revoke(key_id: Annotated[int, Path(ge=0, lt=2**63, examples=[1])], visit: Visit) -> KeyAnswer:
    """Switch a key off for good; requests that use it get 401 from now on."""
    key = await asyncio.to_thread(revoke_own_key, visit.database, visit.who.account_id, key_id)
    if key is None:
        raise ApiError(
            404, "invalid_request_error", "not_found", "There is no such key to revoke.", param="key_id"
        )
    return _key(key)


@router.get("/account/usage", response_model=Listing)
async def usage(visit: Visit, days: Annotated[int, Query(ge=1, le=366)] = 30) -> dict[str, Any]:
    """Sums of the last days by day, key and model."""
    today: date = datetime.now(UTC).date()
    first, last = (today - timedelta(days=days - 1)).isoformat(), today.isoformat()
    by = ("model", "api_key_id")
    sums = await asyncio.to_thread(
        sum_usage, visit.database, visit.who.account_id, first=first, last=last, by=by
    )
    data = [
        {
            "object": "usage",
            "day": each.day,
            "model": each.model,
            "key_id": each.api_key_id,
            "requests": each.requests,
            "images": each.images,
            "texts": each.texts,
            "tokens": each.tokens,
            "cost": each.cost,
        }
        for each in sums
    ]
    return {"object": "list", "data": data}


@router.get("/account/ledger", response_model=EntriesPage)
async def ledger(
    visit: Visit,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=0, lt=2**63, description="Only lines before this id.")] = None,
) -> dict[str, Any]:
    """Movements of the account's credit, the latest first, each with the balance it left."""
    lines = await asyncio.to_thread(list_entries, visit.database, visit.who.account_id, limit + 1, before)
    data = [
        {
            "object": "entry",
            "id": each.id,
            "created": each.created_at.isoformat(),
            "amount": each.amount,
            "balance": each.balance,
            "reason": each.reason,
        }
        for each in lines[:limit]
    ]
    return {"object": "list", "balance": visit.who.balance, "data": data, "has_more": len(lines) > limit}


@router.get("/account/limits", response_model=LimitsAnswer)
async def limits(visit: Visit) -> LimitsAnswer:
    """What the account has spent this month (UTC), and what it may."""
    found = await asyncio.to_thread(read_limits, visit.database, visit.who.account_id)
    return LimitsAnswer(object="limits", spent=found.spent, soft_limit=found.soft, hard_limit=found.hard)


@router.put("/account/limits", response_model=LimitsAnswer)
async def change_limits(body: LimitsRequest, visit: Visit) -> LimitsAnswer:
    """Set or (null) lift the limits of the account; those of a key are set as it is made."""
    account_id = visit.who.account_id
    await asyncio.to_thread(
        set_limits, visit.database, account_id, soft=body.soft_limit, hard=body.hard_limit
    )
    return await limits(visit)


def _key(key: ApiKey) -> KeyAnswer:
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return KeyAnswer(
        id=key.id,
        object="api_key",
        name=key.name,
        shown=key.shown,
        console=key.shown == CONSOLE,
        scopes=key.scopes.split(),
        created=key.created_at,
        expires=key.expires_at,
        revoked=key.revoked_at,
        works=key.revoked_at is None and not expired,
        requests_per_minute=key.requests_per_minute,
        soft_limit=key.soft_limit,
        hard_limit=key.hard_limit,
    )
