"""What the console's tests take from npm: the type checker, and axe."""

import subprocess
from pathlib import Path

from playwright.async_api import Page

from scripts.n8n.installation import cache_folder, install
from tests.npm import installed

HERE = Path(__file__).parent


def tools() -> Path:
    """Return the folder of the packages; they are installed if they are not there yet.

    Raises NotInstalled.
    """
    return installed("console", HERE) / "node_modules"


def axe() -> str:
    """Return axe's program text."""
    return (tools() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


async def axe_findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe finds in a page: each rule that it breaks, and where."""
    await page.evaluate(axe())
    found = await page.evaluate("axe.run().then((all) => all.violations)")
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def check_types() -> str:
    """Return what the type checker finds in the console's scripts; nothing: all is well."""
    node = install(cache_folder(), print).node
    tsc = tools() / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [str(node), str(tsc), "--project", str(HERE / "tsconfig.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
