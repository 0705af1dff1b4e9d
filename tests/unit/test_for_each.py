"""Many cases in one test: all of them are tried, and a failure says for which it is."""

import inspect

import pytest

from tests.for_each import for_each


def test_every_case_is_tried_with_every_other():
    tried = []

    @for_each("a, b", [(1, 2), (3, 4)])
    @for_each("c", "xy")
    def test(a: int, b: int, c: str) -> None:
        tried.append((a, b, c))

    test()
    assert tried == [(1, 2, "x"), (1, 2, "y"), (3, 4, "x"), (3, 4, "y")]


@pytest.mark.parametrize(("ids", "told"), [(["one", "two"], "for two"), (repr, "for 2")])
def test_a_failure_says_for_which_case_it_is(ids, told):
    @for_each("a", [1, 2], ids=ids)
    def test(a: int) -> None:
        assert a == 1

    with pytest.raises(AssertionError) as failed:
        test()
    assert failed.value.__notes__ == [told]


async def test_so_it_does_of_what_is_awaited():
    @for_each("a", [1, 2])
    async def test(a: int) -> None:
        assert a == 1

    with pytest.raises(AssertionError) as failed:
        await test()
    assert failed.value.__notes__ == ["for 2"]


def test_what_is_no_part_of_a_case_is_a_fixture():
    @for_each("a", [1])
    def test(a: int, tmp_path: object) -> None: ...

    assert list(inspect.signature(test).parameters) == ["tmp_path"]


def test_a_table_has_cases_and_a_test_takes_them():
    with pytest.raises(AssertionError, match="no case"):
        for_each("a", [])
    with pytest.raises(AssertionError, match="does not take"):

        @for_each("a", [1])
        def test() -> None: ...
