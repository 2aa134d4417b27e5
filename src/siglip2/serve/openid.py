"""OpenID Connect: the authorization code flow with PKCE, state and nonce, at the operator's provider.

The addresses asked here are the operator's own and those that its provider's document names; no caller has a
say in them. Pictures are fetched by `fetch`, to other rules.
"""

import secrets
from dataclasses import dataclass
from time import monotonic
from typing import Any

from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from siglip2.serve.sign_in_settings import SignInSettings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""Signatures by a key that the provider alone has: neither `none` nor a shared secret."""

SECONDS = 10.0
LEEWAY = 60
"""Seconds by which clocks may differ."""

KEEP_SECONDS = 3600.0
"""How long the provider's document and keys are kept."""


class OpenIdFailure(Exception):
    """The provider has not vouched for anybody; the text is for the log."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What ties an answer of the provider to the browser that was sent there."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> "Flow":
        """Fresh random values."""
        return cls(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
        )

    def dumps(self) -> str:
        """As a cookie holds it."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @classmethod
    def loads(cls, text: str) -> "Flow | None":
        """Of a cookie; None if it is none."""
        parts = text.split(".")
        if len(parts) != 3 or not all(parts):
            return None
        return cls(state=parts[0], nonce=parts[1], verifier=parts[2])


@dataclass(frozen=True, kw_only=True)
class Person:
    """Whom the provider vouches for.

    Attributes:
        issuer: the provider.
        subject: its name for the person, which never changes hands.
        email: if it tells.
        verified: whether it has checked the address; None if it does not say.
    """

    issuer: str
    subject: str
    email: str | None
    verified: bool | None


class Provider:
    """The operator's provider; its document and keys are asked for when they are needed."""

    def __init__(self, settings: SignInSettings):
        assert settings.openid_issuer is not None
        self._issuer = settings.openid_issuer
        self._settings = settings
        self._document: dict[str, Any] = {}
        self._keys = KeySet([])
        self._asked = 0.0

    async def authorization_url(self, flow: Flow, redirect_uri: str) -> str:
        """Where to send the browser.

        Raises:
            OpenIdFailure: the provider cannot be asked.
        """
        async with self._client(redirect_uri) as client:
            document = await self._known(client)
            url, _ = client.create_authorization_url(
                document["authorization_endpoint"],
                state=flow.state,
                nonce=flow.nonce,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
            )
        return url

    async def person(self, code: str, flow: Flow, redirect_uri: str) -> Person:
        """Whom a code stands for.

        Raises:
            OpenIdFailure: nobody, or the answer is not what it has to be.
        """
        async with self._client(redirect_uri) as client:
            document = await self._known(client)
            try:
                token = await client.fetch_token(
                    document["token_endpoint"], code=code, code_verifier=flow.verifier
                )
                claims = await self._verified(client, token["id_token"], flow.nonce)
                if "email" not in claims and "userinfo_endpoint" in document:
                    told = (await client.get(document["userinfo_endpoint"])).raise_for_status().json()
                    if told.get("sub") != claims["sub"]:
                        raise OpenIdFailure("the userinfo is about somebody else")
                    claims = {**told, **claims}
            except OpenIdFailure:
                raise
            except Exception as error:
                # Of the network, of the library, or of an answer that is no token.
                raise OpenIdFailure(f"the code was not exchanged: {type(error).__name__}") from error
        email, verified = claims.get("email"), claims.get("email_verified")
        return Person(
            issuer=self._issuer,
            subject=str(claims["sub"]),
            email=email if isinstance(email, str) else None,
            verified=verified if isinstance(verified, bool) else None,
        )

    async def _verified(self, client: Any, id_token: str, nonce: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(id_token, self._keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):
            await self._ask(client)  # the provider may have changed its keys
            claims = jwt.decode(id_token, self._keys, algorithms=ALGORITHMS).claims
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            sub={"essential": True},
            aud={"essential": True, "value": self._settings.openid_client_id},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(claims)
        if claims.get("azp", self._settings.openid_client_id) != self._settings.openid_client_id:
            raise OpenIdFailure("the token was made for another client")
        return claims

    def _client(self, redirect_uri: str) -> Any:
        settings = self._settings
        return AsyncOAuth2Client(
            settings.openid_client_id,
            settings.openid_client_secret or None,
            token_endpoint_auth_method="client_secret_basic" if settings.openid_client_secret else "none",
            scope="openid email",
            redirect_uri=redirect_uri,
            timeout=SECONDS,
            trust_env=False,
        )

    async def _known(self, client: Any) -> dict[str, Any]:
        if not self._document or monotonic() - self._asked > KEEP_SECONDS:
            try:
                await self._ask(client)
            except OpenIdFailure:
                raise
            except Exception as error:
                raise OpenIdFailure(f"the provider was not reached: {type(error).__name__}") from error
        return self._document

    async def _ask(self, client: Any) -> None:
        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = (await client.request("GET", address, withhold_token=True)).raise_for_status().json()
        if document.get("issuer") != self._issuer:
            raise OpenIdFailure("the provider calls itself by another name than SIGLIP2_OPENID_ISSUER")
        keys = (
            (await client.request("GET", document["jwks_uri"], withhold_token=True)).raise_for_status().json()
        )
        self._document, self._keys, self._asked = document, KeySet.import_key_set(keys), monotonic()
