"""Every secret is pushed through every path; then logs, answers and database are searched.

The router is a process of its own that logs all it can (LOG_LEVEL=debug, each request with its
address). Evolution and the LLM provider, where they fail, repeat the key that they were shown.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loopback.anthropic import Anthropic
from loopback.receiver import WebhookReceiver
from loopback.server import LoopbackServer
from loopback.supabase_auth import legacy_token
from tests.clients import patient
from tests.fixtures import webhook
from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment

META_TOKEN = "EAAGm0PX4ZCpsBO0123456789metaAccessTokenOfTheCloudChannel"
CONFIGURED = {
    "EVOLUTION_WEBHOOK_SHARED_SECRET": "shared-webhook-secret-5b1c7e94d0",
    "CRON_SECRET": "cron-secret-a0b1c2d3e4f5a6b7c8",
    "EVOLUTION_API_KEY": "global-evolution-key-9e8d7c6b5a4",
    "ANTHROPIC_API_KEY": "sk-ant-api03-secret-0f1e2d3c4b5a",
    "OPENAI_API_KEY": "sk-proj-secret-77aa66bb55cc44dd33",
    "N8N_API_KEY": "n8n-api-key-1234abcd5678efgh90",
    "SUPABASE_JWT_SECRET": "legacy-jwt-secret-of-the-project-2468ace",
    "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_0a1b2c3d4e5f6a7b8c9d_13579bdf",
    "MODERATION_API_KEY": "moderation-key-11aa22bb33cc44dd55",
    "N8N_PUBLIC_API_KEY": "n8n-public-api-key-99ff88ee77dd66cc",
    "SECRETS_KEY": "sealing-key-0123456789abcdef0123456789",
}
USER = "0198c0de-0000-7000-8000-00000000a11a"
OPERATOR = "operators-key-f0e1d2c3b4a5968778"
TENANTS_KEY = "tenants-own-evolution-key-13579bdf/+x="
LLM_KEY = "sk-ant-of-the-tenant-0a9b8c7d6e5f"
CHANGED_KEY = "tenants-changed-key-2468ace0&y"

# Of the attempt: the turn itself has the error of its latest, which may follow at once.
FIRST_FAILURE = "from turn_attempts where error is not null order by attempt limit 1"
_LONGEST_WAIT = 100.0  # seconds


class Parrot(LoopbackServer):
    """Fails every request and repeats whatever it was shown: Evolution or a provider at worst."""

    def __init__(self) -> None:
        self.status = 400

        async def answer(request: Request) -> JSONResponse:
            headers = dict(request.headers)
            names = ("apikey", "x-api-key", "x-n8n-api-key", "authorization")
            keys = [headers.get(name) for name in names]
            said = f"wrong key {' '.join(filter(None, keys))} and {META_TOKEN}"
            body = {"response": {"message": [said]}, "error": {"message": said, "type": "auth"}}
            return JSONResponse(body, status_code=self.status)

        super().__init__(
            Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"])])
        )


class Search:
    """A router under test, all that it has answered, and what must be in nothing."""

    def __init__(
        self, router: RouterProcess, http: httpx.AsyncClient, database_url: str, parrot: Parrot
    ) -> None:
        self.router = router
        self.http = http
        self.parrot = parrot
        self.database_url = database_url
        self.answers: list[str] = []
        self.secrets = {
            **CONFIGURED,
            "API_KEYS": OPERATOR,
            "the tenant's key": TENANTS_KEY,
            "the tenant's key of its provider": LLM_KEY,
            "Meta's token": META_TOKEN,
            "the database's password": str(urlsplit(database_url).password),
        }

    async def asks(self, method: str, path: str, **how: Any) -> httpx.Response:
        answer = await self.http.request(method, path, **how)
        self.answers.append(f"{method} {answer.status_code} {answer.headers} {answer.text}")
        return answer

    async def operates(self, method: str, path: str, **how: Any) -> httpx.Response:
        return await self.asks(method, path, headers={"X-API-Key": OPERATOR}, **how)

    async def rows(self, query: str) -> list[Any]:
        database = await asyncpg.connect(self.database_url)
        try:
            return list(await database.fetch(query))
        finally:
            await database.close()

    async def until(self, query: str) -> list[Any]:
        """Ask until there are rows.

        A router that loads an SDK takes what the machine gives it: what ends this is nearly the
        test's own time-out, and one connection asks, which takes it little.
        """
        database = await asyncpg.connect(self.database_url)
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                while not (rows := list(await database.fetch(query))):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            turns = "select state, reason, attempt, error, run_after, lease_until, now() from turns"
            there = [dict(row) for row in await database.fetch(turns)]
            raise AssertionError(f"never: {query}; there were {there}") from None
        finally:
            await database.close()
        return rows

    async def stored(self) -> str:
        """Everything in every table."""
        tables = await self.rows(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables"
            " where schemaname in ('public', 'hybridflow')"
        )
        texts = [
            f"{table['name']}: {row['text']}"
            for table in tables
            for row in await self.rows(f"select t::text as text from {table['name']} as t")
        ]
        return "\n".join(texts)

    def found_in(self, text: str) -> list[str]:
        """Name the secrets that stand in a text, in whatever spelling."""
        return [
            name
            for name, secret in self.secrets.items()
            if any(
                form in text for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
            )
        ]


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    with Parrot() as parrot:
        yield parrot


@pytest.fixture
def n8n() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@asynccontextmanager
async def searching(
    database_url: str, parrot: Parrot, **configuration: str
) -> AsyncIterator[Search]:
    router = ForkedRouter(
        environment(
            database_url,
            **CONFIGURED,
            **{
                "API_KEYS": f"ana:{OPERATOR}",
                "LOG_LEVEL": "debug",
                "ANTHROPIC_BASE_URL": parrot.url,
                "OPENAI_BASE_URL": parrot.url,
                "SUPABASE_URL": parrot.url,
                "N8N_PUBLIC_API_URL": parrot.url,
                "TURN_MAX_ATTEMPTS": "1",
                "MAX_WEBHOOK_BYTES": "5000",
                **configuration,
            },
        )
    )
    router.start()
    try:
        await router.ready()
        async with patient(base_url=router.url) as http:
            yield Search(router, http, database_url, parrot)
    finally:
        router.close()


@pytest.fixture
async def search(database_url: str, parrot: Parrot, n8n: WebhookReceiver) -> AsyncIterator[Search]:
    flows = {
        "N8N_ENABLED": "true",
        "N8N_CONTRACT": "gateway",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
    }
    async with searching(database_url, parrot, **flows) as search:
        await open_padaria(search)
        yield search
        search.router.stop()
        assert_clean(search, await search.stored())


async def open_padaria(search: Search, **values: Any) -> None:
    tenant = {"instance_name": "padaria", "evo_server_url": search.parrot.url}
    answer = await search.operates(
        "POST",
        "/api/tenants",
        json=tenant | {"evo_api_key": TENANTS_KEY, "llm_api_key": LLM_KEY} | values,
    )
    assert answer.status_code == 201


def assert_clean(search: Search, stored: str) -> None:
    log = search.router.log()
    assert "Webhook received" in log
    assert [line for line in log.splitlines() if search.found_in(line)] == []
    assert [answer for answer in search.answers if search.found_in(answer)] == []
    assert [line for line in stored.splitlines() if search.found_in(line)] == []


def body(name: str = "messages_upsert__cloud_text", **more: Any) -> dict[str, Any]:
    return webhook(name) | {"instance": "padaria", "apikey": META_TOKEN} | more


async def posts(search: Search, secret: str | None = None, **how: Any) -> httpx.Response:
    headers = {"X-Webhook-Secret": secret or CONFIGURED["EVOLUTION_WEBHOOK_SHARED_SECRET"]}
    return await search.asks("POST", "/webhook/padaria", **{"headers": headers, **how})


async def test_webhooks_of_every_kind_good_and_bad(search: Search):
    made = await search.http.post("/api/tenants/1/webhook-secrets", headers={"X-API-Key": OPERATOR})
    own = search.secrets["the tenant's webhook secret"] = made.json()["secret"]
    shared = CONFIGURED["EVOLUTION_WEBHOOK_SHARED_SECRET"]
    for name in ("messages_upsert__cloud_text", "messages_upsert__cloud_image"):
        assert (await posts(search, json=body(name))).status_code == 200
    for name in ("send_message__cloud", "contacts_upsert__cloud", "connection_update__open"):
        assert (await posts(search, own, json=body(name))).status_code == 200
    for secret in search.secrets.values():
        bearer = {"Authorization": f"Bearer {secret}"}
        await search.asks("POST", "/webhook/padaria", headers=bearer, json=body())
        await search.asks("POST", f"/webhook/padaria?token={quote(secret, safe='')}", json=body())
        await search.asks("POST", f"/webhook/{quote(secret, safe='')}", headers=bearer, json={})
        await posts(search, content=f"{{{secret}")
        await posts(search, content=json.dumps({"event": secret[:5], "data": secret}))
        await posts(search, json={"event": "messages.upsert", "data": [secret], "apikey": secret})
        await posts(search, json={"event": "messages.upsert", "data": {"key": {"id": [secret]}}})
        await posts(search, json={"event": "connection.update", "data": {"state": secret}})
        await posts(search, json=body() | {"apikey": secret * 300})
    assert (await posts(search, shared, json=body(instance="x"))).status_code == 422


async def test_operators_requests_good_and_bad(search: Search):
    await posts(search, json=body("connection_update__open"))
    changed = await search.operates("PATCH", "/api/tenants/1", json={"evo_api_key": CHANGED_KEY})
    assert changed.status_code == 200
    search.secrets["the tenant's changed key"] = CHANGED_KEY
    wanted = {"name": "dashboard", "role": "admin", "tenant_ids": [1]}
    made = await search.http.post("/api/api-keys", headers={"X-API-Key": OPERATOR}, json=wanted)
    key = search.secrets["a key of the API"] = made.json()["key"]
    token = search.secrets["a user's token"] = legacy_token(
        {"sub": USER, "aud": "authenticated", "exp": 4_000_000_000},
        CONFIGURED["SUPABASE_JWT_SECRET"],
    )
    await search.operates("PUT", f"/api/tenants/1/members/{USER}", json={"role": "viewer"})
    for shown in (key, token):
        for path in ("/api/tenants", "/api/tenants/1", "/api/sessions/9?tenant_id=1"):
            await search.asks("GET", path, headers={"Authorization": f"Bearer {shown}"})
        await search.asks("GET", f"/api/tenants?key={shown}", headers={"X-API-Key": shown})
    for secret in search.secrets.values():
        for wrong in ([secret], {"key": secret}, 7):
            await search.operates("PATCH", "/api/tenants/1", json={"evo_api_key": wrong})
        await search.operates("POST", "/api/tenants", json={"evo_api_key": secret})
        await search.operates(
            "POST",
            "/api/tenants",
            json={
                "instance_name": "padaria",
                "evo_server_url": "https://e.example",
                "evo_api_key": secret,
            },
        )
        await search.operates(
            "PATCH",
            "/api/tenants/1",
            json={"evo_server_url": f"https://x:{quote(secret, safe='')}@e.example"},
        )
        await search.operates("PATCH", "/api/tenants/1", json={"llm_provider": secret})
        await search.operates("PATCH", "/api/tenants/1", content=f"{{{secret}")
        await search.operates("GET", "/api/sessions", params={"tenant_id": secret})
        await search.operates("GET", "/api/turns", params={"tenant_id": 1, "state": secret})
        await search.asks("GET", "/api/tenants", headers={"X-API-Key": f"not-{secret}"})
        await search.asks("GET", "/api/tenants", headers={"Authorization": f"Bearer x{secret}"})
        await search.asks("POST", "/cron/auto-resume", headers={"X-Cron-Secret": f"x{secret}"})
    cron = {"X-Cron-Secret": CONFIGURED["CRON_SECRET"]}
    assert (await search.asks("POST", "/cron/auto-resume", headers=cron)).status_code == 200
    for path in (
        "tenants",
        "tenants/1",
        "tenants/1/webhook-secrets",
        "turns?tenant_id=1",
        "audit",
        "api-keys",
    ):
        assert (await search.operates("GET", f"/api/{path}")).status_code == 200
    for path in ("/health", "/health/live", "/openapi.json", "/docs", "/no/such/path"):
        await search.asks("GET", path)


async def test_the_instance_test_of_an_evolution_that_repeats_its_key(search: Search):
    await posts(search, json=body("connection_update__open"))
    for status in (200, 302, 400, 401, 403, 404, 429, 500, 503):
        search.parrot.status = status
        answer = await search.operates("GET", "/api/instances/padaria/test-webhook")
        assert answer.status_code == 200
        await search.operates("POST", "/api/instances/padaria/test-webhook")


async def test_the_gateway_and_the_callbacks_of_a_flow(search: Search, n8n: WebhookReceiver):
    await search.operates("PATCH", "/api/tenants/1", json={"llm_api_key": None})
    await posts(search, json=body("messages_upsert__text", **now("messages_upsert__text")))
    (got,) = await n8n.gets()
    token = search.secrets["the turn's token"] = got.body["token"]
    number = got.body["session"]["number"]
    send = "/n8n/evolution/message/sendText/padaria"
    assert not search.found_in(json.dumps(got.body | {"token": ""}))  # a flow gets no key
    for secret in (*search.secrets.values(), f"hft_1_{token[-36:]}"):
        if secret != token:
            await search.asks("POST", send, headers={"apikey": secret}, json={"text": "x"})
            await search.asks("POST", "/n8n/turns/1/done", headers={"apikey": secret}, json={})
        await search.asks("POST", send, headers={"apikey": token}, json={"number": secret})
        await search.asks("POST", f"/n8n/evolution/a/b/{quote(secret, safe='')}", json={})
        await search.asks(
            "POST", "/n8n/executions/7/fail", headers={"X-N8N-API-Key": secret}, json={"error": 7}
        )
    shown = {"apikey": token}
    await search.asks("POST", "/n8n/turns/1/began", headers=shown, json={"execution_id": "77"})
    refused = await search.asks("POST", send, headers=shown, json={"number": number, "text": "Oi!"})
    assert refused.status_code == 400
    # What crashed in n8n tells its request's headers along.
    await search.asks(
        "POST",
        "/n8n/executions/77/fail",
        headers={"X-N8N-API-Key": CONFIGURED["N8N_API_KEY"]},
        json={"error": " ".join(search.secrets.values()), "node": "HTTP"},
    )
    (turn,) = await search.until("select error from turns where state = 'dead'")
    assert "flow_error in the node HTTP" in turn["error"]
    await search.operates("GET", "/api/turns/1", params={"tenant_id": 1})


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_a_provider_that_repeats_its_key(database_url: str, parrot: Parrot, provider: str):
    async with searching(database_url, parrot) as search:
        await open_padaria(search, llm_provider=provider)
        parrot.status = 401
        await posts(search, json=body("messages_upsert__text", **now("messages_upsert__text")))
        (turn,) = await search.until(f"select turn_id as id, error {FIRST_FAILURE}")
        assert "401" in turn["error"]
        await search.operates("GET", f"/api/turns/{turn['id']}", params={"tenant_id": 1})
        search.router.stop()
        assert_clean(search, await search.stored())


async def test_a_moderation_service_that_repeats_its_key(database_url: str, parrot: Parrot):
    with Anthropic() as llm:
        guarded = {"ANTHROPIC_BASE_URL": llm.url, "MODERATION_URL": parrot.url}
        async with searching(database_url, parrot, **guarded) as search:
            await open_padaria(search, llm_api_key=None)
            await posts(search, json=body("messages_upsert__text", **now("messages_upsert__text")))
            (failed,) = await search.until(f"select error {FIRST_FAILURE}")
            assert "moderation" in failed["error"]
            search.router.stop()
            assert_clean(search, await search.stored())


async def test_an_n8n_that_repeats_the_key_of_its_public_api(
    database_url: str, parrot: Parrot, n8n: WebhookReceiver
):
    flows = {
        "N8N_ENABLED": "true",
        "N8N_CONTRACT": "gateway",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
    }
    async with searching(database_url, parrot, **flows) as search:
        await open_padaria(search, llm_api_key=None)
        await posts(search, json=body("messages_upsert__text", **now("messages_upsert__text")))
        (got,) = await n8n.gets()
        shown = {"apikey": got.body["token"]}
        search.secrets["the turn's token"] = got.body["token"]
        await search.asks("POST", "/n8n/turns/1/began", headers=shown, json={"execution_id": "77"})
        number = got.body["session"]["number"]
        erased = await search.operates(
            "POST", f"/api/contacts/{number}/erase", params={"tenant_id": 1}
        )
        assert erased.json()["execution_ids"] == ["77"]
        (kept,) = await search.until(
            "select error from executions_to_erase where error is not null"
        )
        assert "n8n answered 400" in kept["error"]
        search.router.stop()
        assert_clean(search, await search.stored())


async def test_a_supabase_that_repeats_its_key(database_url: str, parrot: Parrot):
    over_rest = {"DATABASE_URL": ""}
    async with searching(database_url, parrot, **over_rest) as search:
        for status in (400, 401, 403, 404, 500, 503):
            parrot.status = status
            assert (await search.asks("GET", "/health")).status_code == 503
            assert (await search.operates("GET", "/api/tenants")).status_code == 503
            assert (await posts(search, json=body())).status_code == 503
        search.router.stop()
        log = search.router.log()
        assert "Supabase refuses the key" in str(search.answers), search.answers
        assert [line for line in log.splitlines() if search.found_in(line)] == []
        assert [answer for answer in search.answers if search.found_in(answer)] == []


def now(name: str) -> dict[str, Any]:
    """The data of a fixture, as if it were sent this minute."""
    data = webhook(name)["data"]
    return {"data": data | {"messageTimestamp": int(time.time())}}
