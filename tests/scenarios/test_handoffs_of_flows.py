"""A flow that sends by itself hands off: the customer is told, and that and the handoff are one."""

import asyncio
from typing import Any

from loopback.faults import wrong_answer
from router.replies.handoffs import HANDOFF_MESSAGE, PROMISED
from tests.scenarios.flow import Flow, given, n8n, stage
from tests.scenarios.stage import Stage

__all__ = ["n8n", "stage"]
SAYS = "Sinto muito! A Ana já continua com você por aqui."


async def angry(stage: Stage, n8n: Any, text: str = "o bolo veio seco!!") -> Flow:
    await stage.maria.writes(text)
    return await given(stage, n8n)


async def the_handoff(stage: Stage) -> dict[str, Any]:
    (row,) = await stage.sql("select state, reason, why, summary, said, words from handoffs")
    return dict(row)


async def notices(stage: Stage) -> list[dict[str, Any]]:
    return [row["facts"] for row in await stage.sql("select facts from notices order by id")]


async def test_say_is_said_last_and_hands_off_in_the_same_step(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    await flow.sends("Anotei tudo.")
    called = {"reason": "upset", "summary": "O bolo veio seco.", "say": SAYS}
    first = await flow.reports("handoff", **called)
    assert (first.status_code, first.json()) == (200, {"ok": True, "session_id": 1})
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"], turn["handler"]) == ("sent", "handoff", "n8n")
    assert stage.maria.replies == ["Anotei tudo.", SAYS]
    assert await the_handoff(stage) == {
        "state": "waiting", "reason": "upset", "why": None, "summary": "O bolo veio seco.",
        "said": SAYS, "words": "said",
    }  # fmt: skip
    again = await flow.reports("handoff", **called)
    assert again.json() == {"ok": True, "session_id": 1, "already": True}
    assert (await flow.sends("e mais isto")).status_code == 409
    assert stage.maria.replies == ["Anotei tudo.", SAYS]
    assert len(await notices(stage)) == 1


async def test_without_say_the_tenants_words_are_said_where_the_flow_said_nothing(
    stage: Stage, n8n
):
    flow = await angry(stage, n8n)
    await flow.reports("handoff", reason="upset")
    await stage.turns_end()
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
    assert (await the_handoff(stage))["words"] == "said"


async def test_a_flow_that_has_told_them_is_not_repeated(stage: Stage, n8n):
    await stage.change(handoff_message="Chamo a Ana.")
    flow = await angry(stage, n8n)
    await flow.sends("Peço desculpas. Isso é com a Ana.")
    await flow.reports("handoff", reason="upset", summary="bolo seco")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == ["Peço desculpas. Isso é com a Ana."]
    assert (await the_handoff(stage))["words"] == "none"


async def test_a_human_at_the_same_instant_and_nothing_is_said(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    _, called = await asyncio.gather(
        stage.shop.owner.writes(stage.maria, "Oi Maria, é a Ana"),
        flow.reports("handoff", reason="upset", say=SAYS),
    )
    await stage.turns_end()
    said = stage.maria.replies
    handoffs = [row["state"] for row in await stage.sql("select state from handoffs")]
    assert (said, handoffs) in (([], []), ([SAYS], ["taken"])), called.text


async def test_its_words_are_said_again_past_its_own_pause(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    stage.shop.fail("sendText", wrong_answer(503, {}), times=2)
    await flow.reports("handoff", reason="upset", say=SAYS)
    await stage.until("select words from handoffs", lambda rows: rows == [{"words": "said"}])
    assert stage.maria.replies == [SAYS]
    assert (await the_handoff(stage))["state"] == "waiting"
    assert sum("turn_id" in got.body for got in n8n.received) == 1, "no flow is asked for that"


async def test_what_may_not_be_said_hands_off_all_the_same(stage: Stage, n8n):
    await stage.change(forbidden_patterns=["reembolso"])
    flow = await angry(stage, n8n)
    refused = await flow.reports("handoff", reason="upset", say="A Ana faz o reembolso.")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "reply_refused")
    await stage.turns_end()
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
    assert (await the_handoff(stage))["reason"] == "not_allowed"


async def test_what_of_its_own_may_not_be_sent_hands_off_and_the_customer_is_told(
    stage: Stage, n8n
):
    await stage.change(forbidden_patterns=["reembolso"])
    flow = await angry(stage, n8n)
    await flow.sends("Anotei tudo.")
    refused = await flow.sends("Você terá o reembolso.")
    assert (refused.status_code, "reply_refused" in refused.text) == (409, True)
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == ["Anotei tudo.", HANDOFF_MESSAGE["pt"]]
    handoff = await the_handoff(stage)
    assert (handoff["state"], handoff["words"]) == ("waiting", "said")
    assert await stage.paused()


async def test_a_flow_whose_model_declines_hands_off_and_the_customer_is_told(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    await flow.reports("fail", error="the model stopped: refusal", kind="llm_refused")
    await stage.turns_end()
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
    assert (await the_handoff(stage))["words"] == "said"


# --- a promise in what it sends


async def test_a_promise_is_kept_with_the_send_that_makes_it(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    await flow.sends("Entendi.")
    assert not await stage.paused()
    promise = "Vou te transferir para um atendente humano agora mesmo."
    assert (await flow.sends(promise)).status_code == 201
    assert await stage.paused()
    handoff = await the_handoff(stage)
    assert (handoff["state"], handoff["why"], handoff["said"]) == ("waiting", PROMISED, promise)
    assert (await flow.sends("Até já!")).status_code == 201, "the rest of its words belong to it"
    await flow.reports("handoff", reason="upset", summary="bolo seco")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"], turn["incomplete"]) == ("sent", "handoff", False)
    assert stage.maria.replies == ["Entendi.", promise, "Até já!"]
    handoff = await the_handoff(stage)
    assert (handoff["reason"], handoff["summary"], handoff["words"]) == (
        "upset", "bolo seco", "said",
    )  # fmt: skip
    (told,) = await notices(stage)
    assert (told["reason"], told["summary"]) == ("upset", "bolo seco"), "told once, with why"


async def test_a_human_who_comes_ends_what_the_promise_began(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    await flow.sends("Vou te transferir para um atendente humano.", done=True)
    await stage.shop.owner.writes(stage.maria, "Oi Maria, é a Ana")
    assert (await flow.sends("Até já!")).status_code == 409
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert (await the_handoff(stage))["state"] == "taken"


async def test_a_promise_that_did_not_leave_is_one_all_the_same(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    promise = "Vou te transferir para um atendente humano."
    stage.shop.fail("sendText", wrong_answer(400, {"status": 400, "error": "Bad Request"}))
    assert (await flow.sends(promise)).status_code == 400
    assert (await the_handoff(stage))["words"] == "saying"
    assert (await flow.sends(promise)).status_code == 201, "past its own pause"
    await flow.reports("done")
    await stage.turns_end()
    assert (await the_handoff(stage))["words"] == "said"
    assert stage.maria.replies == [promise]


async def test_that_another_send_failed_is_not_held_against_the_promise(stage: Stage, n8n):
    flow = await angry(stage, n8n)
    promise = "Vou te transferir para um atendente humano."
    assert (await flow.sends(promise)).status_code == 201
    stage.shop.fail("sendText", wrong_answer(400, {"status": 400, "error": "Bad Request"}))
    assert (await flow.sends("Até já!")).status_code == 400
    await flow.reports("done")
    (turn,) = await stage.turns_end()
    assert (turn["incomplete"], (await the_handoff(stage))["words"]) == (True, "said")
    assert [told.get("words") for told in await notices(stage)] == [None]


async def test_a_tenant_may_have_promises_be_words(stage: Stage, n8n):
    await stage.change(handoff_on_promise=False)
    flow = await angry(stage, n8n)
    await flow.sends("Vou te transferir para um atendente humano.", done=True)
    await stage.turns_end()
    assert not await stage.paused()
    assert await stage.sql("select id from handoffs") == []
