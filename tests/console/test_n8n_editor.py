"""n8n's own editor, in a real Chromium: saved without a change, no diff; a test turn goes green."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from scripts.n8n.library import WORKFLOWS, export_all, ids_of
from tests.clients import patient
from tests.n8n.test_trying import tries
from tests.n8n_server import SHOP, TestN8n
from tests.scenarios.stage import performance

pytestmark = [
    pytest.mark.n8n,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
]

_CARD = '[data-test-id="workflow-card-name"]'  # of a workflow in the list
_NODE = '[data-test-id="canvas-node"]'


async def test_to_save_without_a_change_gives_no_diff(
    n8n: TestN8n, owner: httpx.Cookies, chromium: Browser, tmp_path: Path
):
    url = n8n.server.home.url
    context = await chromium.new_context(viewport={"width": 1400, "height": 900})
    await context.add_cookies([{"name": "n8n-auth", "value": owner["n8n-auth"], "url": url}])
    page = await context.new_page()
    await page.goto(f"{url}/home/workflows")
    for id_ in sorted(ids_of(WORKFLOWS)):
        await _saved(page, url, id_)
        await _back_to_the_list(page)
    await context.close()
    for file in await export_all(n8n.installation, n8n.server.home, tmp_path):
        ours = WORKFLOWS / file.name
        if ours.exists():
            assert file.read_text().replace(n8n.shop.url, SHOP) == ours.read_text(), file.name


@pytest.fixture
def llm() -> Iterator[Anthropic]:
    with Anthropic() as llm:
        yield llm


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


async def test_a_test_turn_goes_green_to_the_end_in_the_editor(
    n8n: TestN8n,
    owner: httpx.Cookies,
    chromium: Browser,
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
):
    n8n.anthropic.leads_to(llm.url)
    llm.answers("Temos bolo de cenoura")
    url = n8n.server.home.url
    context = await chromium.new_context(viewport={"width": 1400, "height": 900})
    await context.add_cookies([{"name": "n8n-auth", "value": owner["n8n-auth"], "url": url}])
    page = await context.new_page()
    async with (
        _unpublished(url, owner) as id_,
        performance(database_url, evolution, llm, **n8n.configuration()) as stage,
    ):
        await page.goto(f"{url}/workflow/{id_}")
        await page.locator('[data-test-id="execute-workflow-button"]').click(timeout=120_000)
        await page.get_by_text("Waiting for you to call the Test URL").wait_for(timeout=60_000)
        tried = await tries(stage, flow="drafted/hybridflow-turn", in_editor=True)
        green = page.locator('[data-test-id="canvas-node-status-success"]')
        await green.nth(4).wait_for(timeout=60_000)
    await context.close()
    n8n.anthropic.leads_to(None)
    assert [each["text"] for each in tried["said"]] == ["Temos bolo de cenoura"], tried


@asynccontextmanager
async def _unpublished(url: str, owner: httpx.Cookies) -> AsyncIterator[str]:
    """Give the id of a draft: the standard flow, whose webhook has no example pinned to it."""
    async with patient(base_url=url, cookies=owner) as client:
        flow = (await client.get("/rest/workflows/hybridflowInbound")).json()["data"]
        (turn,) = (node for node in flow["nodes"] if node["name"] == "Turn")
        turn["parameters"]["path"] = turn["webhookId"] = "drafted/hybridflow-turn"
        draft = {name: flow[name] for name in ("nodes", "connections", "settings")}
        made = await client.post("/rest/workflows", json={**draft, "name": "A draft"})
        made.raise_for_status()
        id_ = made.json()["data"]["id"]
        yield id_
        (await client.post(f"/rest/workflows/{id_}/archive")).raise_for_status()
        (await client.delete(f"/rest/workflows/{id_}")).raise_for_status()


async def _saved(page: Page, url: str, id_: str) -> None:
    """Add a note and save; take it back and save: what is left, the editor has written.

    It is opened from the list, as people do: the editor itself, which takes long, is loaded once.
    """
    await page.locator(f'[data-resourceid="{id_}"] {_CARD}').click(timeout=120_000)
    await page.locator(_NODE).first.wait_for(timeout=120_000)
    before = await _nodes(page, url, id_)
    await page.locator(".vue-flow__pane").first.click(position={"x": 5, "y": 450})
    await page.keyboard.press("Shift+S")
    await _saves_until(page, url, id_, before + 1)
    await page.keyboard.press("Control+z")
    await _saves_until(page, url, id_, before)


async def _back_to_the_list(page: Page) -> None:
    """Leave the workflow, until nothing of it is shown. An editor that has not seen it saved asks.

    What it saves then is the same once more.
    """
    save = page.get_by_role("button", name="Save", exact=True)
    await page.locator('a[href="/home"]').click(timeout=120_000)
    await page.locator(_CARD).or_(save).first.wait_for(timeout=120_000)
    if await save.is_visible():
        await save.click()
    await page.locator(_CARD).first.wait_for(timeout=120_000)
    await expect(page.locator(_NODE)).to_have_count(0, timeout=120_000)


async def _saves_until(page: Page, url: str, id_: str, count: int) -> None:
    async with asyncio.timeout(120):
        while await _nodes(page, url, id_) != count:
            await page.keyboard.press("Control+s")
            await asyncio.sleep(0.5)  # it saves by itself, too, a moment after a change


async def _nodes(page: Page, url: str, id_: str) -> int:
    answer = await page.request.get(f"{url}/rest/workflows/{id_}")
    assert answer.ok, await answer.text()
    return len((await answer.json())["data"]["nodes"])
