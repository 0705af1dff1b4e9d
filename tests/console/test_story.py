"""The first minute, played in full: `make run` as a process, and a person at its page."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from router.embedded.ports import free_port
from tests.postgres import fleeting_folder
from tests.routers import ROOT

_PATIENCE = 60_000  # milliseconds: machines may be busy


@pytest.fixture
def running() -> Iterator[str]:
    """The address that `make run` prints."""
    with fleeting_folder() as folder, tempfile.TemporaryFile("w+") as log:
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        env = {**kept, "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(free_port())}
        program = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert program.stdout is not None
        said = ""
        for line in program.stdout:
            said += line
            if "is ready" in line:
                break
        address = re.search(r"http://localhost:\d+/", said)
        assert address is not None, said
        # What it says from now on is read, so that it never waits for a reader.
        threading.Thread(target=log.writelines, args=(program.stdout,), daemon=True).start()
        yield address[0]
        program.send_signal(signal.SIGINT)
        program.wait(timeout=60)


@pytest.fixture
async def page(chromium: Browser, running: str) -> AsyncIterator[Page]:
    context = await chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(_PATIENCE)
    expect.set_options(timeout=_PATIENCE)
    page = await context.new_page()
    await page.goto(running)
    await page.locator(".story").wait_for()
    yield page
    await context.close()


async def says(page: Page, who: str, text: str) -> None:
    await page.get_by_label(f"Write as {who}").fill(text)
    await page.keyboard.press("Enter")


def replies(page: Page):
    return page.locator(".phone.shop .bub.ai")


@pytest.mark.timeout(300)
async def test_the_first_minute(page: Page, tmp_path: Path):
    # A customer writes, and gets one answer; every step says when.
    await says(page, "the customer", "Hi! Are you open on Sunday?")
    await expect(page.locator(".steps .now")).to_contain_text("The AI writes")
    await expect(replies(page)).to_have_count(1)
    await expect(page.locator(".steps li.done")).to_have_count(6)

    # The owner writes while the AI writes: nothing of the AI's is sent.
    await says(page, "the customer", "Do you have something without milk?")
    await expect(page.locator(".steps .now")).to_contain_text("The AI writes")
    await says(page, "Ana, the owner", "Ana here! The sourdough.")
    await expect(page.locator(".steps .shut")).to_contain_text("Fence closed")
    await expect(page.locator(".dare.ok")).to_contain_text("does not talk over Ana")
    await expect(replies(page)).to_have_count(1)

    # Returned to the AI, it answers again; hostile texts stay text.
    await page.get_by_role("button", name="Return to AI").click()
    await expect(page.locator(".dare.ok")).to_have_count(0)
    await says(page, "the customer", "<img src=x onerror=alert(1)> do you deliver?")
    await expect(replies(page)).to_have_count(2)
    assert await page.locator("main img").count() == 0

    # An answer is lost, what was written comes twice: one answer each time.
    await page.get_by_role("button", name="Lose an answer").click()
    await says(page, "the customer", "How much is the cake?")
    await expect(replies(page)).to_have_count(3)
    await page.get_by_role("button", name="Deliver it twice").click()

    # The router is killed while the AI writes, and the answer comes, once.
    await says(page, "the customer", "Are you open on Monday, too?")
    await expect(page.locator(".steps .now")).to_contain_text("The AI writes")
    await page.get_by_role("button", name="Kill the router").click()
    await expect(replies(page)).to_have_count(4)
    await page.wait_for_timeout(3000)  # an answer that should not come has the time to come
    await expect(replies(page)).to_have_count(4)
    await page.screenshot(path=tmp_path / "try.png")
