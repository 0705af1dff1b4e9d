"""Which Chromium the tests drive; where there is none they fail, and say how to get one."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.console import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CURE = (
    "There is no Chromium for the console's tests. Set CHROMIUM_BIN to one; or"
    " `apt-get install chromium`; or `.venv/bin/python -m playwright install chromium`."
    " `make test BROWSER=0` leaves them out."
)


class NoChromium(Exception):
    """There is none; the text says how to get one."""


def find_chromium(
    env: Mapping[str, str],
    playwrights_own: Path | None = None,
    from_debian: Path | None = None,
) -> Path:
    """Return CHROMIUM_BIN, else one on the PATH, else playwright's own, else Debian's.

    Raises NoChromium.
    """
    if named := env.get("CHROMIUM_BIN"):
        if (path := Path(named)).is_file():
            return path
        raise NoChromium(f"CHROMIUM_BIN is {named}, where there is no program. {_CURE}")
    for name in NAMES:
        if found := shutil.which(name, path=env.get("PATH", "")):
            return Path(found)
    for kept in (playwrights_own, from_debian):
        if kept is not None and kept.is_file():
            return kept
    raise NoChromium(_CURE)


def arguments() -> list[str]:
    """Return what it is started with: for root it has no sandbox."""
    return ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def main() -> int:
    """Get one where there is none, before anything is tested; or say how. Returns the exit code."""
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    try:
        find_chromium(os.environ, own, debian.fetched())
    except NoChromium as error:
        if os.environ.get("CHROMIUM_BIN"):
            sys.stderr.write(f"{error}\n")
            return 1
        return _fetch(error)
    return 0


def _fetch(error: NoChromium) -> int:
    sys.stdout.write("Fetching Debian's Chromium into the cache folder …\n")
    sys.stdout.flush()
    try:
        debian.fetch()
    except debian.NotFetched as fault:
        sys.stderr.write(f"{fault}.\n{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
