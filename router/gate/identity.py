"""Determines who calls the API, by the credential. SQL decides what the caller may do.

There are three kinds of credentials: a key of API_KEYS, which may do everything; a key that
`create_api_key` made, of which the state knows the hash; and a token of Supabase Auth.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from router.gate.keys import caller_of
from router.gate.user_tokens import UserTokens, end_of
from router.http.unauthorised import Unauthorised
from router.logs.scrubber import shield_secret
from router.state.calls.operators import Claim

_PREFIX = "hfk_"
_RANDOM_BYTES = 32
_SHOWN = 12
_KEY = re.compile(r"hfk_[\w-]{43}", re.ASCII)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """A caller: `name` is for the log, `claim` is the `caller` that SQL's `as_operator` takes.

    `ends_at` is when a token expires, in seconds since 1970.
    """

    name: str
    claim: Claim
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A new key, and what the state stores of it."""

    key: SecretStr
    key_hash: str
    starts_with: str


def make_api_key() -> NewApiKey:
    """Make a key. It is long and random, so a plain hash of it cannot be reversed."""
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    key = SecretStr(text)
    shield_secret(key)
    return NewApiKey(key, _hash(text), text[:_SHOWN])


def script_caller(user: str) -> CallerIdentity:
    """Return a script as a caller; it has every right, because it has the configuration."""
    return CallerIdentity(user, {"kind": "script", "name": user})


async def identify(
    shown: str | None, keys: Mapping[str, SecretStr], tokens: UserTokens
) -> CallerIdentity:
    """Return the caller. Raises Unauthorised, and SignInAway for a token.

    Whether the state still knows a key is checked when the key is used, in the same transaction.
    """
    if not shown:
        raise Unauthorised(_needed(keys), code=_code(keys))
    if (name := caller_of(shown, keys)) is not None:
        return CallerIdentity(name, {"kind": "deployment", "name": name})
    if _KEY.fullmatch(shown):
        return CallerIdentity(shown[:_SHOWN], {"kind": "key", "key_hash": _hash(shown)})
    if _TOKEN.fullmatch(shown):
        user_id = await tokens.user_of(shown)
        claim: Claim = {"kind": "user", "user_id": str(user_id)}
        return CallerIdentity(f"user {user_id}", claim, end_of(shown))
    raise Unauthorised("this API key is not known", code=_code(keys))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _needed(keys: Mapping[str, SecretStr]) -> str:
    wanted = "an API key or a token of Supabase Auth is needed, as Authorization: Bearer"
    if keys:
        return f"{wanted}; a key also as X-API-Key"
    return f"{wanted}; API_KEYS is not configured: set API_KEYS=name:key"


def _code(keys: Mapping[str, SecretStr]) -> str:
    return "unauthorised" if keys else "no_api_keys_configured"
