"""Warnings about weak secrets, which are allowed. No warning contains the secret."""

import base64
import binascii
import json
import re

from pydantic import SecretStr

_SHORTEST = 16
_FEWEST_DIFFERENT = 6
# The keys in the example configurations of Evolution API 2.x and 1.x: they are public.
_WELL_KNOWN = frozenset({"429683C4C977415CAAFCCE10F7D57E11", "B6D711FCDE4D4FD5936544120E713976"})
_PLACEHOLDER = re.compile(r"your[-_]|change[-_ ]?me|mude[-_ ]?me|\.\.\.|<.*>|-here$", re.IGNORECASE)
_MAKE_ONE = "make one with: openssl rand -hex 32"


def weakness(secret: SecretStr) -> str | None:
    """Return why one of the deployment's secrets can be guessed, and the fix; None: it cannot."""
    value = secret.get_secret_value()
    if value.upper() in _WELL_KNOWN:
        return f"is the key of Evolution API's example configuration, known to all: {_MAKE_ONE}"
    if is_placeholder(secret):
        return f"is an example's text, known to all: {_MAKE_ONE}"
    if len(value) < _SHORTEST:
        return f"is shorter than {_SHORTEST} characters: {_MAKE_ONE}"
    if len(set(value)) < _FEWEST_DIFFERENT:
        return f"repeats a few characters: {_MAKE_ONE}"
    return None


def is_placeholder(secret: SecretStr) -> bool:
    """Whether this is the placeholder of an example, not a secret."""
    return _PLACEHOLDER.search(secret.get_secret_value()) is not None


def supabase_role(key: SecretStr) -> str | None:
    """Return the role that a Supabase key has, or None if the key has no known form.

    Keys are JWTs (base64, `eyJ…`) with a `role`; newer ones are `sb_secret_…` and
    `sb_publishable_…`. The JWT is only read here. Supabase verifies it.
    """
    value = key.get_secret_value()
    if value.startswith("sb_secret_"):
        return "service_role"
    if value.startswith("sb_publishable_"):
        return "anon"
    role = _claims(value).get("role")
    return role if isinstance(role, str) else None


def _claims(jwt: str) -> dict[str, object]:
    parts = jwt.split(".")
    if len(parts) != 3:
        return {}
    payload = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
