"""The loopback voice, asked by the official SDK: it answers and refuses as OpenAI does."""

import wave
from collections.abc import Iterator
from io import BytesIO

import openai
import pytest

from loopback.tts import Tts


@pytest.fixture
def tts() -> Iterator[Tts]:
    with Tts(key="sk-voice") as tts:
        yield tts


def client(tts: Tts, key: str = "sk-voice") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=tts.base_url, max_retries=0)


async def _read(tts: Tts, text: str, key: str = "sk-voice") -> bytes:
    async with client(tts, key) as sdk:
        answer = await sdk.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input=text, response_format="opus"
        )
        return answer.content


async def test_it_answers_a_sound_as_long_as_the_text(tts: Tts):
    with wave.open(BytesIO(await _read(tts, "Bom dia, Maria!"))) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(0.9, abs=0.01)
    assert tts.read == ["Bom dia, Maria!"]


async def test_it_wants_the_key_and_a_text_that_is_not_too_long(tts: Tts):
    with pytest.raises(openai.AuthenticationError):
        await _read(tts, "Oi", key="sk-other")
    with pytest.raises(openai.BadRequestError):
        await _read(tts, "a" * 4097)
    with pytest.raises(openai.BadRequestError):
        await _read(tts, "")


async def test_it_fails_on_demand(tts: Tts):
    tts.fail(tts.rate_limited())
    with pytest.raises(openai.RateLimitError):
        await _read(tts, "Oi")
    tts.sound = b"nonsense"
    assert await _read(tts, "Oi") == b"nonsense"
