"""What accounts have used, summed as they ask."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.tables import Usage

GROUPS = {"model": Usage.model, "api_key_id": Usage.key_id, "kind": Usage.kind}


@dataclass(frozen=True, kw_only=True)
class UsageSum:
    """Usage of one day, key, model and kind; what was not asked for apart is None.

    Attributes:
        day: in UTC, as 2026-01-31.
        requests: that were answered and charged.
        tokens: patches of images and tokens of texts.
        images: embedded.
        texts: embedded.
        cost: micro-units.
    """

    day: str
    model: str | None
    api_key_id: int | None
    kind: str | None
    requests: int
    tokens: int
    images: int
    texts: int
    cost: int


def sum_usage(
    database: Database,
    account_id: int,
    *,
    first: str,
    last: str,
    by: Sequence[str] = (),
    kinds: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    key_ids: Sequence[int] | None = None,
) -> list[UsageSum]:
    """Sums of an account by day, and by what else is named.

    Args:
        database: of the accounts.
        account_id: whose usage.
        first: the first day.
        last: the last day, which counts too.
        by: keys of `GROUPS`.
        kinds: only of these kinds.
        models: only of these models.
        key_ids: only of these keys.
    """
    groups = [Usage.day, *(GROUPS[name] for name in by)]
    conditions: list[ColumnElement[bool]] = [Usage.account_id == account_id, Usage.day.between(first, last)]
    for column, wanted in ((Usage.kind, kinds), (Usage.model, models), (Usage.key_id, key_ids)):
        if wanted is not None:
            conditions.append(column.in_(wanted))
    sums = [func.sum(column) for column in (Usage.tokens, Usage.images, Usage.texts, Usage.cost)]
    query = (
        select(*groups, func.count(Usage.id), *sums).where(*conditions).group_by(*groups).order_by(*groups)
    )
    with database.reading() as session:
        rows = session.execute(query).all()
    results = []
    for row in rows:
        own = dict(zip(by, row[1:], strict=False))
        # PostgreSQL sums to decimals.
        requests, tokens, images, texts, cost = (int(value) for value in row[len(groups) :])
        results.append(
            UsageSum(
                day=row[0],
                model=own.get("model"),
                api_key_id=own.get("api_key_id"),
                kind=own.get("kind"),
                requests=requests,
                tokens=tokens,
                images=images,
                texts=texts,
                cost=cost,
            )
        )
    return results
