"""What stands at the head of every answer, good or bad, over real HTTP."""

import re
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from router.app import create_app
from router.configuration.settings import load_settings
from tests.clients import patient
from tests.routers import API_KEY, WEBHOOK_SECRET, environment, running_router

KEY = {"X-API-Key": API_KEY}
ANSWERS = [
    ("GET", "/api/tenants", KEY, b"", 200),
    ("GET", "/api/tenants", {}, b"", 401),
    ("GET", "/api/tenants/99", KEY, b"", 404),
    ("GET", "/nowhere", {}, b"", 404),
    ("PUT", "/api/tenants", KEY, b"", 405),
    ("POST", "/api/tenants", KEY, b" " * 5000, 413),
    ("POST", "/api/tenants", KEY, b"{", 422),
    ("POST", "/webhook/shop", {}, b"{}", 401),
    ("POST", "/webhook/shop", {"X-Webhook-Secret": WEBHOOK_SECRET}, b"[]", 422),
    ("POST", "/cron/auto-resume", {}, b"", 401),
    ("GET", "/health/live", {}, b"", 200),
    ("GET", "/openapi.json", {}, b"", 404),
    ("GET", "/docs", {}, b"", 404),
    ("GET", "/redoc", {}, b"", 404),
    ("GET", "/api/tenants/", KEY, b"", 404),
    ("OPTIONS", "/api/tenants", {"Origin": "https://x.example"}, b"", 405),
]


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    env = environment(database_url, PUBLIC_URL="https://router.example", MAX_REQUEST_BYTES="2000")
    async with (
        running_router(env) as url,
        patient(base_url=url) as client,
    ):
        yield client


async def test_every_answer_carries_the_headers_that_protect_browsers(client: httpx.AsyncClient):
    for method, path, headers, content, status in ANSWERS:
        answer = await client.request(method, path, headers=headers, content=content)
        assert answer.status_code == status, (method, path, answer.text)
        head = answer.headers
        assert head["X-Content-Type-Options"] == "nosniff"
        assert head["X-Frame-Options"] == "DENY"
        assert head["Referrer-Policy"] == "no-referrer"
        assert head["Strict-Transport-Security"].startswith("max-age=")
        assert "frame-ancestors 'none'" in head["Content-Security-Policy"]
        assert "server" not in head
        assert "x-powered-by" not in head
        assert "script-src" not in head["Content-Security-Policy"]
        assert "location" not in head
        if path.startswith(("/api", "/cron", "/webhook")):
            assert head["Cache-Control"] == "no-store"


async def test_too_many_calls_are_answered_with_the_headers_too(database_url: str):
    env = environment(database_url, API_CALLS_PER_MINUTE="1")
    async with running_router(env) as url, patient(base_url=url) as client:
        answers = [await client.get("/api/tenants", headers=KEY) for _ in range(3)]
    limited = answers[-1]
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) > 0
    assert limited.headers["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in limited.headers  # PUBLIC_URL is not https


async def test_what_nobody_foresaw_is_answered_in_the_one_shape_and_logged(
    client: httpx.AsyncClient, database_url: str, caplog: pytest.LogCaptureFixture
):
    connection = await asyncpg.connect(database_url)
    try:  # a schema that somebody has broken by hand
        await connection.execute(
            "create or replace function public.list_tenants(p jsonb) returns jsonb language plpgsql"
            " as $$ begin raise exception 'secret of the house' using errcode = 'XX000'; end $$"
        )
    finally:
        await connection.close()
    answer = await client.get("/api/tenants", headers=KEY)
    assert answer.status_code == 500
    assert answer.json() == {
        "error": {"code": "unexpected", "message": "an unexpected error; see the log"}
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    # A background loop may meet the broken function as well, and says so under its own name.
    (record,) = [
        r for r in caplog.records
        if r.name == "router.http.errors" and getattr(r, "action", None) == "unexpected"
    ]  # fmt: skip
    assert record.exc_info is not None


@pytest.mark.parametrize(
    "path", ["/api/tenants/", "/health/", "/cron/prune/", "/api/tenants/1/members/"]
)
async def test_no_address_leads_on_to_the_host_that_the_caller_names(
    client: httpx.AsyncClient, path: str
):
    for method in ("GET", "POST"):
        answer = await client.request(method, path, headers=KEY | {"Host": "evil.example"})
        assert answer.status_code == 404
        assert "evil.example" not in f"{answer.headers} {answer.text}"


@pytest.mark.parametrize(
    ("method", "path", "taken"),
    [
        ("PUT", "/api/tenants", "GET, POST"),
        ("DELETE", "/api/tenants/1", "GET, PATCH"),
        ("PATCH", "/webhook/shop", "POST"),
        ("GET", "/cron/prune", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/api/tenants/1/members/0198c0de-0000-7000-8000-00000000a11a", "DELETE, PUT"),
    ],
)
async def test_a_wrong_method_is_told_which_the_path_takes(
    client: httpx.AsyncClient, method: str, path: str, taken: str
):
    answer = await client.request(method, path, headers=KEY)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == taken
    assert answer.json()["error"]["message"] == f"this path takes {taken}"


async def test_the_reference_is_there_where_it_is_asked_for_and_loads_nothing_from_elsewhere(
    database_url: str,
):
    pytest.importorskip("fastapi_offline")  # whose files these are
    env = environment(database_url, API_DOCS="true")
    async with running_router(env) as url, patient(base_url=url) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "//" not in page.text
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(named) == 3
        for path in (*named, "/openapi.json"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "HybridFlow"
        policy = page.headers["Content-Security-Policy"]
    assert "http" not in policy
    assert "script-src 'self';" in policy


async def test_the_document_is_made_once_and_asking_for_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
):
    """Without the database: nothing of it is asked."""
    made: list[object] = []
    given = {"API_DOCS": "true", "ADDRESS_CALLS_PER_MINUTE": "5", "ANTHROPIC_API_KEY": "x"}
    app = create_app(load_settings(given, env_file=None))
    real = app.openapi
    monkeypatch.setattr(app, "openapi", lambda: (made.append(1), real())[1])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
        answers = [await client.get("/openapi.json") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert len({answer.content for answer in answers[:5]}) == 1
    assert len(made) == 1


def test_the_reference_is_there_by_itself_only_with_the_embedded_database():
    def shows(**given: str) -> bool:
        return load_settings(given, env_file=None).shows_docs

    server = {"DATABASE_URL": "postgresql://u:p@h/d"}
    supabase = {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_x"}
    assert shows()
    assert not shows(API_DOCS="false")
    for production in (server, supabase):
        assert not shows(**production)
        assert shows(**production, API_DOCS="true")
