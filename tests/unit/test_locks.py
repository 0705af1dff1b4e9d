"""What is installed is locked: every version with its hashes, and no place to fetch them from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
DEV = [Requirement(line) for line in PROJECT["dependency-groups"]["dev"]]
LOCKS = ("requirements.txt", "requirements-dev.txt")
SPEECH = "requirements-local-speech.txt"
EXTRA = [Requirement(each) for each in PROJECT["project"]["optional-dependencies"]["local-speech"]]
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def lines_of(lock: str) -> list[str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def locked_in(lock: str) -> dict[str, str]:
    """The versions by their names."""
    named = [line for line in lines_of(lock) if not line.startswith(" ")]
    requirements = [Requirement(line.removesuffix(" \\")) for line in named]
    return {canonicalize_name(each.name): str(each.specifier) for each in requirements}


@pytest.mark.parametrize("lock", [*LOCKS, SPEECH])
def test_every_version_is_exact_and_has_its_hashes(lock: str):
    lines = lines_of(lock)
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith(" "):
            assert re.match(r"[\w.-]+(\[[\w,]+\])?==[\w.]+( ; .+)? \\$", line), line
            assert _HASH.match(following), line
        else:
            assert _HASH.match(line), line


@pytest.mark.parametrize("lock", [*LOCKS, SPEECH])
def test_no_address_of_an_index_is_in_it(lock: str):
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--(index|extra|find|trusted)", text)


def test_what_the_project_names_is_locked_as_it_says():
    run, dev = LOCKS
    for lock, named in ((run, RUN), (dev, RUN + DEV), (SPEECH, RUN + EXTRA)):
        locked = locked_in(lock)
        for each in named:
            assert locked[canonicalize_name(each.name)] == str(each.specifier), (
                f"{lock}: {each}; run make lock"
            )


def test_the_tests_run_with_what_the_router_runs_with():
    run = locked_in("requirements.txt")
    assert run.items() <= locked_in("requirements-dev.txt").items()
    assert run.items() <= locked_in(SPEECH).items()  # nor does the local engine change a version


def test_what_is_optional_is_in_no_other_lock():
    for each in EXTRA:
        assert canonicalize_name(each.name) not in {*locked_in(LOCKS[0]), *locked_in(LOCKS[1])}


def test_nothing_is_locked_beside_these_two():
    """The image, make and a platform install by these files."""
    assert not (ROOT / "constraints.txt").exists()
    assert "RUN pip install -r requirements.txt" in (ROOT / "Dockerfile").read_text()
    made = (ROOT / "Makefile").read_text()
    assert all(f"install --quiet --disable-pip-version-check -r {lock}" in made for lock in LOCKS)
