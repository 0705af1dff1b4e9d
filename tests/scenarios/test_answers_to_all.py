"""Every message is answered, however the reply to the one before it got stuck on its way out."""

import pytest

from loopback.evolution import failures
from loopback.faults import Fault
from router.embedded.ports import free_port
from router.sharing.places import SendPlaces
from tests.scenarios.stage import BOTH_HANDLERS, Stage, performance

THREE_PARTS = "\n\n".join(letter * 3000 for letter in "abc")


def asked_last(stage: Stage) -> str:
    """What the LLM was asked last, all of it."""
    return "\n".join(text for _, text in stage.llm.requests[-1].messages)


async def both_were_answered_at_once(stage: Stage) -> None:
    turns = await stage.turns_end()
    ends = [(turn["state"], turn["reason"]) for turn in turns]
    # What comes within an attempt is a turn of its own until that fails: then both are one.
    assert ends in ([("sent", None)], [("sent", None), ("cancelled", "merged")])
    assert len(stage.maria.replies) == 1
    assert "tem bolo?" in asked_last(stage)
    assert "e pão?" in asked_last(stage)
    assert not await stage.paused()


async def joins(stage: Stage) -> None:
    """Maria writes on while the reply to her first message waits for its next attempt."""
    await stage.until(
        "select state, error_kind from turns",
        lambda turns: turns[0]["state"] == "pending" and turns[0]["error_kind"] == "away",
    )
    await stage.maria.writes("e pão?")


@BOTH_HANDLERS
@pytest.mark.parametrize(
    "fault",
    [failures.CONNECTION_CLOSED, failures.too_many(0.2)],
    ids=["connection closed", "429"],
)
async def test_what_joins_a_reply_that_did_not_leave_is_answered_with_it(
    stage: Stage, fault: Fault
):
    stage.shop.fail("sendText", fault, times=None)
    await stage.maria.writes("tem bolo?")
    await joins(stage)
    stage.shop.heal()
    await both_were_answered_at_once(stage)


async def test_what_joins_while_evolution_cannot_be_reached_is_answered_with_it(stage: Stage):
    key = stage.shop.token
    await stage.change(evo_server_url=f"http://127.0.0.1:{free_port()}", evo_api_key=key)
    await stage.maria.writes("tem bolo?")
    await joins(stage)
    await stage.change(evo_server_url=stage.evolution.url, evo_api_key=key)
    await both_were_answered_at_once(stage)


async def test_what_joins_while_every_place_is_taken_is_answered_with_it(
    database_url, evolution, llm, monkeypatch
):
    monkeypatch.setattr("router.workers.SendPlaces", lambda _: SendPlaces(1))
    async with performance(database_url, evolution, llm, SEND_TIMEOUT="30") as stage:
        joao = stage.shop.customer("5511955550002", name="João")
        gate = stage.shop.hold_socket()
        await joao.writes("oi")
        await stage.shop.called("sendText")
        await stage.maria.writes("tem bolo?")
        await stage.until(
            "select * from turns order by id",
            lambda turns: len(turns) > 1 and "NoPlace" in (turns[1]["error"] or ""),
        )
        await stage.maria.writes("e pão?")
        gate.open()
        await stage.turns_end()
        assert len(stage.maria.replies) == len(joao.replies) == 1
        assert "tem bolo?" in asked_last(stage)
        assert "e pão?" in asked_last(stage)


async def test_of_a_long_reply_the_rest_is_said_and_what_was_asked_meanwhile_is_answered(
    stage: Stage,
):
    stage.llm.answers(THREE_PARTS)
    stage.shop.webhooks.hold("send.message")
    socket = stage.shop.hold_socket()
    await stage.maria.writes("conte tudo")
    await socket.reached()
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
    socket.open()
    await stage.until(
        "select * from turns", lambda turns: turns[0]["error_kind"] == "away", within=10
    )
    stage.shop.webhooks.release()
    await stage.maria.writes("e pão?")
    stage.shop.heal()
    turns = await stage.turns_end()
    assert [turn["state"] for turn in turns] == ["sent", "sent"]
    assert [reply[0] for reply in stage.maria.replies[:3]] == ["a", "b", "c"]
    assert len(stage.maria.replies) == 4
    assert "e pão?" in asked_last(stage)
    assert len(stage.llm.requests) == 2


async def test_a_long_reply_of_which_nothing_left_is_made_anew_to_both(stage: Stage):
    stage.llm.answers(THREE_PARTS)
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
    await stage.maria.writes("tem bolo?")
    await joins(stage)
    stage.shop.heal()
    await both_were_answered_at_once(stage)


@BOTH_HANDLERS
async def test_a_lost_answer_and_then_a_closed_connection_lose_no_message(stage: Stage):
    stage.shop.fail("sendText", failures.CUT)
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
    await stage.maria.writes("tem bolo?")
    await stage.until(
        "select state, error from turns",
        lambda turns: (
            turns[0]["state"] == "pending" and "Connection Closed" in (turns[0]["error"] or "")
        ),
    )
    await stage.maria.writes("e pão?")
    stage.shop.heal()
    await both_were_answered_at_once(stage)


async def test_while_the_line_is_down_the_llm_is_not_asked_for_what_cannot_leave(stage: Stage):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    stage.shop.line.breaks()
    gate.open()
    await joins(stage)
    await stage.until("select waits from turns", lambda turns: turns[0]["waits"] >= 3)
    assert len(stage.llm.requests) == 1
    stage.shop.line.connects()
    await both_were_answered_at_once(stage)
