"""`/account/openid`: to the operator's OpenID provider and back."""

import asyncio
import hmac
import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.identities import NoSuchAccount, NotLinked, account_of
from siglip2.serve.accounts.sessions import begin_session
from siglip2.serve.cookies import base_url, cookie_token, is_secure, set_cookie
from siglip2.serve.errors import ApiError
from siglip2.serve.routes.signed_in import accounts_of
from siglip2.serve.service import service_of

router = APIRouter(include_in_schema=False)
log = logging.getLogger("siglip2.serve")

FLOW_SECONDS = 600
"""How long somebody may take at the provider."""

CALLBACK = "/account/openid/callback"


@router.get("/account/openid")
async def begin(request: Request) -> Response:
    """Send the browser to the provider."""
    from siglip2.serve.openid import Flow, OpenIdFailure

    provider = _provider(request)
    flow = Flow.begin()
    try:
        url = await provider.authorization_url(flow, _redirect_uri(request))
    except OpenIdFailure as error:
        log.warning("OpenID: %s", error)
        return _back("openid_failed")
    answer = RedirectResponse(url, 303)
    _set_flow(answer, request, flow.dumps())
    return answer


@router.get(CALLBACK)
async def callback(
    request: Request,
    code: Annotated[str | None, Query(max_length=4096)] = None,
    state: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    """Take what the provider says, begin a session, and show the console."""
    from siglip2.serve.openid import Flow, OpenIdFailure

    provider, database = _provider(request), accounts_of(request)
    settings = service_of(request).settings.sign_in
    flow = Flow.loads(request.cookies.get(_flow_name(request), ""))
    if flow is None or state is None or not hmac.compare_digest(flow.state.encode(), state.encode()):
        return _forget(_back("openid_state"), request)
    if code is None:
        return _forget(_back("openid_denied"), request)
    try:
        person = await provider.person(code, flow, _redirect_uri(request))
        if person.email is None:
            return _forget(_back("openid_email"), request)
        account_id = await asyncio.to_thread(
            account_of,
            database,
            issuer=person.issuer,
            subject=person.subject,
            email=person.email,
            verified=person.verified,
            credit=settings.sign_up_credit,
        )
    except OpenIdFailure as error:
        log.warning("OpenID: %s", error)
        return _forget(_back("openid_failed"), request)
    except (NoSuchAccount, InvalidInput):
        return _forget(_back("openid_failed"), request)
    except NotLinked:
        return _forget(_back("openid_taken"), request)
    old = cookie_token(request, settings)
    token = await asyncio.to_thread(begin_session, database, account_id, instead_of=old)
    answer = _forget(RedirectResponse("/console", 303), request)
    set_cookie(answer, request, settings, token)
    return answer


def _provider(request: Request):
    """The provider, as `create_app` has made it.

    Raises:
        ApiError: 404, there is none.
    """
    accounts_of(request)
    provider = request.app.state.openid
    if provider is None:
        raise ApiError(404, "invalid_request_error", "not_found", "This server has no OpenID provider.")
    return provider


def _redirect_uri(request: Request) -> str:
    return base_url(request, service_of(request).settings.sign_in) + CALLBACK


def _flow_name(request: Request) -> str:
    secure = is_secure(request, service_of(request).settings.sign_in)
    return "__Host-siglip2-openid" if secure else "siglip2-openid"


def _set_flow(answer: Response, request: Request, value: str) -> None:
    answer.set_cookie(
        _flow_name(request),
        value,
        max_age=FLOW_SECONDS if value else 0,
        path="/",
        secure=is_secure(request, service_of(request).settings.sign_in),
        httponly=True,
        samesite="lax",  # the provider's redirect comes from another site
    )


def _forget(answer: Response, request: Request) -> Response:
    """One answer of the provider for each time that we have asked."""
    _set_flow(answer, request, "")
    return answer


def _back(problem: str) -> Response:
    """To the console, which has a sentence for the problem."""
    return RedirectResponse(f"/console?problem={problem}#/sign-in", 303)
