"""`hybridflow COMMAND`: one name for every program of the project."""

import runpy
import sys
from pathlib import Path

import pytest

from router import __version__
from scripts import commands
from scripts.commands import COMMANDS, GROUPS
from scripts.running import this_python
from tests.for_each import for_each

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    f"scripts.{file.stem}"
    for file in (ROOT / "scripts").glob("*.py")
    if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
} | {f"scripts.{file.parent.name}" for file in (ROOT / "scripts").glob("*/__main__.py")}


def typed(*words: str) -> int:
    """What `hybridflow words` ends with."""
    try:
        return commands.main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(autouse=True)
def the_arguments_stay(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest"])


def test_every_program_of_scripts_is_a_command():
    found = {command.module for command in COMMANDS.values()}
    assert found == PROGRAMS | {"router.serving"}


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_the_commands_are_listed_with_a_line_each(words, capsys):
    assert typed(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    for name, command in COMMANDS.items():
        assert [line for line in lines if line.split() == [name, *command.about.split()]], name
    assert all(f"{title}:" in lines for title in GROUPS)


def test_the_list_needs_nothing_but_itself():
    """No configuration, no database, no library: it answers where nothing works yet."""
    source = (ROOT / "scripts" / "commands.py").read_text(encoding="utf-8")
    imported = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    ours = [line for line in imported if " router" in line or " scripts" in line]
    assert ours == ["from router import __version__"]


def test_its_version_is_the_projects(capsys):
    assert typed("--version") == 0
    assert capsys.readouterr().out == f"hybridflow {__version__}\n"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_explains_itself_under_the_name_that_was_typed(name, capsys):
    assert typed(name, "--help") == 0
    module = COMMANDS[name].module
    called = f"hybridflow {name}" if module.startswith("scripts.") else f"python -m {module}"
    assert capsys.readouterr().out.startswith(f"usage: {called} ")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_gets_the_arguments_and_its_exit_code_counts(capsys):
    assert typed("tenant", "ad") == 2
    assert "hybridflow tenant: error: argument command: invalid choice: 'ad'" in (
        capsys.readouterr().err
    )


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_name_may_be_written_like_the_module(capsys):
    assert typed("auto_resume", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: hybridflow auto-resume ")


def test_what_is_no_command_is_told(capsys):
    assert typed("tenants") == 2
    said = capsys.readouterr()
    assert said.err.startswith("hybridflow has no command 'tenants'")
    assert said.out == ""


def test_python_runs_it_where_nothing_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scripts", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("scripts", run_name="__main__")
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


@for_each(
    ("executable", "shown"),
    [("project/.venv/bin/python", ".venv/bin/python"), ("elsewhere/bin/python3.12", "python")],
)
def test_what_is_to_be_typed_next_names_the_python_that_has_our_libraries(
    executable: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "project").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(sys, "executable", str(tmp_path / executable))
    assert this_python() == shown
