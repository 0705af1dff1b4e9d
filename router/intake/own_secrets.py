"""A tenant's own webhook secrets: made here, shown once, stored as their SHA-256."""

import hashlib
import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from router.logs.scrubber import shield_secret

_PREFIX = "whs_"
_RANDOM_BYTES = 32
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A new secret, and what the state stores of it."""

    secret: SecretStr
    secret_hash: str
    ends_with: str


def make_secret() -> NewSecret:
    """Make a secret. It is long and random, so a plain hash of it cannot be reversed."""
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    secret = SecretStr(text)
    shield_secret(secret)
    return NewSecret(secret, secret_hash(text), text[-_SHOWN:])


def secret_hash(text: str) -> str:
    """Return the SHA-256 of a presented secret, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
