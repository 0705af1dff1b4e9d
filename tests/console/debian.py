"""Debian's Chromium in the cache folder: the machine stays as it is, and nobody need be root.

What the machine lacks of it is downloaded and unpacked, the libraries and a font among it. Where
there is no apt, or it has no such package (Ubuntu's is a snap), there is none to be had so.
"""

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
_ASKED: Final = ("update", "install", "download")
_SECONDS: Final = 300  # for one command of apt
_WAITS: Final = ("-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30")
_CURE: Final = "Look at /etc/apt/sources.list and the network, or `apt-get update` as root."
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
        _download(Path(downloads))
        for package in sorted(Path(downloads).glob("*.deb")):
            _run(["dpkg-deb", "--extract", package.name, str(folder)], Path(downloads))
    if not (folder / "usr/lib/chromium/chromium").is_file():
        raise NotFetched("the package chromium has no program here")
    fonts = _FONTS.format(fonts=folder / "usr/share/fonts", cache=folder / "fonts-cache")
    (folder / "fonts.conf").write_text(fonts)
    (folder / "chromium").write_text(_STARTS)
    (folder / "chromium").chmod(0o755)


def _download(folder: Path) -> None:
    """Download the packages that this machine lacks of it.

    A new machine has no lists yet, and old ones name packages that are gone: then it is done again
    with new lists, in a folder of their own, which nobody need be root for.
    """
    try:
        _download_by(_WAITS, folder)
    except NotFetched as first:
        with tempfile.TemporaryDirectory(prefix="hybridflow-apt-") as own:
            by_own = (*_WAITS, *_lists_in(Path(own)))
            try:
                _run(["apt-get", *by_own, "update"], folder)
                _download_by(by_own, folder)
            except NotFetched as again:
                raise NotFetched(f"{first}; with new lists: {again}. {_CURE}") from None


def _lists_in(own: Path) -> tuple[str, ...]:
    """Return what makes apt keep its lists in that folder, to be read by the user it fetches as."""
    own.chmod(0o755)
    (own / "lists/partial").mkdir(parents=True)
    places = (f"Dir::State::Lists={own}/lists", f"Dir::Cache={own}", "APT::Sandbox::User=")
    return tuple(part for place in places for part in ("-o", place))


def _download_by(options: tuple[str, ...], folder: Path) -> None:
    apt = ["apt-get", *options]
    said = _run([*apt, "install", "--simulate", "--no-install-recommends", *_WANTED], folder)
    _run([*apt, "download", *_INSTALLS.findall(said)], folder)


def _run(command: list[str], folder: Path) -> str:
    asked = next((word for word in command[1:] if word in _ASKED), command[1])
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotFetched(f"{command[0]} {asked}: not done within {_SECONDS} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotFetched(f"{command[0]} {asked}: {said[-1] if said else done.returncode}")
    return done.stdout
