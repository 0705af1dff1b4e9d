"""No busy path reads a whole table, nor more of one than it needs, however large it has grown."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import pytest

from benchmarks.filling import fill, fill_unknown
from benchmarks.hot_paths import Walk
from router.state.migrations import migrate
from tests.postgres import Databases

pytestmark = pytest.mark.apart

SESSIONS, MESSAGES_EACH = 4_000, 10
_BACKLOG = """
    insert into turns (tenant_id, session_id, run_after, debounce_until)
    select tenant_id, id, now() - random() * interval '5 minutes', now() from sessions
    where id % 20 <> 0 and id < 2000
"""
_WAIT = {
    "due turns": (
        _BACKLOG,
        {"turns are claimed", "the health is asked"},
    ),
    "turns that are put off": (
        """
        insert into turns (tenant_id, session_id, run_after, debounce_until, waits, waits_for)
        select tenant_id, id, now() + interval '1 minute', now(), 1,
            case when id % 3 = 0 then 'line ' || tenant_id else 'llm anthropic' end
        from sessions where id % 20 <> 0 and id < 2000
        """,
        {
            *(
                "turns are claimed",
                "a reply is saved and begins to be sent",
                "a flow's send begins",
            ),
            *("a send is recorded", "a turn is put off", "the line is up again"),
        },
    ),
    "dead turns": (
        """
        insert into turns (tenant_id, session_id, state, run_after, debounce_until, finished_at)
        select tenant_id, id, 'dead', now(), now(), now() - random() * interval '5 minutes'
        from sessions where id % 20 <> 0 and id < 2000
        """,
        {"turns are claimed", "dead turns are searched"},
    ),
    "due notices": (
        """
        insert into notices (tenant_id, session_id, kind, facts, next_at)
        select tenant_id, id, 'handoff', '{}', now() - random() * interval '5 minutes'
        from sessions where id % 20 <> 0 and id < 2000
        """,
        {"notices are claimed", "the line is up again"},
    ),
    "due media jobs": (
        """
        insert into media_jobs (tenant_id, message_id, next_at)
        select m.tenant_id, max(m.id), now() - random() * interval '5 minutes'
        from messages as m where m.session_id % 20 <> 0 and m.session_id < 2000
        group by m.tenant_id, m.session_id
        """,
        {"media jobs are claimed"},
    ),
    "notices that are put off": (
        """
        insert into notices (tenant_id, session_id, kind, facts, next_at)
        select tenant_id, id, 'handoff', '{}', now() + interval '1 minute'
        from sessions where id % 20 <> 0 and id < 2000
        """,
        {"notices are claimed", "the line is up again"},
    ),
}
"""What waits by the thousand, and the paths that must not read it all."""
ENOUGH_ROWS = 250  # that a node of a plan may look at: pages have 50, histories 40, batches 100
SEARCHED = 1_001  # the same where something is searched: so many are looked at for a page
GROWING = {
    *("sessions", "session_identities", "messages", "messages_archive", "turns", "turn_attempts"),
    *("processed_events", "spending", "notices", "audit_log", "erased_messages"),
    "media_jobs",
}


@dataclass
class Plans:
    """What PostgreSQL did for each path."""

    path: str = ""
    faults: list[str] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    statements: int = 0
    enough: int = ENOUGH_ROWS

    def hear(self, _: object, message: Any) -> None:
        """Look at one plan that auto_explain reports."""
        _, _, text = message.message.partition("plan:\n")
        if text:
            self.statements += 1
            self.paths.add(self.path)
            explained = json.loads(text)
            self._look(explained["Plan"], explained["Query Text"])

    def _look(self, node: Mapping[str, Any], query: str) -> None:
        for below in node.get("Plans", []):
            self._look(below, query)
        table = node.get("Relation Name")
        if table not in GROWING:
            return
        self.tables.add(table)
        removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
        rows = (node["Actual Rows"] + removed) * node["Actual Loops"]
        too_many = rows > (SEARCHED if self.path.endswith("searched") else self.enough)
        if (node["Node Type"] == "Seq Scan" and node["Actual Loops"]) or too_many:
            what = f"{node['Node Type']} on {table}, {rows:.0f} rows"
            self.faults.append(f"{self.path}: {what}: {query.strip()}")


@pytest.fixture(scope="module")
def filled_url(databases: Databases) -> Iterator[str]:
    dsn = databases.create()
    databases.wait(migrate(dsn))
    asyncio.run(fill(dsn, sessions=SESSIONS, messages_each=MESSAGES_EACH))
    yield dsn
    databases.drop(dsn)


@pytest.fixture(scope="module")
def unknown_url(databases: Databases) -> Iterator[str]:
    """As large as the other, while the planner's statistics are those of an empty database."""
    dsn = databases.create()
    databases.wait(migrate(dsn))
    asyncio.run(forget(dsn))
    asyncio.run(fill_unknown(dsn, sessions=SESSIONS, messages_each=MESSAGES_EACH))
    yield dsn
    databases.drop(dsn)


