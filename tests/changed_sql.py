"""sqlfluff over the SQL that has changed: `python -m tests.changed_sql FOLDER_OR_FILE...`.

It judges each file by itself, for a minute of CPU. So a file that has passed passes again while
its text, sqlfluff's version and its settings are the same; what has passed is noted by its hash.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Collection, Sequence
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "pyproject.toml"
PASSED = ROOT / ".sqlfluff_cache" / "passed"
_PROGRAM = Path(sys.executable).with_name("sqlfluff")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return sqlfluff's exit code, or 0 where there is nothing to look at."""
    given = [Path(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    inside = (each.rglob("*.sql") if each.is_dir() else (each,) for each in given)
    return lint(sorted(chain.from_iterable(inside)), PASSED, how(SETTINGS))


def how(project: Path) -> str:
    """Return by what files are judged: another of it, and all are looked at again."""
    settings = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["sqlfluff"]
    return f"{version('sqlfluff')} {json.dumps(settings, sort_keys=True)}"


def lint(files: Sequence[Path], passed: Path, judged_by: str) -> int:
    """Have those judged that have not passed, and note all once these pass, too."""
    marks = {file: sha256(f"{judged_by}\n".encode() + file.read_bytes()) for file in files}
    hashes = {file: mark.hexdigest() for file, mark in marks.items()}
    known = _noted(passed)
    changed = [file for file in files if hashes[file] not in known]
    if changed and (code := _judged(changed)):
        return code
    if changed:
        passed.parent.mkdir(exist_ok=True)
        passed.write_text("\n".join(sorted({*known, *hashes.values()})), encoding="utf-8")
    return 0


def _noted(passed: Path) -> Collection[str]:
    return frozenset(passed.read_text(encoding="utf-8").split()) if passed.is_file() else ()


def _judged(files: Sequence[Path]) -> int:
    options = ["--config", str(SETTINGS), "--processes", "2", "--disable-progress-bar"]
    command = [str(_PROGRAM), "lint", *options, *map(str, files)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
