"""Who is signed in: what the routes of `/account` ask first."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyCookie

from siglip2.serve.accounts.database import Database
from siglip2.serve.accounts.sessions import SESSION_PREFIX, SignedIn, find_session
from siglip2.serve.cookies import CSRF_HEADER, NAME
from siglip2.serve.errors import ApiError
from siglip2.serve.service import Service, service_of


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A request of somebody who is signed in.

    Attributes:
        service: the service.
        database: its accounts.
        who: whose session it is.
        token: of the session.
    """

    service: Service
    database: Database
    who: SignedIn
    token: str


def accounts_of(request: Request) -> Database:
    """The accounts.

    Raises:
        ApiError: 404, the service is open and has none.
    """
    database = service_of(request).database
    if database is None:
        raise ApiError(
            404, "invalid_request_error", "no_accounts", "This server is open to all and has no accounts."
        )
    return database


async def find_visitor(request: Request) -> Visitor | None:
    """Who is signed in; None for nobody. The token comes from the cookie, by way of `CookieDoor`."""
    database = service_of(request).database
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if database is None or scheme.lower() != "bearer" or not token.startswith(SESSION_PREFIX):
        return None
    who = await asyncio.to_thread(find_session, database, token)
    if who is None:
        return None
    return Visitor(service=service_of(request), database=database, who=who, token=token)


_COOKIE = APIKeyCookie(
    name=NAME,
    auto_error=False,
    description=f"Of signing in; over https `__Host-{NAME}`. Requests that change something also carry the "
    f"`csrf_token` of `/account/session` in the header `{CSRF_HEADER}`.",
)


async def visitor(request: Request, cookie: Annotated[str | None, Security(_COOKIE)] = None) -> Visitor:
    """A dependency: who is signed in.

    Raises:
        ApiError: 401, nobody is; 404, there are no accounts.
    """
    accounts_of(request)
    found = await find_visitor(request)
    if found is None:
        raise ApiError(
            401,
            "authentication_error",
            "not_signed_in",
            "Sign in first: the session is over, or there is none.",
        )
    return found
