"""What a command says of itself is right, and whatever names a command names one that there is."""

import io
import os
import re
import runpy
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.guides.commands import ROOT, guides

PROGRAMS = sorted(
    f"{folder}.{file.stem}"
    for folder in ("scripts", "benchmarks", "loopback")
    for file in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
) + sorted(
    ".".join(file.parent.relative_to(ROOT).parts)
    for folder in ("scripts", "benchmarks", "loopback")
    for file in (ROOT / folder).glob("*/__main__.py")
)
_NAMED = re.compile(
    r"(?:python|\{this_python\(\)\}) -m"
    r" ((?:scripts|benchmarks|loopback)\.\w+)((?: +(?![|&#>])[^\s`'\"\\]+)*)"
)
_FOLDERS = ("router", "scripts", "loopback", "benchmarks", "database", "docker", "n8n_workflows")
_TEXTS = (".py", ".sql", ".sh", ".yml", ".md", ".conf", ".json")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


def typed(program: str, *arguments: str) -> Said:
    """Run a program in this process, with a database that is away: who did its work would fail."""
    out, err = io.StringIO(), io.StringIO()
    configuration = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "COLUMNS": "120"}
    with (
        patch.dict(os.environ, configuration, clear=True),
        patch.object(sys, "argv", [program, *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(action="ignore", category=RuntimeWarning),  # it is imported already
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_module(program, run_name="__main__")
    return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@cache
def help_of(program: str, *command: str) -> str:
    said = typed(program, *command, "--help")
    assert said.code == 0, said
    return said.out


@cache
def commands_of(program: str) -> frozenset[str]:
    found = re.search(r"^  ?\{([\w,-]+)\}", help_of(program), re.MULTILINE)
    found = found or re.search(r"invalid choice.*\(choose from (.*)\)", typed(program, "?").err)
    return frozenset(re.findall(r"[\w-]+", found[1])) if found else frozenset()


def sources() -> list[Path]:
    files = [file for folder in _FOLDERS for file in (ROOT / folder).rglob("*")]
    named = [ROOT / name for name in ("Makefile", "Procfile", "docker-compose.yml", "Dockerfile")]
    return sorted({*guides(), *named, *(file for file in files if file.suffix in _TEXTS)})


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_says_what_it_is_for_and_does_nothing(program: str):
    said = help_of(program)
    assert said.startswith("usage: ")
    assert len(said.splitlines()) > 3
    assert typed(program, "--no-such-option").code == 2


@pytest.mark.parametrize("program", [name for name in PROGRAMS if commands_of(name)])
def test_help_names_every_command_with_what_it_does(program: str):
    said = help_of(program)
    for command in commands_of(program):
        line = rf"^ *(?:python -m {re.escape(program)} )?{command}  +\w"
        assert re.search(line, said, re.MULTILINE), command
        assert help_of(program, command).startswith(f"usage: python -m {program} {command}")


def test_the_programs_are_found():
    assert {"scripts.tenant", "scripts.n8n", "scripts.prune", "benchmarks.ingest"} <= set(PROGRAMS)
    assert "connect" in commands_of("scripts.tenant")
    assert "export" in commands_of("scripts.n8n")


def test_whatever_names_a_command_names_one_that_there_is():
    faults = [
        f"{file.relative_to(ROOT)}: {fault}"
        for file in sources()
        for program, words in _NAMED.findall(_joined(file))
        if (fault := _fault_in(program, words.split()))
    ]
    assert faults == []


def _joined(file: Path) -> str:
    return re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8"))


def _fault_in(program: str, words: list[str]) -> str | None:
    if program.endswith(".NAME"):
        return None
    if program not in PROGRAMS:
        return f"there is no {program}"
    command: list[str] = []
    if words and re.fullmatch(r"[a-z][a-z-]*", words[0]) and commands_of(program):
        if words[0] not in commands_of(program):
            return f"{program} has no {words[0]}"
        command = [words[0]]
    known = help_of(program, *command)
    unknown = [word for word in words if word.startswith("--") and word.strip("[].,") not in known]
    return f"{program} {' '.join(command)} has no {', '.join(unknown)}" if unknown else None
