"""What the state keeps of a flow's answer: the whole of it, once, and nothing beside it."""

from typing import Any

import pytest

from router.errors import Invalid, NotAllowed
from router.state.database import Json
from tests.state.conversation import Conversation, held
from tests.state.test_said_so_far import flow_of, says
from tests.state.test_tenants import change, create, within

PARTS: list[Any] = ["um", {"path": "message/sendSticker", "body": {"sticker": "QUJD"}}]
ADMIN = {"kind": "user", "name": "ana", "user_id": "0198c0de-0000-7000-8000-00000000a11a"}


async def answers(talk: Conversation, turn: Json, parts: list[Any] = PARTS) -> Json:
    asked = {**held(turn), "parts": parts, "handler": "n8n", "provider": "anthropic"}
    return await talk.database.call("save_reply", asked)


async def test_a_reply_may_have_parts_that_are_no_text(talk: Conversation):
    turn = await flow_of(talk)
    assert await answers(talk, turn) == {"ok": True}
    assert await answers(talk, turn) == {"ok": True}  # the same again changes nothing
    await talk.database.call("release_turn", held(turn))
    again = await talk.claim_one()
    assert again["reply"] == PARTS


async def test_a_flow_that_has_sent_by_itself_cannot_answer_besides(talk: Conversation):
    turn = await flow_of(talk)
    assert (await says(talk, turn, "a", next_part=0))["ok"]
    assert await answers(talk, turn) == {"refused": "has_spoken"}


async def test_what_certainly_did_not_leave_does_not_stand_in_the_way(talk: Conversation):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "a", next_part=0)
    send = {"tenant_id": 1, "message_id": begun["message_id"]}
    await talk.database.call("fail_send", send)
    assert await answers(talk, turn) == {"ok": True}


async def test_a_flow_that_has_answered_sends_nothing_besides(talk: Conversation):
    turn = await flow_of(talk)
    await answers(talk, turn)
    assert await says(talk, turn, "a", next_part=0) == {"refused": "has_answered"}


async def test_a_turn_with_a_handoff_is_open_until_that_is_done(talk: Conversation):
    turn = await flow_of(talk)
    await answers(talk, turn, ["Já chamo", {"handoff": {"reason": "quer falar"}}])
    asked = {**held(turn), "part": 0, "body": "Já chamo", "lease_seconds": 45}
    begun = await talk.database.call("begin_send", asked)
    send = {"tenant_id": 1, "message_id": begun["message_id"], "wa_id": "3EB0AA"}
    assert (await talk.database.call("finish_send", send))["turn_state"] == "sending"
    called = await talk.database.call("hand_off", {**held(turn), "reason": "quer falar"})
    assert called["ok"]
    (row,) = await talk.sql("select state, reason, incomplete from turns")
    assert (row["state"], row["reason"], row["incomplete"]) == ("sent", "handoff", False)


async def test_a_tenants_flow_is_named_with_a_key_of_the_deployment(database):
    await create(database)
    for values in ({"n8n_flow": "other"}, {"n8n_contract": "gateway"}):
        with pytest.raises(NotAllowed, match=f"{next(iter(values))} is the deployment's"):
            await within(database, ADMIN, **values)
        assert (await within(database, None, **values)).items() >= values.items()
        assert (await within(database, ADMIN, **values)).items() >= values.items()  # as it is


@pytest.mark.parametrize("flow", ["", "/a", "a/", "a b", "../a", "a?b", "a#b", "http://a", "a//b"])
async def test_a_flow_is_the_path_of_a_webhook(database, flow: str):
    await create(database)
    with pytest.raises(Invalid, match="n8n_flow must be the path"):
        await change(database, n8n_flow=flow)
    assert (await change(database, n8n_flow="a/b-c/hybridflow-turn"))["n8n_flow"]


async def test_a_turn_says_what_flow_it_goes_to(talk: Conversation):
    await talk.sql("update tenants set n8n_flow = 'a/b', n8n_contract = 'gateway'")
    turn = await flow_of(talk)
    tenant = turn["tenant"]
    assert (tenant["n8n_flow"], tenant["n8n_contract"]) == ("a/b", "gateway")
