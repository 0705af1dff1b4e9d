"""The changes in the database, in their order: recorded by triggers, and read at the end.

The triggers belong to the harness. They run while the changed session is locked, so the order of
their rows is the order of the product's decisions.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.faults.history import Change, Row, SessionRow, TurnRow

TRIGGERS = """
create schema if not exists watch;
create table watch.log (
    seq bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    what text not null,
    session_id bigint not null,
    detail jsonb not null
);

create function watch.message() returns trigger language plpgsql security definer
set search_path = '' as $$
begin
    if tg_op = 'DELETE' then
        insert into watch.log (what, session_id, detail) values ('gone', old.session_id,
            jsonb_build_object('message_id', old.id, 'wa_id', old.wa_id, 'sender', old.sender));
        return old;
    end if;
    if tg_op = 'INSERT' and new.sender in ('owner', 'client', 'operator') then
        insert into watch.log (what, session_id, detail) values ('human', new.session_id,
            jsonb_build_object('wa_id', new.wa_id, 'sender', new.sender));
    end if;
    if new.send_state = 'sending' and (tg_op = 'INSERT'
        or new.send_began_at is distinct from old.send_began_at)
    then
        insert into watch.log (what, session_id, detail) values ('begun', new.session_id,
            jsonb_build_object('message_id', new.id, 'turn_id', new.turn_id, 'part', new.part,
                'sender', new.sender, 'body', left(new.body, 160)));
    elsif tg_op = 'UPDATE' and new.send_state is distinct from old.send_state then
        insert into watch.log (what, session_id, detail) values ('send', new.session_id,
            jsonb_build_object('message_id', new.id, 'state', new.send_state, 'wa_id', new.wa_id));
    end if;
    return new;
end $$;
create trigger watch_messages after insert or update or delete on public.messages
for each row execute function watch.message();

create function watch.session() returns trigger language plpgsql security definer
set search_path = '' as $$
begin
    if (new.is_paused, new.pause_source, new.paused_at, new.resumed_at, new.pause_message_id)
        is distinct from
        (old.is_paused, old.pause_source, old.paused_at, old.resumed_at, old.pause_message_id)
    then
        insert into watch.log (what, session_id, detail) values ('pause', new.id,
            jsonb_build_object(
                'is_paused', new.is_paused, 'source', new.pause_source,
                'begins', new.is_paused and new.paused_at is distinct from old.paused_at,
                'resumed', old.is_paused and not new.is_paused
                    and new.resumed_at is distinct from old.resumed_at,
                'resume_source', new.resume_source,
                'cause', (
                    select m.wa_id from public.messages as m where m.id = new.pause_message_id
                )
            ));
    end if;
    return new;
end $$;
create trigger watch_sessions after update on public.sessions
for each row execute function watch.session();

create function watch.turn() returns trigger language plpgsql security definer
set search_path = '' as $$
begin
    if tg_op = 'INSERT' or (new.state, new.attempt, new.reason)
        is distinct from (old.state, old.attempt, old.reason)
    then
        insert into watch.log (what, session_id, detail) values ('turn', new.session_id,
            jsonb_build_object('turn_id', new.id, 'state', new.state, 'attempt', new.attempt,
                'reason', new.reason, 'error', left(new.error, 120)));
    end if;
    return new;
end $$;
create trigger watch_turns after insert or update on public.turns
for each row execute function watch.turn();

create function watch.identity() returns trigger language plpgsql security definer
set search_path = '' as $$
begin
    insert into watch.log (what, session_id, detail) values ('identity', new.session_id,
        jsonb_build_object('jid', new.jid, 'tenant_id', new.tenant_id,
            'from', case when tg_op = 'UPDATE' then old.session_id end));
    return new;
end $$;
create trigger watch_identities after insert or update on public.session_identities
for each row execute function watch.identity();
"""

_QUIET = """
select
    (select count(*) from public.turns where state in ('pending', 'running', 'sending')),
    (select count(*) from public.messages where send_state in ('sending', 'unknown'))
