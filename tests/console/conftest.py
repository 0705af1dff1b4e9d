"""A router with the console, and a page of a real browser that notes whatever goes wrong in it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from loopback.evolution import Evolution
from router.app import create_app
from router.configuration.demo import Demo
from router.configuration.settings import load_settings
from router.state.calls.demo import BeginDemo, begin_demo
from router.state.direct import DirectDatabase
from tests.console import debian
from tests.console.chromium import NoChromium, arguments, find_chromium
from tests.routers import door, environment, serving

TENANT_ID = 1_000_000
NARROW, WIDE = 360, 1280
_NOTES_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@dataclass
class Seen:
    """A page, and all that went wrong in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    async def faults(self) -> list[str]:
        violations: list[str] = await self.page.evaluate("window.violations")
        return [*self.wrong, *violations]


Opens = Callable[..., AbstractAsyncContextManager[Seen]]


# One browser for all tests: it takes longer to start than most of them. So they share its loop.
@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        try:
            program = find_chromium(os.environ, own, debian.fetched())
        except NoChromium as error:
            pytest.fail(str(error), pytrace=False)
        browser = await playwright.chromium.launch(executable_path=program, args=arguments())
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(database_url: str) -> AsyncIterator[str]:
    """The address of a router that has a demo, as a browser on this machine names it."""
    env = environment(database_url, SECRETS_KEY="a-sealing-key-for-the-tests-0123456789")
    with door() as listener, Evolution() as evolution:
        evolution.instance("demo-shop")
        await _make_tenant(database_url, evolution.url)
        demo = Demo(TENANT_ID, "demo-shop", evolution.url, None)
        settings = load_settings(env, env_file=None)
        async with serving(create_app(settings, demo), settings, listener):
            yield f"http://localhost:{listener.getsockname()[1]}"


async def _make_tenant(database_url: str, evolution_url: str) -> None:
    database = await DirectDatabase.connect(database_url, size=1)
    values = {"instance_name": "demo-shop", "evo_server_url": evolution_url}
    await begin_demo(database, BeginDemo(tenant_id=TENANT_ID, values=values))
    await database.close()


@pytest.fixture
def opens(chromium: Browser, site: str) -> Opens:
    @asynccontextmanager
    async def opened(
        path: str,
        *,
        width: int = WIDE,
        scheme: Literal["light", "dark"] = "light",
        language: str = "en-US",
    ) -> AsyncIterator[Seen]:
        context = await chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language
        )
        await context.add_init_script(_NOTES_VIOLATIONS)
        page = await context.new_page()
        seen = Seen(page, site)
        _listen(seen, site)
        await page.goto(site + path)
        await page.wait_for_selector("h1")
        yield seen
        await context.close()

    return opened


def _listen(seen: Seen, site: str) -> None:
    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            seen.wrong.append(f"console: {message.text}")

    def asked(request: Any) -> None:
        if not request.url.startswith(site):
            seen.wrong.append(f"another origin: {request.url}")

    seen.page.on("console", said)
    seen.page.on("pageerror", lambda error: seen.wrong.append(f"error: {error}"))
    seen.page.on("request", asked)
