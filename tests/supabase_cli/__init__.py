"""Supabase's own command line, the real one, with the npm that n8n is installed with."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fasteners  # type: ignore[import-untyped]

from scripts.n8n.installation import cache_folder, install

_PACKAGE = Path(__file__).parent / "package.json"
_VERSION = json.loads(_PACKAGE.read_text())["dependencies"]["supabase"]
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class SupabaseCli:
    """The program. It keeps what it writes in `home`, asks for nothing and tells nobody."""

    program: Path
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command from the project's folder, to its end."""
        return _run([str(self.program), *arguments], _ROOT, HOME=str(self.home), DO_NOT_TRACK="1")


def supabase_cli(home: Path) -> SupabaseCli:
    """Return the pinned version, installed into the cache folder when it is first asked for."""
    folder = cache_folder() / f"supabase-{_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(folder / "install.lock"):
        if not (folder / "complete").exists():
            n8n = install(cache_folder(), print)
            shutil.copy(_PACKAGE, folder)
            command = [str(n8n.node), str(n8n.npm), "install", "--ignore-scripts", "--no-audit"]
            path = f"{n8n.node.parent}{os.pathsep}{os.environ['PATH']}"
            done = _run([*command, "--no-fund", "--no-package-lock"], folder, PATH=path)
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    (program,) = folder.glob("node_modules/@supabase/cli-*/bin/supabase*")
    return SupabaseCli(program, home)


def _run(command: Sequence[str], folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=dict(os.environ) | changes,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
