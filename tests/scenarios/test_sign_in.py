"""Signing in, in a browser: over real HTTP, through everything that a call passes."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.clients import patient
from tests.routers import API_KEY, environment, running_router

OWN = {"Sec-Fetch-Site": "same-origin"}
SHOP = {"instance_name": "shop", "evo_server_url": "https://evolution.example.com"}


@pytest.fixture
async def browser(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    env = environment(database_url, SECRETS_KEY="a-sealing-key-for-the-tests-0123456789")
    async with running_router(env) as url, patient(base_url=url) as browser:
        yield browser


async def signed_in(browser: httpx.AsyncClient, key: str = API_KEY) -> httpx.Response:
    return await browser.post("/api/session", headers={"X-API-Key": key, **OWN})


async def test_a_key_becomes_a_cookie_that_does_what_the_key_may(browser: httpx.AsyncClient):
    assert (await browser.get("/api/me")).status_code == 401
    answer = await signed_in(browser)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"kind": "deployment", "name": "tests", "role": "admin", "roles": []}
    cookie = answer.headers["Set-Cookie"]
    assert API_KEY not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert (await browser.get("/api/me")).json()["name"] == "tests"
    made = await browser.post("/api/tenants", json=SHOP, headers=OWN)
    assert made.status_code == 201, made.text


async def test_another_sites_page_changes_nothing_with_it(browser: httpx.AsyncClient):
    await signed_in(browser)
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://localhost:3000"}):
        refused = await browser.post("/api/tenants", json=SHOP, headers=headers)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "foreign_page"
    assert (await browser.get("/api/tenants")).json()["items"] == []


async def test_signing_out_has_the_cookie_forgotten(browser: httpx.AsyncClient):
    await signed_in(browser)
    assert (await browser.delete("/api/session", headers=OWN)).status_code == 204
    assert not browser.cookies
    assert (await browser.get("/api/me")).status_code == 401


async def test_a_wrong_key_signs_nobody_in(browser: httpx.AsyncClient):
    for key in ("wrong", "hfk_" + "a" * 43):
        answer = await signed_in(browser, key)
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers


async def test_a_revoked_key_ends_what_was_signed_in_with_it(browser: httpx.AsyncClient):
    boss = {"X-API-Key": API_KEY}
    await browser.post("/api/tenants", json=SHOP, headers=boss)
    making = {"name": "ana", "role": "viewer", "tenant_ids": [1]}
    made = (await browser.post("/api/api-keys", json=making, headers=boss)).json()
    answer = await signed_in(browser, made["key"])
    assert answer.json()["roles"] == [{"tenant_id": 1, "instance_name": "shop", "role": "viewer"}]
    assert (await browser.get("/api/me")).status_code == 200
    revoked = await browser.post(f"/api/api-keys/{made['id']}/revoke", headers=boss)
    assert revoked.status_code == 200, revoked.text
    gone = await browser.get("/api/me")
    assert gone.status_code == 401
    assert not browser.cookies
