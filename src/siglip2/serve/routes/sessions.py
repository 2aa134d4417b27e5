"""`/account/sign-up`, `sign-in`, `sign-out`, `session`, `password`: accounts with a password."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.passwords import MAX_EMAIL, checked_email, find_by_password, set_password
from siglip2.serve.accounts.sessions import begin_session, csrf_token, end_other_sessions, end_session
from siglip2.serve.accounts.store import EmailTaken, create_account, operator_without_password
from siglip2.serve.attempts import Attempts
from siglip2.serve.cookies import cookie_token, set_cookie
from siglip2.serve.errors import ApiError, bad_request
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.signed_in import Visitor, accounts_of, find_visitor, visitor
from siglip2.serve.service import client_address, service_of

router = APIRouter(tags=["account"])


class Credentials(RequestBody):
    """Who signs up or in."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"email": "ada@example.org", "password": "correct horse battery"}]},
    )
    email: str = Field(max_length=MAX_EMAIL)
    password: str


class NewPassword(RequestBody):
    """Another password, and the one so far."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"current": "correct horse battery", "new": "staple correct horse"}]},
    )
    current: str | None = Field(None, description="The one so far, if there is one.")
    new: str


class SignedInAs(BaseModel):
    """An account, as it sees itself."""

    email: str = Field(examples=["ada@example.org"])
    role: str = Field(examples=["user"])
    balance: int = Field(description="Micro-units.")
    has_password: bool


class SessionAnswer(BaseModel):
    """Who is signed in, and what signing in takes here."""

    object: Literal["session"]
    accounts: bool = Field(description="False where the server is open and needs none.")
    sign_up: bool = Field(description="Whether anybody may make an account.")
    openid: str | None = Field(description="What the OpenID provider is called, if there is one.")
    account: SignedInAs | None = Field(description="Null for nobody.")
    csrf_token: str | None = Field(description="For the header x-csrf-token of requests that change things.")
    currency: str = Field(description="What a million micro-units are called.")


@router.get("/account/session", response_model=SessionAnswer)
async def session(request: Request) -> JSONResponse:
    """Who is signed in, with the token that the pages send along."""
    return JSONResponse(_answer(request, await find_visitor(request)), headers={"cache-control": "no-store"})


@router.post("/account/sign-up", response_model=SessionAnswer, status_code=201)
async def sign_up(request: Request, body: Credentials) -> JSONResponse:
    """Make an account with its first credit, and sign in."""
    database, attempts, service = accounts_of(request), attempts_of(request), service_of(request)
    settings = service.settings.sign_in
    if not settings.sign_up:
        raise ApiError(
            403, "permission_error", "sign_up_closed", "The operator makes the accounts of this server."
        )
    await attempts.sign_up(client_address(request))
    try:
        email = checked_email(body.email)
    except InvalidInput as error:
        raise bad_request(sentence(error), "email") from None
    try:
        async with attempts.hashing:
            account_id = await asyncio.to_thread(
                create_account,
                database,
                email,
                password=body.password,
                credit=settings.sign_up_credit,
            )
    except EmailTaken:
        raise ApiError(
            409,
            "invalid_request_error",
            "email_taken",
            "There is an account of this e-mail address already: sign in instead.",
            param="email",
        ) from None
    except InvalidInput as error:
        raise bad_request(sentence(error), "password") from None
    return await begin(request, account_id, 201)


@router.post("/account/sign-in", response_model=SessionAnswer)
async def sign_in(request: Request, body: Credentials) -> JSONResponse:
    """Sign in; the answer sets a cookie. It is the same for a wrong address and a wrong password."""
    database, attempts = accounts_of(request), attempts_of(request)
    await attempts.sign_in(client_address(request), body.email)
    async with attempts.hashing:
        account_id = await asyncio.to_thread(find_by_password, database, body.email, body.password)
    if account_id is None:
        raise ApiError(
            401, "authentication_error", "wrong_credentials", "The e-mail address or the password is wrong."
        )
    return await begin(request, account_id)


@router.post("/account/sign-out", response_model=SessionAnswer)
async def sign_out(request: Request, visit: Annotated[Visitor, Depends(visitor)]) -> JSONResponse:
    """Sign out: the token is worth nothing from now on, whoever has a copy."""
    await asyncio.to_thread(end_session, visit.database, visit.who.session_id)
    answer = JSONResponse(_answer(request, None))
    set_cookie(answer, request, visit.service.settings.sign_in, None)
    return answer


@router.put("/account/password", response_model=SessionAnswer)
async def password(request: Request, body: NewPassword) -> JSONResponse:
    """Change the password, or set the first one; all other sessions of the account end.

    Instead of a session the key of an operator will do, for an account that has no password yet.
    """
    database, attempts = accounts_of(request), attempts_of(request)
    found = await find_visitor(request)
    account_id = await _operator(request) if found is None else found.who.account_id
    if found is not None and found.who.has_password:
        await attempts.sign_in(client_address(request), found.who.email)
        async with attempts.hashing:
            known = await asyncio.to_thread(find_by_password, database, found.who.email, body.current or "")
        if known != account_id:
            raise ApiError(
                403, "permission_error", "wrong_password", "The password so far is wrong.", param="current"
            )
    try:
        async with attempts.hashing:
            await asyncio.to_thread(set_password, database, account_id, body.new)
    except InvalidInput as error:
        raise bad_request(sentence(error), "new") from None
    kept = found.who.session_id if found is not None else None
    await asyncio.to_thread(end_other_sessions, database, account_id, kept)
    return JSONResponse(_answer(request, await find_visitor(request)))


async def begin(request: Request, account_id: int, status: int = 200) -> JSONResponse:
    """A fresh session for an account; a token that the browser had before is over."""
    service, database = service_of(request), accounts_of(request)
    settings = service.settings.sign_in
    token = await asyncio.to_thread(
        begin_session, database, account_id, instead_of=cookie_token(request, settings)
    )
    request.scope["headers"] = [
        *(pair for pair in request.scope["headers"] if pair[0] != b"authorization"),
        (b"authorization", f"Bearer {token}".encode()),
    ]
    fresh = Request(request.scope)
    answer = JSONResponse(_answer(fresh, await find_visitor(fresh)), status)
    answer.headers["cache-control"] = "no-store"
    set_cookie(answer, request, settings, token)
    return answer


def attempts_of(request: Request) -> Attempts:
    """The limits of trying."""
    return request.app.state.attempts


def sentence(error: Exception) -> str:
    """A message as an answer says it."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


async def _operator(request: Request) -> int:
    """The operator's account, by its key, as long as it has no password."""
    _, _, secret = request.headers.get("authorization", "").partition(" ")
    account_id = await asyncio.to_thread(operator_without_password, accounts_of(request), secret)
    if account_id is None:
        raise ApiError(401, "authentication_error", "not_signed_in", "Sign in first, to change the password.")
    return account_id


def _answer(request: Request, found: Visitor | None) -> dict[str, Any]:
    service = service_of(request)
    settings = service.settings.sign_in
    has_accounts = service.database is not None
    account = None
    if found is not None:
        who = found.who
        account = SignedInAs(
            email=who.email, role=who.role, balance=who.balance, has_password=who.has_password
        ).model_dump()
    return {
        "object": "session",
        "accounts": has_accounts,
        "sign_up": has_accounts and settings.sign_up,
        "openid": settings.openid_name if has_accounts and settings.openid_issuer else None,
        "account": account,
        "csrf_token": csrf_token(found.token) if found is not None else None,
        "currency": service.settings.currency,
    }
