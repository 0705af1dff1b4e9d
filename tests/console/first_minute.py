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
from typing import IO

from playwright.async_api import Page

from router.embedded.ports import free_port
from tests.postgres import fleeting_folder
from tests.routers import ROOT

PATIENCE = 60_000
"""Milliseconds that a page waits for what is to come: machines may be busy."""


@contextmanager
def make_run(more: Mapping[str, str] | None = None, *options: str) -> Iterator[str]:
    """Run it, with nothing set; give the address that it prints."""
    with fleeting_folder() as folder, tempfile.TemporaryFile("w+") as log:
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        env = {**kept, "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(free_port()), **(more or {})}
        with subprocess.Popen(
            [sys.executable, "-m", "scripts.serve", *options],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as program:
            address, reading = _when_ready(program, log)
            try:
                yield address
            finally:
                program.send_signal(signal.SIGINT)
                program.wait(timeout=120)
                reading.join()


def _when_ready(program: "subprocess.Popen[str]", log: IO[str]) -> tuple[str, threading.Thread]:
    """Return its address, and what reads on, so that it never waits for a reader."""
    assert program.stdout is not None
    said = ""
    for line in program.stdout:
        said += line
        if "is ready" in line:
            break
    address = re.search(r"http://localhost:\d+/", said)
    assert address is not None, said
    reading = threading.Thread(target=log.writelines, args=(program.stdout,), daemon=True)
    reading.start()
    return address[0], reading


async def says(page: Page, who: str, text: str) -> None:
    """Write as the customer or as "Ana, the owner"."""
    await page.get_by_label(f"Write as {who}").fill(text)
    await page.keyboard.press("Enter")
