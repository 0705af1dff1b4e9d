"""Where the AI cannot answer, the business is told, once, and the customer where it wants so."""

import pytest

from loopback.evolution import Customer
from loopback.replies import Reply
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import BOTH_HANDLERS, Stage

pytestmark = BOTH_HANDLERS

STAFF = "5511900009999"
SORRY = "Um momento, já chamamos alguém."
WAITING = "select * from turns where state = 'pending' and error_kind = 'away'"


async def staffed(stage: Stage, **more: object) -> Customer:
    """Return the phone of who is told."""
    staff = stage.shop.customer(STAFF, name="Ana")
    await stage.change(notify_number=STAFF, **more)
    return staff


async def told(staff: Customer, words: str) -> str:
    """Wait until the staff is told something with these words, and return it.

    A flow in n8n that fails again and again is told of besides.
    """
    count = 0
    while not (found := [each for each in staff.replies if words in each]):
        count = len(await staff.answered(count + 1))
    assert len(found) == 1
    return found[0]


async def outages_open(stage: Stage, count: int) -> None:
    await stage.until(
        "select id from outages where ended_at is null", lambda rows: len(rows) == count
    )


async def test_credit_that_is_used_up_is_told_once_and_all_are_answered_when_there_is_more(
    stage: Stage,
):
    """Case 06: the turns wait, one notice, one fallback message each, and the notice of its end."""
    staff = await staffed(stage, fallback_message=SORRY)
    others = [stage.shop.customer(f"55119666600{n:02}", name=f"C{n}") for n in range(2)]
    stage.llm.fail(stage.llm.no_credit(), times=None)
    for each in (stage.maria, *others):
        await each.writes("Vocês abrem amanhã?")
    await told(staff, "credit of the AI's account")
    for each in (stage.maria, *others):
        await each.answered()
        assert each.replies == [SORRY]
    await stage.until(WAITING, lambda rows: len(rows) == 3)
    assert not await stage.paused()  # the echoes of what we said are ours
    await stage.time_passes(minutes=2)  # it is tried again, in vain
    await stage.until(WAITING, lambda rows: sum(row["waits"] for row in rows) >= 6)
    assert [len(each.replies) for each in (stage.maria, *others)] == [1, 1, 1]
    await told(staff, "does not answer its customers")

    stage.llm.heal()
    stage.llm.answers_always("Abrimos às 8.")
    await stage.time_passes(minutes=2)
    for each in (stage.maria, *others):
        await each.answered(2)
        assert each.replies == [SORRY, "Abrimos às 8."]
    await outages_open(stage, 0)
    await stage.time_passes(minutes=3)
    assert "Of 3 answers, none was lost" in await told(staff, "answers its customers again")
    await told(staff, "does not answer its customers")
    assert not await stage.paused()


async def test_a_refused_key_waits_too_and_the_deployment_is_told(stage: Stage):
    staff = await staffed(stage)
    stage.llm.fail(stage.llm.bad_key(), times=None)
    await stage.maria.writes("oi")
    await told(staff, "refuses the key")
    async with patient(base_url=stage.router_url) as client:
        health = await client.get("/health")
        checked = await client.get(
            "/api/instances/padaria/test-webhook", headers={"X-API-Key": API_KEY}
        )
    assert health.status_code == 503
    assert "account_refused, 1 tenant" in health.json()["checks"]["answers"]["message"]
    assert any("no answer since" in each for each in checked.json()["warnings"])
    stage.llm.heal()
    await stage.time_passes(minutes=2)
    await stage.maria.answered()


async def test_what_the_model_declines_is_handed_to_a_human_and_the_customer_told(stage: Stage):
    """Case 05: as a reply that the guard refuses."""
    staff = await staffed(stage, fallback_message=SORRY)
    stage.llm.answers_always(Reply("", "refusal"))
    await stage.maria.writes("Posso dar dipirona para o meu cachorro?")
    await stage.maria.answered()
    await staff.answered()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == [SORRY]
    assert staff.replies == ["Maria (5511955550001) needs a person: the AI declines to answer"]
    # By the AI, and not by the owner: the echo of it is ours.
    paused = await stage.sql("select pause_source from sessions where is_paused")
    assert paused == [{"pause_source": "ai"}]


async def test_or_the_fallback_message_is_the_reply_where_the_tenant_prefers_it(stage: Stage):
    await stage.change(fallback_message=SORRY, on_refused_reply="fallback_message")
    stage.llm.answers_always(Reply("", "refusal"))
    await stage.maria.writes("oi")
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert (turn["state"], stage.maria.replies) == ("sent", [SORRY])
    assert not await stage.paused()


async def test_a_wrong_model_is_told_and_the_customer_hears_of_it_once(stage: Stage):
    staff = await staffed(stage, fallback_message=SORRY)
    stage.llm.fail(stage.llm.no_such_model(), times=None)
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.turns_end()
    await stage.maria.writes("alô?")
    (*_, last) = await stage.turns_end()
    assert last["state"] == "dead"
    await told(staff, "its model")
    assert stage.maria.replies == [SORRY]


async def test_who_takes_over_in_an_outage_hears_nothing_more_of_us(stage: Stage):
    await staffed(stage, fallback_message=SORRY)
    stage.llm.fail(stage.llm.no_credit(), times=None)
    gate = stage.llm.hold()
    await stage.maria.writes("oi")
    await stage.llm.asked()
    await stage.shop.owner.writes(stage.maria, "Deixa comigo")
    await stage.until("select is_paused from sessions where is_paused", bool)
    gate.open()
    await stage.turns_end()
    assert SORRY not in stage.maria.replies


@pytest.mark.parametrize("marks", [True, False])
async def test_messages_are_read_when_there_is_a_reply(stage: Stage, marks: bool):
    """Case 07: not where nobody answers, and not where the tenant does not want it."""
    await stage.change(mark_as_read=marks)
    stage.llm.fail(stage.llm.no_credit(), times=None)
    await stage.maria.writes("Oi?")
    await stage.until(WAITING, bool)
    assert stage.shop.calls("markMessageAsRead") == []
    stage.llm.heal()
    await stage.time_passes(minutes=2)
    await stage.maria.answered()
    await stage.turns_end()
    if marks:
        await stage.evolution.changes.until(lambda: stage.shop.read, "it is marked as read")
    assert bool(stage.shop.calls("markMessageAsRead")) is marks
