"""The voice's server, however it fails: there is a voice message that plays, or it is said why."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from loopback.tts import Tts, tone
from router.speech.opus import voice_note
from router.speech.voice import Manner, SpeechFailed, Voice, VoiceTerms

PLAIN = Manner()


@pytest.fixture
def tts() -> Iterator[Tts]:
    with Tts() as tts:
        yield tts


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def voice(tts: Tts, clock: Clock) -> AsyncIterator[Voice]:
    terms = VoiceTerms(tts.base_url, SecretStr("sk-voice"), "tts-1", "alloy", timeout=30)
    voice = Voice(terms, clock)
    yield voice
    await voice.close()


async def test_a_tenant_has_its_own_voice_and_manner(tts: Tts, voice: Voice):
    await voice.read("Temos bolo!", PLAIN)
    await voice.read("Temos bolo!", Manner("pf_dora", "Com calma."))
    plain, own = (request.body for request in tts.requests)
    assert (plain["voice"], "instructions" in plain) == ("alloy", False)
    assert (own["voice"], own["instructions"]) == ("pf_dora", "Com calma.")


async def test_whatever_the_server_does_it_is_said_why_there_is_no_voice(tts: Tts, voice: Voice):
    async def why() -> str:
        with pytest.raises(SpeechFailed) as failed:
            await voice.read("Temos bolo!", PLAIN)
        return str(failed.value)

    for fault, told in (
        (tts.broken(), "answered 500"),
        (tts.bad_key(), "answered 401"),
        (tts.rate_limited(), "answered 429"),
        (tts.cuts_connection(), "APIConnectionError"),
    ):
        tts.fail(fault)
        assert told in await why()
    for sound, told in (
        (b"", "not a sound"),
        (b"\0" * 100, "not a sound"),
        (b"<html>", "not a sound"),
        (b'{"error": "x"}', "not a sound"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 900, "not a sound"),
        (voice_note(tone(2.0))[0][:90], "not a sound"),
        (b"x" * 8_000_001, "too large"),
    ):
        tts.sound = sound
        assert told in await why()
    tts.sound, tts.breaks_off = None, True
    assert "RemoteProtocolError" in await why()
    tts.breaks_off = False
    assert await voice.read("Temos bolo!", PLAIN)


async def test_a_server_that_is_away_is_not_asked_each_time(tts: Tts, voice: Voice, clock: Clock):
    tts.fail(tts.cuts_connection(), times=None)
    for told in ("APIConnectionError", "APIConnectionError", "asked again later"):
        with pytest.raises(SpeechFailed, match=told):
            await voice.read("Temos bolo!", PLAIN)
    assert len(tts.requests) == 2
    tts.heal()
    clock.now = 61.0
    assert await voice.read("Temos bolo!", PLAIN)


async def test_an_answer_that_never_comes_is_not_waited_for(tts: Tts):
    voice = Voice(VoiceTerms(tts.base_url, None, "tts-1", "alloy", timeout=0.2))
    await voice.load()
    tts.fail(tts.never_answers())
    with pytest.raises(SpeechFailed, match="too long"):
        await voice.read("Temos bolo!", PLAIN)
    await voice.close()
