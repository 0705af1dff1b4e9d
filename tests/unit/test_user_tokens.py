"""How often Supabase Auth is asked for its keys, whatever tokens are shown."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.gate import user_tokens
from router.gate.user_tokens import TokenRules, UserTokens
from router.http.unauthorised import SignInAway, Unauthorised

USER = "5f0c1a52-0000-4000-8000-000000000001"
ISSUER = "http://auth/auth/v1"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())) | {"kid": "ours"}


def junk(number: int) -> str:
    """A token of the right form, by a key that nobody has."""
    head = orjson.dumps({"alg": "ES256", "kid": f"nobodys-{number}"})
    return f"{urlsafe_b64encode(head).decode().rstrip('=')}.e30.c2ln"


def right() -> str:
    claims = {"sub": USER, "aud": "authenticated", "iss": ISSUER, "exp": 4_000_000_000}
    return jwt.encode(claims, KEY, "ES256", headers={"kid": "ours"})


class Auth:
    """Supabase Auth, as far as its keys go; `go` lets it answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False
        self.go = asyncio.Event()
        self.go.set()
        self.app = Starlette(routes=[Route("/jwks", self._answer)])

    async def _answer(self, _: Request) -> Response:
        self.asked += 1
        await self.go.wait()
        return Response(status_code=503) if self.is_away else JSONResponse({"keys": [PUBLIC]})


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
async def tokens(auth: Auth) -> AsyncIterator[UserTokens]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(auth.app)) as http:
        yield UserTokens(http, TokenRules("http://auth/jwks", ISSUER, None))


async def shown(tokens: UserTokens, *several: str) -> list[object]:
    return await asyncio.gather(*map(tokens.user_of, several), return_exceptions=True)


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_tokens_of_keys_that_nobody_has_are_one_question(auth: Auth, tokens: UserTokens):
    await tokens.user_of(right())
    answers = await shown(tokens, *map(junk, range(100)))
    assert {type(answer) for answer in answers} == {Unauthorised}
    assert auth.asked == 1  # a moment ago


async def test_while_supabase_auth_is_away_tokens_are_one_question(auth: Auth, tokens: UserTokens):
    auth.is_away = True
    answers = await shown(tokens, right(), *map(junk, range(100)))
    assert {type(answer) for answer in answers} == {SignInAway}
    assert auth.asked == 1


async def test_it_is_asked_again_soon_after_it_was_away(
    auth: Auth, tokens: UserTokens, monkeypatch: pytest.MonkeyPatch
):
    auth.is_away = True
    await shown(tokens, right())
    auth.is_away = False
    monkeypatch.setattr(user_tokens, "_PAUSE_WITHOUT", 0.0)
    assert str(await tokens.user_of(right())) == USER


@pytest.mark.parametrize("fresh", [600.0, 0.0])
async def test_a_token_that_is_known_waits_for_no_junk(
    auth: Auth, tokens: UserTokens, monkeypatch: pytest.MonkeyPatch, fresh: float
):
    await tokens.user_of(right())
    monkeypatch.setattr(user_tokens, "_PAUSE", 0.0)
    monkeypatch.setattr(user_tokens, "_FRESH", fresh)
    auth.go.clear()
    waiting = asyncio.create_task(shown(tokens, *map(junk, range(5))))
    await settled()
    known = asyncio.create_task(tokens.user_of(right()))
    await settled()
    assert known.done()
    auth.go.set()
    await waiting
