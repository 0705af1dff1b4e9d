"""Finds the caller of the API by its key. Pure, and in constant time."""

import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr


def caller_of(shown: str, keys: Mapping[str, SecretStr]) -> str | None:
    """Return the name of the sent key, or None.

    Every key is compared, even after a match, by digests of one length, so the time reveals
    nothing.
    """
    digest = _digest(shown)
    caller = None
    for name, key in keys.items():
        if hmac.compare_digest(digest, _digest(key.get_secret_value())):
            caller = name
    return caller


def same_secret(shown: str, secret: SecretStr) -> bool:
    """Whether `shown` is the secret, in constant time."""
    return hmac.compare_digest(_digest(shown), _digest(secret.get_secret_value()))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
