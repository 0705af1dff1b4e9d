"""What the console's tests take from npm: the type checker, and axe."""

import subprocess
from pathlib import Path

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