async def forget(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for table in sorted(GROWING):
            await connection.execute(f"alter table {table} set (autovacuum_enabled = false)")
        await connection.execute("analyze")
    finally:
        await connection.close()


@pytest.fixture
def filled_copy(databases: Databases, filled_url: str) -> Iterator[str]:
    dsn = databases.create(template=filled_url)
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def unknown_copy(databases: Databases, unknown_url: str) -> Iterator[str]:
    dsn = databases.create(template=unknown_url)
    yield dsn
    databases.drop(dsn)


@asynccontextmanager
async def explained(
    url: str, plans: Plans, plans_are: str = "auto"
) -> AsyncIterator[asyncpg.Connection]:
    """Connect, and have `plans` hear how each statement was done."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda v: orjson.dumps(v).decode(), decoder=json.loads
    )
    await connection.execute("load 'auto_explain'")
    for name, setting in (
        ("plan_cache_mode", plans_are),
        ("client_min_messages", "notice"),
        ("auto_explain.log_level", "notice"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
    ):
        await connection.execute(f"set {name} = '{setting}'")
    connection.add_log_listener(plans.hear)
    try:
        yield connection
    finally:
        await connection.close()


async def look(
    url: str, plans_are: str, *, without: str | None = None, sessions: int = SESSIONS
) -> Plans:
    """Walk the busy paths, each statement explained; `without` an index."""
    plans = Plans()
    if without:
        connection = await asyncpg.connect(url)
        await connection.execute(f"drop index {without}")
        await connection.close()
    async with explained(url, plans, plans_are) as connection:

        async def call(path: str, function: str, argument: dict[str, Any]) -> dict[str, Any]:
            plans.path = path
            result: dict[str, Any] = await connection.fetchval(f"select {function}($1)", argument)
            return result

        await Walk(call, sessions).all_paths()
    return plans


@pytest.mark.parametrize("plans_are", ["force_custom_plan", "force_generic_plan"])
async def test_no_busy_path_scans_a_table(filled_copy: str, plans_are: str):
    plans = await look(filled_copy, plans_are)
    assert not plans.faults, "\n".join(sorted(set(plans.faults)))
    assert plans.statements > 300
    assert plans.tables >= GROWING


async def test_nor_while_the_statistics_are_those_of_an_empty_database(unknown_copy: str):
    plans = await look(unknown_copy, "auto")
    assert not plans.faults, "\n".join(sorted(set(plans.faults)))
    assert plans.statements > 300


async def test_a_claim_reads_no_small_table_as_a_whole_either(databases: Databases):
    """Its plans are kept, and the table grows."""
    dsn = databases.create()
    await migrate(dsn)
    await fill(dsn, sessions=300, messages_each=4)
    plans = await look(dsn, "auto", sessions=300)
    faults = [fault for fault in plans.faults if fault.startswith("turns are claimed")]
    assert "turns are claimed" in plans.paths
    assert not faults, "\n".join(sorted(set(faults)))
    databases.drop(dsn)


@pytest.mark.parametrize("statistics", ["of an empty database", "fresh"])
@pytest.mark.parametrize("what", _WAIT)
async def test_nothing_reads_more_where_thousands_wait(
    unknown_copy: str, statistics: str, what: str
):
    waits, paths = _WAIT[what]
    connection = await asyncpg.connect(unknown_copy)
    try:
        await connection.execute(waits)
        if statistics == "fresh":
            await connection.execute("analyze")
    finally:
        await connection.close()
    plans = await look(unknown_copy, "auto")
    assert plans.paths >= paths
    faults = [fault for fault in plans.faults if fault.partition(":")[0] in paths]
    assert not faults, "\n".join(sorted(set(faults)))


_SHOPS = """
    insert into tenants (instance_name, evo_server_url, system_prompt, llm_provider)
    select 'shop' || g, 'https://evolution.example', 'Be kind.', 'anthropic'
    from generate_series(1, $1) as g
"""
_SESSIONS = """
    insert into sessions (tenant_id, phone_jid)
    select t.id, g || '@s.whatsapp.net' from tenants as t, generate_series(1, $1) as g
"""
_DUE = """
    insert into turns (tenant_id, session_id, run_after, debounce_until)
    select tenant_id, id, now() - interval '3 seconds', now() from sessions
"""
_HELD = """
    insert into turns (
        tenant_id, session_id, state, reply, run_after, debounce_until, token_hash, lease_until
    )
    select tenant_id, id, 'sending', '["Oi!"]', now(), now(), 'x', now() + $1::text::interval
    from sessions
"""
_CLAIM = {
    "limit": 5, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5, "worker": "one",
    "objects": True, "own_times": 3, "own": {}, "sitting": {}, "answer_within_minutes": 60,
}  # fmt: skip


async def test_who_has_written_again_meanwhile_is_looked_up_where_the_statistics_know_of_nobody(
    databases: Databases,
):
    """They are from when there were a few turns, none of them being worked on."""
    dsn, plans = databases.create(), Plans("turns are claimed", enough=600)
    await migrate(dsn)
    async with explained(dsn, plans) as connection:
        await connection.execute(_SHOPS, 20)
        await connection.execute(_SESSIONS, 1)
        await connection.execute(_DUE)
        await connection.execute("analyze")
        await connection.execute("delete from sessions")
        await connection.execute(_SESSIONS, 30)
        await connection.execute(_HELD, "5 minutes")
        await connection.execute(_DUE)
        plans.faults.clear()
        assert (await connection.fetchval("select claim_turns($1)", _CLAIM))["turns"] == []
    assert not plans.faults, "\n".join(sorted(set(plans.faults)))
    databases.drop(dsn)


@pytest.mark.parametrize(
    ("more", "turns", "most"),
    [({}, 5, 400), ({"without_n8n": True}, 5, 200), ({"n8n_max_in_flight": 0}, 0, 40)],
    ids=["all", "what needs no flow", "n8n is full"],
)
async def test_however_many_leases_have_run_out_a_claim_looks_at_some(
    databases: Databases, more: dict[str, Any], turns: int, most: int
):
    """A server hangs, and of each of its tenants a send is in doubt."""
    dsn, plans = databases.create(), Plans("turns are claimed", enough=600)
    await migrate(dsn)
    async with explained(dsn, plans) as connection:
        await connection.execute(_SHOPS, 400)
        await connection.execute(_SESSIONS, 1)
        await connection.execute(_HELD, "-1 minute")
        plans.statements = 0
        plans.faults.clear()
        claimed = await connection.fetchval("select claim_turns($1)", _CLAIM | more)
        assert len(claimed["turns"]) == turns
    assert plans.statements < most
    assert not plans.faults, "\n".join(sorted(set(plans.faults)))
    databases.drop(dsn)


@pytest.mark.parametrize(
    ("index", "path"),
    [
        ("messages_once", "a known contact writes"),
        ("messages_in_order", "turns are claimed"),
        ("turns_finished", "a batch is pruned"),
        ("sessions_by_activity", "sessions are listed"),
        ("session_identities_by_end", "the end of a number"),
        ("processed_events_once", "events are exported"),
        ("processed_events_changes", "changes are exported"),
        ("notices_by_jid", "notices are exported"),
    ],
)
async def test_a_missing_index_is_noticed(filled_copy: str, index: str, path: str):
    plans = await look(filled_copy, "auto", without=index)
    assert any(fault.startswith(path) for fault in plans.faults)
