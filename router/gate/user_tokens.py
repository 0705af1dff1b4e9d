"""Verifies tokens of Supabase Auth by the project's keys, and returns their users.

A project signs with ES256 or RS256 and publishes the public keys at
`/auth/v1/.well-known/jwks.json`; an older one signs with HS256 and a shared secret
(https://supabase.com/docs/guides/auth/signing-keys). The token alone never chooses the algorithm:
each kind of key verifies only its own.
"""

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

import httpx
import jwt
from pydantic import SecretStr

from router.configuration.settings import Settings
from router.http.unauthorised import SignInAway, Unauthorised
from router.outbound.answers import read_json

_JWKS_PATH = "/auth/v1/.well-known/jwks.json"
_ISSUER_PATH = "/auth/v1"
_AUDIENCE = "authenticated"
_ALGORITHMS = ("ES256", "RS256")
_LEEWAY = 10.0  # seconds by which clocks may differ
_FRESH = 600.0  # seconds until the keys are fetched again
_PAUSE = 30.0  # seconds between two fetches because of unknown keys
_PAUSE_WITHOUT = 1.0  # seconds between two fetches while there are no keys at all
_PATIENCE = 5.0  # seconds for Supabase Auth to answer

_NO_TOKENS = (
    "tokens of Supabase Auth are not accepted here: set SUPABASE_URL or SUPABASE_JWT_SECRET, or"
    " use an API key"
)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Where the keys are, and the allowed issuer of tokens (None: anybody with the secret)."""

    jwks_url: str | None
    issuer: str | None
    secret: SecretStr | None


def token_rules(settings: Settings) -> TokenRules:
    """Return the rules of a configuration."""
    url = settings.supabase_url
    if url is None:
        return TokenRules(None, settings.supabase_jwt_issuer, settings.supabase_jwt_secret)
    return TokenRules(
        jwks_url=f"{url}{_JWKS_PATH}",
        issuer=settings.supabase_jwt_issuer or f"{url}{_ISSUER_PATH}",
        secret=settings.supabase_jwt_secret,
    )


class UserTokens:
    """Verifies tokens; caches the public keys for ten minutes, or longer if no new ones come."""

    def __init__(self, http: httpx.AsyncClient, rules: TokenRules) -> None:
        self._http = http
        self._rules = rules
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._asked_at = -_FRESH
        self._got_at = -_FRESH
        self._asking = asyncio.Lock()

    async def user_of(self, token: str) -> UUID:
        """Return the user's id. Raises Unauthorised, or SignInAway if no keys are available."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, RecursionError):
            raise Unauthorised("this is neither a known API key nor a token") from None
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._rules.secret is not None:
            return verified(
                token, self._rules.secret.get_secret_value(), "HS256", self._rules.issuer
            )
        if algorithm not in _ALGORITHMS or self._rules.jwks_url is None:
            raise Unauthorised(_refusal(algorithm, self._rules))
        key = await self._key(header.get("kid"), self._rules.jwks_url)
        if key is None or key.algorithm_name != algorithm:
            raise Unauthorised("the token is signed by a key that Supabase Auth does not have")
        return verified(token, key, algorithm, self._rules.issuer)

    async def _key(self, kid: str | None, url: str) -> jwt.PyJWK | None:
        if not self._knows(kid):
            async with self._asking:
                await self._renew(kid, url)
        if not self._keys:
            raise SignInAway("Supabase Auth does not give its public keys: try again soon")
        return self._keys.get(kid)

    def _knows(self, kid: str | None) -> bool:
        """Whether the cached key can be used: it is fresh, or newer ones are being fetched."""
        is_fresh = time.monotonic() - self._got_at <= _FRESH
        return kid in self._keys and (is_fresh or self._asking.locked())

    async def _renew(self, kid: str | None, url: str) -> None:
        """Fetch the keys, unless that was done recently: many junk tokens cause only one fetch."""
        now = time.monotonic()
        is_old = now - self._got_at > _FRESH
        pause = _PAUSE if self._keys else _PAUSE_WITHOUT
        if (is_old or kid not in self._keys) and now - self._asked_at > pause:
            try:
                await self._fetch(url)
            finally:
                self._asked_at = time.monotonic()

    async def _fetch(self, url: str) -> None:
        try:
            answer = await self._http.get(url, timeout=_PATIENCE, follow_redirects=False)
            answer.raise_for_status()
            found = read_json(answer.content)["keys"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return  # the known keys still verify
        self._keys = {key.key_id: key for key in _usable(found)}
        self._got_at = time.monotonic()


def verified(token: str, key: jwt.PyJWK | str, algorithm: str, issuer: str | None) -> UUID:
    """Return the token's user, if the key signed it and it is valid now.

    Raises Unauthorised, which says what is wrong. An anonymous or service key has no user.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=_AUDIENCE,
            issuer=issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "sub", "aud"], "enforce_minimum_key_length": False},
        )
        return UUID(claims["sub"])
    except jwt.ExpiredSignatureError:
        raise Unauthorised("the token has expired: sign in again, or refresh it") from None
    except jwt.InvalidTokenError as error:
        raise Unauthorised(f"the token is not valid: {error}") from None
    except (ValueError, RecursionError):
        raise Unauthorised("the token is not valid: its sub is not a user's id") from None


def end_of(token: str) -> float:
    """Return when a verified token expires, in seconds since 1970."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return float(claims["exp"]) + _LEEWAY


def _usable(found: object) -> list[jwt.PyJWK]:
    keys = []
    for entry in found if isinstance(found, list) else []:
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, TypeError, AttributeError):
            continue  # an unsupported kind of key
        if key.algorithm_name in _ALGORITHMS:
            keys.append(key)
    return keys


def _refusal(algorithm: object, rules: TokenRules) -> str:
    if rules.jwks_url is None and rules.secret is None:
        return _NO_TOKENS
    if algorithm == "HS256":
        return (
            "the token is signed with the legacy secret (HS256), which is not set:"
            " set SUPABASE_JWT_SECRET"
        )
    return "the token must be signed with ES256, RS256, or (SUPABASE_JWT_SECRET) HS256"
