"""What a flow sends through the gateway is done, or refused by name: nothing is lost in between."""

import logging

import pytest

from loopback.evolution import failures
from loopback.faults import slow
from tests.scenarios.flow import given, n8n, stage
from tests.scenarios.stage import Stage

__all__ = ["n8n", "stage"]
PICTURE = {"mediatype": "image", "media": "QUJD"}
LONG = "\n\n".join(f"{number} " + "palavra " * 350 for number in "12345").strip()


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(getattr(record, "action", "")) for record in caplog.records]


@pytest.mark.parametrize("sends", ["a picture", "a text"])
@pytest.mark.parametrize("ends", ["done", "fail"])
async def test_a_turn_whose_only_send_failed_is_not_closed_as_sent(
    stage: Stage, n8n, caplog, sends: str, ends: str
):
    caplog.set_level(logging.INFO)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    method = "sendMedia" if sends == "a picture" else "sendText"
    stage.shop.fail(method, failures.CONNECTION_CLOSED)
    body = PICTURE if sends == "a picture" else {"text": "Tem!"}
    away = await flow.calls(f"message/{method}", body)
    assert away.status_code == 503
    if ends == "done":
        refused = await flow.reports("done")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_sent")
    else:
        assert (await flow.reports("fail", kind="evolution_away", error="503")).is_success
    again = await given(stage, n8n, 2)
    assert again.payload["turn_id"] == flow.payload["turn_id"]
    assert "ai_replied" not in actions(caplog)
    await again.sends("Tem!")
    await again.reports("done")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert await stage.maria.answered() == ["Tem!"]


@pytest.mark.parametrize("told", ["after", "never"])
@pytest.mark.parametrize("ends", ["done", "fail", "not at all"])
async def test_of_a_long_text_whose_first_part_is_in_doubt_nothing_is_lost(
    stage: Stage, n8n, told, ends: str
):
    stage.shop.tells_sends = told
    await stage.maria.writes("conte tudo")
    flow = await given(stage, n8n)
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    doubt = await flow.sends(LONG)
    assert (doubt.status_code, doubt.json()["response"]["reason"]) == (409, "in_doubt")
    if ends == "done":
        await flow.reports("done")
    elif ends == "fail":
        await flow.reports("fail", kind="evolution_away", error="in doubt")
    else:
        await stage.leases_run_out()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    said = stage.maria.replies
    assert [text[0] for text in said] == list("12345")


async def test_of_a_long_text_whose_second_part_fails_nothing_is_lost(stage: Stage, n8n):
    await stage.maria.writes("conte tudo")
    flow = await given(stage, n8n)
    stage.shop.fail("sendText", slow(0))
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    away = await flow.sends(LONG)
    assert away.status_code == 503
    await flow.reports("fail", kind="evolution_away", error="503")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert [text[0] for text in stage.maria.replies] == list("12345")


async def test_a_refusal_is_told_where_n8n_shows_it(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await stage.shop.owner.writes(stage.maria, "eu respondo")
    refused = await flow.sends("Tem!")
    said = refused.json()
    assert refused.status_code == 409
    assert said["error"] == "a human has taken this conversation over: say nothing"
    assert said["response"] == {"message": [said["error"]], "reason": "paused"}


async def test_done_with_nothing_said_is_no_reply(stage: Stage, n8n, caplog):
    caplog.set_level(logging.INFO)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    assert (await flow.reports("done")).is_success
    await stage.turns_end()
    assert "ai_replied" not in actions(caplog)
    assert "turn_cancelled" in actions(caplog)


@pytest.mark.parametrize("kind", ["llm_refused", "permanent"])
async def test_a_turn_that_its_flow_ends_for_good_is_told_to_be_dead(
    stage: Stage, n8n, caplog, kind: str
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    assert (await flow.reports("fail", kind=kind, error="no")).json()["state"] == "dead"
    assert "turn_dead" in actions(caplog)
