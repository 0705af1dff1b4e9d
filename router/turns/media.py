"""Fetches the media of a reply's parts before the fence.

Fetching takes time in which a human may write, and the fence must be asked after that.
"""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from router.evolution.errors import MediaAway, MediaRefused
from router.http.bodies import Bodies, TooMuch
from router.outbound.media import MediaSource, NoMedia, is_address
from router.sending.outcomes import SendFailed
from router.sending.outgoing import Outgoing
from router.sending.paths import VOICE_PATH
from router.senses.sounds import Sounds
from router.sharing.places import NoPlace

_FIELDS = ("media", "audio", "sticker", "video")


class PartMedia:
    """Fetches media that a part names by URL; `bodies` limits how much of it is in memory.

    A voice message is always checked: it must be audio.
    """

    def __init__(self, source: MediaSource, bodies: Bodies, sounds: Sounds) -> None:
        self._source = source
        self._bodies = bodies
        self._sounds = sounds

    @asynccontextmanager
    async def filled(self, message: Outgoing, tenant_id: int) -> AsyncIterator[Outgoing]:
        """Yield the message with its media's bytes instead of the URL.

        Its identity stays that of the message with the URL. Raises SendFailed, with MediaRefused if
        the media can never be sent, MediaAway if it may work later, NoPlace if too much is in
        memory already.
        """
        name = next((name for name in _FIELDS if isinstance(message.body.get(name), str)), None)
        is_voice = message.path == VOICE_PATH and not message.has_substitute  # not one of ours
        if name is None or (not is_address(str(message.body[name])) and not is_voice):
            yield message
            return
        with self._bodies.keeping_more(str(tenant_id)) as keep:
            try:
                ready = await self._ready(message, name, tenant_id, keep, is_voice=is_voice)
            except NoMedia as error:
                text = f"the {name} of the flow's answer: {error}"
                why = MediaAway(text) if error.is_away else MediaRefused(text)
                raise SendFailed(why) from error
            except TooMuch as error:
                raise SendFailed(NoPlace(str(error))) from error
            yield ready

    async def _ready(
        self,
        message: Outgoing,
        name: str,
        tenant_id: int,
        keep: Callable[[int], None],
        *,
        is_voice: bool,
    ) -> Outgoing:
        """Raises NoMedia and TooMuch."""
        given = str(message.body[name])
        if not is_address(given):
            keep(2 * len(given))
            await self._sounds.require(given, tenant_id)
            return message
        content = await self._source.fetch(
            given.strip(), tenant_id, lambda number: keep(number * 8 // 3 + 8)
        )
        if is_voice:
            await self._sounds.require(content, tenant_id)
        body = {**message.body, name: base64.b64encode(content).decode()}
        return replace(message, body=body)
