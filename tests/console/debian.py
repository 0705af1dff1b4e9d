"""Debian's Chromium in the cache folder: the machine stays as it is, and nobody need be root.

What the machine lacks of it is downloaded and unpacked, the libraries and a font among it. Where
there is no apt, or it has no such package (Ubuntu's is a snap), there is none to be had so.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import fasteners  # type: ignore[import-untyped]

from tests.npm import is_complete, kept

_WANTED: Final = ("chromium", "fonts-dejavu-core")
_INSTALLS: Final = re.compile(r"^Inst (\S+)", re.MULTILINE)
_STARTS: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/usr/lib" "$here/lib" -maxdepth 2 -name '*.so*' -exec dirname {} + \\
    2>/dev/null | sort -u | tr '\\n' ':')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:-}" FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/usr/lib/chromium/chromium" "$@"
"""
_FONTS: Final = """\
<?xml version="1.0"?>
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{fonts}</dir>
  <cachedir>{cache}</cachedir>
</fontconfig>
"""


class NotFetched(Exception):
    """It could not be had; the text says why."""


def fetched() -> Path | None:
    """Return the one that was fetched before, if there is one."""
    folder = kept("chromium")
    return folder / "chromium" if is_complete(folder) else None


def fetch() -> Path:
    """Return it, fetched now if it is not there. Raises NotFetched."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotFetched("this is no Debian: it has no apt")
    folder = kept("chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(folder / "install.lock"):
        if not is_complete(folder):
            _fill(folder)
            (folder / "complete").touch()
    return folder / "chromium"


def _fill(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        _run(["apt-get", "download", *_missing()], Path(downloads))
        for package in sorted(Path(downloads).glob("*.deb")):
            _run(["dpkg-deb", "--extract", package.name, str(folder)], Path(downloads))
    if not (folder / "usr/lib/chromium/chromium").is_file():
        raise NotFetched("the package chromium has no program here")
    fonts = _FONTS.format(fonts=folder / "usr/share/fonts", cache=folder / "fonts-cache")
    (folder / "fonts.conf").write_text(fonts)
    (folder / "chromium").write_text(_STARTS)
    (folder / "chromium").chmod(0o755)


def _missing() -> list[str]:
    """Return the packages that this machine lacks of it."""
    simulated = ["apt-get", "install", "--simulate", "--no-install-recommends", *_WANTED]
    try:
        said = _run(simulated, Path.cwd())
    except NotFetched:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update"], Path.cwd())  # a new machine has no lists yet
        said = _run(simulated, Path.cwd())
    return _INSTALLS.findall(said)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotFetched(f"{' '.join(command[:2])}: {said[-1] if said else done.returncode}")
    return done.stdout
