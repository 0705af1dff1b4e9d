"""What `scripts.tenant` makes of `name=value`."""

from pathlib import Path

import pytest

from router.errors import Invalid
from scripts.tenant import values_of

HOURS = '{"weekly": {"mon": ["09:00-18:00"]}}'


def test_hours_and_facts_are_given_as_they_stand_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "hours.json").write_text(HOURS, encoding="utf-8")
    (tmp_path / "facts.txt").write_text("Um bolo custa 45 reais.\n", encoding="utf-8")
    told = {"opening_hours": {"weekly": {"mon": ["09:00-18:00"]}}}
    assert values_of([f"opening_hours={HOURS}"]) == told
    assert values_of([f"opening_hours=@{tmp_path / 'hours.json'}"]) == told
    assert values_of(["opening_hours="]) == {"opening_hours": None}
    assert values_of([f"facts=@{tmp_path / 'facts.txt'}"]) == {"facts": "Um bolo custa 45 reais."}


def test_hours_that_are_no_json_are_refused() -> None:
    with pytest.raises(Invalid, match="opening_hours is not JSON"):
        values_of(["opening_hours=09:00-18:00"])
