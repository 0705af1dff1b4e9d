"""kill -9 of the router at every step of what people say: it is on the phone exactly once."""

import pytest

from loopback.evolution import failures
from tests.faults.test_kills import playing
from tests.scenarios.people import ANA, Desk, Staff


@pytest.fixture
async def killed(router, database_url, evolution, llm):
    async with playing(router, database_url, evolution, llm) as stage:
        yield stage, router


async def greets(stage) -> None:
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.turns_end()


async def ends_well(stage, *said: str) -> None:
    # The lease of who died is over.
    await stage.time_comes_to("select next_at from relays where finished_at is null")
    await stage.maria.answered(1 + len(said))
    await stage.until("select id from relays where finished_at is null", lambda rows: rows == [])
    assert stage.maria.replies[1:] == list(said)


async def test_killed_with_one_on_its_way_and_one_that_waits(killed):
    stage, router = killed
    await greets(stage)
    gate = stage.shop.hold("sendText")
    desk = Desk(stage)
    await desk.writes("1", text="um")
    await gate.reached()
    await desk.writes("2", text="dois")
    router.kill()
    stage.shop.heal()
    router.start()
    await router.ready()
    await ends_well(stage, "um", "dois")
    assert (await desk.writes("2", text="dois"))["state"] == "sent"


async def test_killed_behind_the_fence_before_the_send(killed):
    stage, router = killed
    await greets(stage)
    gate = stage.shop.hold("sendText")
    stage.shop.fail("sendText", failures.CUT)
    await Desk(stage).writes("1", text="um")
    await gate.reached()
    router.kill()
    gate.open()  # the call is lost with its process: Evolution takes nothing
    router.start()
    await ends_well(stage, "um")


async def test_killed_after_the_send_before_it_was_recorded(killed):
    stage, router = killed
    await greets(stage)
    stage.shop.tells_sends = "never"
    gate = stage.shop.hold("sendText", after=True)
    await Desk(stage).writes("1", text="um")
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await ends_well(stage, "um")
    assert stage.shop.calls("sendText")[-1].body["text"] == "um"


async def test_killed_while_the_staffs_words_are_on_their_way(killed):
    stage, router = killed
    staff = Staff(stage, stage.shop.customer(ANA, name="Ana"))
    notice = await staff.are_told()
    gate = stage.shop.hold("sendText", after=True)
    await staff.ana.quotes(notice, "Já te ligo")
    await gate.reached()
    router.kill()
    stage.shop.heal()
    router.start()
    await ends_well(stage, "Já te ligo")
    assert staff.ana.replies[1:] == ["Sent to Maria (5511955550001)."]
