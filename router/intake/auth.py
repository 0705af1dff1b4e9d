"""Checks whether the sender of a webhook knows the secret. Pure, and in constant time.

Evolution can present a secret in four ways: in our own header (`X-Webhook-Secret`) or as
`Authorization: Bearer <secret>`, both set in the webhook's `headers`; as `Authorization: Bearer
<JWT>`, an HS256 token signed with the secret, set by the special header `jwt_key`; or, in versions
that cannot send headers, as `?token=` in the URL. Several secrets may be valid at once, so that one
can be replaced while webhooks keep coming.

If no secret is configured, nothing is accepted.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum

import jwt
from jwt.types import Options

# Evolution makes the token once, valid for 600 s, and retries for some 20 minutes: at the last
# retry the token has been expired for a while.
JWT_LEEWAY_SECONDS = 25 * 60

_LONGEST_TOKEN = 4096
_HMAC_BLOCK_BYTES = 64
_SCHEME = "bearer "
# The library must not check times: it would use its own clock instead of the given one.
_OPTIONS: Options = {
    "require": ["exp"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Verdict(StrEnum):
    """The result, in words that may be logged."""

    ACCEPTED = "accepted"
    NO_SECRET_CONFIGURED = "no secret is configured"  # nosec B105  # noqa: S105 - says so
    NOTHING_PRESENTED = "no secret was presented"
    EXPIRED = "the token has expired"
    WRONG = "the secret is wrong"


def examine(
    headers: Mapping[str, str],
    query_token: str | None,
    secrets: Sequence[str],
    now: float,
    hashes: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on a request; every candidate is always compared with every secret.

    `now` is in Unix seconds. Never raises. `hashes` are secrets whose SHA-256 (in hex) is all that
    is known; they cannot verify a JWT.
    """
    known = [secret for secret in secrets if secret.strip()]
    if not known and not hashes:
        return Verdict.NO_SECRET_CONFIGURED
    plain, bearer = _presented(headers)
    candidates = [candidate for candidate in (*plain, *bearer, query_token) if candidate]
    if not candidates:
        return Verdict.NOTHING_PRESENTED
    verdicts = {_compare(candidate, secret) for candidate in candidates for secret in known}
    verdicts |= {_compare_hash(candidate, each) for candidate in candidates for each in hashes}
    verdicts |= {_verify(token, secret, now) for token in bearer for secret in known}
    for verdict in (Verdict.ACCEPTED, Verdict.EXPIRED):
        if verdict in verdicts:
            return verdict
    return Verdict.WRONG


def presents_anything(headers: Mapping[str, str], query_token: str | None) -> bool:
    """Whether the request contains any secret, right or wrong."""
    plain, bearer = _presented(headers)
    return any((*plain, *bearer, query_token))


def _presented(headers: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the content of our own header, and what follows "Bearer" in Authorization."""
    plain: list[str] = []
    bearer: list[str] = []
    for name, value in headers.items():
        match name.lower():
            case "x-webhook-secret":
                plain.append(value.strip())
            case "authorization" if value.lower().startswith(_SCHEME):
                bearer.append(value[len(_SCHEME) :].strip())
    return plain, bearer


def _compare(candidate: str, secret: str) -> Verdict:
    # Digests have one length, so the comparison reveals nothing about the secret's length.
    same = hmac.compare_digest(_digest(candidate), _digest(secret))
    return Verdict.ACCEPTED if same else Verdict.WRONG


def _compare_hash(candidate: str, known: str) -> Verdict:
    same = hmac.compare_digest(_digest(candidate).hex(), known)
    return Verdict.ACCEPTED if same else Verdict.WRONG


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _verify(token: str, secret: str, now: float) -> Verdict:
    """Judge a JWT `{iat, exp, app: "evolution", action: "webhook"}`, HS256 with the secret."""
    if token.count(".") != 2 or len(token) > _LONGEST_TOKEN or not token.isascii():
        return Verdict.WRONG
    # HMAC itself pads a short key with zeros. Padding it here only avoids the library's warning.
    key = secret.encode("utf-8", "surrogatepass").ljust(_HMAC_BLOCK_BYTES, b"\x00")
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], options=_OPTIONS)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return Verdict.WRONG
    if claims.get("app") != "evolution" or claims.get("action") != "webhook":
        return Verdict.WRONG
    expires = claims["exp"]
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return Verdict.WRONG
    return Verdict.ACCEPTED if now <= expires + JWT_LEEWAY_SECONDS else Verdict.EXPIRED
