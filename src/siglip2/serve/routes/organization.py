"""`/v1/organization/usage/...` and `/costs`: the caller's own account, in OpenAI's pages of daily buckets."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from siglip2.serve.accounts.store import Caller
from siglip2.serve.accounts.usage import UsageSum, sum_usage
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import Page
from siglip2.serve.routes.readers import reader
from siglip2.serve.service import service_of

router = APIRouter(tags=["usage"])

MICRO = 1_000_000
LAST_SECOND = 4102444800
"""The year 2100; times beyond are mistakes."""


class UsageKind(StrEnum):
    """Kinds of requests; the first two are OpenAI's own."""

    EMBEDDINGS = "embeddings"
    COMPLETIONS = "completions"
    CLASSIFICATIONS = "classifications"
    SCORES = "scores"
    SEARCHES = "searches"


Start = Annotated[int, Query(ge=0, le=LAST_SECOND, description="Seconds since 1970.", examples=[1767225600])]
End = Annotated[int | None, Query(ge=0, le=LAST_SECOND, description="Seconds since 1970; none is now.")]
Width = Annotated[Literal["1d"], Query(description="Days in UTC; nothing finer is kept.")]
Limit = Annotated[int, Query(ge=1, le=180, description="Buckets in a page.")]
PageOf = Annotated[
    str | None, Query(description="`next_page` of the page before.", pattern=r"^\d{4}-\d\d-\d\d$")
]
Known = Annotated[Caller, Depends(reader)]
Value = TypeVar("Value")


def _also(name: str) -> Any:
    """A list under the name that OpenAI's clients give it: `group_by[]`."""
    return Query(alias=f"{name}[]", include_in_schema=False)


def _both(plain: list[Value] | None, bracketed: list[Value] | None) -> list[Value] | None:
    return plain if bracketed is None else [*(plain or ()), *bracketed]


@router.get("/v1/organization/usage/{kind}", response_model=Page)
async def usage(
    kind: UsageKind,
    request: Request,
    caller: Known,
    start_time: Start,
    end_time: End = None,
    bucket_width: Width = "1d",
    group_by: Annotated[list[Literal["model", "api_key_id"]] | None, Query()] = None,
    models: Annotated[list[str] | None, Query()] = None,
    api_key_ids: Annotated[list[int] | None, Query()] = None,
    limit: Limit = 7,
    page: PageOf = None,
    group_by_: Annotated[list[Literal["model", "api_key_id"]] | None, _also("group_by")] = None,
    models_: Annotated[list[str] | None, _also("models")] = None,
    api_key_ids_: Annotated[list[int] | None, _also("api_key_ids")] = None,
) -> dict[str, Any]:
    """Requests of one kind by day, with their tokens."""
    by = list(dict.fromkeys(_both(group_by, group_by_) or ()))
    days, following = _days(start_time, end_time, limit, page)
    models, key_ids = _both(models, models_), _both(api_key_ids, api_key_ids_)
    sums = await _sums(request, caller, days, by=by, kinds=[kind], models=models, key_ids=key_ids)
    object_ = f"organization.usage.{kind.value}.result"
    return _page(days, following, sums, lambda each: _usage(object_, each))


@router.get("/v1/organization/costs", response_model=Page)
async def costs(
    request: Request,
    caller: Known,
    start_time: Start,
    end_time: End = None,
    bucket_width: Width = "1d",
    group_by: Annotated[list[Literal["line_item", "api_key_id"]] | None, Query()] = None,
    api_key_ids: Annotated[list[int] | None, Query()] = None,
    limit: Limit = 7,
    page: PageOf = None,
    group_by_: Annotated[list[Literal["line_item", "api_key_id"]] | None, _also("group_by")] = None,
    api_key_ids_: Annotated[list[int] | None, _also("api_key_ids")] = None,
) -> dict[str, Any]:
    """What the account has paid by day; a line item is a model and a kind of request."""
    groups = dict.fromkeys(_both(group_by, group_by_) or ())
    by = [name for each in groups for name in _LINE.get(each, (each,))]
    days, following = _days(start_time, end_time, limit, page)
    sums = await _sums(request, caller, days, by=by, key_ids=_both(api_key_ids, api_key_ids_))
    currency = service_of(request).settings.currency
    return _page(days, following, sums, lambda each: _cost(currency, each))


_LINE = {"line_item": ("model", "kind")}


def _days(start: int, end: int | None, limit: int, page: str | None) -> tuple[list[date], date | None]:
    """The days of a page, and the first one after it."""
    first = datetime.fromtimestamp(start, UTC).date()
    # The end is exclusive; of a day that has begun the whole bucket is given.
    until = datetime.now(UTC) if end is None else datetime.fromtimestamp(end, UTC) - timedelta(seconds=1)
    if end is not None and end <= start:
        raise bad_request("end_time must be after start_time.", "end_time")
    if page is not None:
        try:
            asked = date.fromisoformat(page)
        except ValueError:
            raise bad_request("There is no such page.", "page") from None
        if asked > datetime.fromtimestamp(LAST_SECOND, UTC).date():
            raise bad_request("There is no such page.", "page")
        first = max(first, asked)
    last = min(until.date(), first + timedelta(days=limit - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    following = last + timedelta(days=1)
    return days, following if days and following <= until.date() else None


async def _sums(request: Request, caller: Caller, days: list[date], **options: Any) -> list[UsageSum]:
    database = service_of(request).database
    if database is None or caller.account_id is None or not days:
        return []
    first, last = days[0].isoformat(), days[-1].isoformat()
    _check_ids(options.get("key_ids"))
    return await asyncio.to_thread(sum_usage, database, caller.account_id, first=first, last=last, **options)


def _check_ids(ids: list[int] | None) -> None:
    if any(not 0 <= each < 2**63 for each in ids or ()):
        raise bad_request("There is no key of that number.", "api_key_ids")


def _page(days: list[date], following: date | None, sums: list[UsageSum], result: Any) -> dict[str, Any]:
    data = [
        {
            "object": "bucket",
            "start_time": _seconds(day),
            "end_time": _seconds(day + timedelta(days=1)),
            "results": [result(each) for each in sums if each.day == day.isoformat()],
        }
        for day in days
    ]
    return {
        "object": "page",
        "data": data,
        "has_more": following is not None,
        "next_page": following and following.isoformat(),
    }


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _usage(object_: str, each: UsageSum) -> dict[str, Any]:
    return {
        "object": object_,
        "input_tokens": each.tokens,
        "num_model_requests": each.requests,
        "num_images": each.images,
        "num_texts": each.texts,
        "project_id": None,
        "user_id": None,
        "api_key_id": None if each.api_key_id is None else str(each.api_key_id),
        "model": each.model,
    }


def _cost(currency: str, each: UsageSum) -> dict[str, Any]:
    line = None if each.model is None else f"{each.model}, {each.kind or 'requests'}"
    return {
        "object": "organization.costs.result",
        "amount": {"value": each.cost / MICRO, "currency": currency},
        "line_item": line,
        "project_id": None,
        "api_key_id": None if each.api_key_id is None else str(each.api_key_id),
    }
