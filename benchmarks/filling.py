"""A database like after years of use: many tenants, one of them large, and their messages."""

import asyncpg

INSTANCES = 20
_EVENTS_EACH = 3  # processed events of each session, for one week
_TURNS_EACH = 2

_TENANTS = """
    insert into public.tenants (instance_name, evo_server_url, system_prompt, retention_days)
    select 'shop' || n, 'https://evolution.example', 'Be kind.', 90 from generate_series(1, $1) as n
"""
# Half of the sessions belong to the first tenant. One in twenty was paused in the last hour.
_SESSIONS = """
    insert into public.sessions (
        id, tenant_id, phone_jid, is_paused, pause_source, paused_at, last_human_at,
        last_message_at, last_contact_at, erasure_checked, created_at
    ) overriding system value
    select n, case when n % 2 = 0 then 1 else 2 + n % ($3::bigint - 1) end,
        (5511000000000 + n) || '@s.whatsapp.net', n % 20 = 0, case when n % 20 = 0 then 'owner' end,
        case when n % 20 = 0 then now() - random() * interval '55 minutes' end,
        now() - random() * interval '55 minutes', now() - random() * interval '80 days',
        now() - random() * interval '80 days', true, now() - interval '80 days'
    from generate_series($1::bigint, $2::bigint) as n
"""
_IDENTITIES = """
    insert into public.session_identities (tenant_id, jid, session_id)
    select tenant_id, phone_jid, id from public.sessions where id between $1 and $2
"""
_TURNS = """
    insert into public.turns (
        id, tenant_id, session_id, state, run_after, debounce_until, handler, created_at,
        finished_at
    ) overriding system value
    select (s.id - 1) * {each} + n, s.tenant_id, s.id, 'sent', t.at, t.at, 'fallback', t.at, t.at
    from public.sessions as s
    cross join generate_series(1, {each}) as n
    cross join lateral (select now() - interval '1 hour' - random() * interval '80 days') as t (at)
    where s.id between $1 and $2
"""
_MESSAGES = """
    insert into public.messages (
        tenant_id, session_id, turn_id, wa_id, from_me, sender, body, sent_at, created_at, status,
        part, send_state
    )
    select s.tenant_id, s.id, case when n <= {turns} then (s.id - 1) * {turns} + n end,
        'AC' || md5(s.id || ':' || n), n % 2 = 0,
        case when n % 2 = 0 then 'ai' else 'contact' end,
        'o que se escreve por aqui num dia qualquer', t.at, t.at, 'READ',
        case when n <= {turns} and n % 2 = 0 then 0 end, case when n % 2 = 0 then 'sent' end
    from public.sessions as s
    cross join generate_series(1, $3) as n
    cross join lateral (select now() - interval '1 hour' - random() * interval '80 days') as t (at)
    where s.id between $1 and $2
"""
_ARCHIVED = """
    insert into public.messages_archive (
        id, tenant_id, session_id, wa_id, from_me, sender, kind, body, expects_reply, sent_at,
        sends, created_at
    )
    select 1000000000000 + id, tenant_id, id, 'OLD' || id, false, 'contact', 'text', 'oi', true,
        now() - interval '100 days', 0, now() - interval '100 days'
    from public.sessions where id between $1 and $2
"""
_EVENTS = """
    insert into public.processed_events (tenant_id, event_key, event, decision, processed_at)
    select s.tenant_id, 'messages.upsert:' || (n + 1) % 2 || ':AC' || md5(s.id || ':' || n),
        'messages.upsert',
        jsonb_build_object('session_id', s.id, 'outcome', 'recorded', 'decision', 'turn_pending'),
        now() - random() * interval '6 days'
    from public.sessions as s cross join generate_series(1, {each}) as n
    where s.id between $1 and $2
"""
# Edits that came before their messages, or whose messages never came.
_CHANGES = """
    insert into public.processed_events (
        tenant_id, event_key, event, waiting_for, change, processed_at
    )
    select tenant_id, 'edit:LOST' || id || ':0:ab', 'messages.edited', 'LOST' || id,
        jsonb_build_object('type', 'edit', 'jids', jsonb_build_array(phone_jid)),
        now() - random() * interval '6 days'
    from public.sessions where id between $1 and $2 and id % 10 = 0
"""
_SPENDING = """
    insert into public.spending (tenant_id, session_id, day, turns, tokens)
    select tenant_id, id, current_date - 1, 2, 900 from public.sessions where id between $1 and $2
"""
_NOTICES = """
    insert into public.notices (tenant_id, session_id, kind, facts, state, next_at, finished_at)
    select tenant_id, id, 'handoff', '{}', 'delivered', t.at, t.at
    from public.sessions cross join lateral (select now() - random() * interval '80 days') as t (at)
    where id between $1 and $2 and id % 4 = 0
"""
_MEDIA_JOBS = """
    insert into public.media_jobs (tenant_id, message_id, state, next_at, finished_at)
    select m.tenant_id, min(m.id), 'done', now() - interval '1 day', now() - interval '1 day'
    from public.messages as m where m.session_id between $1 and $2 and not m.from_me
    group by m.tenant_id, m.session_id
"""
_AUDIT = """
    insert into public.audit_log (at, tenant_id, caller_kind, caller, action, session_id)
    select now() - random() * interval '80 days', tenant_id, 'user', 'ana', 'pause_session', id
    from public.sessions where id between $1 and $2 and id % 2 = 0
"""
_ERASED = """
    insert into public.erased_messages (tenant_id, wa_id_hash, erased_at)
    select tenant_id, sha256(('ERASED' || id)::bytea), now() - random() * interval '29 days'
    from public.sessions where id between $1 and $2 and id % 2 = 0
"""
_COUNTERS = """
    select setval(pg_get_serial_sequence('public.' || t, 'id'), (
        select max(n) from (
            select max(id) as n from public.sessions union all select max(id) from public.turns
        ) as m
    ))
    from unnest(array['sessions', 'turns']) as t
"""
_CHUNK = 50_000  # sessions per transaction


