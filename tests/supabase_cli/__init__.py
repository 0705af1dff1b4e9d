"""Supabase's own command line, the real one, as its npm package has it."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.npm import installed

_HERE = Path(__file__).parent
_VERSION = json.loads((_HERE / "package.json").read_text())["dependencies"]["supabase"]
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class SupabaseCli:
    """The program. It keeps what it writes in `home`, asks for nothing and tells nobody."""

    program: Path
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command from the project's folder, to its end."""
        return subprocess.run(
            [str(self.program), *arguments],
            cwd=_ROOT,
            env=os.environ | {"HOME": str(self.home), "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def supabase_cli(home: Path) -> SupabaseCli:
    """Return the pinned version, installed into the cache folder when it is first asked for."""
    folder = installed(f"supabase-{_VERSION}", _HERE)
    (program,) = folder.glob("node_modules/@supabase/cli-*/bin/supabase*")
    return SupabaseCli(program, home)
