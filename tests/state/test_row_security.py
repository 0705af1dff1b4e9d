"""What members read of their tenants directly, as PostgREST and Realtime let them: row security."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.state.conversation import Conversation
from tests.state.test_callers import ANA, BOSS, call

NOBODY = {"kind": "user", "user_id": "0198c0de-0000-7000-8000-000000000000"}
READABLE = (
    *("tenants", "sessions", "session_identities", "messages", "turns", "notices", "spending"),
    *("turn_attempts", "session_notes", "handoffs", "relays", "outages"),
    *("messages_archive", "memberships", "audit_log"),
)
SECRET_COLUMNS = {
    "tenants": ("evo_api_key", "notify_url", "moderation_url", "qr_code", "pairing_code"),
    "turns": ("token_hash", "execution_id"),
    "turn_attempts": ("worker",),
    "outages": ("about", "notice_id"),
    "notices": ("token_hash",),
}


class Reader:
    """Asks PostgreSQL as PostgREST does for whoever shows a token."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def sees(self, query: str) -> list[dict[str, Any]]:
        async with self._connection.transaction():
            return [dict(row) for row in await self._connection.fetch(query)]


@asynccontextmanager
async def reading(url: str, role: str, user: dict[str, Any] | None = None) -> AsyncIterator[Reader]:
    connection = await asyncpg.connect(url)
    claims = {"role": role, "sub": user["user_id"]} if user else {"role": role}
    await connection.execute(f"set role {role}")
    await connection.execute(
        "select set_config('request.jwt.claims', $1, false)", json.dumps(claims)
    )
    try:
        yield Reader(connection)
    finally:
        await connection.close()


@pytest.fixture
async def two_shops(talk: Conversation) -> int:
    """A message and what comes of it in two tenants; Ana is a viewer of the first."""
    other = await talk.open_shop("pharmacy")
    for instance in ("shop", "pharmacy"):
        await talk.maria_writes(f"oi {instance}", instance=instance)
        await talk.owner_writes(f"olá {instance}", instance=instance)
    await talk.sql(
        "insert into notices (tenant_id, kind, facts, next_at)"
        " select id, 'handoff', '{}', now() from tenants"
    )
    await talk.sql(
        "insert into turn_attempts (turn_id, tenant_id, attempt, worker, began, ended, outcome)"
        " select id, tenant_id, 1, 'w', now(), now(), 'cancelled' from turns"
    )
    await talk.sql(
        "insert into session_notes (tenant_id, session_id, body, author)"
        " select tenant_id, id, 'a note', 'Ana' from sessions"
    )
    await talk.sql(
        "insert into handoffs (tenant_id, session_id, reason) select tenant_id, id, 'upset'"
        " from sessions"
    )
    await talk.sql(
        "insert into relays (tenant_id, session_id, source, next_at)"
        " select tenant_id, id, 'operator', now() from sessions"
    )
    await talk.sql("insert into spending (tenant_id, day) select id, current_date from tenants")
    await talk.sql(
        "insert into outages (tenant_id, cause, began_at, last_at)"
        " select id, 'crashed', now(), now() from tenants"
    )
    await talk.sql(
        "insert into messages_archive (id, tenant_id, session_id, from_me, sender, kind, body,"
        " expects_reply, sent_at, sends, created_at) select id, tenant_id, session_id, from_me,"
        " sender, kind, body, false, sent_at, sends, created_at from messages"
    )
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=ANA["user_id"], role="viewer")
    return other


async def test_a_member_sees_the_rows_of_its_tenant_and_no_others(
    talk: Conversation, database_url: str, two_shops: int
):
    async with reading(database_url, "authenticated", ANA) as ana:
        assert await ana.sees("select id, instance_name from tenants") == [
            {"id": 1, "instance_name": "shop"}
        ]
        for table in READABLE[1:-2]:
            seen = await ana.sees(f"select tenant_id from {table}")
            assert {row["tenant_id"] for row in seen} == {1}, table
        assert [m["body"] for m in await ana.sees("select body from messages order by id")] == [
            "oi shop", "olá shop",
        ]  # fmt: skip
        assert await ana.sees("select id from messages where tenant_id = 2") == []