async def fill(dsn: str, *, sessions: int, messages_each: int) -> None:
    """Fill a migrated, empty database, and update its statistics. Needs a superuser."""
    await fill_unknown(dsn, sessions=sessions, messages_each=messages_each)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("vacuum (analyze)")
    finally:
        await connection.close()


async def fill_unknown(dsn: str, *, sessions: int, messages_each: int) -> None:
    """Fill a migrated, empty database without updating its statistics. Needs a superuser."""
    connection = await asyncpg.connect(dsn)
    try:
        # Without triggers and foreign key checks: the rows are valid, and there are many.
        await connection.execute("set session_replication_role = replica")
        await connection.execute("set synchronous_commit = off")
        await connection.execute(_TENANTS, INSTANCES)
        for first in range(1, sessions + 1, _CHUNK):
            await _fill_chunk(connection, first, min(first + _CHUNK - 1, sessions), messages_each)
        await connection.execute(_COUNTERS)
    finally:
        await connection.close()


async def _fill_chunk(
    connection: "asyncpg.Connection[asyncpg.Record]", first: int, last: int, messages_each: int
) -> None:
    await connection.execute(_SESSIONS, first, last, INSTANCES)
    await connection.execute(_IDENTITIES, first, last)
    await connection.execute(_TURNS.format(each=_TURNS_EACH), first, last)
    await connection.execute(_MESSAGES.format(turns=_TURNS_EACH), first, last, messages_each)
    await connection.execute(_EVENTS.format(each=_EVENTS_EACH), first, last)
    for statement in (_ARCHIVED, _CHANGES, _SPENDING, _NOTICES, _MEDIA_JOBS, _AUDIT, _ERASED):
        await connection.execute(statement, first, last)
