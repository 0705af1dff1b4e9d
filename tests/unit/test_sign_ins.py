"""A key becomes a cookie: sealed, with an end, of no use to other sites' pages."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from router.gate.cookies import CookieKeys
from router.gate.sign_ins import LIFE, Cookie, SignIns

SECRET = SecretStr("sealing-key-0123456789abcdef0123")
KEY = "hfk_" + "a" * 43
OURS = SignIns([SECRET])
COOKIE = Cookie(is_https=False)


def test_what_is_sealed_is_the_key_again_until_its_end():
    sealed = OURS.make(KEY, now=1000)
    assert KEY not in sealed
    assert OURS.key_of(sealed, now=1000 + LIFE - 1) == KEY
    assert OURS.key_of(sealed, now=1000 + LIFE) is None
    assert (
        SignIns([SecretStr("another-key-0123456789abcdef0123"), SECRET]).key_of(sealed, now=1)
        == KEY
    )


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        KEY,
        f"99999999999:{KEY}",
        "sealed:1:",
        "sealed:1:00000000:AAAA",
        SignIns([SecretStr("another-key-0123456789abcdef0123")]).make(KEY),
    ],
)
def test_what_we_did_not_seal_is_nothing(cookie: str):
    assert OURS.key_of(cookie) is None


def test_without_a_secret_there_are_no_sign_ins():
    without = SignIns([])
    assert not without.are_possible
    assert without.key_of(f"99999999999:{KEY}") is None
    with pytest.raises(ValueError, match="SECRETS_KEY"):
        without.make(KEY)


def test_the_cookie_is_for_no_script_no_other_site_and_on_https_for_tls_alone():
    for is_https in (False, True):
        cookie = Cookie(is_https=is_https)
        for header in (cookie.kept("x"), cookie.dropped):
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(header.split("; "))
            assert ("; Secure" in header) is is_https
            assert header.startswith("__Host-") is is_https
            assert "Domain" not in header


async def shown(request: Request) -> JSONResponse:
    key = request.headers.get("x-api-key")
    status = 401 if key == "hfk_revoked" else 200
    return JSONResponse({"key": key}, status_code=status)


def guarded() -> ASGIApp:
    routes = [Route("/api/x", shown, methods=["GET", "POST", "DELETE"]), Route("/other", shown)]
    return CookieKeys(Starlette(routes=routes), OURS, COOKIE)


async def asked(
    method: str = "GET", path: str = "/api/x", *, key: str = KEY, **headers: str
) -> httpx.Response:
    given = {"Cookie": f"a=b; hybridflow={OURS.make(key)}; c=d"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(guarded())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
        return await http.request(method, path, headers=given)


async def test_a_sign_in_stands_for_its_key():
    assert (await asked()).json() == {"key": KEY}
    assert (await asked(Sec_Fetch_Site="same-origin")).json() == {"key": KEY}
    assert (await asked(Sec_Fetch_Site="none")).json() == {"key": KEY}  # typed by the person


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_pages_call_has_no_key(site: str):
    assert (await asked(Sec_Fetch_Site=site)).json() == {"key": None}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Sec_Fetch_Site": "same-site", "Origin": "http://localhost:8000"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_what_changes_anything_needs_a_page_of_our_own(
    method: str, headers: dict[str, str], status: int
):
    answer = await asked(method, **headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "foreign_page"


@pytest.mark.parametrize(
    "headers", [{"X_API_Key": "own"}, {"Authorization": "Bearer own", "X_API_Key": "own"}]
)
async def test_who_shows_a_key_is_called_by_that(headers: dict[str, str]):
    answer: Any = await asked("POST", Origin="https://page.example", **headers)
    assert answer.json() == {"key": "own"}


async def test_only_the_api_is_called_so():
    assert (await asked(path="/other")).json() == {"key": None}


async def test_a_sign_in_whose_key_has_ended_is_forgotten():
    answer = await asked(key="hfk_revoked")
    assert answer.status_code == 401
    assert answer.headers["Set-Cookie"].startswith("hybridflow=; Max-Age=0;")
    assert "Set-Cookie" not in (await asked()).headers
