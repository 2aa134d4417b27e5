"""What the routes share: the engine, the fetcher, the accounts, and how an answer is limited and charged.

The threads of `asyncio.to_thread` are for the accounts. Whatever callers can make slow has threads of its
own, or one of them would keep everybody waiting.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from siglip2.serve.accounts.charging import (
    Bill,
    OtherRequest,
    StillRunning,
    StoredAnswer,
    release,
    reserve,
    settle,
)
from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.keys import SCOPES
from siglip2.serve.accounts.label_sets import LabelSets
from siglip2.serve.accounts.ledger import NotEnoughCredit
from siglip2.serve.accounts.limits import OverHardLimit
from siglip2.serve.accounts.store import Caller, authenticate
from siglip2.serve.engine import Engine
from siglip2.serve.errors import ApiError, bad_request, out_of_credit, over_hard_limit, unauthorized
from siglip2.serve.fetch import Fetcher
from siglip2.serve.meter import start_meter
from siglip2.serve.metrics import Metrics
from siglip2.serve.models import Models
from siglip2.serve.mounts import Mounts
from siglip2.serve.rates import RateLimiter
from siglip2.serve.remembered import Remembered
from siglip2.serve.settings import ServeSettings

MAX_IDEMPOTENCY_KEY = 255

REMEMBERED_CHARACTERS = 20_000_000
"""Of labels and their prompts that were worked out before."""

PICTURE_THREADS = 2

Result = TypeVar("Result")

KINDS = {"classify": "classifications", "embed": "embeddings", "score": "scores", "search": "searches"}
"""How usage lists what a scope allows."""

_bearer = HTTPBearer(auto_error=False, description="A key of the service: `Authorization: Bearer sg2_...`")
_ANYONE = Caller(account_id=None, key_id=0, scopes=frozenset(SCOPES), requests_per_minute=None)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One running service, as one request sees it: with the model that the request means.

    Attributes:
        labels: those of earlier requests, as `routes.labels` has read them.
        picture_threads: see `in_picture_thread`.
        chosen: that model's name and engine; None stands for the default.
        asked_by: the account, or without accounts the network address, that shares fetches with others.
    """

    settings: ServeSettings
    models: Models
    fetcher: Fetcher
    metrics: Metrics
    database: Database | None
    rates: RateLimiter
    label_sets: LabelSets
    mounts: Mounts
    labels: Remembered[Any] = field(default_factory=lambda: Remembered(REMEMBERED_CHARACTERS))
    picture_threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(PICTURE_THREADS, thread_name_prefix="siglip2-pictures")
    )
    chosen: tuple[str, Engine] | None = None
    asked_by: str = ""

    async def in_picture_thread(self, work: Callable[[], Result]) -> Result:
        """Run what makes a small picture to look at, beside the threads that decode for the towers."""
        return await asyncio.get_running_loop().run_in_executor(self.picture_threads, work)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.chosen[0] if self.chosen else self.models.default

    @property
    def engine(self) -> Engine:
        """What runs the model; the same to the end of a request, also if the model is loaded anew."""
        return self.chosen[1] if self.chosen else self.models.engine(self.models.default)

    def with_model(self, name: str | None) -> "Service":
        """The service with the model of a request; nothing means the default.

        Raises:
            ApiError: 404, for a model that is not served.
        """
        model = self.models.resolve(name)
        if model is None:
            raise ApiError(
                404,
                "invalid_request_error",
                "model_not_found",
                f"This server has no model of that name; it serves {', '.join(self.models.names)}.",
                param="model",
            )
        return replace(self, chosen=(model, self.models.engine(model)))


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request whose caller is known and within the limits.

    Attributes:
        kind: how usage lists it.
        headers: for its answer.
    """

    service: Service
    caller: Caller
    request: Request
    kind: str
    headers: dict[str, str]

    def with_model(self, name: str | None) -> "Exchange":
        """The exchange with the model that the request names; see `Service.with_model`."""
        return replace(self, service=self.service.with_model(name))

    async def charged(
        self,
        work: Callable[[], Awaitable[dict[str, Any] | list[Any] | bytes]],
        *,
        images: int,
        texts: int,
        media_type: str = "application/json",
        content: bytes | None = None,
    ) -> Response:
        """Answer a request, and charge it exactly if it is answered.

        Args:
            work: makes the answer.
            images: that it embeds.
            texts: that it embeds.
            media_type: of the answer.
            content: what the request says, where its body says the same in other bytes at every attempt.

        Raises:
            ApiError: of the work; 503 without room; 429 without credit; 409 or 422 for an idempotency key
                in use.
        """
        # Before credit is held: turning away has to cost next to nothing, or a rush keeps the server busy.
        with self.service.engine.in_use(images=images):
            return await self._charged(work, images, texts, media_type, content)

    async def _charged(
        self,
        work: Callable[[], Awaitable[dict[str, Any] | list[Any] | bytes]],
        images: int,
        texts: int,
        media_type: str,
        content: bytes | None,
    ) -> Response:
        prices = self.service.settings.prices
        cost = images * prices.image + texts * prices.text
        bill = await self._bill(cost, images, texts, content)
        meter = start_meter()
        if bill is None or self.service.database is None:
            body = _encoded(await work())
            self.service.metrics.embedded(images=images, texts=texts)
            return Response(body, media_type=media_type, headers=self.headers)
        hold = await self._hold(bill)
        if isinstance(hold, StoredAnswer):
            headers = {**self.headers, "idempotent-replayed": "true", "x-credits-cost": "0"}
            return Response(hold.body, media_type=hold.media_type, headers=headers)
        database = self.service.database
        settled = False
        try:
            body = _encoded(await work())
            # Shielded: a client that leaves now has been served, and half a settlement would be worse.
            bill = replace(bill, tokens=meter.tokens)
            paying = asyncio.ensure_future(asyncio.to_thread(settle, database, bill, hold, body, media_type))
            settled = True
            balance = await asyncio.shield(paying)
        finally:
            if not settled:
                await asyncio.shield(asyncio.to_thread(release, database, hold))
        self.service.metrics.embedded(images=images, texts=texts)
        headers = {**self.headers, "x-credits-cost": str(cost), "x-credits-remaining": str(balance)}
        if balance < self.service.settings.low_credit:
            headers["x-credits-low"] = "true"
        return Response(body, media_type=media_type, headers=headers)

    async def _bill(self, cost: int, images: int, texts: int, content: bytes | None) -> Bill | None:
        if self.caller.account_id is None:
            return None
        name = self.request.headers.get("idempotency-key")
        if name is not None and not 0 < len(name) <= MAX_IDEMPOTENCY_KEY:
            raise bad_request("An idempotency key has 1 to 255 characters.", "Idempotency-Key")
        said = await self.request.body() if content is None else content
        digest = hashlib.sha256(self.request.url.path.encode() + b"\0" + said)
        return Bill(
            account_id=self.caller.account_id,
            key_id=self.caller.key_id,
            model=self.service.model,
            images=images,
            texts=texts,
            cost=cost,
            idempotency_key=name,
            request_hash=digest.hexdigest(),
            kind=self.kind,
        )

    async def _hold(self, bill: Bill) -> int | StoredAnswer:
        """Reserve; if the caller leaves meanwhile, the thread goes on, and what it holds is given back."""
        assert self.service.database is not None
        reserving = asyncio.ensure_future(self._reserve(bill))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            (hold,) = await asyncio.gather(reserving, return_exceptions=True)
            if isinstance(hold, int):
                await asyncio.shield(asyncio.to_thread(release, self.service.database, hold))
            raise

    async def _reserve(self, bill: Bill) -> int | StoredAnswer:
        assert self.service.database is not None
        try:
            return await asyncio.to_thread(reserve, self.service.database, bill)
        except OverHardLimit:
            raise over_hard_limit() from None
        except NotEnoughCredit:
            raise out_of_credit() from None
        except StillRunning:
            raise ApiError(
                409,
                "invalid_request_error",
                "request_in_progress",
                "A request with this idempotency key is being answered; ask again shortly.",
                headers={"retry-after": "1"},
            ) from None
        except OtherRequest:
            raise bad_request(
                "This idempotency key was used for another request.",
                "Idempotency-Key",
                "idempotency_key_reused",
            ) from None


def service_of(request: Request) -> Service:
    """The service that a request reached."""
    return request.app.state.service


def client_address(request: Request) -> str:
    """The network address that a request comes from; behind a proxy what uvicorn takes from the proxy."""
    return request.client.host if request.client is not None else ""


async def find_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Who sent a request.

    Raises:
        ApiError: 401 without a valid key.
    """
    service = service_of(request)
    if service.database is None:
        return _ANYONE
    if credentials is None:
        raise unauthorized("Send your key in the header: Authorization: Bearer sg2_...")
    caller = await asyncio.to_thread(authenticate, service.database, credentials.credentials)
    if caller is None:
        raise unauthorized("This key is not valid: it may be mistyped, expired or revoked.")
    return caller


def allowed(scope: str, kind: str | None = None) -> Callable[..., Awaitable[Exchange]]:
    """A dependency: the exchange of a caller whose key has a scope and is within its rate.

    Args:
        scope: that the key must have.
        kind: how usage lists the request; None as usual for the scope.
    """

    async def enter(
        request: Request, response: Response, caller: Annotated[Caller, Depends(find_caller)]
    ) -> Exchange:
        service = service_of(request)
        if scope not in caller.scopes:
            raise ApiError(
                403, "permission_error", "insufficient_scope", f"This key does not have the scope {scope!r}."
            )
        headers = await service.rates.hit(caller)
        request.state.headers = headers  # for an answer that fails, too
        response.headers.update(headers)  # for one that a route leaves to the framework
        listed = kind or KINDS[scope]
        asked_by = client_address(request) if caller.account_id is None else str(caller.account_id)
        service = replace(service, asked_by=asked_by)
        return Exchange(service=service, caller=caller, request=request, kind=listed, headers=headers)

    return enter


def _encoded(answer: dict[str, Any] | list[Any] | bytes) -> bytes:
    if isinstance(answer, bytes):
        return answer
    return orjson.dumps(answer)
