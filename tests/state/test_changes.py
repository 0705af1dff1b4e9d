"""What changed is told by ids: all of it, to all who look, and nothing twice to who reads on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from router.errors import NotFound
from router.state.database import Json
from router.state.direct import _speak_json
from tests.state.conversation import JOAO, MARIA, POLICY, Conversation
from tests.state.test_callers import ANA, BOSS, call, key_for


async def read(talk: Conversation, since: str | None = None, *tenant_ids: int) -> Json:
    asked: Json = {"tenant_ids": list(tenant_ids or (1,))}
    return await talk.database.call("read_changes", asked | ({"since": since} if since else {}))


def kinds(read: Json) -> set[tuple[str, int | None]]:
    assert not read["lost"]
    return {(each["kind"], each["session_id"]) for each in read["changes"]}


@asynccontextmanager
async def another(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection in a transaction of its own, which is not committed before the block does."""
    connection = await asyncpg.connect(url)
    await _speak_json(connection)
    try:
        yield connection
    finally:
        await connection.close()


async def test_what_is_written_is_told_once_by_ids_alone(talk: Conversation):
    since = (await read(talk))["position"]
    decision = await talk.maria_writes("oi, tem bolo de cenoura?")
    told = await read(talk, since)
    assert kinds(told) == {("session", 1), ("message", 1)}
    (message,) = (each for each in told["changes"] if each["kind"] == "message")
    assert message == {
        "tenant_id": 1,
        "session_id": decision["session_id"],
        "turn_id": decision["turn_id"],
        "kind": "message",
        "sign_in": None,
        "router": None,
    }
    assert (await read(talk, told["position"]))["changes"] == []
    stored = await talk.value("select string_agg(c::text, ' ') from changes as c")
    for secret in ("bolo", "Maria", MARIA.partition("@")[0]):
        assert secret not in stored


async def test_without_a_position_nothing_is_told_and_of_other_tenants_nothing_ever(
    talk: Conversation,
):
    await talk.open_shop("pharmacy")
    since = (await read(talk))["position"]
    await talk.maria_writes("oi", instance="pharmacy")
    assert (await read(talk))["changes"] == []
    assert (await read(talk, since))["changes"] == []
    both = await read(talk, since, 1, 2)
    assert {each["tenant_id"] for each in both["changes"]} == {2}


async def test_what_commits_late_is_told_though_what_began_after_it_was_told_before(
    talk: Conversation, database_url: str
):
    """By an ascending id the earlier one would never be seen."""
    await talk.maria_writes("oi")
    await talk.maria_writes("oi", jids=[JOAO])
    since = (await read(talk))["position"]
    event = talk.message("estou aqui")
    async with another(database_url) as slow:
        held = slow.transaction()
        await held.start()
        await slow.fetchval(
            "select public.ingest_events($1)", {"events": [event], "policy": POLICY}
        )
        await talk.maria_writes("e eu também", jids=[JOAO])
        first = await read(talk, since)
        assert ("message", 2) in kinds(first)
        assert ("message", 1) not in kinds(first)
        await held.commit()
    second = await read(talk, first["position"])
    assert kinds(second) == {("message", 1)}
    assert (await read(talk, second["position"]))["changes"] == []
    # And whoever had not looked in between is told of both.
    assert {("message", 1), ("message", 2)} <= kinds(await read(talk, since))


async def test_what_is_rolled_back_is_never_told(talk: Conversation, database_url: str):
    await talk.maria_writes("oi")
    since = (await read(talk))["position"]
    async with another(database_url) as other:
        held = other.transaction()
        await held.start()
        await other.execute("update sessions set labels = '{vip}'")
        await held.rollback()
    assert (await read(talk, since))["changes"] == []


async def test_a_transaction_that_stays_open_elsewhere_holds_nothing_back_and_repeats_nothing(
    talk: Conversation, database_url: str
):
    since = (await read(talk))["position"]
    async with another(database_url) as other:
        held = other.transaction()
        await held.start()
        await other.execute("create temporary table t as select pg_current_xact_id()")
        for text in ("oi", "tem bolo?", "de cenoura?"):
            await talk.maria_writes(text)
            told = await read(talk, since)
            assert ("message", 1) in kinds(told)
            since = told["position"]
        assert (await read(talk, since))["changes"] == []
        await held.rollback()
    assert (await read(talk, since))["changes"] == []


