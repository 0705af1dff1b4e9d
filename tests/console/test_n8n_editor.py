"""Every workflow is saved in n8n's own editor, in a real Chromium, without a change: no diff."""

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page

from scripts.n8n.library import WORKFLOWS, export_all, ids_of
from tests.n8n_server import SHOP, TestN8n

pytestmark = [
    pytest.mark.n8n,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
]


async def test_to_save_without_a_change_gives_no_diff(
    n8n: TestN8n, owner: httpx.Cookies, chromium: Browser, tmp_path: Path
):
    url = n8n.server.home.url
    context = await chromium.new_context(viewport={"width": 1400, "height": 900})
    await context.add_cookies([{"name": "n8n-auth", "value": owner["n8n-auth"], "url": url}])
    page = await context.new_page()
    for id_ in sorted(ids_of(WORKFLOWS)):
        await _saved(page, url, id_)
    await context.close()
    for file in await export_all(n8n.installation, n8n.server.home, tmp_path):
        ours = WORKFLOWS / file.name
        if ours.exists():
            assert file.read_text().replace(n8n.shop.url, SHOP) == ours.read_text(), file.name


async def _saved(page: Page, url: str, id_: str) -> None:
    """Add a note and save; take it back and save: what is left, the editor has written."""
    await page.goto(f"{url}/workflow/{id_}")
    await page.locator('[data-test-id="canvas-node"]').first.wait_for(timeout=120_000)
    before = await _nodes(page, url, id_)
    await page.locator(".vue-flow__pane").first.click(position={"x": 5, "y": 450})
    await page.keyboard.press("Shift+S")
    await _saves_until(page, url, id_, before + 1)
    await page.keyboard.press("Control+z")
    await _saves_until(page, url, id_, before)


async def _saves_until(page: Page, url: str, id_: str, count: int) -> None:
    async with asyncio.timeout(120):
        while await _nodes(page, url, id_) != count:
            await page.keyboard.press("Control+s")
            await asyncio.sleep(0.5)  # it saves by itself, too, a moment after a change


async def _nodes(page: Page, url: str, id_: str) -> int:
    answer = await page.request.get(f"{url}/rest/workflows/{id_}")
    assert answer.ok, await answer.text()
    return len((await answer.json())["data"]["nodes"])
