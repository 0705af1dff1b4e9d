"""The first minute, played in full: `make run` as a process, and a person at its page."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from router.embedded.ports import free_port
from tests.console.first_minute import PATIENCE, make_run, says
from tests.n8n_server import WITHOUT_EDITOR_AS_EXTRA

pytestmark = pytest.mark.asyncio(loop_scope="session")
CUSTOMER, OWNER = "the customer", "Ana, the owner"


@pytest.fixture
def running() -> Iterator[str]:
    """The address that `make run` prints."""
    with make_run() as address:
        yield address


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, running: str) -> AsyncIterator[Page]:
    async with opened(chromium, running) as page:
        yield page


@asynccontextmanager
async def opened(chromium: Browser, running: str) -> AsyncIterator[Page]:
    context = await chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page = await context.new_page()
    await page.goto(running)
    await page.locator(".story").wait_for()
    yield page
    await context.close()


def replies(page: Page) -> Locator:
    return page.locator(".phone.shop .bub.ai")


async def is_written_now(page: Page) -> None:
    await expect(page.locator(".steps .now")).to_contain_text("The AI writes")


@pytest.mark.timeout(600)
async def test_the_first_minute(page: Page):
    # A customer writes, and gets one answer; every step says when.
    await says(page, CUSTOMER, "Hi! Are you open on Sunday?")
    await is_written_now(page)
    await expect(replies(page)).to_have_count(1)
    await expect(page.locator(".steps li.done")).to_have_count(6)

    # The owner writes while the AI writes: nothing of the AI's is sent.
    await says(page, CUSTOMER, "Do you have something without milk?")
    await is_written_now(page)
    await says(page, OWNER, "Ana here! The sourdough.")
    await expect(page.locator(".steps .shut")).to_contain_text("Fence closed")
    await expect(page.locator(".dare.ok")).to_contain_text("does not talk over Ana")
    await expect(replies(page)).to_have_count(1)

    # Returned to the AI, it answers again; hostile texts stay text.
    await page.get_by_role("button", name="Return to AI").click()
    await expect(page.locator(".dare.ok")).to_have_count(0)
    await says(page, CUSTOMER, "<img src=x onerror=alert(1)> do you deliver?")
    await expect(replies(page)).to_have_count(2)
    assert await page.locator("main img").count() == 0

    # Paused again, it is asked something; the pause runs out, and that is answered.
    await says(page, OWNER, "Ana again, one moment.")
    await expect(page.locator(".dare.ok")).to_have_count(1)
    await says(page, CUSTOMER, "Is the bakery open tomorrow?")
    await expect(page.locator(".steps .shut")).to_contain_text("Not to be answered")
    await page.get_by_role("button", name="Let the pause run out").click()
    await expect(replies(page)).to_have_count(3)

    # An answer is lost, what was written comes twice: one answer each time.
    await page.get_by_role("button", name="Lose an answer").click()
    await says(page, CUSTOMER, "How much is the cake?")
    await expect(replies(page)).to_have_count(4)
    await page.get_by_role("button", name="Deliver it twice").click()
    await expect(page.get_by_role("status")).to_contain_text("delivered a second time")

    # The AI is taken away: the turn waits, no attempt is used up, and the answer comes, once.
    await page.get_by_role("button", name="Take the AI away").click()
    await expect(page.get_by_role("status")).to_contain_text("The AI refuses")
    await says(page, CUSTOMER, "Do you have vegan cake?")
    await expect(page.locator(".steps .now")).to_contain_text("no attempt is used up")
    await expect(replies(page)).to_have_count(5)
    await expect(page.locator(".story > header")).to_contain_text("by Python")
    await expect(page.locator(".story > header")).not_to_contain_text("attempt")

    # The router is killed while the AI writes, and the answer comes, once.
    await says(page, CUSTOMER, "Are you open on Monday, too?")
    await is_written_now(page)
    await page.get_by_role("button", name="Kill the router").click()
    await expect(page.locator(".dare.away")).to_contain_text("The router does not answer")
    await expect(replies(page)).to_have_count(6)
    await expect(page.locator(".dare.away")).to_have_count(0)
    # What would come a second time comes before the answer to what is asked now.
    await says(page, CUSTOMER, "Thank you, and do you deliver?")
    await expect(replies(page).last).to_contain_text("We deliver")
    assert await replies(page).count() == 7


@pytest.mark.n8n
@pytest.mark.timeout(600)
async def test_n8n_is_seen_at_work(chromium: Browser):
    configured = {"N8N_PORT": str(free_port()), **WITHOUT_EDITOR_AS_EXTRA}
    with make_run(configured, "--n8n") as address:
        async with opened(chromium, address) as page:
            await says(page, CUSTOMER, "Hi! Are you open on Sunday?")
            await expect(replies(page)).to_have_count(1)
            await expect(page.locator(".story > header")).to_contain_text("by n8n")
