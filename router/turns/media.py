"""The media of a reply's parts, fetched before the fence: a human could write meanwhile."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from router.evolution.errors import MediaAway, MediaRefused
from router.http.bodies import Bodies, TooMuch
from router.outbound.media import MediaSource, NoMedia, is_address
from router.sending.by_hand import why_no_voice
from router.sending.outcomes import SendFailed
from router.sending.outgoing import Outgoing
from router.sending.paths import VOICE_PATH
from router.sharing.places import NoPlace

_FIELDS = ("media", "audio", "sticker", "video")
_BEGINNING = 64  # characters of base64, by which is told what it is


class PartMedia:
    """Fetches what a part has at an address; `bodies` bounds what of that is in memory."""

    def __init__(self, source: MediaSource, bodies: Bodies) -> None:
        self._source = source
        self._bodies = bodies

    @asynccontextmanager
    async def filled(self, message: Outgoing, tenant_id: int) -> AsyncIterator[Outgoing]:
        """Give the message with its media's bytes in it, for the block.

        It stays the same message: one whose media is at an address goes by that. Raises SendFailed:
        MediaRefused where nothing there can be sent, ever; MediaAway where it may be later; NoPlace
        where too much is held already.
        """
        name = next((name for name in _FIELDS if isinstance(message.body.get(name), str)), None)
        if name is None or not is_address(address := str(message.body[name])):
            if name is not None and message.path == VOICE_PATH:
                _require_sound(_beginning(str(message.body[name])))
            yield message
            return
        with self._bodies.keeping_more(str(tenant_id)) as keep:
            try:
                content = await self._source.fetch(
                    address.strip(), tenant_id, lambda number: keep(number * 8 // 3 + 8)
                )
            except NoMedia as error:
                text = f"the {name} of the flow's answer: {error}"
                why = MediaAway(text) if error.is_away else MediaRefused(text)
                raise SendFailed(why) from error
            except TooMuch as error:
                raise SendFailed(NoPlace(str(error))) from error
            if message.path == VOICE_PATH:
                _require_sound(content)
            body = {**message.body, name: base64.b64encode(content).decode()}
            yield replace(message, body=body)


def _require_sound(content: bytes) -> None:
    """Raise SendFailed where Evolution would send an empty voice message of it, and say yes."""
    if (why := why_no_voice(content)) is not None:
        raise SendFailed(MediaRefused(f"the audio of the flow's answer: {why}"))


def _beginning(written: str) -> bytes:
    start = written.lstrip()[:_BEGINNING]
    try:
        return base64.b64decode(start + "=" * (-len(start) % 4))
    except ValueError:
        return b""
