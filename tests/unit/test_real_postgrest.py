"""Which real PostgREST the tests find, and what is said where there is none."""

from pathlib import Path

import pytest

from tests import real_postgrest
from tests.real_postgrest import choice


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("POSTGREST_BIN", raising=False)


def test_a_machine_that_npm_has_none_for_goes_without_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(real_postgrest, "_MACHINE", ("plan9", "mips"))
    assert real_postgrest.install_program() is None
    with pytest.raises(pytest.skip.Exception, match="name one with POSTGREST_BIN"):
        choice.program_for(choice.REAL)
    assert choice.program_for(choice.DOUBLE) is None


def test_one_on_the_path_is_for_the_tests_that_need_it_alone(tmp_path: Path):
    program = tmp_path / "postgrest"
    program.touch(0o755)
    assert choice.program_for(choice.REAL) == program
    assert choice.program_for(choice.DOUBLE) is None


def test_the_one_that_is_named_is_for_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POSTGREST_BIN", "/opt/postgrest-14")
    assert choice.program_for(choice.REAL) == Path("/opt/postgrest-14")
    assert choice.program_for(choice.DOUBLE) == Path("/opt/postgrest-14")


def test_one_whose_installation_was_cut_off_is_none(tmp_path: Path):
    (tmp_path / "hybridflow" / real_postgrest._NAME).mkdir(parents=True)
    assert real_postgrest.find_program() is None
