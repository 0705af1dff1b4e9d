"""`done` rides on the last of a flow's sends: one call less, and the same end of the turn."""

import asyncio
import logging
from typing import Any

import pytest

from loopback.evolution import failures
from loopback.faults import slow
from tests.scenarios.flow import given, n8n, stage
from tests.scenarios.stage import Stage
from tests.scenarios.test_unsent_of_flows import LONG, actions

__all__ = ["n8n", "stage"]


async def test_the_turn_ends_with_the_send_that_says_so(stage: Stage, n8n, caplog):
    caplog.set_level(logging.INFO)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    assert (await flow.sends("Temos!")).status_code == 201
    cost = {"provider": "anthropic", "model": "claude", "tokens_in": 70, "tokens_out": 5}
    sent = await flow.sends("Quer um?", done=cost)
    assert sent.status_code == 201
    assert sent.json()["message"]["conversation"] == "Quer um?"
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"], turn["incomplete"]) == ("sent", "n8n", False)
    assert (turn["provider"], turn["tokens_in"], turn["tokens_out"]) == ("anthropic", 70, 5)
    assert stage.maria.replies == ["Temos!", "Quer um?"]
    assert actions(caplog).count("ai_replied") == 1


@pytest.mark.parametrize("says", [True, {}, {"reason": "tudo dito"}])
async def test_again_it_gets_the_same_answer_and_nothing_is_sent_twice(
    stage: Stage, n8n, says: Any
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    first = await flow.sends("Temos!", done=says or True)
    for _ in range(3):
        again = await flow.sends("Temos!", done=says or True)
        assert (again.status_code, again.json()) == (201, first.json())
    assert (await flow.reports("done")).json() == {"ok": True, "already": True}
    assert stage.maria.replies == ["Temos!"]


@pytest.mark.parametrize(
    "body", [{"text": "Temos!"}, {"text": "Outra coisa", "done": True}, {"text": ""}]
)
async def test_nothing_else_is_said_for_a_turn_that_has_ended(stage: Stage, n8n, body):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await flow.sends("Temos!", done=True)
    refused = await flow.calls("message/sendText", body)
    assert refused.status_code in (400, 409)
    if body["text"]:
        assert refused.json()["response"]["reason"] == "superseded"
    assert stage.maria.replies == ["Temos!"]


async def test_all_parts_of_a_long_text_are_sent_before_it_ends(stage: Stage, n8n):
    await stage.maria.writes("conte tudo")
    flow = await given(stage, n8n)
    assert (await flow.sends(LONG, done=True)).status_code == 201
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert [text[0] for text in stage.maria.replies] == list("12345")


@pytest.mark.parametrize("told", ["after", "never"])
async def test_what_is_in_doubt_ends_the_turn_when_that_is_over(stage: Stage, n8n, told):
    stage.shop.tells_sends = told
    await stage.maria.writes("conte tudo")
    flow = await given(stage, n8n)
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    doubt = await flow.sends(LONG, done=True)
    assert (doubt.status_code, doubt.json()["response"]["reason"]) == (409, "in_doubt")
    (turn,) = await stage.turns_end()  # with no lease that has to run out
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert [text[0] for text in stage.maria.replies] == list("12345")


@pytest.mark.parametrize("fault", [failures.CONNECTION_CLOSED, failures.BAD_KEY])
async def test_what_does_not_leave_ends_nothing(stage: Stage, n8n, fault):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.fail("sendText", fault)
    refused = await flow.sends("Temos!", done=True)
    assert refused.status_code in (400, 503)
    (turn,) = await stage.sql("select * from turns")
    assert turn["state"] in ("running", "sending")
    stage.shop.heal()
    assert (await flow.sends("Temos!", done=True)).status_code == 201
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert stage.maria.replies == ["Temos!"]


async def test_where_a_human_took_over_it_is_refused_by_name(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await stage.shop.owner.writes(stage.maria, "eu respondo")
    refused = await flow.sends("Temos!", done=True)
    assert (refused.status_code, refused.json()["response"]["reason"]) == (409, "paused")
    assert refused.json()["error"] == "a human has taken this conversation over: say nothing"
    assert stage.maria.replies == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/sendPresence", {"presence": "composing", "done": True}),
        ("message/sendText", {"text": "Oi", "done": "true"}),
        ("message/sendText", {"text": "Oi", "done": 1}),
        ("message/sendText", {"text": "Oi", "done": {"tokens_in": -1}}),
        ("message/sendText", {"text": "Oi", "done": {"reason": "x" * 201}}),
    ],
)
async def test_what_cannot_end_a_turn_is_refused_by_name_and_nothing_is_sent(
    stage: Stage, n8n, path: str, body: dict[str, Any]
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    refused = await flow.calls(path, body)
    assert (refused.status_code, refused.json()["response"]["reason"]) == (400, "done")
    (turn,) = await stage.sql("select state from turns")
    assert turn["state"] == "running"
    assert stage.maria.replies == []


@pytest.mark.parametrize("nothing", [False, None])
async def test_what_says_nothing_ends_nothing(stage: Stage, n8n, nothing):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    assert (await flow.sends("Temos!", done=nothing)).status_code == 201
    assert (await flow.sends("Quer um?", done=True)).status_code == 201
    assert stage.maria.replies == ["Temos!", "Quer um?"]


async def test_two_that_leave_at_once_are_both_said(stage: Stage, n8n):
    """Whichever is first: the turn stays open while the other one is on its way."""
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.tells_sends = "never"  # a webhook would end the send before its answer does
    stage.shop.fail("sendText", slow(0.3))
    first = asyncio.create_task(flow.sends("Temos!"))
    await stage.until("select 1 from messages where send_state = 'sending'", bool)
    second = await flow.sends("Quer um?", done=True)
    assert (await first).status_code == 201
    assert second.status_code in (201, 409)
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert "Temos!" in stage.maria.replies
