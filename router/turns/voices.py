"""Turns parts of a reply into voice messages, before the fence. If that fails, they stay texts.

A reply is stored as text, so the history has the words. The voice is made again for each send.
"""

import base64
import logging
from dataclasses import replace

from router.logs.events import Action, log_event
from router.replies.making import Part
from router.sending.courtesy import Courtesy
from router.sending.outgoing import Outgoing
from router.sending.paths import VOICE_PATH
from router.speech.aloud import MOST_MESSAGES, in_voice, read_aloud
from router.speech.voice import Manner, SpeechFailed, Voice
from router.state.calls.claimed_turn import ClaimedTurn
from router.tenants.instance import TenantLine

_log = logging.getLogger(__name__)
_CHARACTERS_PER_TOKEN = 4
_RECORDING = 5.0  # seconds for which "recording…" is shown


class Voices:
    """Makes the voice messages of replies; `voice` is None if the deployment has none."""

    def __init__(self, voice: Voice | None, courtesy: Courtesy) -> None:
        self._voice = voice
        self._courtesy = courtesy

    def speaks(self, turn: ClaimedTurn) -> bool:
        """Whether the reply to this turn is sent by voice."""
        if self._voice is None:
            return False
        match turn.tenant.delivery.voice_replies:
            case "always":
                return True
            case "mirror":
                return any(message.in_turn and message.kind == "ptt" for message in turn.history)
            case _:
                return False

    async def said(
        self, turn: ClaimedTurn, line: TenantLine, part: Part, message: Outgoing
    ) -> Outgoing:
        """Return a part as a voice message, or unchanged if it is not spoken.

        The message keeps its words for the history, and has the same identity each time.
        """
        if self._voice is None or (spoken := _spoken(part)) is None:
            return message
        self._courtesy.type_for(turn, line, _RECORDING, presence="recording")
        try:
            note = await self._voice.read(spoken, _manner(turn))
        except SpeechFailed as error:
            log_event(
                _log, Action.VOICE_FAILED, f"said in writing: {error}", level=logging.WARNING,
                tenant_id=turn.tenant.tenant_id, turn_id=turn.turn_id,
            )  # fmt: skip
            return message
        # No encoding by Evolution: the file is ready to play, and converting it again takes time.
        body = {"audio": base64.b64encode(note).decode(), "encoding": False}
        same = Outgoing.of(VOICE_PATH, {"audio": message.text})
        return replace(
            Outgoing.of(VOICE_PATH, body),
            text=message.text,
            identity=same.identity,
            has_substitute=True,
        )


def in_messages(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts with each text divided into the voice messages that speak it."""
    said: list[Part] = []
    for part in parts:
        # Too many voice messages take too long to make: the rest stays text.
        if isinstance(part, str) and len(said) < MOST_MESSAGES:
            said += in_voice(part)
        else:
            said.append(part)
    return tuple(said)


def tokens_aloud(parts: tuple[Part, ...]) -> int:
    """Return how many tokens reading the parts aloud counts as: one for four characters."""
    characters = sum(len(_spoken(part) or "") for part in parts)
    return -(-characters // _CHARACTERS_PER_TOKEN)


def _manner(turn: ClaimedTurn) -> Manner:
    rules = turn.tenant.delivery
    return Manner(rules.tts_voice, rules.tts_instructions)


def _spoken(part: Part) -> str | None:
    return read_aloud(part) if isinstance(part, str) else None
