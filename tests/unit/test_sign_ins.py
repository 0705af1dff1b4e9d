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

from router.configuration.settings import load_settings
from router.gate.cookies import CookieKeys
from router.gate.opening import cookies, sign_ins
from router.gate.sign_ins import FOR_TLS, LIFE, WITHOUT_TLS, Cookie, Cookies, SignIns

SECRET = SecretStr("sealing-key-0123456789abcdef0123")
KEY = "hfk_" + "a" * 43
OURS = SignIns([SECRET])


def key_in(sealed: str, *, now: float | None = None, ours: SignIns = OURS) -> str | None:
    sign_in = ours.opened(sealed, now=now)
    return None if sign_in is None else sign_in.key


def test_what_is_sealed_is_the_key_again_until_its_end():
    sealed = OURS.make(KEY, now=1000)
    assert KEY not in sealed
    assert key_in(sealed, now=1000 + LIFE - 1) == KEY
    assert key_in(sealed, now=1000 + LIFE) is None
    both = SignIns([SecretStr("another-key-0123456789abcdef0123"), SECRET])
    assert key_in(sealed, now=1, ours=both) == KEY


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        KEY,
        f"99999999999:{KEY}",
        "sealed:",
        "sealed:x",
        "sealed:2:x",
        "sealed:1:",
        "sealed:1:00000000:AAAA",
        SignIns([SecretStr("another-key-0123456789abcdef0123")]).make(KEY),
    ],
)
def test_what_we_did_not_seal_is_nothing(cookie: str):
    assert key_in(cookie) is None


def test_without_a_secret_there_are_no_sign_ins():
    without = SignIns([])
    assert not without.are_possible
    assert without.opened(f"99999999999:{KEY}") is None
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


@pytest.mark.parametrize(
    ("public_url", "origin", "given", "read"),
    [
        ("https://r.example", "https://r.example", FOR_TLS, [FOR_TLS]),
        ("https://r.example", None, FOR_TLS, [FOR_TLS]),
        ("https://r.example", "http://localhost:8000", FOR_TLS, [FOR_TLS]),
        ("http://router:8000", "https://r.example", FOR_TLS, [FOR_TLS, WITHOUT_TLS]),
        ("http://router:8000", "http://10.0.0.7:8000", WITHOUT_TLS, [FOR_TLS, WITHOUT_TLS]),
        ("", "HTTPS://r.example", FOR_TLS, [FOR_TLS, WITHOUT_TLS]),
        ("", "http://localhost:8000", WITHOUT_TLS, [FOR_TLS, WITHOUT_TLS]),
        ("", "null", WITHOUT_TLS, [FOR_TLS, WITHOUT_TLS]),
        ("", None, WITHOUT_TLS, [FOR_TLS, WITHOUT_TLS]),
    ],
)
def test_a_page_that_came_by_tls_gets_the_cookie_for_tls(
    public_url: str, origin: str | None, given: Cookie, read: list[Cookie]
):
    ours = cookies(load_settings({"PUBLIC_URL": public_url}, env_file=None))
    assert ours.of_page(origin) == given
    assert list(ours.read) == read


def test_nothing_but_the_sealing_key_seals_a_sign_in():
    """The webhook secret is known to Evolution, too: who has it must not be able to make one."""
    shared = {"EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET.get_secret_value()}
    assert not sign_ins(load_settings(shared, env_file=None)).are_possible
    both = load_settings(
        {**shared, "SECRETS_KEY": "another-key-0123456789abcdef0123"}, env_file=None
    )
    assert sign_ins(both).are_possible
    assert sign_ins(both).opened(OURS.make(KEY)) is None


async def shown(request: Request) -> JSONResponse:
    key = request.headers.get("x-api-key")
    status = 401 if key in (None, "hfk_revoked") and "gone" in request.query_params else 200
    return JSONResponse({"key": key}, status_code=status)


def guarded(*, are_https: bool = False) -> ASGIApp:
    methods = ["GET", "POST", "DELETE"]
    routes = [Route(path, shown, methods=methods) for path in ("/api/x", "/api/session", "/other")]
    return CookieKeys(Starlette(routes=routes), OURS, Cookies(are_https=are_https))


async def asked(
    method: str = "GET",
    path: str = "/api/x",
    *,
    key: str = KEY,
    cookie: str | None = None,
    public: str = "http",
    **headers: str,
) -> httpx.Response:
    kept = f"a=b; hybridflow={OURS.make(key)}; c=d" if cookie is None else cookie
    given = {"Cookie": kept}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(guarded(are_https=public == "https"))
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
    answer = await asked(path="/api/x?gone", key="hfk_revoked")
    assert answer.status_code == 401
    assert answer.headers["Set-Cookie"].startswith("hybridflow=; Max-Age=0;")
    assert "Set-Cookie" not in (await asked()).headers


async def test_a_cookie_that_is_none_is_forgotten_where_it_does_not_do():
    for cookie in ("hybridflow=x", "hybridflow=sealed:x", f"hybridflow={OURS.make(KEY, now=0)}"):
        answer = await asked(path="/api/x?gone", cookie=cookie)
        assert answer.status_code == 401
        assert answer.headers["Set-Cookie"].startswith("hybridflow=; Max-Age=0;")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_page_signs_nobody_out(site: str):
    """Its call goes without the key and is refused: that says nothing of the sign-in."""
    answer = await asked(path="/api/x?gone", Sec_Fetch_Site=site)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_sign_in_neither_renews_itself_nor_needs_its_key_to_end(method: str):
    answer = await asked(method, "/api/session?gone", Sec_Fetch_Site="same-origin")
    assert answer.json() == {"key": None}
    assert "Set-Cookie" not in answer.headers
    other = await asked(method, "/api/session", X_API_Key="own", Sec_Fetch_Site="same-origin")
    assert other.json() == {"key": "own"}


async def test_the_cookie_for_tls_comes_first_and_alone_where_the_address_is_https():
    plain, tls = OURS.make("hfk_plain"), OURS.make("hfk_tls")
    both = f"hybridflow={plain}; __Host-hybridflow={tls}"
    for public in ("http", "https"):
        assert (await asked(cookie=both, public=public)).json() == {"key": "hfk_tls"}
    only = f"hybridflow={plain}"
    assert (await asked(cookie=only)).json() == {"key": "hfk_plain"}
    assert (await asked(cookie=only, public="https")).json() == {"key": None}
    dropped = await asked(path="/api/x?gone", cookie="__Host-hybridflow=x")
    assert dropped.headers["Set-Cookie"].startswith("__Host-hybridflow=; Max-Age=0;")
