"""Health and CORS as monitors and browsers meet them."""

import httpx

from router import __version__, workers
from tests.postgres import make_outdated
from tests.routers import environment, running_router
from tests.scenarios.stage import performance
from tests.supabase import TestProject


async def test_health_says_what_is_checked(database_url: str):
    async with (
        running_router(environment(database_url)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["ok"] is True
    assert health["version"] == __version__
    assert health["timestamp"]
    assert health["checks"] == {
        "database": {"status": "ok", "message": "Connected to PostgreSQL"},
        "llm": {"status": "ok", "message": "LLM provider configured"},
        "connections": {"status": "ok", "message": "There are free connections to Evolution"},
        "delivery": {"status": "ok", "message": "no tenant's replies fail in a row"},
    }


async def test_a_missing_llm_key_is_not_ok_and_names_the_variable(database_url: str):
    async with (
        running_router(environment(database_url) | {"ANTHROPIC_API_KEY": ""}) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "ANTHROPIC_API_KEY" in answer.json()["checks"]["llm"]["message"]


async def test_a_database_without_the_schema_says_how_to_apply_it(empty_database_url: str):
    async with (
        running_router(environment(empty_database_url)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "scripts.migrate" in answer.json()["checks"]["database"]["message"]


async def test_an_outdated_schema_is_not_ok_and_says_the_cure(database_url: str):
    await make_outdated(database_url)
    async with (
        running_router(environment(database_url)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        answer = await client.get("/health")
    assert answer.status_code == 503
    said = answer.json()["checks"]["database"]["message"]
    assert "outdated" in said
    assert "apply database/schema.sql or run `python -m scripts.migrate`" in said


async def test_supabase_by_its_keys_alone_is_ok(postgrest: TestProject, database_url: str):
    async with (
        running_router(environment(database_url) | postgrest.configuration) as url,
        httpx.AsyncClient(base_url=url) as client,
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
        httpx.AsyncClient(base_url=url) as client,
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
        httpx.AsyncClient(base_url=stage.router_url) as client,
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
    async with running_router(env) as url, httpx.AsyncClient(base_url=url) as client:
        for origin, allowed in (("https://painel.example", True), ("https://evil.example", False)):
            answer = await client.options("/api/tenants", headers={"Origin": origin, **ask})
            assert ("access-control-allow-origin" in answer.headers) is allowed
