"""Which message a reply quotes: one of several, an old one, none that was deleted."""

from datetime import timedelta

from router.replies.quoting import quoted_in
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from tests.unit.test_fallback import turn


def _asked(*bodies: str, kind: str = "text") -> ClaimedTurn:
    made = turn()
    (last,) = [message for message in made.history if message.in_turn]
    asked = [
        last.model_copy(update={"body": body, "wa_id": f"3A{n}", "kind": kind})
        for n, body in enumerate(bodies)
    ]
    return made.model_copy(update={"history": tuple(asked), "now": last.sent_at})


def test_one_fresh_message_is_not_quoted():
    assert quoted_in(_asked("tem bolo?")) is None


def test_of_several_the_last_question_is_quoted_or_the_last_of_them():
    assert quoted_in(_asked("oi", "tem bolo?", "de cenoura")) == "3A1"
    assert quoted_in(_asked("oi", "quero bolo")) == "3A1"


def test_one_that_was_deleted_is_not_quoted():
    assert quoted_in(_asked("quero bolo", "[deleted message]")) == "3A0"
    assert quoted_in(_asked("[deleted message]", "[deleted message]")) is None


def test_an_old_one_is_quoted():
    made = _asked("tem bolo?")
    assert quoted_in(made.model_copy(update={"now": made.now + timedelta(minutes=11)})) == "3A0"


def test_one_above_something_of_ours_is_quoted():
    made = _asked("tem bolo?")
    ours = TurnMessage(
        message_id=1, wa_id="3EB0A", from_me=True, sender="ai", kind="text", body="até as seis",
        quoted=None, author_name=None, sent_at=made.now + timedelta(seconds=5), in_turn=False,
    )  # fmt: skip
    assert quoted_in(made.model_copy(update={"history": (ours, *made.history)})) == "3A0"


def test_in_a_group_it_is_always_plain_whom_it_is_for():
    made = _asked("tem bolo?")
    session = made.session.model_copy(update={"chat": "group"})
    assert quoted_in(made.model_copy(update={"session": session})) == "3A0"


def test_no_reaction_is_quoted():
    assert quoted_in(_asked("[reaction]", "[reaction]", kind="reaction")) is None
