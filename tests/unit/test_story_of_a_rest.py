"""A part that was never begun is not told as one that was tried."""

from router.stories.words import _SAYINGS


def test_a_part_that_was_kept_for_later_was_not_begun():
    told = _SAYINGS["send"]({"kind": "send", "part": 1, "sends": 0, "send_state": "failed"})
    assert "not begun" in told
    assert "fence" not in told


def test_one_that_was_begun_passed_the_fence():
    for times in (None, 1, 2):
        told = _SAYINGS["send"]({"kind": "send", "part": 1, "sends": times, "send_state": "sent"})
        assert "the fence let" in told
        assert ("2 times" in told) == (times == 2)
