"""The owner writes under a LID that nobody knows; Evolution is asked whose it is, and may know."""

from loopback.evolution import contents
from tests.scenarios.stage import Stage


async def test_what_evolution_has_stored_of_both_makes_them_one_conversation(stage: Stage):
    shop, maria = stage.shop, stage.maria
    key = maria.key("AC0OLD", from_me=False, identity="lid_with_pn")
    told = shop.compose(contents.text("bom dia"), key, "Maria", "DELIVERY_ACK", "android", 1.7e9)
    shop.store.add_received("row-of-old", told)
    await maria.writes("oi", identity="pn")
    await stage.turns_end()
    await shop.owner.writes(maria, "Oi Maria, é a Ana, deixa comigo", identity="lid")
    await stage.until(
        "select is_paused from sessions", lambda rows: [r["is_paused"] for r in rows] == [True]
    )
    await maria.writes("obrigada Ana!", identity="pn")
    await stage.turns_end()
    assert len(stage.llm.requests) == 1
    (session,) = await stage.sessions()
    assert (session["phone_jid"], session["lid"]) == (maria.jid, maria.lid)


async def test_an_evolution_that_does_not_know_leaves_them_two_and_the_answer_waits(stage: Stage):
    shop, maria = stage.shop, stage.maria
    await maria.writes("oi", identity="pn")
    await stage.turns_end()
    await shop.owner.writes(maria, "Oi Maria, é a Ana, deixa comigo", identity="lid")
    await maria.writes("obrigada Ana!", identity="pn")
    await stage.until(
        "select id from turns where waiting"
        " and run_after > hybridflow.clock() + interval '1 minute'",
        bool,
    )
    assert len(stage.llm.requests) == 1
    await stage.time_passes(minutes=4)
    await stage.turns_end()
    assert len(stage.llm.requests) == 2
