"""Health and CORS as monitors and browsers meet them."""

import asyncio
from typing import Any

import httpx

from loopback.anthropic import Anthropic
from router import __version__, workers
from tests.clients import patient
from tests.postgres import make_outdated
from tests.routers import API_KEY, environment, running_router
from tests.scenarios.stage import performance
from tests.supabase import TestProject


async def test_health_says_what_is_checked(database_url: str, llm: Anthropic):
    env = environment(database_url, ANTHROPIC_BASE_URL=llm.url)
    async with running_router(env) as url, patient(base_url=url) as client:
        await llm.looked_at()
        answer = await health_says(client, "the key is accepted")
    assert answer.status_code == 200
    health = answer.json()
    assert health["ok"] is True
    assert health["version"] == __version__
    assert health["timestamp"]
    assert health["checks"] == {
        "database": {"status": "ok", "message": "Connected to PostgreSQL"},
        "llm": {"status": "ok", "message": "anthropic: the key is accepted"},
        "connections": {"status": "ok", "message": "There are free connections to Evolution"},
        "delivery": {"status": "ok", "message": "no tenant's replies fail in a row"},
    }


async def health_says(client: httpx.AsyncClient, words: str) -> httpx.Response:
    """Ask until what was found out beside is told."""
    async with asyncio.timeout(20):
        while words not in (answer := await client.get("/health")).text:
            await asyncio.sleep(0.05)
    return answer


async def test_a_refused_key_is_known_before_a_customer_writes(database_url: str):
    """No turn, no token: the list of models is asked for, once, beside those who ask."""
    key = "sk-ant-for-the-loopback"
    with Anthropic(key="another") as llm:
        env = environment(database_url, ANTHROPIC_BASE_URL=llm.url)
        async with running_router(env) as url, patient(base_url=url) as client:
            answer = await health_says(client, "refuses the key")
            for _ in range(5):
                await client.get("/health")
        assert answer.status_code == 503
        assert "ANTHROPIC_API_KEY" in answer.json()["checks"]["llm"]["message"]
        assert key not in answer.text
        assert (llm.looks, llm.requests) == ([key], [])


async def test_a_tenants_own_key_is_looked_at_where_its_instance_is_tested(
    database_url: str, evolution
):
    own = "sk-ant-of-the-tenant-0001"
    with Anthropic(key="sk-ant-for-the-loopback") as llm:
        async with (
            performance(database_url, evolution, llm) as stage,
            patient(base_url=stage.router_url) as client,
        ):
            test = "/api/instances/padaria/test-webhook"
            shown = {"X-API-Key": API_KEY}
            first = (await client.get(test, headers=shown)).json()["steps"]
            await stage.change(llm_api_key=own)
            for _ in range(3):
                answer = await client.get(test, headers=shown)
            health = await health_says(client, "the key is accepted")
    assert step_of_llm(first) == (True, "anthropic with the deployment's key: the key is accepted")
    is_ok, detail = step_of_llm(answer.json()["steps"])
    assert (is_ok, "set another as the tenant's llm_api_key" in detail) == (False, True)
    assert own not in answer.text
    assert llm.looks.count(own) == 1
    assert health.json()["checks"]["llm"]["status"] == "ok"  # a tenant's key takes nobody down
    assert llm.requests == []


def step_of_llm(steps: list[dict[str, Any]]) -> tuple[bool, str]:
    (found,) = [each for each in steps if each["step"] == "llm"]
    return found["ok"], found["detail"]


async def test_a_missing_llm_key_is_not_ok_and_names_the_variable(database_url: str):
    async with (
        running_router(environment(database_url) | {"ANTHROPIC_API_KEY": ""}) as url,
        patient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "ANTHROPIC_API_KEY" in answer.json()["checks"]["llm"]["message"]


async def test_a_database_without_the_schema_says_how_to_apply_it(empty_database_url: str):
    async with (
        running_router(environment(empty_database_url)) as url,
        patient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "scripts.migrate" in answer.json()["checks"]["database"]["message"]


async def test_an_outdated_schema_is_not_ok_and_says_the_cure(database_url: str):
    await make_outdated(database_url)
    async with (
        running_router(environment(database_url)) as url,
        patient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    said = answer.json()["checks"]["database"]["message"]
    assert "outdated" in said
    assert "apply database/schema.sql or run `python -m scripts.migrate`" in said


async def test_supabase_by_its_keys_alone_is_ok(postgrest: TestProject, database_url: str):
    async with (
        running_router(environment(database_url) | postgrest.configuration) as url,
        patient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 200
    said = answer.json()["checks"]["database"]["message"]
    assert said == "Connected to Supabase"


async def test_a_wrong_key_of_supabase_is_not_ok_and_says_where_the_right_one_is(
    postgrest: TestProject, database_url: str
):
    wrong = {"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_of_another_project"}
    async with (
        running_router(environment(database_url) | postgrest.configuration | wrong) as url,
        patient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    said = answer.json()["checks"]["database"]["message"]
    assert "SUPABASE_SERVICE_ROLE_KEY" in said
    assert wrong["SUPABASE_SERVICE_ROLE_KEY"] not in answer.text


async def test_connections_that_are_all_held_are_not_ok_and_are_again_once_one_is_free(
    database_url: str, evolution, llm, monkeypatch
):
    monkeypatch.setattr(workers, "_SENDS", 1)
    rules = {"MAX_CONCURRENT_TURNS": "1", "SEND_TIMEOUT": "30"}
    async with (
        performance(database_url, evolution, llm, **rules) as stage,
        patient(base_url=stage.router_url) as client,
    ):
        gate = stage.shop.hold("sendText")
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        answer = await client.get("/health")
        assert answer.status_code == 503
        said = answer.json()["checks"]["connections"]
        assert said["status"] == "error"
        assert "all 1 connections for sends are held" in said["message"]
        gate.open()
        await stage.maria.answered()
        await stage.turns_end()
        assert (await client.get("/health")).status_code == 200


async def test_cors_allows_the_configured_origins_and_no_others(database_url: str):
    env = environment(database_url, CORS_ORIGINS="https://painel.example")
    ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    async with running_router(env) as url, patient(base_url=url) as client:
        for origin, allowed in (("https://painel.example", True), ("https://evil.example", False)):
            answer = await client.options("/api/tenants", headers={"Origin": origin, **ask})
            assert ("access-control-allow-origin" in answer.headers) is allowed
