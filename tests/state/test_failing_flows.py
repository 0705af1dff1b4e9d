"""The people of a business are told that a flow fails: once until it has worked again."""

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation, held
from tests.state.test_notices import STAFF, claim, claim_one, finish
from tests.state.test_said_so_far import flow_of, says

NOTICES = "select * from notices where kind = 'flow_failing' order by id"


async def tell(talk: Conversation, flow: str = "hybridflow-turn", **more: object) -> Json:
    asked = {"tenant_id": 1, "flow": flow, "failures": 5, "goes_on": "fallback", **more}
    return await talk.database.call("tell_flow_failing", asked)


async def told(talk: Conversation) -> int:
    return len(await talk.sql(NOTICES))


async def flow_answers(talk: Conversation) -> None:
    turn = await flow_of(talk)
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 60})
    await talk.finish(turn, await says(talk, turn, "Oi"), f"3EB0{turn['turn_id']}")
    await talk.database.call("finish_turn", held(turn))


async def test_it_is_told_by_whatsapp_and_at_the_tenants_webhook(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.set_rule("notify_url", "https://tickets.example/hook")
    assert await tell(talk) == {"ok": True}
    notice = await claim_one(talk)
    assert (notice["kind"], notice["session_id"]) == ("flow_failing", None)
    assert (notice["number"], notice["url"]) == (STAFF, "https://tickets.example/hook")
    assert notice["facts"] == {"flow": "hybridflow-turn", "failures": 5, "state": "fallback"}


@pytest.mark.parametrize("state", ["pending", "delivered"])
@pytest.mark.parametrize("hours", [0, 2, 200])
async def test_by_however_many_routers_and_however_long_it_is_told_once(
    talk: Conversation, state: str, hours: int
):
    await tell(talk)
    if state == "delivered":
        await finish(talk, await claim_one(talk))
    await talk.travel(hours=hours)
    assert await tell(talk) == {"ok": True, "already": True}
    assert await told(talk) == 1


async def test_once_it_has_worked_it_is_told_again_but_not_within_the_hour(talk: Conversation):
    await tell(talk)
    await finish(talk, await claim_one(talk))
    await flow_answers(talk)
    assert (await tell(talk))["already"]
    await talk.travel(hours=2)
    assert "already" not in await tell(talk)
    assert await told(talk) == 2


async def test_what_the_fallback_answers_is_no_work_of_the_flow(talk: Conversation):
    await tell(talk)
    await talk.travel(hours=2)
    await talk.maria_writes("oi")
    await talk.answer("Olá!")
    assert (await tell(talk))["already"]


async def test_another_flow_is_told_of_at_once(talk: Conversation):
    await tell(talk)
    assert "already" not in await tell(talk, "padaria/hybridflow-turn")


async def test_what_is_over_before_it_was_told_is_not_told(talk: Conversation):
    await tell(talk)
    assert await talk.database.call("tell_flow_works", {"tenant_id": 1}) == {"ok": True}
    assert await claim(talk) == []
    assert "already" not in await tell(talk)  # nobody has heard of it


async def test_nobody_is_told_of_a_tenant_that_is_not_there(talk: Conversation):
    assert (await tell(talk, tenant_id=999))["already"]
    await talk.sql("update tenants set is_active = false")
    assert (await tell(talk))["already"]
    assert await told(talk) == 0


async def test_what_they_know_to_be_an_outage_is_one_notice(talk: Conversation):
    """The credit is used up: that is told, and that the flow fails of it not before it is over."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, "away", away="llm", cause="account_empty")
    assert await tell(talk) == {"ok": True}
    assert (await tell(talk))["already"]
    notice = await claim_one(talk)
    assert notice["kind"] == "unanswered"
    await finish(talk, notice)
    await talk.travel(minutes=2)
    made = {"parts": ["Oi!"], "handler": "fallback", "provider": "anthropic"}
    await talk.database.call("save_reply", {**held(await talk.claim_one()), **made})
    await talk.travel(minutes=2)
    assert {each["kind"] for each in await claim(talk)} == {"flow_failing", "answered_again"}


async def test_what_works_again_by_the_end_of_an_outage_is_not_told(talk: Conversation):
    """Who counted its failures may be another router, or gone: nobody says that it works."""
    await talk.maria_writes("oi")
    await talk.fail(await talk.claim_one(), "away", away="llm", cause="account_empty")
    await tell(talk)
    await finish(talk, await claim_one(talk))
    await talk.travel(minutes=2)
    await flow_answers(talk)
    await talk.travel(minutes=2)
    assert (await claim_one(talk))["kind"] == "answered_again"


async def test_the_end_of_another_outage_tells_nobody_that_the_flow_fails(talk: Conversation):
    """The line was lost and is back; the credit is used up as before, and they know of that."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, "away", away="llm", cause="account_empty")
    await tell(talk)
    for cause in ("line_away", "misconfigured"):  # the latter makes flows fail, too
        await talk.sql("select hybridflow.begin_outage(1, $1, 'it is away')", cause)
    await finish(talk, await claim_one(talk))
    for about in ("line 1", "tenant 1"):
        await talk.sql("select hybridflow.end_outages($1, 1)", about)
        await talk.travel(minutes=3)
        assert "flow_failing" not in {each["kind"] for each in await claim(talk)}
    await talk.sql("select hybridflow.end_outages('llm anthropic', 1)")
    await talk.travel(minutes=3)
    assert "flow_failing" in {each["kind"] for each in await claim(talk)}
