"""How a reply is delivered: in which messages, and how long "typing…" is shown before each.

All waiting happens before the fence, so it never widens the gap between the fence and the send.
"""

import asyncio
from dataclasses import dataclass

from router.replies.handoffs import asked_for, with_words
from router.replies.making import Part
from router.replies.quoting import quoted_in
from router.replies.thanks import thanked_with
from router.safety.unseen import is_seen
from router.sending.courtesy import Courtesy
from router.sending.outgoing import Outgoing
from router.sending.paths import REACTION_PATH
from router.state.calls.claimed_turn import ClaimedTurn
from router.tenants.instance import TenantLine
from router.turns.own_files import with_files
from router.turns.voices import in_messages
from router.whatsapp.bubbles import bubbles_of

_SHORTEST = 0.3  # seconds; less is not visible


@dataclass(frozen=True, slots=True)
class Pace:
    """Typing speed in characters a second, and the most seconds of typing in one reply."""

    speed: float
    most: float

    def seconds(self, characters: int, typed: float) -> float:
        """Return how long to type that many characters, if `typed` seconds were typed before."""
        if self.speed <= 0:
            return 0.0
        wanted = min(characters / self.speed, self.most - typed)
        return wanted if wanted >= _SHORTEST else 0.0


def delivered(parts: tuple[Part, ...], turn: ClaimedTurn, *, by_voice: bool) -> tuple[Part, ...]:
    """Return the parts to send: a few text messages, or voice messages, with the files."""
    if by_voice:
        said = in_messages(with_files(parts, turn.tenant.files))
    else:
        bubbles = in_bubbles(parts, turn.tenant.delivery.max_bubbles)
        said = with_files(bubbles, turn.tenant.files)
    return tuple(part for part in said if not isinstance(part, str) or is_seen(part))


def in_bubbles(parts: tuple[Part, ...], most: int) -> tuple[Part, ...]:
    """If the reply is one text, divide it into at most `most` messages.

    Several texts are left as they are: they were already divided, by length or by a flow.
    """
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != 1:
        return parts
    said: list[Part] = []
    for part in parts:
        said += bubbles_of(part, most) if isinstance(part, str) else (part,)
    return tuple(said)


def said_without_a_model(turn: ClaimedTurn) -> tuple[Part, ...] | None:
    """Return the reply to a bare thank-you or to a request for a human: it needs no model."""
    if (reaction := reaction_to_thanks(turn)) is not None:
        return (reaction,)
    asked = asked_for(turn)
    return None if asked is None else with_words(asked, turn)


def reaction_to_thanks(turn: ClaimedTurn) -> Part | None:
    """Return the reaction that is the whole reply, or None if the tenant wants a text."""
    sign = turn.tenant.delivery.thanks_reaction
    if sign is None or (thanks := thanked_with(turn)) is None:
        return None
    key = {"id": thanks, "remoteJid": turn.session.jid, "fromMe": False}
    return {"path": REACTION_PATH, "body": {"key": key, "reaction": sign}}


def outgoing(part: Part, turn: ClaimedTurn, before: tuple[Part, ...]) -> Outgoing:
    """Return a part as the message to send; `before` are the parts before it.

    The first text of a reply quotes the message that it answers, in its current form.
    """
    if not isinstance(part, str) and "text" not in part:
        return Outgoing.of(part["path"], part["body"])
    text: str = part if isinstance(part, str) else part["text"]
    is_first = not any(isinstance(each, str) or "text" in each for each in before)
    quoted = quoted_in(turn) if is_first and turn.tenant.delivery.quote_replies else None
    return Outgoing.plain(text, None if quoted is None else {"quoted": {"key": {"id": quoted}}})


def substitute(part: Part) -> Outgoing | None:
    """Return the reaction's emoji as a text, to be sent if the reaction is refused.

    Not every channel of Evolution has reactions.
    """
    if isinstance(part, str) or part.get("path") != REACTION_PATH:
        return None
    sign = part["body"].get("reaction")
    return Outgoing.plain(sign) if isinstance(sign, str) and is_seen(sign) else None


class Saying:
    """The pace of one attempt's reply. `typed`: seconds of "typing…" that were shown so far."""

    def __init__(self, turn: ClaimedTurn, line: TenantLine, courtesy: Courtesy, pace: Pace) -> None:
        self.typed = 0.0
        self._turn = turn
        self._line = line
        self._courtesy = courtesy
        self._pace = pace
        self._has_spoken = False

    async def type_first(self, part: Part) -> None:
        """Show "typing…" before a later message of this attempt, as long as it takes.

        The first message does not wait: "typing…" was shown while it was made.
        """
        if not self._has_spoken or not isinstance(part, str):
            return
        seconds = self._pace.seconds(len(part), self.typed)
        if seconds:
            self._courtesy.type_for(self._turn, self._line, seconds)
            await asyncio.sleep(seconds)
            self.typed += seconds

    def said(self) -> None:
        """Note that a part passed its fence: the next one is not the first."""
        self._has_spoken = True
