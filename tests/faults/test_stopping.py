"""SIGTERM ends the router within ten seconds, whatever is under way; nothing is lost or doubled."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psutil
import pytest

from loopback.receiver import WebhookReceiver
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate
from tests.faults.test_database_away import lasting_server, postmaster
from tests.n8n.test_gateway import KEY, Flow, given
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

WITHIN = 10  # seconds: what platforms grant before they kill


async def ends_in_time(router: RouterProcess) -> None:
    router.terminate()
    ended = await asyncio.to_thread(router.wait, WITHIN)
    assert ended == -signal.SIGTERM, router.log()


@contextmanager
def patient(database_url: str, llm, **more: str) -> Iterator[RouterProcess]:
    """A router that would wait for a minute, were it not stopped."""
    env = environment(
        database_url,
        ANTHROPIC_BASE_URL=llm.url,
        LLM_TIMEOUT="60",
        TURN_LEASE_SECONDS="120",
        SEND_TIMEOUT="60",
        **more,
    )
    router = RouterProcess(env)
    try:
        yield router
    finally:
        router.close()


@asynccontextmanager
async def playing(router: RouterProcess, database_url: str, evolution, llm) -> AsyncIterator[Stage]:
    router.start()
    await router.ready()
    async with set_stage(database_url, router.url, evolution, llm) as stage:
        yield stage


@pytest.fixture
def router(database_url: str, llm) -> Iterator[RouterProcess]:
    with patient(database_url, llm) as router:
        yield router


@pytest.fixture
async def stage(router: RouterProcess, database_url: str, evolution, llm) -> AsyncIterator[Stage]:
    async with playing(router, database_url, evolution, llm) as stage:
        yield stage


@pytest.mark.parametrize("after", [False, True], ids=["before it is taken", "after it is taken"])
async def test_a_send_that_evolution_holds_is_given_up_and_found_out_after_the_restart(
    stage: Stage, router: RouterProcess, after: bool
):
    gate = stage.shop.hold("sendText", after=after)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await ends_in_time(router)
    (turn,) = await stage.sql("select * from turns")
    assert turn["state"] == "sending"
    gate.open()
    await stage.maria.answered()
    router.start()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.shop.calls("sendText")) == 1
    assert len(stage.maria.replies) == 1
    assert not await stage.paused()


async def test_an_llm_that_does_not_answer(stage: Stage, router: RouterProcess):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await ends_in_time(router)
    (turn,) = await stage.sql("select * from turns")
    assert turn["state"] == "pending"


async def test_a_gap_repair_whose_evolution_does_not_answer(stage: Stage, router: RouterProcess):
    gate = stage.shop.hold("findMessages")
    await stage.shop.line.breaks()
    await stage.shop.line.connects()
    await gate.reached()
    await ends_in_time(router)


async def test_courtesy_whose_evolution_does_not_answer(stage: Stage, router: RouterProcess):
    gate = stage.shop.hold("markMessageAsRead")
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await ends_in_time(router)


async def test_a_caller_that_never_finishes_its_request(stage: Stage, router: RouterProcess):
    with socket.create_connection(("127.0.0.1", router.port)) as caller:
        caller.sendall(b"POST /webhook/padaria HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        await ends_in_time(router)


async def test_a_flow_whose_message_evolution_holds(database_url: str, evolution, llm):
    with (
        WebhookReceiver() as n8n,
        patient(
            database_url,
            llm,
            N8N_ENABLED="true",
            N8N_CONTRACT="gateway",
            N8N_WEBHOOK_URL=f"{n8n.url}/webhook",
            N8N_API_KEY=KEY,
        ) as router,
    ):
        async with playing(router, database_url, evolution, llm) as stage:
            await stage.maria.writes("tem bolo?")
            flow: Flow = await given(stage, n8n)
            gate = stage.shop.hold("sendText")
            sending = asyncio.create_task(flow.sends("Temos sim!"))
            await gate.reached()
            await ends_in_time(router)
            gate.open()
            with suppress(Exception):
                await sending
            await stage.maria.answered()
            (part,) = await stage.sql("select * from messages where from_me")
            assert part["send_state"] in ("sending", "unknown")


async def test_a_database_that_hangs(evolution, llm):
    with lasting_server() as server:
        await migrate(server.dsn)
        with patient(server.dsn, llm) as router:
            async with playing(router, server.dsn, evolution, llm) as stage:
                gate = stage.llm.hold()
                await stage.maria.writes("tem bolo?")
                await gate.reached()
                with hanging(server):
                    stage.maria.writes("e pão?")  # its webhook waits, too
                    await ends_in_time(router)


@contextmanager
def hanging(server: EmbeddedPostgres) -> Iterator[None]:
    """Every process of the server stands still; it takes connections, and answers nothing."""
    leader = psutil.Process(postmaster(server))
    stopped = [leader.pid, *(child.pid for child in leader.children(recursive=True))]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
