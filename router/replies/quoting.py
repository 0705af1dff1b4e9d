"""Chooses the message that a reply quotes, as a person would if the reference is unclear."""

from collections.abc import Sequence
from datetime import timedelta

from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage

_OLD = timedelta(minutes=10)
_DELETED = "[deleted message]"  # the history's text for a deleted message
_NO_MESSAGES = frozenset({"reaction", "poll_vote"})


def quoted_in(turn: ClaimedTurn) -> str | None:
    """Return the id of the message that the reply quotes, or None if the reference is clear.

    If several messages are answered together, the last question is quoted, or the last message. A
    message is also quoted if it is old, if a message of ours follows it, and always in a group. A
    deleted message is never quoted.
    """
    asked = [m for m in turn.history if m.in_turn and m.kind not in _NO_MESSAGES]
    there = [m for m in asked if m.wa_id and m.body != _DELETED]
    if not there:
        return None
    questions = [m for m in there if "?" in m.body]
    meant = (questions or there)[-1]
    if turn.session.chat == "group" or len(asked) > 1 or _is_far(meant, turn):
        return meant.wa_id
    return None


def _is_far(message: TurnMessage, turn: ClaimedTurn) -> bool:
    return message.sent_at < turn.now - _OLD or _was_passed(message, turn.history)


def _was_passed(message: TurnMessage, history: Sequence[TurnMessage]) -> bool:
    return any(each.from_me and each.sent_at > message.sent_at for each in history)
