"""The schema as the deployment guide uses it: its statements run as they stand."""

import asyncpg
import pytest

from tests.state.conversation import Conversation

GUIDE_INSERT = """
INSERT INTO tenants (instance_name, evo_server_url, system_prompt, llm_provider)
VALUES (
    'demo-instance',
    'https://your-evolution-api.com',
    'You are a helpful WhatsApp assistant. Be professional and friendly.',
    'anthropic'
)
RETURNING *;
"""
GUIDE_QUERIES = {
    "recent webhook activity": "SELECT * FROM processed_events ORDER BY processed_at DESC LIMIT 50;",
    "active sessions": "SELECT * FROM sessions WHERE is_paused = FALSE ORDER BY last_message_at DESC;",
    "paused sessions ready for resume": """
        SELECT * FROM sessions
        WHERE is_paused = TRUE
          AND last_human_at < NOW() - INTERVAL '2 hours';
    """,
    "message volume by tenant": """
        SELECT
          t.instance_name,
          COUNT(*) as message_count,
          COUNT(*) FILTER (WHERE m.from_me = FALSE) as inbound_count,
          COUNT(*) FILTER (WHERE m.from_me = TRUE) as outbound_count
        FROM messages m
        JOIN tenants t ON m.tenant_id = t.id
        WHERE m.created_at > NOW() - INTERVAL '24 hours'
        GROUP BY t.instance_name;
    """,
}
GUIDE_TABLES = """
    SELECT table_name
    FROM information_schema.tables
    WHERE table_schema = 'public'
      AND table_name IN ('tenants', 'sessions', 'messages', 'processed_events');
"""


async def test_the_guides_insert_makes_a_tenant_with_an_integer_id(talk: Conversation):
    (row,) = await talk.sql(GUIDE_INSERT)
    assert isinstance(row["id"], int)
    assert row["instance_name"] == "demo-instance"


async def test_the_guides_check_finds_its_four_tables(talk: Conversation):
    assert len(await talk.sql(GUIDE_TABLES)) == 4


@pytest.mark.parametrize("name", GUIDE_QUERIES)
async def test_the_guides_monitoring_queries_run_as_they_stand(talk: Conversation, name: str):
    await talk.travel(hours=-3)  # the guide's queries ask the real clock
    await talk.maria_writes("oi")
    await talk.owner_writes("oi", jids=["5511955550009@s.whatsapp.net"])
    assert len(await talk.sql(GUIDE_QUERIES[name])) >= 1


async def test_every_table_has_row_level_security_and_every_foreign_key_an_index(
    talk: Conversation,
):
    open_tables = await talk.sql(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and not relrowsecurity"
    )
    assert open_tables == []
    unindexed = await talk.sql(
        "select c.conrelid::regclass as source, c.conname from pg_constraint c where c.contype = 'f'"
        " and not exists (select from pg_index i where i.indrelid = c.conrelid"
        " and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)"
    )
    assert unindexed == []


async def test_every_function_has_a_fixed_search_path_and_is_closed_to_the_public(
    talk: Conversation,
):
    loose = await talk.sql(
        "select p.proname from pg_proc p where p.pronamespace in"
        " ('public'::regnamespace, 'hybridflow'::regnamespace)"
        " and (p.proconfig is null or not p.proconfig @> array['search_path=\"\"'])"
    )
    assert loose == []
    reachable = await talk.sql(
        "select p.proname from pg_proc p where p.pronamespace in"
        " ('public'::regnamespace, 'hybridflow'::regnamespace)"
        " and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " where a.grantee = 0)"
    )
    assert reachable == []


async def test_a_turn_is_cancelled_in_one_place(talk: Conversation):
    """`close_turn`: so what becomes of its lease and its token is the same for every reason."""
    writing = await talk.sql(
        "select proname from pg_proc where pronamespace = any(array['public', 'hybridflow']"
        r"::regnamespace[]) and prosrc ~ $q$set\s+state = 'cancelled'$q$"
    )
    assert writing == []


async def test_every_public_function_takes_one_json_argument_and_returns_json(talk: Conversation):
    odd = await talk.sql(
        "select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace"
        " and (pg_get_function_identity_arguments(p.oid) <> 'p jsonb' or p.prorettype <> 'jsonb'::regtype)"
    )
    assert odd == []


async def test_what_is_written_at_each_message_has_no_check_and_no_trigger_that_costs_each_write(
    talk: Conversation,
):
    """PostgreSQL reads a table's checks again for each statement that writes to it."""
    written = "('sessions', 'turns', 'messages', 'processed_events')"
    checks = await talk.sql(
        "select conname from pg_constraint where contype = 'c'"
        f" and conrelid in (select oid from pg_class where relname in {written}"
        " and relnamespace = 'public'::regnamespace)"
    )
    assert [row["conname"] for row in checks] == ["turns_held_by_token"]
    triggers = await talk.sql(
        # of an insert or update (4, 16): before (2), or without `update of`. One with a condition
        # (`when`) costs little where that does not hold; a session begins once.
        "select tgname from pg_trigger where not tgisinternal and tgtype & 20 > 0"
        " and tgqual is null and tgname <> 'sessions_begun'"
        f" and tgrelid in (select oid from pg_class where relname in {written}"
        " and relnamespace = 'public'::regnamespace) and (tgtype & 2 = 2 or tgattr = '')"
    )
    assert triggers == []


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("sessions", "chat"),
        ("sessions", "pause_source"),
        ("sessions", "resume_source"),
        ("turns", "state"),
        ("turns", "handler"),
        ("turns", "execution_id"),
        ("messages", "sender"),
        ("messages", "send_state"),
    ],
)
async def test_a_column_takes_no_word_that_it_does_not_know(
    talk: Conversation, table: str, column: str
):
    await talk.maria_writes("oi")
    with pytest.raises(asyncpg.CheckViolationError):
        await talk.sql(f"update {table} set {column} = 'nothing-we-know'")


async def test_a_turn_that_is_held_has_a_token_and_a_lease(talk: Conversation):
    await talk.maria_writes("oi")
    with pytest.raises(asyncpg.CheckViolationError, match="turns_held_by_token"):
        await talk.sql("update turns set state = 'running', lease_until = now()")
    await talk.sql("update turns set state = 'running', lease_until = now(), token_hash = ''")
