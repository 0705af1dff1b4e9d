"""Past the router, straight to PostgREST: what a signed-in member, and anybody, gets there."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.state.conversation import Conversation
from tests.state.test_callers import ANA, BOSS, call
from tests.supabase import TestProject

pytestmark = pytest.mark.both


@dataclass
class Browser:
    """Someone at a front end, with the project's address and a token."""

    http: httpx.AsyncClient
    talk: Conversation

    async def reads(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    for instance in ("shop", "pharmacy"):
        await talk.open_shop(instance)
        await talk.maria_writes(f"oi {instance}", instance=instance)
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=ANA["user_id"], role="admin")
    yield talk
    await database.close()


@pytest.fixture
async def ana(postgrest: TestProject, talk: Conversation) -> AsyncIterator[Browser]:
    """An admin of the shop, at a front end of her own."""
    headers = {
        "apikey": postgrest.jwt("anon"),
        "Authorization": f"Bearer {postgrest.jwt('authenticated', ANA['user_id'])}",
    }
    async with patient(base_url=f"{postgrest.url}/rest/v1", headers=headers) as http:
        yield Browser(http, talk)


async def test_a_member_reads_what_is_its_tenants(ana: Browser):
    assert [m["body"] for m in await ana.reads("/messages?order=id")] == ["oi shop"]
    (tenant,) = await ana.reads("/tenants?select=id,instance_name,connection_state")
    assert tenant["instance_name"] == "shop"


@pytest.mark.parametrize(
    "path",
    [
        "/messages?tenant_id=eq.2",
        "/sessions?id=eq.2",
        "/session_identities?tenant_id=neq.1",
        "/turns?select=id,reply&tenant_id=in.(2,3)",
        "/tenants?select=id&id=eq.2",
        "/audit_log?tenant_id=eq.2",
        "/memberships?tenant_id=eq.2",
        "/messages_archive?tenant_id=eq.2",
    ],
)
async def test_no_filter_leads_into_another_tenant(ana: Browser, path: str):
    assert await ana.reads(path) == []


async def test_what_is_secret_is_not_shown_to_an_admin_either(ana: Browser):
    for path in (
        "/tenants?select=*",
        "/tenants?select=evo_api_key",
        "/turns?select=token_hash",
        "/webhook_secrets",
        "/api_keys",
        "/processed_events",
        "/erased_contacts",
    ):
        answer = await ana.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "42501"), path


async def test_a_member_writes_nothing_past_the_router(ana: Browser):
    """Not in its own tenant either: what it does there would be in no audit log."""
    before = await ana.talk.sql("select * from sessions order by id")
    for method, path, body in (
        ("PATCH", "/sessions?id=eq.1", {"is_paused": True}),
        ("PATCH", "/sessions?id=eq.2", {"is_paused": True}),
        ("PATCH", "/tenants?id=eq.1", {"system_prompt": "x"}),
        ("POST", "/memberships", {"tenant_id": 2, "user_id": ANA["user_id"], "role": "admin"}),
        ("POST", "/messages", {"tenant_id": 1, "session_id": 1, "from_me": True, "sender": "ai"}),
        ("DELETE", "/messages?id=eq.1", None),
        ("DELETE", "/audit_log?tenant_id=eq.1", None),
    ):
        answer = await ana.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "42501"), (method, path)
    assert await ana.talk.sql("select * from sessions order by id") == before


async def test_no_function_is_open_to_a_member(ana: Browser):
    rows = await ana.talk.sql(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace"
    )
    assert len(rows) > 50
    for row in rows:
        answer = await ana.http.post(f"/rpc/{row['proname']}", json={"p": {"tenant_id": 1}})
        assert (answer.status_code, answer.json()["code"]) == (403, "42501"), row


async def test_the_inner_schema_is_not_there(ana: Browser):
    answer = await ana.http.get("/anything", headers={"Accept-Profile": "hybridflow"})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


async def test_a_token_of_somebody_else_shows_nothing(ana: Browser, postgrest: TestProject):
    stranger = postgrest.jwt("authenticated", "0198c0de-0000-7000-8000-000000000000")
    for table in ("messages", "sessions", "tenants?select=id", "audit_log"):
        answer = await ana.http.get(f"/{table}", headers={"Authorization": f"Bearer {stranger}"})
        assert answer.json() == [], table


async def test_without_a_token_or_with_a_forged_one_there_is_nothing(
    ana: Browser, postgrest: TestProject
):
    anon = {"Authorization": f"Bearer {postgrest.jwt('anon')}"}
    forged = {"Authorization": f"Bearer {postgrest.jwt('service_role')[:-3]}abc"}
    for headers in (anon, forged):
        for path in ("/messages", "/tenants?select=id", "/api_keys"):
            answer = await ana.http.get(path, headers=headers)
            assert answer.status_code == 401, (path, answer.text)
        answer = await ana.http.post("/rpc/list_tenants", json={"p": {}}, headers=headers)
        assert answer.status_code == 401
