"""How long a send may take, and that whatever judges it waits longer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sending.times import SendTimes, upload_seconds

SIZES = st.integers(0, 300_000_000)
TIMES = st.builds(
    SendTimes,
    timeout=st.floats(0.1, 3600),
    settle=st.floats(0, 3600),
    lease=st.floats(3, 3600),
)


@given(TIMES, SIZES)
def test_what_the_fence_gives_outlasts_the_longest_send(times: SendTimes, size: int):
    """From the fence on: an exchange begins within `patience`, or not at all."""
    upload = upload_seconds(size)
    longest = times.patience + times.exchange(upload)
    assert times.fence(upload) >= longest
    assert times.fence(upload, is_renewed=True) == times.lease


@given(TIMES, SIZES)
def test_a_send_that_is_still_going_is_never_judged_lost(times: SendTimes, size: int):
    upload = upload_seconds(size)
    assert times.late + upload >= times.patience + times.exchange(upload) - 1e-6
    # Evolution has the whole of SEND_SETTLE_SECONDS, however late the request began.
    assert times.late >= times.patience + times.timeout + times.settle - 1e-6


@given(SIZES, SIZES)
def test_a_larger_send_never_has_less_time(one: int, other: int):
    assert (upload_seconds(one) <= upload_seconds(other)) or one > other


@pytest.mark.parametrize(
    ("size", "seconds"), [(0, 0), (999_999, 0), (1_000_000, 2), (21_333_340, 42)]
)
def test_what_is_small_has_send_timeout_and_each_mb_more(size: int, seconds: float):
    assert upload_seconds(size) == seconds


def test_the_largest_media_over_a_line_of_4_mbit_leaves_evolution_its_time():
    content = 16_000_000 * 4 // 3
    seconds = SendTimes(timeout=30, settle=90, lease=10).exchange(upload_seconds(content))
    assert seconds - content * 8 / 4_000_000 >= 29
