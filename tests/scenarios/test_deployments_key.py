"""EVOLUTION_API_KEY goes to the servers that the deployment names, and nowhere else."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.receiver import WebhookReceiver
from router.configuration.settings import load_settings
from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionRefused
from router.intake.gap_repair import repair_gap
from router.intake.ingester import Ingester
from router.tenants.instance import InstanceKeys, find_instance
from router.tenants.policy import policy
from tests.clients import patient
from tests.fixtures.marks import plain_marks
from tests.routers import API_KEY, environment, running_router
from tests.scenarios.stage import Stage, performance


@pytest.fixture
def stranger() -> Iterator[WebhookReceiver]:
    """A server of the tenant's own, which notes what it is shown."""
    with WebhookReceiver() as stranger:
        yield stranger


async def has_server(stage: Stage, url: str, key: str | None = None) -> None:
    """As whoever writes with SQL may do it: no check of the API stands before the sends."""
    await stage.sql("update tenants set evo_server_url = $1, evo_api_key = $2", url, key)


async def dies(stage: Stage) -> str:
    await stage.maria.writes("Oi!")
    (turn,) = await stage.until(
        "select state, error from turns", lambda rows: bool(rows) and rows[0]["state"] == "dead"
    )
    return str(turn["error"])


async def asked(stage: Stage, path: str) -> dict[str, Any]:
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(path, headers={"X-API-Key": API_KEY})
    body: dict[str, Any] = answer.json()
    return body


async def test_a_tenant_without_a_key_is_served_at_a_server_that_is_named(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    named = {"EVOLUTION_API_KEY": evolution.key, "EVOLUTION_SERVERS": evolution.url}
    async with performance(database_url, evolution, llm, **named) as stage:
        await has_server(stage, f"{evolution.url.upper().replace('HTTP', 'http')}/")
        await stage.maria.writes("Oi!")
        await stage.turns_end()
        assert len(stage.maria.replies) == 1
        assert "evolution_servers" not in (await asked(stage, "/health"))["checks"]


@pytest.mark.parametrize("behind", ["", "/chat/findMessages/other?x="])
@pytest.mark.parametrize("named", [True, False], ids=["others named", "none named"])
async def test_no_other_server_is_shown_it(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    stranger: WebhookReceiver,
    behind: str,
    named: bool,
):
    servers = evolution.url if named else ""
    given = {"EVOLUTION_API_KEY": evolution.key, "EVOLUTION_SERVERS": servers}
    async with performance(database_url, evolution, llm, **given) as stage:
        await has_server(stage, stranger.url + behind)
        assert "EVOLUTION_SERVERS" in await dies(stage)
        await asked(stage, "/api/instances/padaria/test-webhook")
    assert stranger.received == []


async def test_no_path_of_a_tenant_asks_the_deployments_server_for_anothers_chats(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    named = {"EVOLUTION_API_KEY": evolution.key, "EVOLUTION_SERVERS": evolution.url}
    settings = load_settings(environment(database_url, **named), env_file=None)
    async with performance(database_url, evolution, llm, **named) as stage:
        ingester = Ingester(stage.database, policy(settings), plain_marks(), lambda *_: None)
        for key in (None, stage.shop.token):
            await has_server(stage, f"{evolution.url}/chat/findMessages/pharmacy?x=", key)
            tenant = await find_instance(stage.database, "padaria", InstanceKeys.of(settings))
            async with patient() as http:
                with pytest.raises(EvolutionRefused, match="must end behind host and port"):
                    await repair_gap(stage.database, EvolutionClient(http), tenant, ingester)
            check = await asked(stage, "/api/instances/padaria/test-webhook")
            assert "must end behind host and port" in str(check)


async def test_who_lost_the_key_is_named_at_the_start_by_health_and_by_the_instance_test(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    caplog: pytest.LogCaptureFixture,
):
    key = {"EVOLUTION_API_KEY": evolution.key}
    line = f"EVOLUTION_SERVERS={evolution.url}"
    async with performance(database_url, evolution, llm, **key) as stage:
        await has_server(stage, evolution.url)
        check = await asked(stage, "/api/instances/padaria/test-webhook")
        assert check["failed"] == "instance"
        assert line in str(check)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with (
            running_router(environment(database_url, **key)) as url,
            patient(base_url=url) as client,
        ):
            health = (await client.get("/health")).json()
    assert health["ok"]  # the others are served
    told = health["checks"]["evolution_servers"]["message"]
    assert "padaria" in told
    assert evolution.url not in told  # anybody may ask /health
    assert [record for record in caplog.records if line in record.getMessage()]
