"""What a contact is told, once, who writes while the business is closed."""

from dataclasses import dataclass
from datetime import datetime

from router.replies.context import context_of
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from router.tenants.away import away_text
from router.tenants.hours import read_hours, was_open

ALREADY_TOLD = "told"  # the fence's word for it


@dataclass(frozen=True, slots=True)
class ClosedStretch:
    """A time in which it is closed: until when, and what the contact must still be told of it.

    `opens_at` is None if no opening is known; then there is nothing to tell, and neither is there
    in a group, or if the contact was told already, as far as is known: the fence knows better.
    `was_written_open`: some of the messages to answer were written before it closed.
    """

    opens_at: datetime | None
    message: str | None
    was_written_open: bool = False


def closed_stretch(turn: ClaimedTurn, default_zone: str) -> ClosedStretch | None:
    """Return the closed stretch in which the turn was written and is answered.

    None: it is open, or was when all of it was written, or no hours are known.
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
        or turn.session.chat == "group"  # it would tell everybody in the group
        or (told is not None and told > turn.now)
    ):
        return ClosedStretch(opens_at, None, bool(in_time))
    return ClosedStretch(opens_at, away_text(message, opens_at), bool(in_time))


def with_said(turn: ClaimedTurn, body: str, message_id: int | None) -> ClaimedTurn:
    """Return the turn after the contact has been told: the reply is made knowing it."""
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
