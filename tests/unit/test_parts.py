"""The parts in which `make` runs a folder of tests: each file is in one of them."""

import argparse
import re

import pytest

from tests.parts import Part
from tests.routers import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("of", [1, 2, 3])
def test_each_file_is_in_one_part_and_the_parts_are_of_a_size(of: int):
    files = sorted((ROOT / "tests" / "scenarios").glob("test_*.py"))
    parts = [Part(number, of) for number in range(1, of + 1)]
    taken = [[file for file in files if part.has(file)] for part in parts]
    assert sorted(file for each in taken for file in each) == files
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_what_is_no_file_of_tests_is_everybodys():
    shared = (ROOT / "tests" / "unit", ROOT / "tests" / "scenarios" / "conftest.py")
    assert all(Part(number, 2).has(path) for number in (1, 2) for path in shared)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/", "/2", "a/b", "-1/2"])
def test_what_is_no_part_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="is no part"):
        Part.read(text)


@pytest.mark.parametrize(
    ("row", "of"), [("check-unit", 2), ("test-conversations", 3), ("test-faults", 2)]
)
def test_make_runs_all_parts_of_a_row(row: str, of: int):
    rows = re.findall(rf"^{row}-\d: .*\n\t.*--part=(\S+) ", MAKEFILE, re.MULTILINE)
    assert rows == [f"{number}/{of}" for number in range(1, of + 1)]
    each = " ".join(f"{row}-{number}" for number in range(1, of + 1))
    assert f"\n{row}: {each}\n" in MAKEFILE
