"""How often somebody may do something, and how deep JSON may be nested."""

import pytest

from router.sharing.rates import Rates, per_minute
from router.whatsapp.depth import too_deep


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_beyond_the_limit_it_says_how_long_to_wait() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert [rates.exceeded(per_minute(2), "a") for _ in range(3)] == [None, None, 60]
    clock.now += 45.5
    assert rates.exceeded(per_minute(2), "a") == 15
    clock.now += 15
    assert rates.exceeded(per_minute(2), "a") is None


def test_one_does_not_use_up_what_another_may() -> None:
    rates = Rates(Clock())
    for who in (("a", "1"), ("a", "2"), ("b", "1")):
        assert rates.exceeded(per_minute(1), *who) is None
        assert rates.exceeded(per_minute(1), *who) is not None


def test_counters_that_have_run_out_are_forgotten() -> None:
    clock = Clock()
    rates = Rates(clock)
    for number in range(1000):
        rates.exceeded(per_minute(5), str(number))
    assert len(rates) == 1000
    clock.now += 61
    rates.exceeded(per_minute(5), "new")
    assert len(rates) == 1


def nested(depth: int) -> object:
    value: object = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value, "b": "c"}
    return value


@pytest.mark.parametrize("depth", [0, 1, 2, 63, 64, 65, 500, 5000])
def test_depth_counts_objects_and_lists_inside_each_other(depth: int) -> None:
    assert too_deep(nested(depth), 64) == (depth > 64)


def test_what_is_wide_is_not_deep() -> None:
    assert not too_deep([[{}, []] for _ in range(10_000)], 3)
    assert not too_deep("[[[[", 1)
