"""What the gateway answers instead of sending, and what the builders' guide says of it."""

from pathlib import Path

import pytest

from router.gate import refusals

_GUIDE = (Path(__file__).resolve().parents[2] / "n8n_workflows" / "README.md").read_text()


@pytest.mark.parametrize("reason", sorted(refusals._REASONS))
def test_the_builders_guide_names_every_reason_of_a_refusal(reason: str):
    rows = [line for line in _GUIDE.splitlines() if line.startswith("| 409 ")]
    assert any(f"`{reason}`" in row for row in rows)
