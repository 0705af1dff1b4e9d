"""A router of one release is told that the schema of an older one lacks what it needs."""

import re
from pathlib import Path

from router.state.history import read_lock
from router.state.migrations import LOCK_FILE, MIGRATIONS
from router.state.schema_version import SCHEMA_VERSION
from scripts.build_schema import newest_file

_SAYS = re.compile(r"'schema_version', (\d+)")


def said_in(file: Path) -> int:
    (said,) = _SAYS.findall(file.read_text(encoding="utf-8"))
    return int(said)


def test_the_schema_says_the_programs_version():
    assert said_in(newest_file()) == SCHEMA_VERSION


def test_it_is_higher_than_the_last_releases_while_the_next_is_made():
    frozen = read_lock(MIGRATIONS.parent / LOCK_FILE)
    if newest_file().name in frozen:
        return  # it is that release
    last = max(frozen)
    assert said_in(MIGRATIONS / last) < SCHEMA_VERSION
