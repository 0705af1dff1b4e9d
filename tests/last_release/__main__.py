"""The state tests of the last release on the schema of now: `python -m tests.last_release`.

While they pass, that release's routers go on with the new schema until the last of them is
replaced. The release is the commit that froze its migration, so the checkout needs its history
(`git clone` without `--depth`). Where nothing was changed since, there is nothing to try.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from router.state.history import read_lock
from router.state.migrations import LOCK_FILE, MIGRATIONS
from scripts.build_schema import newest_file

ROOT = Path(__file__).parents[2]
_PLUGIN = Path(__file__).with_name("newer_schema.py")
_BESIDE = Path(__file__).with_name("beside_newer_routers.py")
# How the tests of now share a database and its warm connections: with them, a test costs a fifth of
# the CPU. Nothing else of that release's tests or code is replaced.
_SHARED = (
    "postgres.py",
    *(f"state/{name}.py" for name in ("kept", "lending", "one_loop", "conftest")),
)
FOLDER = ROOT / ".hybridflow" / "releases"
# These look at a release's own files and catalogue, which a later one may change.
_OF_FILES = (
    "migrations", "history", "pasted_again", "upgrade", "going_back", "data_about_people",
    "words_for_typescript", "schema", "shown_rows",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Return pytest's exit code, or 0 where there is nothing to try."""
    parser = argparse.ArgumentParser(prog="python -m tests.last_release", description=__doc__)
    parser.add_argument("--release", metavar="COMMIT", help="this one, by tag or commit")
    release = parser.parse_args(arguments).release
    lock = MIGRATIONS.parent / LOCK_FILE
    if release is None and newest_file().name in read_lock(lock):
        print("the schema is the last release's own: there is nothing to try")
        return 0
    commit = release or _frozen_by(lock)
    if commit is None:
        print("no release is frozen yet: there is nothing to try")
        return 0
    return _run(_checked_out(commit))


def _frozen_by(lock: Path) -> str | None:
    """Return the commit that froze the last release."""
    return _git("log", "-1", "--format=%H", "--", str(lock)).decode().strip() or None


def _checked_out(commit: str) -> Path:
    folder = FOLDER / _git("rev-parse", "--short", f"{commit}^{{commit}}").decode().strip()
    if not folder.is_dir():
        with tarfile.open(fileobj=BytesIO(_git("archive", commit))) as files:
            files.extractall(folder, filter="data")
    return folder


def _run(folder: Path) -> int:
    """Run its tests, and with them, by its own code, what it does beside routers of now."""
    shutil.copy(_BESIDE, folder / "tests" / "state" / f"test_{_BESIDE.name}")
    for name in _SHARED:
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    ignored = [f"--ignore=tests/state/test_{name}.py" for name in _OF_FILES]
    plugin = ["-p", _PLUGIN.stem]
    chosen = ["tests/state", "-m", "not twice", *ignored]
    command = [sys.executable, "-m", "pytest", *plugin, *chosen]
    environment = os.environ | {
        "SCHEMA_UNDER_TEST": str(MIGRATIONS),
        "PYTHONPATH": os.pathsep.join([str(folder), str(_PLUGIN.parent)]),
    }
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())
