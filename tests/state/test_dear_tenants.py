"""What a tenant sets, makes or sends without end makes nothing dear for others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from router.errors import Conflict, Invalid
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, held
from tests.state.test_callers import BOSS, call, key_for
from tests.state.test_walls import NEIGHBOURS, SPELLINGS
from tests.state.work import rows_read

pytestmark = pytest.mark.own_database


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(database_url, size=2)
    conversation = Conversation(database)
    await conversation.open_shop()
    yield conversation
    await database.close()


# --- the prompt


async def test_a_prompt_has_an_end(talk: Conversation):
    """Each event of the tenant is handed on with its whole row: a megabyte of it would be dear."""
    for made in (
        {"tenant_id": 1, "values": {"system_prompt": "á" * 100_000}},
        {"tenant_id": 1, "values": {"system_prompt": None}},
    ):
        await talk.database.call("change_tenant", made)
    for function, argument in (
        ("change_tenant", {"tenant_id": 1}),
        ("create_tenant", {}),
    ):
        values = {"system_prompt": "á" * 100_001}
        if function == "create_tenant":
            values |= {"instance_name": "other", "evo_server_url": "https://e.example"}
        with pytest.raises(Invalid, match="100,000 characters, not 100001"):
            await talk.database.call(function, {**argument, "values": values})


# --- the guard against loops


async def many_replies(talk: Conversation, session_id: int, count: int) -> None:
    """So many turns were sent in the last minutes, each to a message of its own."""
    await talk.sql(
        "insert into turns (tenant_id, session_id, state, run_after, debounce_until, finished_at)"
        " select tenant_id, id, 'sent', now(), now(), now() - interval '1 minute'"
        " from sessions, generate_series(1, $2::integer) where id = $1",
        session_id,
        count,
    )
    await talk.sql(
        "insert into messages (tenant_id, session_id, wa_id, from_me, sender, body, sent_at)"
        " select tenant_id, id, 'AC' || lpad(g::text, 30, '0'), false, 'contact',"
        " 'a text of its own ' || g, hybridflow.clock() - interval '2 minutes'"
        " from sessions, generate_series(1, $2::integer) as g where id = $1",
        session_id,
        count,
    )
    await talk.sql("analyze")


@pytest.mark.parametrize("most", [2_000, 2**31 - 1])
async def test_however_many_replies_a_tenant_calls_a_loop_an_event_reads_few(
    talk: Conversation, most: int
):
    await talk.maria_writes("oi, tudo bem?")
    session = await talk.session()
    await many_replies(talk, session["id"], 3_000)
    await talk.set_rule("loop_replies", most)
    await talk.set_rule("loop_minutes", 1440)
    event = talk.message("vocês têm bolo de cenoura hoje?")
    argument = {"events": [event], "policy": POLICY}
    assert await rows_read(talk, "ingest_events", argument) < 3_000
    (decision,) = await talk.ingest(talk.message("e bolo de fubá, também têm?"))
    assert decision["decision"] in ("turn_pending", "loop", "paused")


# --- keys


async def test_a_key_is_looked_up_while_another_call_with_it_goes_on(talk: Conversation):
    """Else whoever has a key holds the few connections for look-ups as long as that call takes."""
    key = await key_for(talk, "viewer", 1)
    caller = {"kind": "key", "key_hash": key["key_hash"]}
    pool = talk.database._pool
    connection: asyncpg.Connection[Any]
    async with pool.acquire() as connection, connection.transaction():
        asked = {"caller": caller, "function": "get_tenant", "argument": {"tenant_id": 1}}
        await connection.fetchval("select public.as_operator($1)", asked)
        async with asyncio.timeout(5):
            proven = await talk.database.call("prove_caller", {"caller": caller})
            again = await talk.database.call("as_operator", asked)
    assert proven == {"tenant_id": 1}
    assert again["result"]["tenant"]["id"] == 1
    assert await talk.value("select last_used_at from api_keys where id = $1", key["id"])


async def keys_of(talk: Conversation, tenant_id: int, count: int, *, over: bool = False) -> None:
    await talk.sql(
        "with k as (insert into api_keys (name, key_hash, starts_with, role, revoked_at)"
        " select 'one of many', sha256(convert_to(gen_random_uuid()::text, 'UTF8')), 'hfk_',"
        " 'viewer',"
        " case when $3 then now() end from generate_series(1, $2::integer) returning id)"
        " insert into api_key_tenants (api_key_id, tenant_id) select id, $1 from k",
        tenant_id,
        count,
        over,
    )


async def test_a_tenant_has_an_end_of_keys_and_of_those_that_have_ended(talk: Conversation):
    other = await talk.open_shop("other")
    admin = await key_for(talk, "admin", 1)
    caller = {"kind": "key", "key_hash": admin["key_hash"]}
    await keys_of(talk, 1, 498)
    await key_for(talk, "viewer", 1, by=caller)
    for by in (caller, BOSS):
        with pytest.raises(Conflict, match="500 keys already: revoke one first"):
            await key_for(talk, "viewer", 1, by=by)
    with pytest.raises(Conflict):
        await key_for(talk, "viewer", 1, other)
    await key_for(talk, "viewer", other)
    await talk.sql("update api_keys set revoked_at = now() where name = 'one of many'")
    await keys_of(talk, 1, 300, over=True)
    await key_for(talk, "viewer", 1, by=caller)
    ended = "select count(*) from api_keys where revoked_at is not null"
    assert await talk.value(ended) == 500
    assert await talk.value("select count(*) from api_keys where revoked_at is null") == 4


async def test_a_list_of_keys_reads_nothing_of_others(talk: Conversation):
    other = await talk.open_shop("other")
    mine = await key_for(talk, "admin", 1)
    both = await key_for(talk, "viewer", 1, other)
    await key_for(talk, "admin")
    theirs = await key_for(talk, "viewer", 1)
    await keys_of(talk, other, 3_000)
    await talk.sql("analyze")
    caller = {"kind": "key", "key_hash": mine["key_hash"]}
    asked: Json = {"caller": caller, "function": "list_api_keys", "argument": {}}
    assert await rows_read(talk, "as_operator", asked) < 200
    listed = await call(talk, caller, "list_api_keys")
    assert [each["id"] for each in listed["items"]] == [theirs["id"], mine["id"]]
    first = await call(talk, caller, "list_api_keys", limit=1)
    assert [each["id"] for each in first["items"]] == [theirs["id"]]
    rest = await call(talk, caller, "list_api_keys", limit=1, cursor=first["next_cursor"])
    assert [each["id"] for each in rest["items"]] == [mine["id"]]
    everything = await call(talk, BOSS, "list_api_keys", limit=200)
    assert len(everything["items"]) == 200
    assert both["id"] not in [each["id"] for each in listed["items"]]


# --- sends


async def test_a_flow_has_an_end_of_sends_in_one_turn(talk: Conversation):
    """Each look at the turn reads all of them: each would be dearer than the last."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()

    async def sends(identity: str) -> Json:
        asked = {"kind": "sticker", "body": "[sticker]", "identity": identity, "lease_seconds": 45}
        return await talk.database.call("begin_flow_send", {**held(turn), **asked})

    assert "message_id" in await sends("first")
    await talk.sql(
        "insert into messages (tenant_id, session_id, turn_id, part, from_me, sender, kind, body,"
        " identity, sent_at, send_state, wa_id)"
        " select tenant_id, session_id, turn_id, g, true, 'ai', kind, body, 'made ' || g, sent_at,"
        " 'sent', '3EB0' || g from messages, generate_series(1, 498) as g where part = 0"
    )
    assert "message_id" in await sends("the last")
    assert await sends("one more") == {"refused": "too_many_sends"}
    assert (await sends("made 7"))["refused"] == "already_sent"
    finished = await talk.database.call("finish_turn", {**held(turn)})
    assert finished.get("refused") != "stale"


