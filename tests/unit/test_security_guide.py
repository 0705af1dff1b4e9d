"""SECURITY.md names tests; each of them must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_guide_names_is_there():
    guide = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?)", guide))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