async def test_who_is_no_member_sees_nothing(database_url: str, two_shops: int):
    for user in (NOBODY, None):
        async with reading(database_url, "authenticated", user) as reader:
            for table in READABLE:
                column = "id" if table == "tenants" else "tenant_id"
                assert await reader.sees(f"select {column} from {table}") == [], table


async def test_a_removed_member_sees_nothing_any_more(
    talk: Conversation, database_url: str, two_shops: int
):
    async with reading(database_url, "authenticated", ANA) as ana:
        assert await ana.sees("select 1 from messages") != []
        await call(talk, BOSS, "remove_member", tenant_id=1, user_id=ANA["user_id"])
        assert await ana.sees("select 1 from messages") == []


async def test_the_audit_log_and_other_members_are_shown_to_admins_alone(
    talk: Conversation, database_url: str, two_shops: int
):
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=NOBODY["user_id"], role="operator")
    async with reading(database_url, "authenticated", ANA) as ana:
        assert await ana.sees("select 1 from audit_log") == []
        (own,) = await ana.sees("select user_id::text from memberships")
        assert own == {"user_id": ANA["user_id"]}
        await call(talk, BOSS, "set_member", tenant_id=1, user_id=ANA["user_id"], role="admin")
        assert {row["tenant_id"] for row in await ana.sees("select * from audit_log")} == {1}
        assert len(await ana.sees("select 1 from memberships")) == 2


async def test_nobody_writes_or_calls_past_the_router(database_url: str, two_shops: int):
    for role, user in (("authenticated", ANA), ("anon", None)):
        async with reading(database_url, role, user) as reader:
            for table in READABLE:
                column = "is_active" if table == "tenants" else "tenant_id"
                for statement in (
                    f"update {table} set {column} = null",
                    f"delete from {table}",
                    f"insert into {table} default values",
                    f"truncate {table}",
                ):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await reader.sees(statement)
            for function in ("as_operator", "ingest_events", "pause_session", "get_instance"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reader.sees(f"select public.{function}('{{}}')")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.sees('select hybridflow.known_caller(\'{"kind": "deployment"}\')')


async def test_what_is_secret_is_shown_to_no_member_and_anonymous_callers_see_no_table(
    talk: Conversation, database_url: str, two_shops: int
):
    tables = await talk.sql("select tablename from pg_tables where schemaname = 'public'")
    async with reading(database_url, "anon") as anon:
        for row in tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await anon.sees(f"select 1 from {row['tablename']}")
    async with reading(database_url, "authenticated", ANA) as ana:
        for row in tables:
            if row["tablename"] not in READABLE:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await ana.sees(f"select 1 from {row['tablename']}")
        for table, columns in SECRET_COLUMNS.items():
            for column in columns:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await ana.sees(f"select {column} from {table}")


async def test_the_service_role_works_and_cannot_change_the_audit_log(
    talk: Conversation, database_url: str, two_shops: int
):
    async with reading(database_url, "service_role") as service:
        (answer,) = await service.sees("select check_database('{}') as found")
        assert json.loads(answer["found"])["tenants"] == 2
        asked = json.dumps({"caller": BOSS, "function": "list_tenants"})
        await service.sees(f"select as_operator('{asked}')")
        for statement in ("update audit_log set caller = 'x'", "delete from audit_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.sees(statement)


async def test_every_table_with_a_tenant_is_closed_or_has_a_policy(talk: Conversation):
    rows = await talk.sql(
        "select c.relname, c.relrowsecurity, array(select polname::text from pg_policy"
        " where polrelid = c.oid) as policies from pg_class as c"
        " where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'"
    )
    assert all(row["relrowsecurity"] for row in rows)
    assert {row["relname"] for row in rows if row["policies"]} == set(READABLE)
