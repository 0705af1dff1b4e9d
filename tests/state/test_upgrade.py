"""A database made by an earlier release, with its work under way, becomes this release's."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from router.embedded.postgres import EmbeddedPostgres
from router.state.calls.story import ToldTurn
from router.state.direct import DirectDatabase
from router.state.migrations import migrate
from router.stories.story import story_of
from scripts.build_schema import SCHEMA
from tests.state.conversation import Conversation, answered
from tests.state.old_release import make_old
from tests.state.test_migrations import schema_of

pytestmark = pytest.mark.apart


@pytest.fixture
async def old_database(empty_database_url: str) -> str:
    await make_old(empty_database_url)
    return empty_database_url


@pytest.fixture
async def talk(old_database: str) -> AsyncIterator[Conversation]:
    await migrate(old_database)
    database = await DirectDatabase.connect(old_database, size=1)
    yield Conversation(database, "padaria")
    await database.close()


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def counts(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select relname from pg_class where relnamespace = 'public'::regnamespace"
            " and relkind = 'r' order by 1"
        )
        return {
            name: await connection.fetchval(f"select count(*) from public.{name}")
            for (name,) in tables
        }
    finally:
        await connection.close()


async def test_every_table_of_the_old_release_has_rows_and_keeps_them(old_database: str):
    before = await counts(old_database)
    assert 0 not in before.values(), before
    await migrate(old_database)
    after = await counts(old_database)
    assert {name: after[name] for name in before} == before


async def test_migrated_or_pasted_it_has_the_schema_of_a_fresh_one(
    postgres: EmbeddedPostgres, old_database: str, template_url: str, databases
):
    pasted = databases.create(template=old_database)
    try:
        await execute(pasted, SCHEMA.read_text())
        await migrate(old_database)
        fresh = schema_of(postgres, template_url)
        assert schema_of(postgres, old_database) == fresh
        assert schema_of(postgres, pasted) == fresh
    finally:
        databases.drop(pasted)


async def test_its_work_goes_on(talk: Conversation):
    turns = {turn["session"]["session_id"]: turn for turn in await talk.claim()}
    assert sorted(turns) == [
        1,
        2,
    ]  # what the flow had said is closed: it is dead with the old router
    assert (turns[1]["reply"], turns[1]["parts"][0]["send_state"]) == (["Oi 1"], "failed")
    assert turns[2]["parts"][0]["send_state"] == "unknown"
    again = await talk.begin(turns[1], "Oi 1")
    await talk.finish(turns[1], again, "3EB001")
    echo = talk.message(
        "Oi 2", jids=["5511955550002@s.whatsapp.net"], from_me=True, origin="send", status="PENDING"
    )
    assert [d["decision"] for d in await talk.ingest(echo)] == ["own_message"]
    assert await talk.turn_states() == ["sent", "sent", "sent", "cancelled", "sent", "dead"]


async def test_a_router_of_the_old_release_goes_on_with_the_new_schema(talk: Conversation):
    turns = {turn["session"]["session_id"]: turn for turn in await talk.claim()}
    held = {"turn_id": turns[1]["turn_id"], "token": turns[1]["token"]}
    begun = await talk.database.call(
        "begin_send", {**held, "part": 0, "body": "Oi 1", "lease_seconds": 45}
    )
    send = {**held, "message_id": begun["message_id"]}
    assert await talk.database.call("doubt_send", {**send, "error": "x", "check_after": 3}) == {
        "ok": True
    }
    sent = {"wa_id": "3EB001", "jid": "5511955550001@s.whatsapp.net", "tenant_id": 1}
    assert (await talk.database.call("finish_send", {**send, **sent}))["turn_state"] == "sent"

    await talk.maria_writes("e agora?", jids=["5511955550003@s.whatsapp.net"])
    await talk.travel(seconds=11)
    (flow,) = [t for t in await talk.claim() if t["session"]["session_id"] == 3]
    held = {"turn_id": flow["turn_id"], "token": flow["token"]}
    asked = {**held, "kind": "text", "body": "Já vai", "lease_seconds": 45}
    first = await talk.database.call("begin_flow_send", asked)
    failed = {**held, "message_id": first["message_id"]}
    assert await talk.database.call("fail_send", failed) == {"ok": True}
    second = await talk.database.call("begin_flow_send", asked)
    assert (second["ok"], second["part"]) == (True, 0)
    assert (await talk.database.call("begin_flow_send", asked))["refused"] == "in_doubt"
    assert (await talk.database.call("look_at_turn", held))["said"] == ["Já vai"]

    claim = {"limit": 5, "lease_seconds": 60, "max_attempts": 5}
    (notice,) = (await talk.database.call("claim_notices", claim))["notices"]
    told = {"notice_id": notice["notice_id"]}
    argument = {**told, "token": notice["token"], "body": "venha", "lease_seconds": 45}
    doubtful = {
        **told,
        "message_id": (await talk.database.call("begin_notice_send", argument))["message_id"],
    }
    assert await talk.database.call("fail_notice_send", {**doubtful, "in_doubt": True}) == {
        "ok": True
    }
    left = {**doubtful, "wa_id": "3EB00E", "jid": "5511900009999@s.whatsapp.net"}
    assert await talk.database.call("finish_notice_send", left) == {"ok": True}
    assert await talk.value("select send_state from messages where wa_id = '3EB00E'") == "sent"


async def test_a_router_of_the_old_release_can_say_that_an_event_was_not_recorded(
    talk: Conversation,
):
    bad = talk.message("oi") | {"sent_at": "not a time"}
    answer = await talk.database.call("ingest_events", {"events": [bad], "policy": {}})
    (decision,) = answer["decisions"]
    assert (decision["outcome"], decision["code"], decision["detail"]) == ("failed", "22007", "")


async def test_its_turns_tell_what_is_known_and_what_comes_then(talk: Conversation):
    async def told(turn_id: int) -> tuple[str, list[str]]:
        asked = {"tenant_id": 1, "turn_id": turn_id}
        story = story_of(ToldTurn.model_validate(await talk.database.call("tell_turn", asked)))
        return story.answer[0], [each.kind for each in story.happenings]

    assert await talk.value("select count(*) from turn_attempts") == 0
    answered_then, kinds = await told(3)
    assert answered_then == "It was answered, in one part."
    assert kinds == ["message", "turn_made", "send", "closed"]
    assert (await told(4))[0] == "It got no answer: a human took over the conversation."
    assert (await told(6))[0].startswith("It got no answer: the turn is dead.")
    turns = {turn["session"]["session_id"]: turn for turn in await talk.claim()}
    await talk.finish(turns[1], await talk.begin(turns[1], "Oi 1"), "3EB001")
    said, kinds = await told(1)
    assert said == "It was answered, in one part."
    assert kinds[-3:] == ["send", "attempt_ended", "closed"]


async def test_a_pause_of_its_time_ends_as_before(talk: Conversation):
    resumed = await talk.database.call(
        "resume_session",
        {"tenant_id": 1, "session_id": 4, "source": "operator", "policy": {}},
    )
    assert (resumed["resumed"], resumed["turn_id"]) == (True, None)
    await talk.maria_writes("e agora?", jids=["5511955550004@s.whatsapp.net"])
    await talk.travel(seconds=11)
    (turn,) = [t for t in await talk.claim() if t["session"]["session_id"] == 4]
    assert answered(turn) == ["e agora?"]


async def test_keys_of_members_who_have_gone_end_and_those_of_others_do_not(old_database: str):
    """Before, who made a key stood in its `created_by` alone."""
    await execute(
        old_database,
        """
        insert into memberships (tenant_id, user_id, role) values
            (1, '0198c0de-0000-7000-8000-00000000a11a', 'admin');
        insert into api_keys (name, key_hash, starts_with, role, created_by) values
            ('of a member', sha256('1'), 'hfk_1', 'admin', '0198c0de-0000-7000-8000-00000000a11a'),
            ('of one gone', sha256('2'), 'hfk_2', 'viewer', '0198c0de-0000-7000-8000-00000000dead'),
            ('of the deployment', sha256('3'), 'hfk_3', 'admin', 'ops');
        insert into api_key_tenants select id, 1 from api_keys where name like 'of %';
        """,
    )
    await migrate(old_database)
    connection = await asyncpg.connect(old_database)
    try:
        ended = await connection.fetch(
            "select name from api_keys where revoked_at is not null order by id"
        )
        await connection.execute("delete from memberships where role = 'admin'")
        later = await connection.fetch(
            "select name from api_keys where revoked_at is not null order by id"
        )
    finally:
        await connection.close()
    assert [row["name"] for row in ended] == ["of one gone"]
    assert [row["name"] for row in later] == ["of a member", "of one gone"]


async def test_what_flows_had_stored_as_executions_is_none_of_n8ns_any_more(old_database: str):
    await execute(
        old_database,
        "update turns set execution_id = '../workflows/7' where id = (select min(id) from turns);"
        "update turns set execution_id = '4711' where id = (select max(id) from turns);"
        "insert into executions_to_erase (execution_id, tenant_id) values"
        " ('../credentials/7', 1), ('4711?', 1), ('04711', 1), ('4712', 1)",
    )
    await migrate(old_database)
    database = await DirectDatabase.connect(old_database, size=1)
    talk = Conversation(database, "padaria")
    executions = await talk.sql("select execution_id from turns where execution_id is not null")
    assert [row["execution_id"] for row in executions] == ["4711"]
    kept = await talk.sql("select execution_id from executions_to_erase order by 1")
    assert [row["execution_id"] for row in kept] == ["1", "4712"]
    await database.close()
