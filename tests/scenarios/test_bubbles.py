"""A reply in several messages: who may stop it, what is then not said, and how it is typed."""

import asyncio
import logging

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.scenarios.stage import BOTH_HANDLERS, Stage, performance

FIRST = "Temos bolo de cenoura hoje, saiu do forno agora há pouco e está uma delícia."
SECOND = "Se quiser, posso separar um para você buscar ainda hoje, até as seis da tarde."
THIRD = "Qual horário fica melhor para você passar aqui na loja?"
REPLY = f"{FIRST}\n\n{SECOND}\n\n{THIRD}"


async def _unsaid(stage: Stage, turn_id: int) -> int | None:
    told = await stage.database.call(
        "tell_turn", {"tenant_id": stage.tenant_id, "turn_id": turn_id}
    )
    (closed,) = [each for each in told["happenings"] if each["kind"] == "closed"]
    return closed.get("unsaid")


@BOTH_HANDLERS
async def test_a_reply_comes_as_a_person_writes_it_and_is_asked_for_once(stage: Stage):
    stage.llm.answers(REPLY)
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered(3)
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == [FIRST, SECOND, THIRD]
    assert (turn["state"], turn["incomplete"], len(turn["reply"])) == ("sent", False, 3)
    assert len(stage.llm.requests) == 1
    assert not await stage.paused()  # no echo of them was taken for a human's


@BOTH_HANDLERS
async def test_one_message_where_the_tenant_wants_one(stage: Stage):
    await stage.change(max_bubbles=1)
    stage.llm.answers(REPLY)
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    assert stage.maria.replies == [REPLY]


@BOTH_HANDLERS
async def test_a_humans_word_stops_what_is_left_and_that_is_told(stage: Stage):
    stage.llm.answers(REPLY)
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    gate.open()
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == [FIRST]
    assert (turn["state"], turn["incomplete"], turn["reason"]) == ("sent", True, "takeover")
    assert await _unsaid(stage, turn["id"]) == 2
    assert await stage.paused()


@BOTH_HANDLERS
async def test_a_new_message_stops_what_is_left_where_the_tenant_says_so(stage: Stage):
    await stage.change(new_message_stops=True)
    stage.llm.answers(REPLY, "Fubá também temos!")
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.maria.writes("de fubá, quero dizer")
    gate.open()
    await stage.maria.answered(2)
    first, second = await stage.turns_end()
    assert stage.maria.replies == [FIRST, "Fubá também temos!"]
    assert (first["state"], first["incomplete"]) == ("sent", True)
    assert (first["reason"], await _unsaid(stage, first["id"])) == ("new_message", 2)
    assert (second["state"], second["incomplete"]) == ("sent", False)


@BOTH_HANDLERS
async def test_a_new_message_waits_for_all_that_is_said_where_it_does_not(stage: Stage):
    stage.llm.answers(REPLY, "Fubá também temos!")
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.maria.writes("e de fubá?")
    gate.open()
    await stage.maria.answered(4)
    await stage.turns_end()
    assert stage.maria.replies == [FIRST, SECOND, THIRD, "Fubá também temos!"]


async def _replies_after_a_while(stage: Stage) -> None:
    """Have the reply made so long that "typing…" is shown meanwhile, for TYPING_SECONDS."""
    stage.llm.answers(REPLY)
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await stage.shop.called("sendPresence")
    gate.open()


def _typing(stage: Stage) -> list[int]:
    """For how many milliseconds each was shown."""
    return [call.body["delay"] for call in stage.shop.calls("sendPresence")]


async def test_typing_is_shown_before_each_fence_and_the_owner_may_write_meanwhile(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    slowly = {"TYPING_SECONDS": "1", "TYPING_SPEED": "1", "TYPING_MOST_SECONDS": "3"}
    async with performance(database_url, evolution, llm, **slowly) as stage:
        await _replies_after_a_while(stage)
        await stage.maria.answered(1)
        await stage.shop.called("sendPresence", 2)
        assert _typing(stage) == [1000, 3000]  # the most, not the 77 s of so many characters
        sending = await stage.sql("select * from messages where send_state = 'sending'")
        assert sending == []  # no fence is open while it is typed
        await stage.shop.owner.writes(stage.maria, "deixa comigo")
        (turn,) = await stage.turns_end()
        assert stage.maria.replies == [FIRST]
        assert (turn["state"], turn["incomplete"]) == ("sent", True)


def _typed(caplog: pytest.LogCaptureFixture) -> list[tuple[str, float]]:
    """What the log says of how long was typed, however the reply ended."""
    told = [
        line.__dict__.get("fields", {}) | {"action": line.action}
        for line in caplog.records
        if hasattr(line, "action")
    ]
    return [(each["action"], each["typed_seconds"]) for each in told if "typed_seconds" in each]


async def test_all_the_typing_of_a_reply_has_one_bound_and_is_measured(
    database_url: str, evolution: Evolution, llm: Anthropic, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    slowly = {"TYPING_SECONDS": "1", "TYPING_SPEED": "100", "TYPING_MOST_SECONDS": "1.2"}
    async with performance(database_url, evolution, llm, **slowly) as stage:
        await _replies_after_a_while(stage)
        async with asyncio.timeout(20):
            await stage.maria.answered(3)
        await stage.turns_end()
        assert _typing(stage) == [1000, 780, 420]
        await stage.change(new_message_stops=True)
        stage.llm.answers(REPLY, "Temos!")
        gate = stage.shop.hold("sendText", after=True)
        await stage.maria.writes("e torta?")
        await gate.reached()
        await stage.maria.writes("de limão")
        gate.open()
        await stage.maria.answered(5)
        await stage.turns_end()
        async with asyncio.timeout(20):
            while len(measured := _typed(caplog)) < 3:  # a line may follow its turn's end
                await asyncio.sleep(0.03)
        assert measured == [("ai_replied", 1.2), ("turn_cancelled", 0.8), ("ai_replied", 0.0)]
