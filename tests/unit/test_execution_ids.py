"""The ids of n8n's executions: one spelling each, for what is at their path is deleted."""

import pytest

from router.n8n.execution_ids import is_execution_id
from tests.for_each import for_each

FOREIGN: tuple[str, ...] = (
    *("../workflows/abc123", "1/../../workflows/xyz", "..%2fworkflows%2fabc", "..\\workflows\\7"),
    *("4711?", "4711?x=1", "4711/", "./4711", "4711#a", "4711;a", "4711%20", "%34711", "4711,4712"),
    *("04711", " 4711", "4711 ", "4711\n", "+4711", "-4711", "4_711", "0x1267", "4711.0", "4711e0"),
    *("٤٧١١", "\uff14\uff17\uff11\uff11", "0", "", ".", "..", "1" * 16),
    *("__UNKNOWN__", "abc", "E1", "null"),
)  # fmt: skip


@pytest.mark.parametrize("shown", ["1", "4711", "9" * 15, 1, 4711])
def test_what_n8n_gives_is_an_id(shown: object) -> None:
    assert is_execution_id(shown)


@for_each("shown", [*FOREIGN, None, True, 0, -1, 4711.0, 10**15, ["1"], {"1": 1}])
def test_every_other_spelling_is_none(shown: object) -> None:
    assert not is_execution_id(shown)
