"""A missing browser fails the console's tests and says how to get one; nothing is skipped."""

import os
import re
from pathlib import Path

import pytest

from tests.console import debian
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
    debians = program(tmp_path / "d", "chromium")
    assert find_chromium({"PATH": str(tmp_path)}, own, debians) == own
    assert find_chromium({"PATH": str(tmp_path)}, None, debians) == debians


def test_debians_is_unpacked_beside_the_machine_with_what_that_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []

    def run(command: list[str], folder: Path) -> str:
        asked.append(command)
        if "--simulate" in command:
            return "Reading package lists...\nInst libnss3 (2:3.87 Debian)\nInst chromium (156)\n"
        if "download" in command:
            (folder / "chromium.deb").touch()
        if command[0] == "dpkg-deb":
            program(Path(command[-1]) / "usr", "x")
            program(Path(command[-1]) / "usr/lib", "x")
            program(Path(command[-1]) / "usr/lib/chromium", "chromium")
        return ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "_run", run)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert debian.fetched() is None
    got = debian.fetch()
    assert asked[1][-3:] == ["download", "libnss3", "chromium"]
    assert (debian.fetched(), os.access(got, os.X_OK)) == (got, True)
    asked.clear()
    debian.fetch()
    assert asked == []


@pytest.mark.parametrize("is_there", [True, False])
def test_old_lists_are_made_new_in_a_folder_of_their_own(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = tmp_path / "asked"
    apt = program(tmp_path / "bin", "apt-get")
    apt.write_text(f"""#!/bin/sh
echo "$@" >> {asked}
case "$*" in
  *--simulate*) echo "Inst chromium (156)" ;;
  *Lists=*download*) {":" if is_there else "echo 'E: 404 Not Found' >&2; exit 100"} ;;
  *download*) echo "E: 404 Not Found" >&2; exit 100 ;;
esac
""")
    monkeypatch.setenv("PATH", f"{apt.parent}:/usr/bin:/bin")
    if is_there:
        debian._download(tmp_path)
    else:
        with pytest.raises(debian.NotFetched, match=r"404 Not Found; with new lists.*apt-get upd"):
            debian._download(tmp_path)
    first, second, update, *again = asked.read_text().splitlines()
    assert ("--simulate" in first, "Lists=" in second, update[-6:]) == (True, False, "update")
    assert all("Dir::State::Lists=" in line for line in (update, *again))


def test_where_debians_cannot_be_had_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(debian.NotFetched, match="no Debian"):
        debian.fetch()


@pytest.mark.parametrize("env", [{}, {"PATH": "/nowhere"}, {"CHROMIUM_BIN": "/nowhere/chromium"}])
def test_where_there_is_none_the_cure_is_said(env: dict[str, str]):
    with pytest.raises(NoChromium, match="apt-get install chromium") as told:
        find_chromium(env, Path("/nowhere/chrome"))
    assert "BROWSER=0" in str(told.value)
    assert ("CHROMIUM_BIN is /nowhere" in str(told.value)) == ("CHROMIUM_BIN" in env)


def test_no_test_of_the_console_is_ever_skipped():
    for path in (ROOT / "tests" / "console").glob("*.py"):
        assert not SKIPS.search(path.read_text()), path
