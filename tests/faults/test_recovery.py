"""What a router worked on when it died is soon taken up, with the times of a deployment."""

from collections.abc import AsyncIterator

import pytest

from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

SOON = 15.0  # seconds


@pytest.fixture
async def killed(database_url: str, evolution, llm) -> AsyncIterator[tuple[Stage, RouterProcess]]:
    """A router with a deployment's lease and poll, in the middle of an LLM call."""
    given = environment(database_url, ANTHROPIC_BASE_URL=llm.url, LLM_TIMEOUT="60")
    process = ForkedRouter(
        {
            name: value
            for name, value in given.items()
            if name not in ("TURN_LEASE_SECONDS", "POLL_SECONDS")
        }
    )
    try:
        process.start()
        await process.ready()
        async with set_stage(database_url, process.url, evolution, llm) as stage:
            gate = llm.hold()
            await stage.maria.writes("tem bolo?")
            await gate.reached()
            (turn,) = await stage.sql("select lease_until - claimed_at as lease from turns")
            assert turn["lease"].total_seconds() <= SOON
            yield stage, process
    finally:
        process.close()


async def test_after_a_restart(killed):
    stage, router = killed
    router.kill()
    stage.llm.heal()
    router.start()
    await router.ready()
    await stage.maria.answered()
    assert len(stage.maria.replies) == 1


async def test_by_another_router(killed):
    stage, router = killed
    other = router.twin()
    try:
        other.start()
        await other.ready()
        router.kill()
        stage.llm.heal()
        await stage.maria.answered()
        assert len(stage.maria.replies) == 1
    finally:
        other.close()


async def test_a_slow_reply_of_a_router_that_lives_is_not_taken_away(killed):
    stage, _ = killed
    (turn,) = await stage.until(
        "select attempt, lease_until, claimed_at,"
        " claimed_at + interval '14 seconds' < clock_timestamp() as slow from turns",
        lambda rows: rows[0]["slow"],
    )
    assert turn["attempt"] == 1
    assert (turn["lease_until"] - turn["claimed_at"]).total_seconds() > 10
    stage.llm.heal()
    await stage.maria.answered()
    assert len(stage.llm.requests) == 1
