"""A reply that may not be sent becomes a handoff, or the tenant's fallback message."""

from router.state.database import Json
from tests.state.conversation import Conversation, answered, held

SORRY = "Um momento, por favor."


async def refuse(talk: Conversation, turn: Json, **more: object) -> Json:
    return await talk.database.call(
        "refuse_reply", {**held(turn), "rule": "forbidden_pattern", "detail": "(?i)pix", **more}
    )


async def asked(talk: Conversation, text: str = "oi") -> Json:
    await talk.maria_writes(text)
    return await talk.claim_one()


async def test_it_becomes_a_handoff_that_says_which_rule(talk: Conversation):
    turn = await asked(talk)
    assert (await refuse(talk, turn))["outcome"] == "handoff"
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert "forbidden_pattern" in session["pause_reason"]
    (notice,) = await talk.sql("select * from notices")
    assert (notice["kind"], notice["session_id"]) == ("handoff", session["id"])
    (row,) = await talk.turns()
    assert (row["state"], row["reason"]) == ("cancelled", "reply_refused")
    assert row["error"] == "forbidden_pattern: (?i)pix"
    assert "refused" in await talk.begin(turn, "tarde demais")


async def test_or_the_fallback_message_where_the_tenant_prefers_it(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.set_rule("on_refused_reply", "fallback_message")
    turn = await asked(talk)
    assert (await refuse(talk, turn))["outcome"] == "fallback_message"
    assert not (await talk.session())["is_paused"]
    (again,) = await talk.claim()
    assert (again["reply"], answered(again)) == ([SORRY], ["oi"])
    assert (await talk.begin(turn, "tarde demais"))["refused"] == "stale"
    begun = await talk.begin(again, SORRY)
    assert (await talk.finish(again, begun, "3EB001"))["turn_state"] == "sent"
    assert (await talk.turns())[0]["error_kind"] == "reply_refused"


async def test_without_a_fallback_message_it_is_a_handoff_all_the_same(talk: Conversation):
    await talk.set_rule("on_refused_reply", "fallback_message")
    turn = await asked(talk)
    assert (await refuse(talk, turn))["outcome"] == "handoff"


async def test_a_flow_that_has_said_something_already_is_handed_over(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.set_rule("on_refused_reply", "fallback_message")
    turn = await asked(talk)
    begun = await talk.begin(turn, "Sim!")
    await talk.finish(turn, begun, "3EB001")
    assert (await refuse(talk, turn))["outcome"] == "handoff"
    (row,) = await talk.turns()
    assert (row["state"], row["incomplete"], row["reason"]) == ("sent", True, "reply_refused")


async def test_a_message_that_came_meanwhile_is_answered_by_the_fallback_message_too(
    talk: Conversation,
):
    await talk.set_rule("fallback_message", SORRY)
    await talk.set_rule("on_refused_reply", "fallback_message")
    turn = await asked(talk)
    await talk.maria_writes("e aí?")
    await refuse(talk, turn)
    (again,) = await talk.claim()
    assert (again["reply"], answered(again)) == ([SORRY], ["oi", "e aí?"])


async def test_a_takeover_goes_before_a_refusal(talk: Conversation):
    turn = await asked(talk)
    await talk.owner_writes("deixa comigo")
    assert (await refuse(talk, turn))["refused"] == "paused"
    assert await talk.sql("select * from notices") == []


async def test_what_the_refused_reply_cost_is_noted(talk: Conversation):
    turn = await asked(talk)
    await talk.database.call("reserve_budget", {**held(turn), "tokens": 900, "policy": {}})
    await refuse(talk, turn, provider="anthropic", model="m", tokens_in=50, tokens_out=9)
    (row,) = await talk.turns()
    assert (row["tokens_in"], row["tokens_out"], row["model"]) == (50, 9, "m")
    assert await talk.value("select max(tokens) from spending") == 59
