"""`make run` as a process, on a machine that has never seen it, and a person at its page."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from playwright.async_api import Page

from router.embedded.ports import free_port
from tests.postgres import fleeting_folder
from tests.routers import ROOT

PATIENCE = 60_000
"""Milliseconds that a page waits for what is to come: machines may be busy."""


@contextmanager
def make_run(more: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run it, with nothing set; give the address that it prints."""
    with fleeting_folder() as folder, tempfile.TemporaryFile("w+") as log:
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        env = {**kept, "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(free_port()), **(more or {})}
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


async def says(page: Page, who: str, text: str) -> None:
    """Write as the customer or as "Ana, the owner"."""
    await page.get_by_label(f"Write as {who}").fill(text)
    await page.keyboard.press("Enter")
