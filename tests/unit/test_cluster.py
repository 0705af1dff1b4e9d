"""What initdb of each version is asked for."""

from pathlib import Path

import pytest

from router.embedded.binaries import Binaries
from router.embedded.cluster import _initdb

NEW_IN_16 = {"--set", "-c"}
NEW_IN_17 = {"--builtin-locale"}


@pytest.mark.parametrize(
    ("version", "unknown"),
    [("15.17", NEW_IN_16 | NEW_IN_17), ("16.13", NEW_IN_17), ("17.9", set()), ("18.6", set())],
)
def test_no_version_is_asked_for_what_came_later(version: str, unknown: set[str]):
    asked = _initdb(Binaries(Path("bin"), version), Path("cluster"), Path("password"))
    assert not unknown & set(map(str, asked))
    assert ("builtin" in asked) is (not unknown)
    assert "C.UTF-8" in asked