# --- sends in doubt


async def many_doubts(talk: Conversation, session_id: int, count: int, *, told: str) -> None:
    """So many sends of a session of which nobody knows whether they left, an hour ago."""
    await talk.sql(
        "insert into messages (tenant_id, session_id, from_me, sender, kind, body, sent_at,"
        " send_state, send_began_at, told_as)"
        " select tenant_id, id, true, 'ai', 'sticker', '[sticker]', now(), 'unknown',"
        " hybridflow.clock() - interval '10 minutes', array[$3] from sessions,"
        " generate_series(1, $2::integer) where id = $1",
        session_id,
        count,
        told,
    )


async def one_doubt(talk: Conversation, jid: str) -> int:
    message_id: int = await talk.value(
        "insert into messages (tenant_id, session_id, from_me, sender, kind, body, sent_at,"
        " send_state, send_began_at, told_as)"
        " select 1, session_id, true, 'ai', 'sticker', '[sticker]', now(), 'unknown',"
        " hybridflow.clock() - interval '1 minute', array['mine', 'its'] from session_identities"
        " where jid = $1 returning id",
        jid,
    )
    await talk.sql("analyze")
    return message_id


def echo(talk: Conversation, telling: str, *jids: str) -> Json:
    event = talk.message("[sticker]", from_me=True, origin="send", jids=jids, kind="sticker")
    return event | {"telling": telling}


