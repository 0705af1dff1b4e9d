"""Replies by voice: voice is answered by voice; what is to be copied, or fails, is written."""

import base64
from collections.abc import AsyncIterator, Iterator
from io import BytesIO

import av
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution, contents, failures
from loopback.replies import tokens
from loopback.tts import Tts, tone
from tests.n8n_server import TestN8n
from tests.scenarios.stage import BOTH_HANDLERS, Stage, performance

pytestmark = BOTH_HANDLERS
REPLY = "*Temos* bolo de cenoura hoje! 🍰"


@pytest.fixture
def tts() -> Iterator[Tts]:
    with Tts() as tts:
        yield tts


@pytest.fixture
async def stage(
    database_url: str, evolution: Evolution, llm: Anthropic, tts: Tts, handler: TestN8n | None
) -> AsyncIterator[Stage]:
    settings = {"TTS_BASE_URL": tts.base_url, "TTS_API_KEY": "sk-voice", "TTS_VOICE": "coral"}
    settings |= handler.configuration() if handler else {}
    async with performance(database_url, evolution, llm, **settings) as stage:
        yield stage
        if handler:
            await handler.falls_silent()


async def _sounds(stage: Stage) -> list[float]:
    """The lengths of the voice messages that Evolution was given."""
    lengths = []
    for call in stage.shop.calls("sendWhatsAppAudio"):
        with av.open(BytesIO(base64.b64decode(call.body["audio"]))) as container:
            assert container.streams.audio[0].codec_context.name == "opus"
            lengths.append((container.duration or 0) / 1_000_000)
    return lengths


async def test_a_voice_message_is_answered_by_one_and_the_words_stand_in_the_history(
    stage: Stage, tts: Tts
):
    await stage.change(voice_replies="mirror")
    stage.llm.answers(REPLY, "De nada!")
    await stage.maria.sends(contents.voice(seconds=4))
    await stage.shop.called("sendWhatsAppAudio")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reply"]) == ("sent", [REPLY])
    assert tts.read == ["Temos bolo de cenoura hoje!"]
    assert tts.requests[0].body["voice"] == "coral"
    assert await _sounds(stage) == [pytest.approx(27 * 0.06, abs=0.1)]
    assert stage.shop.calls("sendText") == []
    (said,) = await stage.sql("select kind, body, send_state from messages where from_me")
    assert said == {"kind": "ptt", "body": REPLY, "send_state": "sent"}
    assert not await stage.paused()  # its echo was known
    await stage.maria.writes("obrigada, e de fubá?")
    await stage.shop.called("sendText")
    await stage.turns_end()
    assert REPLY in stage.llm.requests[-1].text


async def test_a_link_and_a_key_are_written(stage: Stage, tts: Tts):
    await stage.change(voice_replies="always")
    stage.llm.answers(
        "O cardápio está em https://padaria.example/c\n\nChave Pix: maria@padaria.example"
    )
    await stage.maria.writes("cardápio?")
    await stage.maria.answered(3)
    await stage.turns_end()
    assert tts.read == ["O cardápio está em"]
    written = [call.body["text"] for call in stage.shop.calls("sendText")]
    assert written == ["https://padaria.example/c", "Chave Pix: maria@padaria.example"]


async def test_a_text_is_answered_by_text_where_voices_are_mirrored(stage: Stage, tts: Tts):
    await stage.change(voice_replies="mirror")
    stage.llm.answers(REPLY)
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    assert (tts.read, stage.maria.replies) == ([], [REPLY])


async def test_where_there_is_no_voice_it_is_written_once_and_what_it_cost_is_booked(
    stage: Stage, tts: Tts
):
    await stage.change(voice_replies="always", tts_voice="pf_dora")

    def fails() -> None:
        tts.fail(tts.broken())

    def says(sound: bytes) -> None:
        tts.sound = sound

    troubles = (
        fails,
        lambda: says(b"<html>not found</html>"),
        lambda: says(tone(2.0, loudness=0)),
        lambda: says(b""),
        lambda: says(b"x" * 8_000_001),
    )
    for number, trouble in enumerate(troubles, 1):
        trouble()
        stage.llm.answers(f"{REPLY} {number}")
        await stage.maria.writes(f"tem bolo {number}?")
        await stage.maria.answered(number)
    turns = await stage.turns_end()
    assert {(turn["state"], turn["attempt"]) for turn in turns} == {("sent", 1)}
    assert stage.maria.replies == [f"{REPLY} {number}" for number in range(1, 6)]
    assert stage.shop.calls("sendWhatsAppAudio") == []
    assert {request.body["voice"] for request in tts.requests} == {"pf_dora"}
    asked = sum(tokens(request.text) for request in stage.llm.requests)
    aloud = sum(-(-len(text) // 4) for text in tts.read)
    assert sum(turn["tokens_in"] for turn in turns) == asked + aloud


async def test_what_evolution_does_not_take_as_a_voice_it_is_given_as_a_text(stage: Stage):
    await stage.change(voice_replies="always")
    stage.llm.answers(REPLY)
    stage.shop.fail("sendWhatsAppAudio", failures.MEDIA_NOT_FOUND, times=None)
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"], stage.maria.replies) == ("sent", False, [REPLY])
    assert await stage.sql("select * from notices") == []


async def test_a_voice_message_whose_answer_is_lost_is_known_by_its_echo(stage: Stage):
    await stage.change(voice_replies="always")
    stage.llm.answers(REPLY)
    stage.shop.fail("sendWhatsAppAudio", failures.TAKEN_THEN_CUT)
    await stage.maria.writes("tem bolo?")
    await stage.shop.called("sendWhatsAppAudio")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.shop.calls("sendWhatsAppAudio")) == 1
    assert stage.shop.calls("sendText") == []


async def test_a_human_who_writes_while_the_voice_is_made_keeps_it_from_leaving(
    stage: Stage, tts: Tts
):
    await stage.change(voice_replies="always")
    stage.llm.answers(REPLY)
    gate = tts.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    assert stage.shop.calls("sendWhatsAppAudio") == stage.shop.calls("sendText") == []
