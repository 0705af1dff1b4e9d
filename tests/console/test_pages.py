"""Every page of the console as a browser has it: nothing forbidden, nothing foreign, usable."""

from itertools import product
from typing import Literal

import pytest
from playwright.async_api import Error, Page, Route

from tests.console.conftest import NARROW, WIDE, Opens
from tests.console.npm import axe_findings
from tests.routers import API_KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAGES = ("/console", "/try")
LANGUAGES = {"en-US": "en", "pt-BR": "pt-BR", "es-MX": "es"}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_breaks_no_rule_in_any_size_look_and_language(opens: Opens, path: str):
    faults: dict[tuple[str, int, str], list[str]] = {}
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for language, width, scheme in product(LANGUAGES, (NARROW, WIDE), schemes):
        async with opens(path, width=width, scheme=scheme, language=language) as seen:
            looks = await _faults_of_look(seen.page, language, width, scheme)
            if found := [*looks, *await seen.faults()]:
                faults[language, width, scheme] = found
    assert faults == {}


async def _faults_of_look(page: Page, language: str, width: int, scheme: str) -> list[str]:
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    across = await page.evaluate("document.documentElement.scrollWidth")
    shown = await page.get_attribute("html", "lang")
    faults = {
        f"is in {shown}": shown == LANGUAGES[language],
        f"is {across} px wide": across <= width,
        f"stands on {ground}": (ground == "rgb(17, 22, 20)") is (scheme == "dark"),
    }
    return [fault for fault, is_well in faults.items() if not is_well]


async def test_the_policy_holds_in_the_browser(opens: Opens):
    async with opens("/console") as seen:
        await seen.page.evaluate(
            "() => { const i = new Image(); i.src = 'http://127.0.0.2:9/x.png';"
            " document.body.append(i); }"
        )
        await seen.page.wait_for_function("window.violations.some((v) => v.startsWith('img-src'))")
        with pytest.raises(Error, match="TrustedHTML"):
            await seen.page.evaluate("document.body.innerHTML = '<b>x</b>'")
        with pytest.raises(Error, match="TrustedScriptURL"):
            await seen.page.evaluate("document.createElement('script').src = '/x.js'")


async def test_language_and_look_can_be_chosen_and_stay(opens: Opens):
    async with opens("/console") as seen:
        page = seen.page
        await page.get_by_label("Language").select_option("pt-BR")
        await page.wait_for_selector("h1:has-text('Entrar')")
        await page.get_by_label("Claro ou escuro").select_option("dark")
        await page.reload()
        await page.wait_for_selector("h1:has-text('Entrar')")
        assert await page.get_attribute("html", "data-theme") == "dark"
        assert await seen.faults() == []


async def test_signing_in_and_out_needs_no_mouse_and_leaves_no_key(opens: Opens):
    async with opens("/console") as seen:
        page = seen.page
        await page.get_by_label("Your key").focus()
        await page.keyboard.type(API_KEY)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=You are signed in")
        assert await page.evaluate("document.cookie") == ""
        kept = await page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
        assert API_KEY not in kept
        await page.reload()
        await page.wait_for_selector("text=You are signed in")
        await page.get_by_role("button", name="Sign out").focus()
        await page.keyboard.press("Enter")
        await page.get_by_label("Your key").wait_for()
        assert await seen.faults() == []


async def sign_in(page: Page) -> None:
    await page.get_by_label("Your key").fill(API_KEY)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=You are signed in")


FAULTS = (None, 403, 429, 503)


@pytest.mark.parametrize("status", FAULTS)
async def test_who_could_not_be_signed_out_is_not_told_so(opens: Opens, status: int | None):
    async with opens("/console") as seen:
        page = seen.page
        await sign_in(page)
        await fails(page, "/api/session", status)
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_selector("[role=alert]:not(:empty)")
        assert await page.get_by_text("You are signed in").is_visible()
        await page.unroute("**/api/session")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("Your key").wait_for()


@pytest.mark.parametrize("status", FAULTS)
async def test_a_fault_signs_nobody_out(opens: Opens, status: int | None):
    async with opens("/console") as seen:
        page = seen.page
        await sign_in(page)
        await fails(page, "/api/me", status)
        await page.reload()
        await page.wait_for_selector("[role=alert]:not(:empty)")
        await page.unroute("**/api/me")
        await page.reload()
        await page.wait_for_selector("text=You are signed in")


async def test_a_sign_in_that_has_ended_is_over_whatever_is_done(opens: Opens):
    for path, does in (("/api/session", "signs out"), ("/api/me", "comes again")):
        async with opens("/console") as seen:
            page = seen.page
            await sign_in(page)
            await fails(page, path, 401)
            if does == "signs out":
                await page.get_by_role("button", name="Sign out").click()
            else:
                await page.reload()
            await page.get_by_label("Your key").wait_for()


async def fails(page: Page, path: str, status: int | None) -> None:
    """Have calls of this path fail; None: no answer comes."""

    async def answer(route: Route) -> None:
        if status is None:
            await route.abort()
        else:
            said = {"error": {"code": "a_fault", "message": "it did not work"}}
            await route.fulfill(status=status, json=said)

    await page.route(f"**{path}", answer)


async def test_a_wrong_key_is_said_where_it_was_typed(opens: Opens):
    async with opens("/console") as seen:
        await seen.page.get_by_label("Your key").fill("hfk_" + "a" * 43)
        await seen.page.get_by_role("button", name="Sign in").click()
        await seen.page.wait_for_selector("[role=alert]:has-text('not known')")


async def test_hostile_names_stay_text(opens: Opens):
    async with opens("/console") as seen:
        page = seen.page
        key = {"X-API-Key": API_KEY}
        shop = {"instance_name": HOSTILE, "evo_server_url": "https://evolution.example.com"}
        made = await page.request.post(f"{seen.url}/api/tenants", data=shop, headers=key)
        making = {"name": HOSTILE, "role": "viewer", "tenant_ids": [(await made.json())["id"]]}
        new = await page.request.post(f"{seen.url}/api/api-keys", data=making, headers=key)
        await page.get_by_label("Your key").fill((await new.json())["key"])
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".roles")
        assert await page.locator("main img").count() == 0
        assert HOSTILE in await page.inner_text(".roles")
        assert await seen.faults() == []


@pytest.mark.n8n
@pytest.mark.parametrize("path", PAGES)
async def test_axe_finds_nothing(opens: Opens, path: str):
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for width, scheme in product((NARROW, WIDE), schemes):
        async with opens(path, width=width, scheme=scheme) as seen:
            assert await axe_findings(seen.page) == []