@pytest.mark.parametrize("where", [MARIA, JOAO])
@pytest.mark.parametrize("named", [MARIA, MARIA_LID])
async def test_however_many_sends_are_in_doubt_one_event_reads_few(
    talk: Conversation, where: str, named: str
):
    for jid in (MARIA, JOAO):
        await talk.maria_writes("oi", jids=[jid])
    session = await talk.session(where)
    await many_doubts(talk, session["id"], 10_000, told="another")
    await one_doubt(talk, MARIA)
    for telling in ("nobodys", "another"):
        argument = {"events": [echo(talk, telling, named)], "policy": POLICY}
        assert await rows_read(talk, "ingest_events", argument) < 7_000


@pytest.mark.parametrize("named", [(MARIA,), (MARIA_LID,), (MARIA, MARIA_LID), (MARIA_LID, MARIA)])
@pytest.mark.parametrize("telling", ["mine", "its"])
async def test_and_the_one_that_it_shows_is_found_among_them(
    talk: Conversation, named: tuple[str, ...], telling: str
):
    for jid in (MARIA, JOAO):
        await talk.maria_writes("oi", jids=[jid])
        await many_doubts(talk, (await talk.session(jid))["id"], 3_000, told="another")
    message_id = await one_doubt(talk, MARIA)
    (decision,) = await talk.ingest(echo(talk, telling, *named))
    assert (decision["decision"], decision["message_id"]) == ("own_message", message_id)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_also_by_another_spelling_of_the_number(
    talk: Conversation, one: str, other: str, turned: bool
):
    here, there = (
        f"{number}@s.whatsapp.net" for number in ((other, one) if turned else (one, other))
    )
    await talk.maria_writes("oi", jids=[here])
    message_id = await one_doubt(talk, here)
    (decision,) = await talk.ingest(echo(talk, "mine", there))
    assert (decision["decision"], decision["message_id"]) == ("own_message", message_id)


NUMBERS = [*(number for pair in (*SPELLINGS, *NEIGHBOURS) for number in pair), "4915112345678"]


async def test_spellings_are_those_that_have_one_plain_number(talk: Conversation):
    jids = [f"{number}@s.whatsapp.net" for number in NUMBERS] + [MARIA_LID, "1203630@g.us", ""]
    same = await talk.sql(
        "select a, b, b = any(hybridflow.spellings(a)) as spelt,"
        " a = b or coalesce(hybridflow.plain_number(a) = hybridflow.plain_number(b), false)"
        " as plain"
        " from unnest($1::text[]) as a cross join unnest($1::text[]) as b",
        jids,
    )
    assert [row for row in same if row["spelt"] is not row["plain"]] == []
