"""Makes README's picture, `make picture`: the demo as the owner takes over, light and dark."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.console import debian
from tests.console.chromium import arguments, find_chromium
from tests.console.first_minute import PATIENCE, make_run, says
from tests.routers import ROOT

FOLDER = ROOT / "docs" / "pictures"
_WIDTH, _HEIGHT = 1280, 812
_QUALITY = 80
_CUSTOMER, _OWNER = "the customer", "Ana, the owner"


async def _draw(address: str) -> dict[str, bytes]:
    async with async_playwright() as playwright:
        program = find_chromium(
            os.environ, Path(playwright.chromium.executable_path), debian.fetched()
        )
        browser = await playwright.chromium.launch(executable_path=program, args=arguments())
        light = await _opened(browser, address, "light")
        dark = await _opened(browser, address, "dark")
        await _play(light)
        await expect(dark.locator(".steps .shut")).to_have_count(1)
        await light.evaluate("document.activeElement.blur()")
        pictures = {"light": await _taken(light), "dark": await _taken(dark)}
        await browser.close()
        return pictures


async def _opened(browser: Browser, address: str, scheme: Literal["light", "dark"]) -> Page:
    context = await browser.new_context(
        viewport={"width": _WIDTH, "height": _HEIGHT},
        color_scheme=scheme,
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto(address)
    await page.locator(".story").wait_for()
    return page


async def _play(page: Page) -> None:
    expect.set_options(timeout=PATIENCE)
    await says(page, _CUSTOMER, "Hi! Are you open on Sunday?")
    await expect(page.locator(".phone.shop .bub.ai")).to_have_count(1)
    await says(page, _CUSTOMER, "And do you have something without milk?")
    await expect(page.locator(".steps .now")).to_contain_text("The AI writes")
    await says(page, _OWNER, "Ana here! The sourdough and the focaccia. Shall I keep one?")
    await expect(page.locator(".steps .shut")).to_have_count(1)


async def _taken(page: Page) -> bytes:
    chromium = await page.context.new_cdp_session(page)
    wanted = {"format": "webp", "quality": _QUALITY}
    taken = await chromium.send("Page.captureScreenshot", wanted)
    return base64.b64decode(taken["data"])


def main() -> None:
    """Draw both pictures, and keep them."""
    with make_run() as address:
        pictures = asyncio.run(_draw(address))
    FOLDER.mkdir(exist_ok=True)
    for scheme, picture in pictures.items():
        (FOLDER / f"try-{scheme}.webp").write_bytes(picture)


if __name__ == "__main__":
    main()
