"""A missing browser fails the console's tests and says how to get one; nothing is skipped."""

import re
from pathlib import Path

import pytest

from tests.console.chromium import NoChromium, find_chromium

ROOT = Path(__file__).parents[2]
SKIPS = re.compile(r"pytest\.skip|mark\.skip|importorskip")  # `# fmt: skip` is none


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_one_that_is_named_comes_first_then_the_path_then_playwrights_own(tmp_path: Path):
    named = program(tmp_path / "a", "mine")
    on_path = program(tmp_path / "b", "chromium")
    own = program(tmp_path / "c", "chrome")
    env = {"PATH": str(tmp_path / "b")}
    assert find_chromium({**env, "CHROMIUM_BIN": str(named)}, own) == named
    assert find_chromium(env, own) == on_path
    assert find_chromium({"PATH": str(tmp_path)}, own) == own


@pytest.mark.parametrize("env", [{}, {"PATH": "/nowhere"}, {"CHROMIUM_BIN": "/nowhere/chromium"}])
def test_where_there_is_none_the_cure_is_said(env: dict[str, str]):
    with pytest.raises(NoChromium, match="apt-get install chromium") as told:
        find_chromium(env, Path("/nowhere/chrome"))
    assert "BROWSER=0" in str(told.value)
    assert ("CHROMIUM_BIN is /nowhere" in str(told.value)) == ("CHROMIUM_BIN" in env)


def test_no_test_of_the_console_is_ever_skipped():
    for path in (ROOT / "tests" / "console").glob("*.py"):
        assert not SKIPS.search(path.read_text()), path
