"""n8n dies, sleeps, or is not heard: every message is answered exactly once all the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.clients import patient
from tests.forks import ForkedRouter
from tests.n8n.meddler import Meddler
from tests.n8n_server import TestN8n
from tests.routers import environment
from tests.scenarios.stage import Stage, set_stage

pytestmark = pytest.mark.n8n

PARTS = ("Parte um. " + "x" * 4000, "Parte dois. " + "y" * 3000)


async def ends_well(stage: Stage, replies: int = 1) -> dict[str, object]:
    await stage.maria.answered(replies)
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == replies
    assert not await stage.paused()
    return turn


async def test_n8n_killed_during_the_llm_call_and_the_fallback_answers(staged, mortal: TestN8n):
    async with staged("gateway", N8N_LEASE_SECONDS="4") as stage:
        gate = stage.llm.hold()
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        mortal.server.kill()
        stage.llm.heal()
        turn = await ends_well(stage)
    assert turn["handler"] == "fallback"


async def test_n8n_killed_during_the_llm_call_and_the_turn_waits_for_it(staged, mortal: TestN8n):
    async with staged("gateway", N8N_LEASE_SECONDS="4", N8N_FALLBACK="queue") as stage:
        gate = stage.llm.hold()
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        mortal.server.kill()
        stage.llm.heal()
        mortal.server.start()
        await mortal.server.ready()
        turn = await ends_well(stage)
    assert turn["handler"] == "n8n"


async def test_n8n_killed_between_two_parts_of_a_reply(staged, mortal: TestN8n):
    async with staged("gateway") as stage:
        stage.llm.answers("\n\n".join(PARTS))
        gate = stage.shop.hold("sendText", after=True)
        await stage.maria.writes("conta tudo")
        await gate.reached()
        mortal.server.kill()
        gate.open()  # the router has the whole reply: it says it to the end
        await stage.maria.answered(2)
        await stage.leases_run_out()
        await ends_well(stage, replies=2)
        assert [reply.strip() for reply in stage.maria.replies] == list(PARTS)


async def test_n8n_killed_between_two_sends_of_a_flow(staged, mortal: TestN8n):
    async with staged("parts") as stage:
        gate = stage.shop.hold("sendText", after=True)
        await stage.maria.writes("oi")
        await gate.reached()
        mortal.server.kill()
        gate.open()
        await stage.until(
            "select send_state from messages where from_me", lambda m: m[0]["send_state"] == "sent"
        )
        await stage.leases_run_out()
        turn = await ends_well(stage)
        assert stage.maria.replies == ["parte um"]
    assert turn["incomplete"]


async def test_n8n_is_down_for_a_while_under_load(staged, mortal: TestN8n):
    async with staged("gateway", N8N_LEASE_SECONDS="5") as stage:
        people = [stage.shop.customer(f"55119555600{n:02}", name=f"C{n}") for n in range(40)]
        gate = stage.llm.hold()
        for person in people[:10]:
            await person.writes("oi")
        await gate.reached()
        mortal.server.kill()
        gate.open()
        for person in people[10:]:
            await person.writes("oi")
        mortal.server.start()
        await mortal.server.ready()
        for person in people:
            await person.answered()
        turns = await stage.turns_end()
        assert [len(person.replies) for person in people] == [1] * 40
    assert {turn["state"] for turn in turns} == {"sent"}


async def test_turns_go_back_to_n8n_once_it_is_back(staged, mortal: TestN8n):
    async with staged("gateway", N8N_PROBE_SECONDS="0.5") as stage:
        mortal.server.kill()
        for text in ("um", "dois", "três", "quatro"):
            await answered_by(stage, text, "fallback")
        mortal.server.start()
        await mortal.server.ready()
        await asyncio.sleep(0.6)  # the time between two probes, not a wait for something to happen
        await answered_by(stage, "cinco", "n8n")


async def answered_by(stage: Stage, text: str, handler: str) -> None:
    await stage.maria.writes(text)
    await stage.maria.answered(len(stage.maria.replies) + 1)
    assert (await stage.turns_end())[-1]["handler"] == handler


async def test_n8n_slower_than_the_lease(staged):
    async with staged("gateway", N8N_LEASE_SECONDS="3") as stage:
        gate = stage.llm.hold()
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        await stage.until("select attempt from turns", lambda rows: rows[0]["attempt"] == 2)
        gate.open()
        await ends_well(stage)
        assert len(stage.shop.calls("sendText")) == 1


async def test_a_router_restarted_while_n8n_works(n8n: TestN8n, database_url, evolution, llm):
    n8n.anthropic.leads_to(llm.url)
    router = ForkedRouter(environment(database_url, **n8n.configuration("gateway")))
    router.start()
    await router.ready()
    try:
        async with set_stage(database_url, router.url, evolution, llm) as stage:
            gate = stage.llm.hold()
            await stage.maria.writes("tem bolo?")
            await gate.reached()
            router.kill()
            gate.open()
            router.start()
            turn = await ends_well(stage)
            assert (turn["handler"], turn["attempt"]) == ("n8n", 1)
            assert len(stage.llm.requests) == 1
    finally:
        router.close()
        n8n.anthropic.leads_to(None)


@pytest.fixture
def meddler() -> Iterator[Meddler]:
    meddler = Meddler()
    meddler.start()
    yield meddler
    meddler.stop()


@asynccontextmanager
async def meddled(staged, meddler: Meddler) -> AsyncIterator[Stage]:
    """What is lost or doubled is n8n's: on a busy machine nobody else may answer in its place."""
    given = {"N8N_ROUTER_URL": meddler.url, "N8N_FALLBACK": "queue"}
    async with staged("gateway", **given) as stage:
        meddler.target = stage.router_url
        yield stage


