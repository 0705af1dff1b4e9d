"""A voice message that is really spoken is really heard, from the phone to what the AI reads."""

from collections.abc import AsyncIterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import voice
from loopback.speech import SpeechService
from tests.scenarios.stage import Stage, performance
from tests.voices import heard, spoken


@pytest.fixture
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    with SpeechService() as speech:
        speech.hears = lambda asked: heard(asked.content)
        settings = {"STT_BASE_URL": speech.base_url, "STT_TIMEOUT": "60"}
        async with performance(database_url, evolution, llm, **settings) as stage:
            yield stage


@pytest.mark.parametrize("words", ["two three four five", "two bread please"])
async def test_what_is_spoken_is_what_the_ai_reads(stage: Stage, llm: Anthropic, words: str):
    await stage.change(media_wait_seconds=60)
    sent = stage.maria.sends(voice(2))
    stage.shop.received[sent.wa_id] = spoken(words)
    await sent
    await stage.maria.answered()
    assert f'[voice message, 2 seconds: "{words}"]' in str(llm.requests[0].messages[-1][1])
