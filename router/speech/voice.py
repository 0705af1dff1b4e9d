"""A voice that reads texts aloud: OpenAI's `/audio/speech`, or any server that speaks it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from router.llm.loading import InThread
from router.speech.opus import BadAudio, voice_note

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_AT_ONCE = 8
_MOST_BYTES = 8_000_000  # a minute of what is not compressed, and some more


class SpeechFailed(Exception):
    """There is no voice message of it; the text says why."""


@dataclass(frozen=True, slots=True)
class VoiceTerms:
    """Which server is asked, with which key, for which voice of which model."""

    base_url: str | None
    api_key: SecretStr | None
    model: str
    voice: str
    timeout: float = 20.0


class Voice:
    """Reads aloud, a few texts at once. Loaded in a thread, as the SDKs of LLMs are."""

    def __init__(self, terms: VoiceTerms) -> None:
        self._terms = terms
        self._loading = InThread(self._load)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def load(self) -> None:
        """Load what the first text needs, beside the event loop."""
        await self._loading.get()

    async def read(self, text: str) -> bytes:
        """Return a voice message that says the text. Raises SpeechFailed."""
        try:
            async with asyncio.timeout(self._terms.timeout), self._places:
                content = await self._ask(text)
                note, _ = await asyncio.to_thread(voice_note, content)
        except TimeoutError as error:
            raise SpeechFailed("it took too long") from error
        except BadAudio as error:
            raise SpeechFailed(f"what was answered is no sound: {error}") from error
        return note

    async def close(self) -> None:
        """Close the connections."""
        if (client := self._loading.made) is not None:
            await client.close()

    async def _ask(self, text: str) -> bytes:
        client = await self._loading.get()
        import openai  # the thread has loaded it

        content = bytearray()
        try:
            async with client.audio.speech.with_streaming_response.create(
                model=self._terms.model,
                voice=self._terms.voice,
                input=text,
                response_format="opus",
            ) as answer:
                async for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > _MOST_BYTES:
                        raise SpeechFailed("what was answered is too large")
        except openai.APIStatusError as error:
            raise SpeechFailed(f"the server of the voice answered {error.status_code}") from error
        except (openai.APIError, UnicodeError) as error:
            raise SpeechFailed(f"the server of the voice: {type(error).__name__}") from error
        return bytes(content)

    def _load(self) -> AsyncOpenAI:
        """Load the SDK and the codecs; takes seconds, in which nothing else may have to wait."""
        import av  # noqa: F401 - opus.py needs it
        from openai import AsyncOpenAI

        key = self._terms.api_key
        return AsyncOpenAI(
            api_key=key.get_secret_value() if key else "none",
            base_url=self._terms.base_url,
            timeout=self._terms.timeout,
            max_retries=0,
        )
