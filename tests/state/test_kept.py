"""The database that the state tests share is put back behind each of them, or thrown away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from router.errors import StateError
from tests.postgres import Databases
from tests.scenarios.stage import MOVED_CLOCK
from tests.state.conversation import Conversation
from tests.state.kept import _FEW_ROWS, Kept, Shelf
from tests.state.test_people import dump

pytestmark = pytest.mark.apart

# Whatever a test may leave that is no row.
CHANGES = {
    "a function": "create function tests.more() returns integer language sql as 'select 1'",
    "a function of ours": "alter function public.prune(jsonb) rename to trim",
    "a function's body": "create or replace function hybridflow.seconds(p_seconds numeric)"
    " returns interval language sql as 'select null::interval'",
    "a function's owner": "alter function public.prune(jsonb) owner to service_role",
    "a function's cost": "alter function public.prune(jsonb) cost 1000",
    "a function's setting": "alter function public.prune(jsonb) set work_mem = '1MB'",
    "no function": "drop function public.prune(jsonb)",
    "a right to call": "revoke execute on function public.prune(jsonb) from service_role",
    "a right to a column": "grant update (system_prompt) on public.tenants to authenticated",
    "a right to a table": "grant select on public.turns to anon",
    "a right to a schema": "grant usage on schema hybridflow to anon",
    "a right to come": "alter default privileges grant select on tables to anon",
    "a table": "create table public.more (id bigint)",
    "a table of its own session's": "create temporary table more (id bigint) on commit drop",
    "a column": "alter table public.tenants add column more text",
    "no column": "alter table public.tenants drop column system_prompt",
    "a default": "alter table public.turns alter column state set default 'dead'",
    "a check": "alter table public.turns add constraint more check (id > 0)",
    "no check": "alter table public.session_identities drop constraint session_identities_pkey",
    "an index": "create index more on public.turns (state)",
    "no index": "drop index public.processed_events_last",
    "a trigger": "create trigger more before update on public.turns"
    " for each row execute function suppress_redundant_updates_trigger()",
    "no triggers": "alter table public.turns disable trigger all",
    "a policy": "create policy more on public.turns to anon using (true)",
    "no row security": "alter table public.tenants disable row level security",
    "how a table is kept": "alter table public.turns set (fillfactor = 50)",
    "what is told of a row": "alter table public.messages replica identity full",
    "an extension": "create extension if not exists pg_stat_statements",
    "a type": "create type public.more as enum ('a')",
    "a domain's words": "alter domain hybridflow.turn_state rename to state_of_turn",
    "a schema": "create schema more",
    "a view": "create view public.more as select 1 as it",
    "a publication": "create publication more for table public.sessions",
    "a comment": "comment on table public.turns is 'more'",
    "statistics": "analyze hybridflow.migrations",
    "that a table is empty": "analyze public.tenants",
    "how large a table is": "vacuum public.tenants",
    "a rewritten table": "truncate public.turns cascade",
    "how a sequence counts": "alter sequence public.turns_id_seq increment by 10",
    "another start": "alter sequence public.turns_id_seq start with 7 restart",
    "a setting of the database": "alter database {database} set work_mem = '1MB'",
    "a setting of a role": "alter role anon in database {database} set work_mem = '1MB'",
    "what was migrated": "update hybridflow.migrations set name = 'more'",
    "that nothing was migrated": "delete from hybridflow.migrations",
}
UNSEEN = {"a table of its own session's"}  # it is gone by itself


@pytest.fixture
async def own(databases: Databases, template_url: str) -> AsyncIterator[Shelf]:
    shelf = Shelf(databases, template_url)
    yield shelf
    await shelf.clear()


async def run(kept: Kept, sql: str) -> Any:
    return await kept.direct()._pool.execute(sql)


async def content(kept: Kept) -> Any:
    """All rows, the time, and what every sequence says."""
    talk = Conversation(kept.direct())
    told = await talk.sql("select sequencename, last_value from pg_sequences order by 1")
    return await dump(talk), await talk.sql("select * from tests.clock"), told


async def test_what_a_test_wrote_is_gone_for_the_next(own: Shelf):
    kept = await own.take()
    at_first = await content(kept)
    talk = Conversation(kept.direct())
    await talk.open_shop()
    await talk.maria_writes("Oi")
    await talk.travel(hours=3)
    await talk.answer()
    assert await content(kept) != at_first
    await own.give_back(kept)
    again = await own.take()
    assert again is kept
    assert await content(again) == at_first
    talk = Conversation(again.direct())
    assert await talk.open_shop() == 1
    assert abs(await talk.value("select extract(epoch from hybridflow.clock() - now())")) < 60
    assert (await talk.maria_writes("Oi"))["decision"] == "turn_pending"
    await own.give_back(again)


async def test_a_clock_that_was_moved_for_all_goes_right_again(own: Shelf):
    """`Stage.time_passes` writes its function anew."""
    kept = await own.take()
    made = "select pg_get_functiondef('hybridflow.clock()'::regprocedure)"
    at_first = await kept.direct()._pool.fetchval(made)
    await run(kept, MOVED_CLOCK.format(seconds=7200))
    await own.give_back(kept)
    again = await own.take()
    assert again is kept
    assert await again.direct()._pool.fetchval(made) == at_first
    time = "select abs(extract(epoch from hybridflow.clock() - clock_timestamp())) < 60"
    assert await again.direct()._pool.fetchval(time)
    await own.give_back(again)


async def test_what_it_set_on_its_connection_is_forgotten(own: Shelf):
    kept = await own.take()
    at_first = await settings(kept)
    await run(
        kept,
        "set hybridflow.clock_offset = '3 hours'; set work_mem = '1MB'; set role service_role;"
        " set search_path = hybridflow; select pg_advisory_lock(7); listen more;"
        " create temporary table more (id bigint); declare c cursor with hold for select 1;"
        " set enable_seqscan = off",
    )
    assert await settings(kept) != at_first
    await own.give_back(kept)
    again = await own.take()
    assert again is kept
    assert await settings(again) == at_first
    await own.give_back(again)


async def settings(kept: Kept) -> Any:
    pool = kept.direct()._pool
    rows = await pool.fetch("select name, setting from pg_settings order by 1")
    (other,) = await pool.fetch(
        "select current_user::text, coalesce(current_setting('hybridflow.clock_offset', true), ''),"
        " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
        " (select count(*) from pg_listening_channels()), (select count(*) from pg_cursors),"
        " to_regclass('more')::text"
    )
    return [*map(tuple, rows), tuple(other)]


@pytest.mark.parametrize("what", CHANGES)
async def test_a_database_in_which_more_was_changed_is_thrown_away(own: Shelf, what: str):
    kept = await own.take()
    name = await kept.direct()._pool.fetchval("select current_database()")
    await run(kept, CHANGES[what].format(database=name))
    await own.give_back(kept)
    again = await own.take()
    assert (again is kept) is (what in UNSEEN)
    await own.give_back(again)


async def test_so_is_one_with_many_rows(own: Shelf):
    kept = await own.take()
    await run(
        kept,
        "insert into audit_log (caller_kind, caller, action) select 'script', 'x', 'more'"
        f" from generate_series(0, {_FEW_ROWS})",
    )
    await own.give_back(kept)
    again = await own.take()
    assert again is not kept
    await own.give_back(again)


async def test_so_is_one_whose_connection_was_not_given_back(own: Shelf):
    kept = await own.take()
    await kept.direct()._pool.acquire()
    await own.give_back(kept)
    again = await own.take()
    assert again is not kept
    await own.give_back(again)


async def test_who_else_is_connected_is_sent_away_before_anything_is_deleted(own: Shelf):
    kept = await own.take()
    other = await asyncpg.connect(kept.dsn)
    await other.execute("begin; lock table turns")
    await own.give_back(kept)
    assert await own.take() is kept
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await other.execute("commit")
    await own.give_back(kept)


async def test_what_a_test_began_and_did_not_wait_for_is_ended(own: Shelf):
    kept = await own.take()
    going_on = asyncio.create_task(asyncio.Event().wait())
    await own.give_back(kept)
    assert going_on.cancelled()


async def test_what_went_on_before_it_in_the_loop_goes_on(own: Shelf):
    end = asyncio.Event()
    of_another = asyncio.create_task(end.wait())  # such as a browser's
    kept = await own.take()
    await own.give_back(kept)
    end.set()
    assert await of_another


async def test_the_project_over_it_is_put_back_too(own: Shelf):
    kept = await own.take()
    first = await kept.rest()
    await first.call("list_tenants", {})
    first.project.hold("check_database")
    assert first.project.calls == ["list_tenants"]
    await own.give_back(kept)
    again = await own.take()
    assert again is kept
    second = await again.rest()
    assert second.project is first.project
    assert second.project.calls == []
    await second.call("check_database", {})  # nothing holds it any more
    await own.give_back(again)


async def test_a_stopped_project_is_thrown_away(own: Shelf):
    kept = await own.take()
    database = await kept.rest()
    database.project.stop()
    with pytest.raises(StateError):
        await database.call("list_tenants", {})
    await own.give_back(kept)
    again = await own.take()
    assert again is not kept
    await own.give_back(again)


@pytest.mark.own_database
async def test_a_test_may_ask_for_a_database_of_its_own(kept_database: Kept, kept_shelf: Shelf):
    assert kept_database is not kept_shelf._kept
    assert await kept_database.put_back() is False
