"""What an operator can set about signing up and signing in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.ledger import MAX_BALANCE

PREFIX = "SIGLIP2_"


@dataclass(frozen=True, kw_only=True)
class SignInSettings:
    """Read from the environment, where containers keep settings and secrets.

    Attributes:
        sign_up: whether anybody may make an account with a password (SIGLIP2_SIGN_UP, 1 or 0).
        sign_up_credit: micro-units that a new account begins with (SIGLIP2_SIGN_UP_CREDIT).
        public_url: where browsers find the service, without a path (SIGLIP2_PUBLIC_URL); None takes what each
            request says.
        attempts: to sign in, of one e-mail address from one network address in five minutes
            (SIGLIP2_SIGN_IN_ATTEMPTS).
        openid_issuer: URL of the OpenID provider (SIGLIP2_OPENID_ISSUER); None is without.
        openid_client_id: the service's name there (SIGLIP2_OPENID_CLIENT_ID).
        openid_client_secret: and its secret (SIGLIP2_OPENID_CLIENT_SECRET).
        openid_name: what the console calls the provider (SIGLIP2_OPENID_NAME).
    """

    sign_up: bool = True
    sign_up_credit: int = 1_000_000
    public_url: str | None = None
    attempts: int = 5
    openid_issuer: str | None = None
    openid_client_id: str = ""
    openid_client_secret: str = field(default="", repr=False)
    openid_name: str = "single sign-on"

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            InvalidInput: a setting is not what it has to be.
        """
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
                raise InvalidInput(f"the public URL is like https://host.example, not {self.public_url!r}")
        if self.openid_issuer is not None and not self.openid_client_id:
            raise InvalidInput("an OpenID provider needs a client: set SIGLIP2_OPENID_CLIENT_ID")
        if self.openid_issuer is not None:
            issuer = urlsplit(self.openid_issuer)
            if issuer.scheme != "https" and issuer.hostname not in ("127.0.0.1", "::1", "localhost"):
                raise InvalidInput(f"an OpenID provider is at https://..., not {self.openid_issuer!r}")
        if not 0 <= self.sign_up_credit <= MAX_BALANCE or self.attempts < 1:
            raise InvalidInput(
                f"credit on sign-up is 0 to {MAX_BALANCE} micro-units, and attempts to sign in are at least 1"
            )

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings that the environment names; the defaults for all others.

        Raises:
            InvalidInput: a setting is not what it has to be.
        """
        given = os.environ if environment is None else environment
        found: dict[str, object] = {}
        for name in (
            "public_url",
            "openid_issuer",
            "openid_client_id",
            "openid_client_secret",
            "openid_name",
        ):
            if given.get(PREFIX + name.upper()):
                found[name] = given[PREFIX + name.upper()]
        for name, variable in (("sign_up_credit", "SIGN_UP_CREDIT"), ("attempts", "SIGN_IN_ATTEMPTS")):
            text = given.get(PREFIX + variable)
            if text:
                if not text.isascii() or not text.isdigit():
                    raise InvalidInput(f"{PREFIX}{variable} is a whole number, not {text!r}")
                found[name] = int(text)
        switch = given.get(f"{PREFIX}SIGN_UP")
        if switch:
            if switch not in ("0", "1"):
                raise InvalidInput(f"{PREFIX}SIGN_UP is 1 or 0, not {switch!r}")
            found["sign_up"] = switch == "1"
        return cls(**found)  # pyright: ignore[reportArgumentType]
