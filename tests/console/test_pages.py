"""Every page of the console as a browser has it: nothing forbidden, nothing foreign, usable."""

import pytest

from tests.console.conftest import NARROW, WIDE, Opens
from tests.console.npm import axe, check_types
from tests.routers import API_KEY

PAGES = ("/console", "/try")
LANGUAGES = {"en-US": "en", "pt-BR": "pt-BR", "es-MX": "es"}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_page_breaks_no_rule_in_any_size_look_and_language(
    opens: Opens, path: str, language: str, width: int, scheme: str
):
    async with opens(path, width=width, scheme=scheme, language=language) as seen:
        page = seen.page
        assert await page.get_attribute("html", "lang") == LANGUAGES[language]
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(17, 22, 20)") is (scheme == "dark")
        assert await seen.faults() == []


async def test_the_policy_holds_in_the_browser(opens: Opens):
    async with opens("/console") as seen:
        await seen.page.evaluate(
            "() => { const s = document.createElement('script'); s.setAttribute('src',"
            " 'http://127.0.0.2:9/x.js'); document.body.append(s); }"
        )
        await seen.page.wait_for_function("window.violations.length > 0")
        with pytest.raises(Exception, match="TrustedHTML"):
            await seen.page.evaluate("document.body.innerHTML = '<b>x</b>'")


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
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(opens: Opens, path: str, scheme: str):
    async with opens(path, scheme=scheme) as seen:
        await seen.page.evaluate(axe())
        found = await seen.page.evaluate("axe.run().then((all) => all.violations)")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


@pytest.mark.n8n
def test_the_types_of_the_scripts_hold():
    assert check_types() == ""
