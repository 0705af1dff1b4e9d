"""What one tenant's servers do, or leave undone, is no other tenant's trouble."""

import asyncio
import gzip
from contextlib import AsyncExitStack
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.receiver import WebhookReceiver
from router.evolution.sends import EvolutionSends
from router.outbound.bounds import LONGEST_ANSWER
from router.outbound.pools import TenantPools
from tests.scenarios.flow import given, n8n, playing
from tests.scenarios.hostile import saying, server, silence, without_end
from tests.scenarios.stage import Stage, performance

__all__ = ["n8n"]

PLACES, SHARE = 4, 3  # turns at once, and how many of them one tenant alone may have
CUSTOMERS = 9
BOMB = gzip.compress(b"[" + b" " * LONGEST_ANSWER * 4 + b"]")
SERVERS = {
    "it trickles": without_end(b"HTTP/1.1 200 OK\r\n\r\n", b" ", pause=0.05),
    "its head trickles": without_end(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a", pause=0.05),
    "it hangs": silence,
    "it answers much": saying(b"Content-Encoding: gzip", BOMB),
}


async def under_way(stage: Stage, tenant_id: int) -> int:
    (row,) = await stage.sql(
        "select count(*) from turns where tenant_id = $1 and state in ('running', 'sending')"
        " and worker is not null",
        tenant_id,
    )
    return int(row["count"])


@pytest.mark.parametrize("how", SERVERS)
async def test_an_evolution_that_means_harm_keeps_the_turns_of_no_other_tenant_waiting(
    database_url: str, evolution: Evolution, llm: Anthropic, how: str
):
    rules = {"MAX_CONCURRENT_TURNS": str(PLACES), "SEND_TIMEOUT": "1"}
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(performance(database_url, evolution, llm, **rules))
        quiet = stage.tenant_id
        address = await stack.enter_async_context(server(SERVERS[how]))
        hostile = await stage.open_shop("hostile")
        harm = stage.tenant_id
        await stage.sql("update tenants set evo_server_url = $1 where id = $2", address, harm)
        for number in range(CUSTOMERS):
            await hostile.customer(f"55119666{number:05}", name=f"C{number}").writes("oi")
        most = 0
        tried: set[int] = set()
        spoken = 0
        async with asyncio.timeout(60):
            while len(tried) < CUSTOMERS or spoken < 5:
                now = await under_way(stage, harm)
                most = max(most, now)
                rows = await stage.sql(
                    "select id from turns where tenant_id = $1 and error is not null", harm
                )
                tried |= {row["id"] for row in rows}
                if spoken < 5 and len(stage.maria.replies) == spoken:
                    spoken += 1
                    await stage.maria.writes(f"tem bolo {spoken}?")
                await asyncio.sleep(0.02)
        assert most <= SHARE
        await stage.maria.answered(5)
        assert quiet != harm


@pytest.mark.parametrize("how", ["it trickles", "it hangs"])
@pytest.mark.parametrize("shops", [1, 5])
async def test_while_evolutions_hang_a_tenant_has_as_many_replies_made_at_once_as_on_an_idle_router(
    database_url: str, evolution: Evolution, llm: Anthropic, how: str, shops: int
):
    rules = {"MAX_CONCURRENT_TURNS": str(PLACES), "SEND_TIMEOUT": "60"}
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(performance(database_url, evolution, llm, **rules))
        quiet = stage.shop
        for number in range(shops):
            address = await stack.enter_async_context(server(SERVERS[how]))
            hostile = await stage.open_shop(f"hostile{number}")
            move = "update tenants set evo_server_url = $1 where id = $2"
            await stage.sql(move, address, stage.tenant_id)
            for customer in range(CUSTOMERS):
                await hostile.customer(f"551196{number}{customer:05}", name="C").writes("oi")
        await stage.until(
            "select tenant_id from turns where state = 'sending' group by 1 having count(*) > 1",
            lambda rows: len(rows) == shops,
        )
        gate = llm.hold()
        people = [quiet.customer(f"55119777{number:05}", name="Q") for number in range(SHARE)]
        for number, person in enumerate(people):
            await person.writes(f"tem bolo {number}?")
        # None was answered before all were asked for; who asks again asks the same.
        await llm.changes.until(
            lambda: len({str(r.messages) for r in llm.requests if quiet.name in r.system}) == SHARE,
            "the replies of all are made at once",
        )
        gate.open()
        for person in people:
            await person.answered(1)


@pytest.mark.parametrize("how", ["its head trickles", "it hangs"])
async def test_a_webhook_for_notices_that_means_harm_keeps_no_other_tenants_notices_waiting(
    database_url: str, evolution: Evolution, llm: Anthropic, how: str
):
    notified: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        notified.append(b"heard")
        await saying(b"Content-Length: 0")(reader, writer)

    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(performance(database_url, evolution, llm))
        quiet = stage.tenant_id
        bad = await stack.enter_async_context(server(SERVERS[how]))
        good = await stack.enter_async_context(server(hear))
        await stage.open_shop("hostile")
        notify = "update tenants set notify_url = $1 where id = $2"
        await stage.sql(notify, bad, stage.tenant_id)
        await stage.sql(notify, good, quiet)
        make = (
            "insert into notices (tenant_id, kind, facts, next_at)"
            " select $1, 'handoff', '{}', now() - interval '1 hour' from generate_series(1, $2)"
        )
        await stage.sql(make, stage.tenant_id, 40)
        await stage.until(
            "select count(*) from notices where lease_until is not null",
            lambda rows: rows[0]["count"] > 0,
        )
        await stage.sql(make, quiet, 3)
        await stage.until(
            f"select count(*) from notices where tenant_id = {quiet} and state = 'delivered'",
            lambda rows: rows[0]["count"] == 3,
        )
        (held,) = await stage.sql(
            "select count(*) from notices where tenant_id = $1 and state = 'delivered'",
            stage.tenant_id,
        )
        assert held["count"] == 0
        assert len(notified) == 3


async def test_what_a_flow_has_shown_takes_no_connection_from_look_ups(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    n8n: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
):
    over: list[object] = []
    show = EvolutionSends.send_presence

    async def spy(self: EvolutionSends, *asked: Any, **more: Any) -> bool:
        over.append(self._http)
        return await show(self, *asked, **more)

    monkeypatch.setattr(EvolutionSends, "send_presence", spy)
    pools: list[TenantPools] = []

    def made(*given: Any) -> TenantPools:
        pools.append(TenantPools(*given))
        return pools[0]

    monkeypatch.setattr("router.workers.TenantPools", made)
    async with playing(database_url, evolution, llm, n8n) as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        shown = await flow.calls("chat/sendPresence", {"presence": "composing", "delay": 1})
        assert shown.status_code == 201
        assert over == [pools[0].courtesy]
        await flow.sends("Temos!")
        await flow.reports("done")
        await stage.turns_end()
