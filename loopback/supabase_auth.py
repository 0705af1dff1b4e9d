"""Supabase Auth for programs that verify its tokens: public keys, and signed tokens.

The keys are published like at `/auth/v1/.well-known/jwks.json`. Claims and headers are those of
hosted projects (https://supabase.com/docs/guides/auth/jwts).
"""

import json
import time
from typing import Any, Literal
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.server import LoopbackServer

Algorithm = Literal["ES256", "RS256"]


class SupabaseAuth(LoopbackServer):
    """Signs in users at a test's request. `asked` counts requests for the keys."""

    def __init__(self, algorithm: Algorithm = "ES256") -> None:
        self.asked = 0
        self.is_away = False
        self.published: list[dict[str, Any]] = []
        self._algorithm: Algorithm = algorithm
        self.rotate(algorithm)
        route = Route("/auth/v1/.well-known/jwks.json", self._keys)
        super().__init__(Starlette(routes=[route]))

    def rotate(self, algorithm: Algorithm = "ES256") -> None:
        """Sign with a new key from now on; the old one stays published."""
        self._algorithm = algorithm
        self._kid = str(uuid4())
        if algorithm == "ES256":
            self._key: Any = ec.generate_private_key(ec.SECP256R1())
            public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key())
        else:
            self._key = rsa.generate_private_key(65537, 2048)
            public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key())
        described = {"alg": algorithm, "kid": self._kid, "use": "sig", "key_ops": ["verify"]}
        self.published.append({**json.loads(public), **described})

    def token(self, user_id: str, **changes: Any) -> str:
        """Return the token of a signed-in user; None removes a claim."""
        return jwt.encode(
            _given({**self.claims(user_id), **changes}),
            self._key,
            algorithm=self._algorithm,
            headers={"kid": self._kid},
        )

    def claims(self, user_id: str) -> dict[str, Any]:
        """Return a token's claims about a user."""
        now = int(time.time())
        return {
            "iss": f"{self.url}/auth/v1",
            "sub": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + 3600,
            "email": "ana@padaria.example",
            "session_id": str(uuid4()),
            "is_anonymous": False,
        }

    async def _keys(self, _: Request) -> Response:
        self.asked += 1
        if self.is_away:
            return JSONResponse({"message": "upstream"}, status_code=503)
        return JSONResponse({"keys": self.published})


def legacy_token(claims: dict[str, Any], secret: str) -> str:
    """Return a token signed with the legacy secret."""
    return jwt.encode(_given(claims), secret, algorithm="HS256")


def _given(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}
