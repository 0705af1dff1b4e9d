"""In a story, an attempt that did not count begins again, and a doubt ends."""

from collections.abc import Mapping

from router.stories.sequence import in_sequence
from router.stories.words import says

CLAIMED = {"kind": "claimed", "attempt": 1, "worker": "w"}
DOUBT = {"kind": "attempt_ended", "attempt": 1, "outcome": "in_doubt"}
LEFT = {"kind": "send", "part": 0, "send_state": "sent"}
NEVER_LEFT = {"kind": "send", "part": None, "send_state": "failed", "was_doubted": True}
FOUND = "the fence let part 1 through to Evolution (in doubt until it was found)"


def said(*happenings: Mapping[str, object]) -> list[str]:
    return [says(each) for each in in_sequence(happenings)]


def test_an_attempt_that_is_begun_once_more_begins_again():
    story = said(CLAIMED, {**CLAIMED, "attempt": 2}, CLAIMED)
    assert [each.split(",")[0] for each in story] == [
        "attempt 1 began", "attempt 2 began", "attempt 1 began again",
    ]  # fmt: skip


def test_after_a_retry_the_attempts_are_new_ones():
    assert "again" not in said(CLAIMED, {"kind": "retried"}, CLAIMED)[-1]


def test_a_send_in_doubt_that_left_was_found():
    before = {**LEFT, "part": 0}
    story = said(CLAIMED, before, {**LEFT, "part": 1}, DOUBT)
    assert "in doubt" not in story[1]
    assert story[2].startswith("the fence let part 2 through to Evolution (in doubt until it was")


def test_one_that_never_left_was_not_and_the_one_after_it_was_in_no_doubt():
    story = said(CLAIMED, NEVER_LEFT, DOUBT, CLAIMED, DOUBT, CLAIMED, LEFT)
    assert story[1] == (
        "the fence let a part of an earlier try through to Evolution;"
        " now it was looked up, and had not left"
    )
    assert story[-1] == "the fence let part 1 through to Evolution; now it was taken by Evolution"


def test_the_doubt_that_ends_is_that_of_the_same_attempt():
    assert said(CLAIMED, LEFT, DOUBT)[1].startswith(FOUND)
    assert not said(CLAIMED, LEFT, CLAIMED, DOUBT)[1].startswith(FOUND)
