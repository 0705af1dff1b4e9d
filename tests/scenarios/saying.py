"""What is said in a conversation, and how it comes: written, by voice, or under a picture."""

import io
from typing import Final

import av

from loopback.evolution import Business, Customer, contents
from loopback.evolution.people import Message
from loopback.speech import Listened, SpeechService
from tests import files
from tests.scenarios.stage import Stage

WRITTEN: Final = "written"
VOICE: Final = "voice"
PICTURES: Final = "pictures"


class Saying:
    """Says a customer's and the owner's words in one of these ways."""

    def __init__(self, stage: Stage, speech: SpeechService, way: str) -> None:
        self._stage = stage
        self._way = way
        self._by_seconds: dict[int, str] = {}  # each sound is told from the others by its length
        speech.hears = self._heard

    async def customer(
        self, customer: Customer, words: str, *, at: Business | None = None
    ) -> Message:
        """Say it as a customer of the stage's shop, or of another one."""
        if self._way == WRITTEN:
            return await customer.writes(words)
        if self._way == PICTURES:
            delivery, raw = customer.sends(contents.image(words)), files.picture(size=(60, 40))
        else:
            seconds = len(self._by_seconds) + 1
            self._by_seconds[seconds] = words
            delivery, raw = customer.sends(contents.voice()), files.sound(seconds)
        (at or self._stage.shop).received[delivery.wa_id] = raw
        return await delivery

    async def owner(self, customer: Customer, words: str) -> Message:
        """Say it as the owner, by hand."""
        owner = self._stage.shop.owner
        if self._way == WRITTEN:
            return await owner.writes(customer, words)
        of_media = contents.voice() if self._way == VOICE else contents.image(words)
        return await owner.sends(customer, of_media)

    async def is_understood(self) -> None:
        """Wait until all that was said is in words."""
        await self._stage.until(
            "select state from media_jobs",
            lambda jobs: all(job["state"] in ("done", "failed") for job in jobs),
        )

    def told(self, words: str) -> str:
        """Return how the LLM is told what a customer said."""
        if self._way == PICTURES:
            return f'[image: "{words}"]'
        return words if self._way == WRITTEN else f'[voice message, 7 seconds: "{words}"]'

    def told_of_owner(self, words: str) -> str:
        """Return how the LLM is told what the owner said: what people send is not listened to."""
        return "[voice message, 7 seconds]" if self._way == VOICE else self.told(words)

    def _heard(self, listened: Listened) -> str:
        with av.open(io.BytesIO(listened.content)) as sound:
            return self._by_seconds[round((sound.duration or 0) / 1_000_000)]
