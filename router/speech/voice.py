"""A voice that reads texts aloud: OpenAI's `/audio/speech`, or any compatible server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from pydantic import SecretStr

from router.llm.loading import InThread
from router.speech.opus import BadAudio, voice_note

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_AT_ONCE = 8
_MOST_BYTES = 8_000_000  # more than a minute of uncompressed audio
_SILENT_AFTER = 2  # failures in a row (no answer, or not in time)
_SILENT_FOR = 60.0  # seconds without calls after that: each call would only wait in vain


class SpeechFailed(Exception):
    """There is no voice message; the text says why."""


@dataclass(frozen=True, slots=True)
class VoiceTerms:
    """The server, the key, the model and the voice."""

    base_url: str | None
    api_key: SecretStr | None
    model: str
    voice: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Manner:
    """The voice and style of a tenant's replies; None: the deployment's setting."""

    voice: str | None = None
    instructions: str | None = None


class Voice:
    """Reads texts aloud, a few at once. It is loaded in a thread, like the SDKs of LLMs.

    After a few failures in a row, the server is not called for a while.
    """

    def __init__(self, terms: VoiceTerms, clock: Callable[[], float] = monotonic) -> None:
        self._terms = terms
        self._clock = clock
        self._away = 0
        self._asked_again_at = 0.0
        self._loading = InThread(self._load)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def load(self) -> None:
        """Load what the first text needs, in a thread."""
        await self._loading.get()

    async def read(self, text: str, manner: Manner) -> bytes:
        """Return a voice message that says the text. Raises SpeechFailed."""
        if self._clock() < self._asked_again_at:
            raise SpeechFailed("the server of the voice has been silent, and is asked again later")
        try:
            async with asyncio.timeout(self._terms.timeout), self._places:
                content = await self._ask(text, manner)
                self._away = 0
                note, _ = await asyncio.to_thread(voice_note, content)
        except TimeoutError as error:
            self._was_away()
            raise SpeechFailed("it took too long") from error
        except BadAudio as error:
            raise SpeechFailed(f"the answer is not a sound: {error}") from error
        except SpeechFailed:
            raise
        except Exception as error:  # after any error of a server or codec, the reply stays text
            raise SpeechFailed(f"the voice failed: {error!r}") from error
        return note

    async def close(self) -> None:
        """Close the connections."""
        if (client := self._loading.made) is not None:
            await client.close()

    def _was_away(self) -> None:
        self._away += 1
        if self._away >= _SILENT_AFTER:
            self._asked_again_at = self._clock() + _SILENT_FOR

    async def _ask(self, text: str, manner: Manner) -> bytes:
        client = await self._loading.get()
        import openai  # the thread has loaded it

        content = bytearray()
        try:
            async with client.audio.speech.with_streaming_response.create(
                model=self._terms.model,
                voice=manner.voice or self._terms.voice,
                input=text,
                response_format="opus",
                instructions=manner.instructions or openai.omit,
            ) as answer:
                async for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > _MOST_BYTES:
                        raise SpeechFailed("what was answered is too large")
        except openai.APIStatusError as error:
            raise SpeechFailed(f"the server of the voice answered {error.status_code}") from error
        except openai.APIConnectionError as error:
            self._was_away()
            raise SpeechFailed(f"the server of the voice: {type(error).__name__}") from error
        return bytes(content)

    def _load(self) -> AsyncOpenAI:
        """Load the SDK and the codecs. This takes seconds, so it runs in a thread."""
        import av  # noqa: F401 - opus.py needs it
        from openai import AsyncOpenAI

        key = self._terms.api_key
        return AsyncOpenAI(
            api_key=key.get_secret_value() if key else "none",
            base_url=self._terms.base_url,
            timeout=self._terms.timeout,
            max_retries=0,
        )
