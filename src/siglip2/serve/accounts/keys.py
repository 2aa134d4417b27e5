"""API keys: made, shown once, stored as a hash.

A key has 256 random bits, so that one pass of SHA-256 is enough and a slow hash would only cost time;
`passwords` has one for what people choose.
"""

import hashlib
import secrets
from dataclasses import dataclass

PREFIX = "sg2_"
SCOPES = ("classify", "embed", "score", "search")


@dataclass(frozen=True)
class NewKey:
    """A key in the only moment in which it is known.

    Attributes:
        secret: what the caller sends.
        shown: how lists name it.
        key_hash: what is stored.
    """

    secret: str
    shown: str
    key_hash: str


def make_key() -> NewKey:
    """A fresh random key."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return NewKey(secret, f"{secret[:8]}...{secret[-4:]}", hash_key(secret))


def hash_key(secret: str) -> str:
    """What is stored of a key, and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()
