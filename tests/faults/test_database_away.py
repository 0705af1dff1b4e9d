"""The database goes away and comes back: nothing is lost, nothing is said twice."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate
from tests.clients import patient
from tests.postgres import fleeting_folder
from tests.scenarios.stage import Stage, dark_stage, performance


async def test_a_router_that_starts_before_the_schema_works_once_it_is_applied(
    empty_database_url: str, evolution, llm
):
    async with dark_stage(empty_database_url, evolution, llm) as stage:
        async with patient(base_url=stage.router_url) as client:
            assert (await client.get("/health")).status_code == 503
        await migrate(empty_database_url)
        await stage.open()
        await stage.maria.writes("oi")
        await stage.maria.answered()


async def test_postgresql_killed_during_the_llm_call(evolution, llm):
    with lasting_server() as server:
        await migrate(server.dsn)
        async with performance(server.dsn, evolution, llm) as stage:
            gate = llm.hold()
            await stage.maria.writes("tem bolo?")
            await gate.reached()
            await kill_postgresql(server)
            gate.open()
            await ends_well(stage)


async def test_postgresql_killed_between_the_send_and_its_record(evolution, llm):
    with lasting_server() as server:
        await migrate(server.dsn)
        async with performance(server.dsn, evolution, llm) as stage:
            gate = stage.shop.hold("sendText", after=True)
            await stage.maria.writes("tem bolo?")
            await gate.reached()
            await kill_postgresql(server)
            gate.open()
            await ends_well(stage)
            assert len(stage.shop.calls("sendText")) == 1


async def test_webhooks_that_meet_no_database_come_again(evolution, llm):
    with lasting_server() as server:
        await migrate(server.dsn)
        async with performance(server.dsn, evolution, llm) as stage:
            await kill_postgresql(server, and_wait=False)
            delivery = stage.maria.writes("tem bolo?")
            await answers_again(server)
            assert (await delivery).state == "delivered"
            await ends_well(stage)


async def test_webhooks_under_way_while_postgresql_is_killed_are_put_off_and_none_is_lost(
    evolution, llm
):
    with lasting_server() as server:
        await migrate(server.dsn)
        async with performance(server.dsn, evolution, llm) as stage:
            await stage.sql("update tenants set debounce_seconds = 30")
            deliveries = []
            for _ in range(4):
                deliveries += [stage.maria.writes(f"pergunta {n}") for n in range(15)]
                await kill_postgresql(server)
            answers = {each.status for delivery in deliveries for each in (await delivery).attempts}
            assert answers <= {200, 503}
            assert {delivery.state for delivery in deliveries} == {"delivered"}
            (recorded,) = await stage.sql("select count(*) from messages where not from_me")
            assert recorded["count"] == len(deliveries)


@contextmanager
def lasting_server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps what it has committed, unlike the one of the other tests."""
    with fleeting_folder() as folder, EmbeddedPostgres(folder / "postgres") as server:
        yield server


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.folder / "cluster" / "postmaster.pid").read_text().splitlines()[0])


async def kill_postgresql(server: EmbeddedPostgres, *, and_wait: bool = True) -> None:
    os.kill(postmaster(server), signal.SIGKILL)
    if and_wait:
        await answers_again(server)


async def answers_again(server: EmbeddedPostgres) -> None:
    """Its guard starts it; nobody has to ask for that."""
    async with asyncio.timeout(30):
        while True:
            try:
                await (await asyncpg.connect(server.dsn)).close()
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
            else:
                return


async def ends_well(stage: Stage) -> None:
    await stage.maria.answered()
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    assert not await stage.paused()
