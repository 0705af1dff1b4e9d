"""kill -9 of the router at every step of a turn: the customer is answered exactly once."""

import signal
from contextlib import asynccontextmanager

import pytest

from loopback.evolution import failures
from loopback.replies import calls_tool
from tests.routers import RouterProcess
from tests.scenarios.stage import Stage, set_stage


@asynccontextmanager
async def playing(router: RouterProcess, database_url, evolution, llm):
    router.start()
    await router.ready()
    async with set_stage(database_url, router.url, evolution, llm) as stage:
        yield stage


async def ends_well(stage: Stage, replies: int = 1) -> None:
    await stage.maria.answered(replies)
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == replies
    assert not await stage.paused()


@pytest.fixture
async def killed(router: RouterProcess, database_url, evolution, llm):
    async with playing(router, database_url, evolution, llm) as stage:
        yield stage, router


@pytest.fixture
async def stopped(patient_router: RouterProcess, database_url, evolution, llm):
    async with playing(patient_router, database_url, evolution, llm) as stage:
        yield stage, patient_router


async def test_killed_before_the_claim(killed):
    stage, router = killed
    await stage.sql("update tenants set debounce_seconds = 2")
    await stage.maria.writes("tem bolo?")
    router.kill()
    router.start()
    await ends_well(stage)


async def test_killed_in_the_llm_call(killed):
    stage, router = killed
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    stage.llm.heal()
    router.start()
    await ends_well(stage)


async def test_killed_after_begin_send_before_the_send(killed):
    stage, router = killed
    gate = stage.shop.hold("sendText")
    stage.shop.fail("sendText", failures.CUT)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    gate.open()  # the call is lost with its process: Evolution takes nothing
    router.start()
    await ends_well(stage)


async def test_killed_during_the_send_which_evolution_finishes_all_the_same(killed):
    stage, router = killed
    gate = stage.shop.hold("sendText")
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    gate.open()
    router.start()
    await ends_well(stage)
    assert len(stage.shop.calls("sendText")) == 1


async def test_killed_after_the_send_before_it_was_recorded(killed):
    stage, router = killed
    stage.shop.tells_sends = "never"
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await ends_well(stage)
    assert len(stage.shop.calls("sendText")) == 1


async def test_killed_between_two_parts(killed):
    stage, router = killed
    stage.llm.answers("Parte um. " + "x" * 4000 + "\n\nParte dois. " + "y" * 3000)
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("conta tudo")
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await ends_well(stage, replies=2)
    assert len(stage.llm.requests) == 1


async def test_killed_between_two_bubbles(killed):
    stage, router = killed
    bubbles = ["Um " * 30, "Dois " * 20, "Três " * 20]
    stage.llm.answers("\n\n".join(bubbles))
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("conta tudo")
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await ends_well(stage, replies=3)
    assert stage.maria.replies == [bubble.strip() for bubble in bubbles]
    assert len(stage.llm.requests) == 1


async def test_killed_while_evolution_delivers_the_webhook(killed):
    stage, router = killed
    router.kill()
    delivery = stage.maria.writes("tem bolo?")
    await delivery.first_try()
    router.start()
    await ends_well(stage)


async def test_sigterm_gives_back_what_has_said_nothing_yet(stopped):
    stage, router = stopped
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    assert router.stop() == -signal.SIGTERM  # as uvicorn ends, once all is done
    (turn,) = await stage.sql("select * from turns")
    assert (turn["state"], turn["attempt"]) == ("pending", 0)
    stage.llm.heal()
    router.start()
    await ends_well(stage)


async def test_sigterm_during_a_send_waits_for_its_answer(stopped):
    stage, router = stopped
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.terminate()
    gate.open()
    assert router.wait() == -signal.SIGTERM
    (turn,) = await stage.sql("select * from turns")
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1


async def test_two_routers_share_the_work_and_answer_once(killed, database_url, llm):
    stage, router = killed
    other = router.twin()
    other.start()
    try:
        await other.ready()
        customers = [stage.shop.customer(f"55119555510{n:02}", name=f"C{n}") for n in range(12)]
        for customer in customers:
            await customer.writes("oi")
        for customer in customers:
            await customer.answered()
        await stage.turns_end()
        assert [len(customer.replies) for customer in customers] == [1] * 12
    finally:
        other.close()


ASKS = "quero falar com um atendente"


async def is_kept(stage: Stage) -> None:
    """The customer is told once, and a human is wanted."""
    await stage.maria.answered(1)
    await stage.until("select words from handoffs", lambda rows: rows == [{"words": "said"}])
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert len(stage.maria.replies) == 1
    rows = await stage.sql("select state from handoffs")
    assert rows == [{"state": "waiting"}]
    assert await stage.paused()
    assert len(await stage.sql("select id from notices where kind = 'handoff'")) == 1


async def test_killed_as_the_model_hands_over_and_there_is_neither_pause_nor_words(killed):
    stage, router = killed
    says = calls_tool("hand_over", reason="upset", summary="bolo seco", say="A Ana já vem.")
    stage.llm.answers_always(says)
    gate = stage.llm.hold()
    await stage.maria.writes("o bolo veio seco!!")
    await gate.reached()
    router.kill()
    assert not await stage.paused()
    assert await stage.sql("select id from handoffs") == []
    assert stage.maria.replies == []
    stage.llm.heal()
    router.start()
    await is_kept(stage)


async def test_killed_between_a_handoffs_pause_and_its_words(killed):
    stage, router = killed
    gate = stage.shop.hold("sendText")
    stage.shop.fail("sendText", failures.CUT)
    await stage.maria.writes(ASKS)
    await gate.reached()
    router.kill()
    assert await stage.paused(), "it was handed off as its words began to be sent"
    gate.open()
    router.start()
    await is_kept(stage)


async def test_killed_after_a_handoffs_words_before_they_were_recorded(killed):
    stage, router = killed
    stage.shop.tells_sends = "never"
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes(ASKS)
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await is_kept(stage)
    assert len(stage.shop.calls("sendText")) == 1
