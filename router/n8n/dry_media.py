"""Checks a flow's media in a test turn as in a real one: it must be base64, a voice be audio.

A URL is not fetched, because a test turn causes no requests to the outside.
"""

from collections.abc import Iterable
from typing import TypeAlias

from router.gate.refusals import Refused
from router.http.bodies import TooMuch
from router.n8n.dependencies import FlowServices
from router.n8n.media import filled, refusal
from router.n8n.whitelist import Asked
from router.outbound.media import NoMedia, is_address
from router.replies.making import Part
from router.sending.outgoing import Outgoing
from router.sending.paths import VOICE_PATH
from router.senses.sounds import Sounds

ALL_OF_THEM = 0
"""The holder of this work: the test turns of all tenants count as one. No tenant has this id."""

_Messages: TypeAlias = tuple[Outgoing, ...]


async def require_media(services: FlowServices, asked: Asked, messages: _Messages) -> None:
    """Return if the gateway would accept the media. Raises Refused, and TimeoutError if busy."""
    if asked.media is None or is_address(str(asked.body[asked.media]).strip()):
        return
    bench = services.bench
    try:
        with services.media_bodies.keeping_more("dry turns") as keep:
            for each in messages:
                ready = await filled(
                    asked,
                    each,
                    services.media,
                    ALL_OF_THEM,
                    lambda work: bench.do(ALL_OF_THEM, work, after_waiting=still),
                    keep,
                )
                await _require_sound(ready.path, ready.body, services.sounds)
    except NoMedia as error:
        raise refusal(asked, error) from error
    except TooMuch as error:
        raise Refused(503, "too many media are being sent: try again soon", "busy") from error


async def still() -> None:
    """Check nothing: recording a send checks whether the test turn is over."""


async def fault_in(parts: Iterable[Part], sounds: Sounds) -> str | None:
    """Return why an answer with these parts would not be sent, or None."""
    for each in parts:
        if isinstance(each, str) or "path" not in each:
            continue
        try:
            await _require_sound(str(each["path"]), each["body"], sounds)
        except NoMedia as error:
            return f"the audio of the flow's answer: {error}"
    return None


async def _require_sound(path: str, body: object, sounds: Sounds) -> None:
    """Raise NoMedia for a voice message that is not audio."""
    if path != VOICE_PATH or not isinstance(body, dict):
        return
    audio = str(body["audio"])
    if not is_address(audio.strip()):
        await sounds.require(audio, ALL_OF_THEM)
