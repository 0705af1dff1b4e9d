"""Two routers on one database: a customer of the one that is full is answered by the other."""

from collections.abc import Mapping

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.routers import environment, running_router
from tests.scenarios.stage import performance
from tests.supabase import TestProject

# Neither looks by itself, and no question is given up while the other loads what it asks with.
NEVER = {"POLL_SECONDS": "600", "TURN_LEASE_SECONDS": "100", "LLM_TIMEOUT": "30"}


async def test_an_idle_router_claims_what_a_full_one_cannot(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    await claims_what_a_full_one_cannot(database_url, evolution, llm, {})


@pytest.mark.both
async def test_over_postgrest_it_reads_among_the_changes_that_it_is_called(
    database_url: str, evolution: Evolution, llm: Anthropic, postgrest: TestProject
):
    await claims_what_a_full_one_cannot(database_url, evolution, llm, postgrest.configuration)


async def claims_what_a_full_one_cannot(
    database_url: str, evolution: Evolution, llm: Anthropic, over: Mapping[str, str]
) -> None:
    idle = {**NEVER, **over}
    full = {"MAX_CONCURRENT_TURNS": "1", **idle}
    async with (
        performance(database_url, evolution, llm, **full) as stage,
        running_router(environment(database_url, ANTHROPIC_BASE_URL=llm.url, **idle)),
    ):
        gate = llm.hold()
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        joao = stage.shop.customer("5511955550002", name="João")
        await joao.writes("e pão?")
        await gate.reached(2)
        workers = await stage.sql("select count(*) as n from turns where state = 'running'")
        assert workers[0]["n"] == 2
        gate.open()
        await joao.answered()
        await stage.maria.answered()
        assert len(stage.maria.replies) == len(joao.replies) == 1
