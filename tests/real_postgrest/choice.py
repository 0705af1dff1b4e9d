"""Which PostgREST a test runs over.

The double, unless POSTGREST_BIN names a real one. A test marked `both` runs over the double and,
once more, over the real one: where the two could differ, and where the main job is done.
"""

from pathlib import Path

import pytest

from tests.real_postgrest import WITHOUT, chosen_program, find_program

DIRECT, DOUBLE, REAL = "direct", "postgrest", "real postgrest"


def program_for(which: str) -> Path | None:
    """Return the program to run, None for the double. Skips the test where there is no real one."""
    if which != REAL:
        return chosen_program()
    program = find_program()
    if program is None:
        pytest.skip(WITHOUT)
    return program


def run_over_both(metafunc: pytest.Metafunc) -> None:
    """Have a test marked `both` run over the real PostgREST, besides all else."""
    if metafunc.definition.get_closest_marker("both") is None:
        return
    real = pytest.param(REAL, marks=pytest.mark.twice)
    if "database" in metafunc.fixturenames:
        ways = [DIRECT, pytest.param(DOUBLE, marks=pytest.mark.twice), real]
        over = pytest.mark.parametrize("database", ways, indirect=True)
    elif "postgrest" in metafunc.fixturenames:
        over = pytest.mark.parametrize("postgrest", [DOUBLE, real], indirect=True)
    else:
        return
    metafunc.definition.add_marker(over)
