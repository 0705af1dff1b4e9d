"""The callers of PostgREST: the role and the claims of a JWT (HS256)."""

import time
from collections.abc import Mapping
from typing import Any

import jwt

from loopback.supabase.answers import Refused

ANONYMOUS = "anon"
_CLOCKS_APART = 30  # seconds


def make_jwt(secret: str, role: str, sub: str | None = None, **claims: object) -> str:
    """Return a key or a session's token. It is valid for an hour unless `exp` is given."""
    now = int(time.time())
    payload = {"iss": "supabase", "role": role, "iat": now, "exp": now + 3600, **claims}
    if sub is not None:
        payload["sub"] = sub
    return jwt.encode(payload, secret, algorithm="HS256")


def read_claims(authorization: str | None, secret: str) -> Mapping[str, Any]:
    """Return the claims of a bearer token; they always contain a role. Raises Refused."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return {"role": ANONYMOUS}
    try:
        claims = jwt.decode(
            token, secret, algorithms=["HS256"], options={"verify_aud": False, "verify_iat": False}
        )
    except jwt.ExpiredSignatureError:
        raise Refused(401, "PGRST303", "JWT expired") from None
    except jwt.DecodeError:
        raise Refused(401, "PGRST301", "JWSError JWSInvalidSignature") from None
    except jwt.InvalidTokenError as error:
        raise Refused(401, "PGRST303", str(error)) from None
    issued = claims.get("iat")
    if isinstance(issued, int | float) and issued > time.time() + _CLOCKS_APART:
        raise Refused(401, "PGRST303", "JWT issued at future")
    return {"role": ANONYMOUS, **claims}