A_NOTICE = (
    "insert into notices (tenant_id, session_id, kind, facts, next_at)"
    " values (1, 1, 'handoff', '{}', now())"
)
CHANGES: dict[str, tuple[str, str]] = {
    "the owner pauses": ("update sessions set is_paused = true, pause_source = 'owner'", "pause"),
    "a pause has another end": ("update sessions set paused_until = now()", "pause"),
    "a label": ("update sessions set labels = '{vip}'", "session"),
    "an owner": ("update sessions set owner = 'ana'", "session"),
    "a name": ("update sessions set contact_name = 'M'", "session"),
    "a merge": ("update sessions set merged_at = now()", "session"),
    "an edit": ("update messages set body = 'oi!'", "message"),
    "a deletion": ("update messages set deleted_at = now()", "message"),
    "a delivery": ("update messages set status = 'read'", "message"),
    "a send begins": ("update messages set send_state = 'sending'", "message"),
    "a turn's state": ("update turns set state = 'cancelled'", "turn"),
    "a note": (
        """select add_note('{"tenant_id": 1, "session_id": 1, "body": "n"}')""",
        "note",
    ),
    "a notice": (A_NOTICE, "notice"),
    "an erasure": ("delete from sessions", "gone"),
    "a setting": ("update tenants set updated_at = clock_timestamp()", "tenant"),
    "a lost connection": ("update tenants set connection_state = 'close'", "tenant"),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_every_kind_of_change_is_told_whoever_makes_it(talk: Conversation, what: str):
    statement, kind = CHANGES[what]
    await talk.maria_writes("oi")
    since = (await read(talk))["position"]
    await talk.sql(statement)
    expected = (kind, None if kind == "tenant" else 1)
    assert expected in kinds(await read(talk, since))


async def test_what_stays_as_it_was_is_no_change(talk: Conversation):
    await talk.maria_writes("oi")
    since = (await read(talk))["position"]
    await talk.sql("update sessions set last_message_at = now(), labels = labels")
    await talk.sql("update messages set status = status, body = body")
    await talk.sql("update turns set state = state, run_after = now()")
    assert (await read(talk, since))["changes"] == []


async def test_a_note_and_a_notice_that_go_or_end_are_told(talk: Conversation):
    await talk.maria_writes("oi")
    for what in ("a note", "a notice"):
        await talk.sql(CHANGES[what][0])
    since = (await read(talk))["position"]
    of = "jsonb_build_object('tenant_id', 1, 'session_id', 1, 'note_id', id)"
    await talk.sql(f"select remove_note({of}) from session_notes")
    await talk.sql("update notices set state = 'dead'")
    assert kinds(await read(talk, since)) == {("note", 1), ("notice", 1)}


async def test_the_same_change_many_times_is_told_once(talk: Conversation):
    await talk.maria_writes("oi")
    since = (await read(talk))["position"]
    for status in ("delivery_ack", "read", "played"):
        await talk.sql("update messages set status = $1", status)
    assert len((await read(talk, since))["changes"]) == 1


@pytest.mark.parametrize(
    "since",
    [
        *("", "1", "nonsense", "1764178800", "x/1:2:", "1764178800/1:2:3,,", "1764178800/9:2:"),
        "1/1:2:",  # long ago
        "99999999999/99999999999:99999999999:",  # of another cluster
        f"1764178800/1:2:{'1' * 9000}",
    ],
)
async def test_a_position_that_is_none_or_too_old_is_lost_and_the_next_is_good(
    talk: Conversation, since: str
):
    asked = {"tenant_ids": [1], "since": since}
    told = await talk.database.call("read_changes", asked)
    assert (told["lost"], told["changes"]) == (True, [])
    follows = {"tenant_id": 1, "since": since}
    assert (await talk.database.call("follow_tenant", follows))["lost"]
    await talk.maria_writes("oi")
    assert ("message", 1) in kinds(await read(talk, told["position"]))


async def test_a_position_of_nine_minutes_ago_may_have_missed_what_is_gone(talk: Conversation):
    position = (await read(talk))["position"]
    at, _, snapshot = position.partition("/")
    assert not (await read(talk, f"{int(at) - 500}/{snapshot}"))["lost"]
    assert (await read(talk, f"{int(at) - 541}/{snapshot}"))["lost"]


@pytest.mark.spoils
async def test_more_than_is_told_is_lost(talk: Conversation):
    since = (await read(talk))["position"]
    await talk.sql(
        "insert into changes (tenant_id, session_id, kind)"
        " select 1, g, 'message' from generate_series(1, 1001) as g"
    )
    told = await read(talk, since)
    assert (told["lost"], len(told["changes"])) == (False, 1001)
    follows = {"tenant_id": 1, "since": since}
    joined = await talk.database.call("follow_tenant", follows)
    assert (joined["lost"], joined["changes"]) == (True, [])
    await talk.sql(
        "insert into changes (tenant_id, session_id, kind)"
        " select 1, g, 'turn' from generate_series(1, 4000) as g"
    )
    await talk.open_shop("pharmacy")
    await talk.maria_writes("oi", instance="pharmacy")
    told = await read(talk, since, 1, 2)
    assert (told["lost"], told["lost_tenants"]) == (False, [1])
    assert {each["tenant_id"] for each in told["changes"]} == {2}
    await talk.sql(
        "insert into changes (tenant_id, session_id, kind)"
        " select 1, g, 'message' from generate_series(1, 50000) as g"
    )
    told = await read(talk, since, 1, 2)
    assert (told["lost"], told["lost_tenants"]) == (False, [1])
    assert {each["tenant_id"] for each in told["changes"]} == {2}


async def test_who_looks_at_no_tenant_is_told_what_is_no_tenants(talk: Conversation):
    since = (await read(talk))["position"]
    await talk.maria_writes("oi")
    await talk.database.call("end_sign_in", {"sign_in": "5" * 64})
    told = await talk.database.call("read_changes", {"tenant_ids": [], "since": since})
    assert [each["kind"] for each in told["changes"]] == ["signed_out"]


@pytest.mark.spoils
async def test_what_would_take_too_long_to_read_is_lost_whose_ever_it_is(talk: Conversation):
    since = (await read(talk))["position"]
    await talk.sql(
        "insert into changes (tenant_id, session_id, kind)"
        " select 2, g % 10, 'message' from generate_series(1, 200001) as g"
    )
    told = await read(talk, since)
    assert (told["lost"], told["changes"]) == (True, [])
    follows = {"tenant_id": 1, "since": since}
    assert (await talk.database.call("follow_tenant", follows))["lost"]
    assert not (await read(talk, told["position"]))["lost"]


@pytest.mark.apart
@pytest.mark.spoils
async def test_who_has_little_is_told_it_however_much_all_have_together(talk: Conversation):
    since = (await read(talk))["position"]
    many = [1, *range(101, 113)]
    await talk.maria_writes("oi")
    await talk.sql(
        "insert into changes (tenant_id, session_id, kind)"
        " select 100 + g % 12 + 1, g, 'message' from generate_series(1, 12 * 4900) as g"
    )
    told = await read(talk, since, *many)
    assert (told["lost"], len(told["lost_tenants"])) == (False, 2)
    assert {1} | set(told["lost_tenants"]) | {each["tenant_id"] for each in told["changes"]} == set(
        many
    )
    assert 45_000 < len(told["changes"]) <= 50_000
    await talk.sql(
        "insert into changes (kind, sign_in)"
        " select 'signed_out', g from generate_series(1, 50001) as g"
    )
    told = await read(talk, since, *many)
    assert (told["lost"], told["changes"]) == (True, [])


async def test_what_is_no_tenants_takes_nothing_of_what_one_who_begins_to_look_is_told(
    talk: Conversation,
):
    since = (await read(talk))["position"]
    await talk.sql(
        "insert into changes (kind, sign_in)"
        " select 'signed_out', g from generate_series(1, 1500) as g"
    )
    await talk.maria_writes("oi")
    told = await talk.database.call("follow_tenant", {"tenant_id": 1, "since": since})
    assert not told["lost"]
    assert {each["kind"] for each in told["changes"]} == {"session", "message"}


@pytest.mark.spoils
async def test_a_look_reads_only_what_it_tells_however_long_a_transaction_stays_open(
    talk: Conversation, database_url: str
):
    """From the oldest transaction on, ten minutes of rows would be read at each look."""
    fetched = "select idx_tup_fetch from pg_stat_xact_user_tables where relname = 'changes'"
    async with another(database_url) as old, another(database_url) as reader:
        held = old.transaction()
        await held.start()
        await old.execute("create temporary table t as select pg_current_xact_id()")
        await talk.sql(
            "insert into changes (tenant_id, session_id, kind)"
            " select 1, g, 'turn' from generate_series(1, 3000) as g"
        )
        since = (await read(talk))["position"]
        await talk.maria_writes("oi")
        looking = reader.transaction()
        await looking.start()
        asked = {"tenant_ids": [1], "since": since}
        told = await reader.fetchval("select public.read_changes($1)", asked)
        assert kinds(told) == {("session", 1), ("message", 1)}
        assert await reader.fetchval(fetched) < 20
        await looking.rollback()
        await held.rollback()


async def test_routers_that_cannot_listen_greet_and_call_among_the_changes(talk: Conversation):
    since = (await read(talk))["position"]
    await talk.database.call("greet_routers", {"by": "one"})
    await talk.database.call("call_routers", {"by": "two"})
    await talk.database.call("call_routers", {})  # who can listen leaves nothing behind
    told = (await read(talk, since))["changes"]
    assert [(each["kind"], each["router"]) for each in told] == [("here", "one"), ("call", "two")]
    assert {each["tenant_id"] for each in told} == {None}


async def test_rows_that_a_dump_of_another_cluster_brought_are_told_to_nobody(talk: Conversation):
    await talk.sql(
        "insert into changes (txid, tenant_id, session_id, kind)"
        " values ('999999999999', 1, 1, 'message')"
    )
    since = (await read(talk))["position"]
    assert (await read(talk, since))["changes"] == []


async def test_what_is_old_is_deleted_and_what_is_young_stays(talk: Conversation):
    await talk.maria_writes("oi")
    assert (await talk.database.call("forget_changes", {})) == {"forgotten": 0, "more": False}
    await talk.travel(minutes=11)
    old = await talk.value("select count(*) from changes")
    await talk.sql("insert into changes (at, kind) values (now() + interval '11 minutes', 'x')")
    told = await talk.database.call("forget_changes", {})
    assert told == {"forgotten": old, "more": False}
    assert await talk.value("select string_agg(kind, ',') from changes") == "x"


async def test_many_old_ones_go_in_batches(talk: Conversation):
    await talk.sql(
        "insert into changes (at, tenant_id, kind)"
        " select now() - interval '11 minutes', 1, 'x' from generate_series(1, 10500)"
    )
    first = await talk.database.call("forget_changes", {})
    assert first == {"forgotten": 10000, "more": True}
    assert (await talk.database.call("forget_changes", {})) == {"forgotten": 500, "more": False}


async def test_who_may_read_the_tenant_may_follow_it_and_nobody_else(talk: Conversation):
    await talk.open_shop("pharmacy")
    viewer = await key_for(talk, "viewer", 1)
    told = await call(talk, viewer, "follow_tenant", tenant_id=1)
    assert (told["lost"], told["changes"]) == (False, [])
    for caller, tenant_id in ((viewer, 2), (viewer, 999), (BOSS, 999), (ANA, 1)):
        with pytest.raises(NotFound):
            await call(talk, caller, "follow_tenant", tenant_id=tenant_id)


async def test_who_has_lost_its_right_is_named_and_the_others_are_not(talk: Conversation):
    viewer = await key_for(talk, "viewer", 1)
    other = await key_for(talk, "viewer", 1)
    await call(talk, BOSS, "set_member", tenant_id=1, user_id=ANA["user_id"], role="viewer")
    followers: list[dict[str, Any]] = [
        {"caller": {"kind": "key", "key_hash": viewer["key_hash"]}, "tenant_id": 1},
        {"caller": {"kind": "key", "key_hash": other["key_hash"]}, "tenant_id": 1},
        {"caller": ANA, "tenant_id": 1},
        {"caller": BOSS, "tenant_id": 1},
    ]
    asked = {"followers": followers}
    assert (await talk.database.call("may_follow", asked)) == {"ended": []}
    await call(talk, BOSS, "revoke_api_key", api_key_id=viewer["id"])
    await call(talk, BOSS, "remove_member", tenant_id=1, user_id=ANA["user_id"])
    refused = (await talk.database.call("may_follow", asked))["ended"]
    assert [each["place"] for each in refused] == [0, 2]
    assert "was revoked" in refused[0]["reason"]
    assert followers[0]["caller"]["key_hash"] not in str(refused)


async def test_a_sign_in_that_ends_is_told_to_all_who_read(talk: Conversation):
    since = (await read(talk))["position"]
    await talk.database.call("end_sign_in", {"sign_in": "a-hash"})
    (told,) = (await read(talk, since))["changes"]
    assert (told["kind"], told["sign_in"], told["tenant_id"]) == ("signed_out", "a-hash", None)


async def test_a_call_is_heard_by_who_listens(talk: Conversation, database_url: str):
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with another(database_url) as listening:
        await listening.add_listener("hybridflow_changes", lambda *said: heard.put_nowait(said[-1]))
        await talk.database.call("call_followers", {"says": "changed", "by": "me"})
        async with asyncio.timeout(10):
            assert await heard.get() == "changed me"


async def test_writing_waits_for_nobody_who_looks(talk: Conversation, database_url: str):
    """A reader in a transaction of its own keeps no message out, and no other reader."""
    since = (await read(talk))["position"]
    async with another(database_url) as reader:
        held = reader.transaction()
        await held.start()
        await reader.fetchval("select public.read_changes($1)", {"tenant_ids": [1], "since": since})
        await talk.maria_writes("oi")
        assert ("message", 1) in kinds(await read(talk, since))
        await held.rollback()
