"""What is really spoken is really heard, by the AI and by the customer whom a voice answers."""

import base64
from collections.abc import AsyncIterator
from io import BytesIO

import av
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import voice
from loopback.speech import SpeechService
from loopback.tts import Tts
from tests.scenarios.stage import Stage, performance
from tests.voices import heard, recorded, spoken

ANSWER = "one coffee two bread"


@pytest.fixture
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    with SpeechService() as speech, Tts() as tts:
        speech.hears = lambda asked: heard(asked.content)
        tts.speaks = recorded
        settings = {"STT_BASE_URL": speech.base_url, "STT_TIMEOUT": "60"}
        settings |= {"TTS_BASE_URL": tts.base_url, "TTS_TIMEOUT": "60"}
        async with performance(database_url, evolution, llm, **settings) as stage:
            yield stage


@pytest.mark.parametrize("words", ["two three four five", "two bread please"])
async def test_what_is_spoken_is_what_the_ai_reads_and_its_answer_is_heard(
    stage: Stage, llm: Anthropic, words: str
):
    await stage.change(media_wait_seconds=60, voice_replies="mirror")
    llm.answers_always(f"*{ANSWER}*! 🍞\n\nhttps://bakery.example/menu")
    sent = stage.maria.sends(voice(2))
    stage.shop.received[sent.wa_id] = spoken(words)
    await sent
    await stage.maria.answered(2)
    assert f'[voice message, 2 seconds: "{words}"]' in str(llm.requests[0].messages[-1][1])
    (call,) = stage.shop.calls("sendWhatsAppAudio")
    answer = base64.b64decode(call.body["audio"])
    assert heard(answer) == ANSWER
    with av.open(BytesIO(answer)) as note, av.open(BytesIO(recorded(f"{ANSWER}!"))) as made:
        assert note.streams.audio[0].codec_context.name == "opus"
        assert note.duration == pytest.approx(made.duration, abs=100_000)
    (link,) = stage.shop.calls("sendText")
    assert link.body["text"] == "https://bakery.example/menu"