"""
_INTERRUPTED = """
select t.tenant_id, i.jid from public.turns as t
inner join public.session_identities as i on i.session_id = t.session_id
where t.state in ('running', 'sending') and ($1::text is null or t.worker like '%:' || $1)
"""


_SESSION = """
select session_id from public.session_identities where tenant_id = $1 and jid = any($2)
order by session_id limit 1
"""
AWAY = (
    *(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError),
    asyncpg.InternalClientError,  # the server was killed between two of asyncpg's own steps
)

_LOG = """
select seq, extract(epoch from at)::float8 as at, what, session_id, detail
from watch.log order by seq
"""
_MESSAGES = """
select id, session_id, turn_id, wa_id, from_me, sender, left(body, 200) as body, send_state, part,
    deleted_at is not null as deleted, edited_at is not null as edited
from public.messages order by id
"""
_TURNS = """
select id, session_id, state, reason, left(error, 200) as error from public.turns order by id
"""
_SESSIONS = "select id, is_paused, pause_source from public.sessions order by id"


@dataclass(slots=True)
class Held:
    """The database's final data about one conversation."""

    rows: list[Row]
    turns: list[TurnRow]
    sessions: list[SessionRow]
    changes: list[Change]


async def install(dsn: str) -> None:
    """Create the triggers."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(TRIGGERS)
    finally:
        await connection.close()


async def unquiet(dsn: str) -> tuple[int, int]:
    """Return how many turns are open, and how many sends have no known end."""
    connection = await asyncpg.connect(dsn)
    try:
        ((turns, sends),) = await connection.fetch(_QUIET)
        return (int(turns), int(sends))
    finally:
        await connection.close()


async def session_of(dsn: str, tenant_id: int, jids: list[str]) -> int | None:
    """Return a person's current session."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        found: int | None = await connection.fetchval(_SESSION, tenant_id, jids)
        return found
    finally:
        await connection.close()


async def at_work(dsn: str, pid: int | None) -> set[tuple[int, str]]:
    """Return tenant and JID of each conversation that (process `pid`) is working on."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(_INTERRUPTED, None if pid is None else str(pid))
        return {(int(row[0]), str(row[1])) for row in rows}
    finally:
        await connection.close()


async def read(dsn: str, whose: Callable[[int, str], int | None]) -> dict[int, Held]:
    """Return the data of each conversation; `whose` finds its number by tenant and JID."""
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )
    try:
        return await _read(connection, whose)
    finally:
        await connection.close()


async def _read(
    connection: "asyncpg.Connection[asyncpg.Record]", whose: Callable[[int, str], int | None]
) -> dict[int, Held]:
    log = await connection.fetch(_LOG)
    owners = _owners(log, whose)
    held = {number: Held([], [], [], []) for number in owners.values()}

    def of_ours(records: Iterable[asyncpg.Record], session: str) -> Iterator[tuple[Held, Any]]:
        for record in records:
            if (number := owners.get(record[session])) is not None:
                yield held[number], dict(record)

    for mine, values in of_ours(log, "session_id"):
        mine.changes.append(Change(**values))
    for mine, values in of_ours(await connection.fetch(_MESSAGES), "session_id"):
        mine.rows.append(Row(**values))
    for mine, values in of_ours(await connection.fetch(_TURNS), "session_id"):
        mine.turns.append(TurnRow(**values))
    for mine, values in of_ours(await connection.fetch(_SESSIONS), "id"):
        mine.sessions.append(SessionRow(**values))
    return held


def _owners(
    log: Iterable[asyncpg.Record], whose: Callable[[int, str], int | None]
) -> dict[int, int]:
    """Return the conversation of each session, also of sessions that are gone."""
    owners: dict[int, int] = {}
    for entry in log:
        if entry["what"] == "identity":
            number = whose(entry["detail"]["tenant_id"], entry["detail"]["jid"])
            if number is not None:
                owners[entry["session_id"]] = number
    return owners
