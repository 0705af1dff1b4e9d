"""What a contact is told, once, if they write while the business is closed."""

from dataclasses import dataclass
from datetime import datetime

from router.replies.context import context_of
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from router.tenants.away import away_text
from router.tenants.hours import read_hours, was_open

ALREADY_TOLD = "told"  # the fence's refusal if the contact was told before


@dataclass(frozen=True, slots=True)
class ClosedStretch:
    """A closed stretch: until when, and what the contact must still be told about it.

    `opens_at` is None if no opening is known. There is nothing to tell then, in a group, and if the
    contact was already told; about the last, the fence knows better. `was_written_open`: some of
    the messages to answer were written before the business closed.
    """

    opens_at: datetime | None
    message: str | None
    was_written_open: bool = False


def closed_stretch(turn: ClaimedTurn, default_zone: str) -> ClosedStretch | None:
    """Return the closed stretch in which the turn was written and is answered.

    Returns None if the business is open, was open when all messages were written, or has no hours.
    """
    context, hours = context_of(turn, default_zone), read_hours(turn.tenant.opening_hours)
    opening = context.opening
    if hours is None or opening is None or opening.is_open:
        return None
    asked = [message.sent_at for message in turn.history if message.in_turn]
    in_time = [at for at in asked if was_open(hours, context.zone, at)]
    if asked and len(in_time) == len(asked):
        return None
    opens_at, told, message = opening.changes_at, turn.session.away_until, turn.tenant.away_message
    if (
        message is None
        or opens_at is None
        or turn.session.chat == "group"  # everybody in the group would read it
        or (told is not None and told > turn.now)
    ):
        return ClosedStretch(opens_at, None, bool(in_time))
    return ClosedStretch(opens_at, away_text(message, opens_at), bool(in_time))


def with_said(turn: ClaimedTurn, body: str, message_id: int | None) -> ClaimedTurn:
    """Return the turn with the away message in its history, for the prompt of the reply."""
    said = TurnMessage(
        message_id=message_id or 0,
        wa_id=None,
        from_me=True,
        sender="ai",
        kind="text",
        body=body,
        quoted=None,
        author_name=None,
        sent_at=turn.now,
        in_turn=False,
    )
    before = [message for message in turn.history if not message.in_turn]
    asked = [message for message in turn.history if message.in_turn]
    return turn.model_copy(update={"history": (*before, said, *asked)})
