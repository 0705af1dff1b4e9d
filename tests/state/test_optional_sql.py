"""The SQL files that a Supabase project may run besides: jobs for pg_cron, Realtime."""

from pathlib import Path

import asyncpg
import pytest

from tests.state.conversation import Conversation

OPTIONAL = Path(__file__).parents[2] / "database" / "supabase" / "optional"
# pg_cron is not in the embedded PostgreSQL: its two functions, as its README describes them.
PG_CRON = """
    create schema cron;
    create table cron.job (
        jobid bigint generated always as identity, jobname text unique, schedule text, command text
    );
    create function cron.schedule(job_name text, schedule text, command text) returns bigint
    language sql as $$
        insert into cron.job (jobname, schedule, command) values ($1, $2, $3)
        on conflict (jobname) do update set schedule = $2, command = $3 returning jobid
    $$;
"""
PUBLISHED = """
    select tablename from pg_publication_tables where pubname = 'supabase_realtime' order by 1
"""


async def apply(talk: Conversation, name: str) -> None:
    await talk.database._pool.execute((OPTIONAL / name).read_text())


@pytest.mark.spoils
async def test_pg_crons_jobs_resume_and_prune(talk: Conversation):
    await talk.sql("select 1")
    await talk.database._pool.execute(PG_CRON)
    for _ in range(2):
        await apply(talk, "pg_cron.sql")
    jobs = await talk.sql("select * from cron.job order by jobname")
    assert [job["jobname"] for job in jobs] == ["hybridflow-auto-resume", "hybridflow-prune"]
    await talk.maria_writes("tem bolo?")
    await talk.owner_writes("já vejo")
    assert (await talk.session())["is_paused"]
    await talk.travel(hours=3)
    for job in jobs:
        await talk.sql(job["command"])
    assert not (await talk.session())["is_paused"]
    await talk.travel(days=8)
    for job in jobs:
        await talk.sql(job["command"])
    assert await talk.value("select count(*) from processed_events") == 0
    assert await talk.value("select count(*) from messages") == 2


@pytest.mark.spoils
async def test_its_job_ends_every_pause_however_many_there_are(talk: Conversation):
    await talk.database._pool.execute(PG_CRON)
    await apply(talk, "pg_cron.sql")
    await talk.sql(
        "insert into sessions (tenant_id, is_paused, pause_source, paused_at, paused_until)"
        " select t.id, true, 'operator', now(), now() from tenants as t, generate_series(1, 250)"
    )
    await talk.sql(await talk.value("select command from cron.job where jobname like '%resume'"))
    assert await talk.value("select count(*) from sessions where is_paused") == 0


async def test_without_pg_cron_it_is_said_what_is_missing(talk: Conversation):
    with pytest.raises(asyncpg.RaiseError, match="pg_cron is not enabled: in Supabase's dashboard"):
        await apply(talk, "pg_cron.sql")


@pytest.mark.spoils
async def test_sessions_and_messages_are_published_and_nothing_else(talk: Conversation):
    for _ in range(2):
        await apply(talk, "realtime.sql")
        assert [row["tablename"] for row in await talk.sql(PUBLISHED)] == ["messages", "sessions"]


@pytest.mark.spoils
async def test_an_existing_publication_keeps_what_it_has(talk: Conversation):
    await talk.sql("create table of_their_own (id bigint primary key)")
    await talk.sql("create publication supabase_realtime for table of_their_own, sessions")
    await apply(talk, "realtime.sql")
    assert [row["tablename"] for row in await talk.sql(PUBLISHED)] == [
        "messages", "of_their_own", "sessions",
    ]  # fmt: skip
