"""Courtesy goes on by itself: nothing waits for it, and nothing of it begins too late."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from pydantic import SecretStr

from loopback.evolution import Business, Evolution, failures
from router.evolution.sends import EvolutionSends
from router.sending.courtesy import Courtesy
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import StoredInstance
from router.tenants.instance import InstanceKeys, TenantLine
from tests.clients import patient
from tests.unit.test_fallback import turn


@pytest.fixture
def shop() -> Iterator[Business]:
    with Evolution() as evolution:
        yield evolution.instance("padaria")


class Shown:
    """The courtesy under test, and the turns that it is shown for."""

    def __init__(self, shop: Business, http: httpx.AsyncClient, at_once: int = 50) -> None:
        self._shop = shop
        self.line = self.line_of(shop.name)
        self.courtesy = Courtesy(EvolutionSends(http), typing_seconds=1, at_once=at_once)

    def line_of(self, name: str) -> TenantLine:
        stored = StoredInstance(
            tenant_id=1, instance_name=name, evo_server_url=self._shop.program.url,
            evo_api_key=SecretStr(self._shop.token),
        )  # fmt: skip
        return InstanceKeys(None).line(stored)

    @staticmethod
    def turn() -> ClaimedTurn:
        return turn()

    async def ends(self) -> None:
        await asyncio.wait(self.courtesy._under_way)


async def test_a_reply_that_is_ready_waits_for_no_courtesy(shop: Business):
    gate = shop.hold("sendPresence")
    async with patient() as http:
        shown = Shown(shop, http)
        async with shown.courtesy.during(shown.turn(), shown.line):
            await gate.reached()
        gate.open()
        await shown.ends()


async def test_it_begins_when_the_question_is_on_its_way(shop: Business):
    """Whatever the reply's maker does without waiting for anybody else is done before."""
    async with patient() as http:
        shown = Shown(shop, http)
        gate = shop.hold("sendPresence")
        async with shown.courtesy.during(shown.turn(), shown.line):
            for _ in range(20):  # of the loop's rounds: as the SDK of an LLM takes them
                await asyncio.sleep(0)
            assert shown.courtesy._under_way
            assert shop.calls("sendPresence") == []
            await gate.reached()
        gate.open()
        await shown.ends()


async def test_nothing_is_read_before_the_reply_is_there(shop: Business):
    gate = shop.hold("sendPresence")
    async with patient() as http:
        shown = Shown(shop, http)
        async with shown.courtesy.during(shown.turn(), shown.line):
            await gate.reached()
            assert shop.read == []
        gate.open()
        shown.courtesy.read(shown.turn(), shown.line)
        await shown.ends()
    assert shop.read == ["3A01"]


async def test_nothing_is_read_where_the_tenant_does_not_want_it(shop: Business):
    async with patient() as http:
        shown = Shown(shop, http)
        asked = shown.turn()
        tenant = asked.tenant.model_copy(update={"mark_as_read": False})
        shown.courtesy.read(asked.model_copy(update={"tenant": tenant}), shown.line)
        assert shown.courtesy._under_way == set()
    assert shop.calls("markMessageAsRead") == []


async def test_nothing_is_shown_of_a_turn_that_a_human_took_over_before_it_began(shop: Business):
    async with patient() as http:
        shown = Shown(shop, http)
        with suppress(asyncio.CancelledError):
            async with shown.courtesy.during(shown.turn(), shown.line):
                raise asyncio.CancelledError
        await shown.ends()
    assert shop.calls("sendPresence") == []


async def test_while_many_are_under_way_further_turns_do_without(shop: Business):
    gate = shop.hold("markMessageAsRead")
    async with patient() as http:
        shown = Shown(shop, http, at_once=1)
        for _ in range(3):
            shown.courtesy.read(shown.turn(), shown.line)
        assert len(shown.courtesy._under_way) == 1
        gate.open()
        await shown.ends()


async def test_a_tenant_whose_evolution_hangs_leaves_courtesy_for_others(shop: Business):
    gate = shop.hold("markMessageAsRead")
    async with patient() as http:
        shown = Shown(shop, http, at_once=4)
        for name in (*["greedy"] * 9, "quiet"):
            shown.courtesy.read(shown.turn(), shown.line_of(name))
        assert len(shown.courtesy._under_way) == 3 + 1
        gate.open()
        await shown.ends()


async def test_an_evolution_that_is_away_costs_the_reply_nothing(shop: Business):
    async with patient() as http:
        shown = Shown(shop, http)
        shop.fail("markMessageAsRead", failures.CUT)
        shown.courtesy.read(shown.turn(), shown.line)
        await shown.ends()


async def test_at_the_end_what_is_under_way_is_broken_off(shop: Business):
    gate = shop.hold("markMessageAsRead")
    async with patient() as http:
        shown = Shown(shop, http)
        shown.courtesy.read(shown.turn(), shown.line)
        await gate.reached()
        await shown.courtesy.stop()
        assert shown.courtesy._under_way == set()
    gate.open()


@pytest.mark.filterwarnings("error")
async def test_what_is_broken_off_before_it_began_leaves_nothing_behind(shop: Business):
    """A router told to stop in the moment a reply is there: a real run of the suite met it."""
    async with patient() as http:
        shown = Shown(shop, http)
        shown.courtesy.read(shown.turn(), shown.line)
        shown.courtesy.type_for(shown.turn(), shown.line, 1)
        await shown.courtesy.stop()
        gc.collect()
    assert shop.calls("markMessageAsRead") == shop.calls("sendPresence") == []