async def test_callbacks_that_come_twice(staged, meddler: Meddler):
    meddler.doubled = {"done", "padaria"}
    async with meddled(staged, meddler) as stage:
        await stage.maria.writes("oi")
        turn = await ends_well(stage)
        await passed(meddler, "done", 2)
        assert len(stage.shop.calls("sendText")) == 1
    assert not turn["incomplete"]


async def test_callbacks_that_never_come(staged, meddler: Meddler):
    meddler.lost = {"done"}
    async with meddled(staged, meddler) as stage:
        await stage.maria.writes("oi")
        await stage.maria.answered()
        await stage.leases_run_out()
        turn = await ends_well(stage)
        assert len(stage.llm.requests) == 1
    assert turn["incomplete"], "nobody said that the flow was through"


async def test_answers_of_callbacks_that_are_lost(staged, meddler: Meddler):
    meddler.unanswered = {"done"}
    async with meddled(staged, meddler) as stage:
        await stage.maria.writes("oi")
        turn = await ends_well(stage)
    assert not turn["incomplete"]


async def test_a_send_whose_answer_n8n_never_hears(staged, meddler: Meddler):
    meddler.unanswered = {"padaria"}
    async with meddled(staged, meddler) as stage:
        await stage.maria.writes("oi")
        await ends_well(stage)
        assert len(stage.shop.calls("sendText")) == 1


async def test_health_says_which_handler_is_at_work(staged, mortal: TestN8n):
    async with staged("gateway") as stage, patient(base_url=stage.router_url) as client:
        checks = (await client.get("/health")).json()["checks"]
        assert checks["n8n"]["status"] == "ok"
        mortal.server.kill()
        for text in ("um", "dois", "três", "quatro"):
            await answered_by(stage, text, "fallback")
        health = (await client.get("/health")).json()
        assert health["ok"]
        assert "Python" in health["checks"]["n8n"]["message"]


async def passed(meddler: Meddler, name: str, times: int) -> None:
    async with asyncio.timeout(20):
        while meddler.passed.count(name) < times:
            await asyncio.sleep(0.05)
