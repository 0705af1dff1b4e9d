"""What switches the AI off (the label no-ai, is_active) stops what it was about to say, too."""

import pytest

from router.state.database import Json
from tests.state.conversation import POLICY, Conversation, held


async def label(talk: Conversation, **how: list[str]) -> Json:
    named = {"tenant_id": 1, "session_id": 1, "policy": POLICY}
    return await talk.database.call("set_labels", {**named, **how})


async def speaking(talk: Conversation, *parts: str) -> tuple[Json, Json]:
    """A turn of which the first part is leaving."""
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one(lease=600)
    await talk.save(turn, *parts)
    return turn, await talk.begin(turn, parts[0])


async def test_what_a_false_takeover_ended_does_not_go_on(talk: Conversation):
    turn, begun = await speaking(talk, "um", "dois")
    await talk.finish(turn, begun, "3EB001")
    await talk.owner_writes("outro cliente", wa_id="3EB00F")
    await label(talk, add=["no-ai"])
    await talk.maria_writes("e café?")
    await talk.set_rule("other_client_takeover", False)
    echo = await talk.owner_writes("outro cliente", wa_id="3EB00F", origin="send", status="PENDING")
    assert echo["turn_id"] is None
    assert await talk.turn_states() == ["sent"]
    assert not (await talk.session())["is_paused"]
    await talk.travel(seconds=30)
    assert await talk.claim() == []


async def test_what_was_leaving_when_a_human_seemed_to_write_is_the_last(talk: Conversation):
    turn, begun = await speaking(talk, "um", "dois")
    await talk.owner_writes("um, alterado", wa_id="3EB001")
    await label(talk, add=["no-ai"])
    await talk.finish(turn, begun, "3EB001")
    assert not (await talk.session())["is_paused"]
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"], kept["incomplete"]) == ("sent", "no_ai", True)
    assert "refused" in await talk.begin(turn, "dois", part=1)


async def test_two_false_ones_while_both_parts_were_leaving(talk: Conversation):
    turn, first = await speaking(talk, "um", "dois", "tres")
    second = await talk.begin(turn, "dois", part=1)
    await talk.owner_writes("alterado", wa_id="3EB001")
    await talk.owner_writes("alterado", wa_id="3EB002")
    await label(talk, add=["no-ai"])
    await talk.finish(turn, first, "3EB001")
    await talk.finish(turn, second, "3EB002")
    assert "refused" in await talk.begin(turn, "tres", part=2)
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"]) == ("sent", "no_ai")


async def test_a_humans_own_takeover_stays_one(talk: Conversation):
    turn, begun = await speaking(talk, "um", "dois")
    await talk.owner_writes("um, alterado", wa_id="3EB001")
    await talk.owner_writes("deixa comigo")
    await label(talk, add=["no-ai"])
    await talk.finish(turn, begun, "3EB001")
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"]) == ("sent", "takeover")


@pytest.mark.parametrize("spoken", [False, True])
async def test_no_fence_passes_where_the_label_is_however_it_came_there(
    talk: Conversation, spoken: bool
):
    turn, begun = await speaking(talk, "um", "dois")
    if spoken:
        await talk.finish(turn, begun, "3EB001")
    else:
        failed = {"tenant_id": 1, "message_id": begun["message_id"]}
        await talk.database.call("fail_send", failed)
    # As an import, or a program of the tenant's own, writes it.
    await talk.sql("update sessions set labels = '{no-ai}'")
    away = {**held(turn), "opens_at": talk.now().isoformat(), "body": "x", "lease_seconds": 45}
    looked = await talk.database.call("look_at_turn", held(turn))
    assert looked["is_paused"]
    assert (await talk.begin(turn, "dois", part=1))["refused"] == "paused"
    assert "refused" in await talk.database.call("begin_away_send", away)
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"]) == ("sent" if spoken else "cancelled", "no_ai")


async def test_an_attempt_that_failed_there_is_not_made_again(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one(lease=600)
    await talk.sql("update sessions set labels = '{no-ai}'")
    assert await talk.fail(turn) == {"state": "cancelled"}
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"]) == ("cancelled", "no_ai")


async def test_without_the_label_what_a_false_takeover_stopped_goes_on(talk: Conversation):
    turn, begun = await speaking(talk, "um", "dois")
    await talk.owner_writes("um, alterado", wa_id="3EB001")
    await label(talk, add=["no-ai"])
    await label(talk, remove=["no-ai"])
    await talk.finish(turn, begun, "3EB001")
    assert (await talk.begin(turn, "dois", part=1))["ok"]


# is_active


async def test_a_business_that_is_switched_off_says_no_more(talk: Conversation):
    turn, begun = await speaking(talk, "um", "dois")
    await talk.set_rule("is_active", False)
    await talk.finish(turn, begun, "3EB001")
    assert (await talk.begin(turn, "dois", part=1))["refused"] == "paused"
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"], kept["incomplete"]) == ("sent", "tenant_inactive", True)


async def test_what_waited_when_it_was_switched_off_asks_no_llm_and_stays_unsaid(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    await talk.fail(await talk.claim_one(), "away", away="llm")
    await talk.set_rule("is_active", False)
    await talk.travel(seconds=60)
    (turn,) = await talk.claim()
    asked = {**held(turn), "tokens": 1000, "policy": {}}
    assert await talk.database.call("reserve_budget", asked) == {"refused": "paused"}
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"]) == ("cancelled", "tenant_inactive")
    assert await talk.value("select count(*) from spending where tokens > 0") == 0
