"""What is said, once, to who writes while the business is closed."""

from dataclasses import dataclass
from datetime import datetime

from router.replies.context import context_of
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from router.tenants.away import away_text

ALREADY_TOLD = "told"  # the fence's word for it


@dataclass(frozen=True, slots=True)
class ClosedStretch:
    """A time in which it is closed: until when, and what the contact is yet to be told of it.

    `opens_at` is None where no opening is known, and then there is nothing to tell; nor where the
    contact was told already, as far as is known: the fence knows better.
    """

    opens_at: datetime | None
    message: str | None


def closed_stretch(turn: ClaimedTurn, default_zone: str) -> ClosedStretch | None:
    """Return the closed stretch in which the turn is answered; None: it is open, or not known."""
    opening = context_of(turn, default_zone).opening
    if opening is None or opening.is_open:
        return None
    opens_at, told, message = opening.changes_at, turn.session.away_until, turn.tenant.away_message
    if message is None or opens_at is None or (told is not None and told > turn.now):
        return ClosedStretch(opens_at, None)
    return ClosedStretch(opens_at, away_text(message, opens_at))


def with_said(turn: ClaimedTurn, body: str, message_id: int | None) -> ClaimedTurn:
    """Return the turn as it is when the contact has been told so: the reply is made knowing it."""
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
