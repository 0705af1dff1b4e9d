-- HybridFlow: people's data: all of one contact's, given out or erased, and what keeps an erased contact
-- from coming back with a late webhook or gap repair.

create table if not exists public.erased_contacts (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    contact_hash text not null check (contact_hash ~ '^[0-9a-f]{64}$'),
    erased_at timestamptz not null,
    primary key (tenant_id, contact_hash)
);

comment on table public.erased_contacts is
'Who was erased, as keyed hashes made by the router: what was written before that is not recorded again.';

create table if not exists public.erased_messages (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    wa_id_hash bytea not null,
    erased_at timestamptz not null,
    primary key (tenant_id, wa_id_hash)
);

comment on table public.erased_messages is
'SHA-256 of the (random) ids of erased messages, for 30 days: what still comes about them is not kept.';

create index if not exists erased_messages_by_age on public.erased_messages (erased_at);

alter table public.sessions
add column if not exists erased_before timestamptz,
add column if not exists erasure_checked boolean not null default false;

comment on column public.sessions.erased_before is
'The contact was erased and has written again: messages from until then are not recorded.';
comment on column public.sessions.erasure_checked is
'Whether erased_before is known for the identities that it has.';

alter table public.erased_contacts enable row level security;
alter table public.erased_messages enable row level security;

-- How the id of an erased message is kept.
create or replace function hybridflow.wa_id_hash(p_wa_id text)
returns bytea
language sql
immutable
set search_path = ''
as $$
    select sha256(convert_to(p_wa_id, 'UTF8'))
$$;

-- Until when what the event's contact wrote counts as erased; null: it never was. WhatsApp's clock, whole
-- seconds, and a reply that was just leaving are allowed ten seconds.
create or replace function hybridflow.erased_before(p_tenant_id bigint, p_event jsonb)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select max(e.erased_at) + interval '10 seconds' from public.erased_contacts as e
    where e.tenant_id = p_tenant_id
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
$$;

-- Whether the message was there and was erased.
create or replace function hybridflow.was_erased(p_tenant_id bigint, p_wa_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.erased_messages as e
        where e.tenant_id = p_tenant_id and e.wa_id_hash = hybridflow.wa_id_hash(p_wa_id)
    )
$$;

-- Notes that a message was erased (or left while its contact was), so that nothing more is kept of it.
create or replace function hybridflow.bury_message(p_tenant_id bigint, p_wa_id text)
returns void
language sql
set search_path = ''
as $$
    insert into public.erased_messages (tenant_id, wa_id_hash, erased_at)
    values (p_tenant_id, hybridflow.wa_id_hash(p_wa_id), hybridflow.clock())
    on conflict (tenant_id, wa_id_hash) do update set erased_at = excluded.erased_at
$$;

-- Ends the work on an event of which nothing may be kept: ingest_events rolls back what it has done.
create or replace function hybridflow.forget_event()
returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'it is about a contact that was erased' using errcode = 'PT410';
end
$$;

-- Lets nothing into the (locked) session that was erased before. A session whose identities were looked up
-- and never erased costs nothing; the others are looked up once, and again when they get an identity.
create or replace function hybridflow.refuse_erased(
    p_session public.sessions, p_event jsonb, p_at timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := p_session.erased_before;
begin
    if p_session.erasure_checked and v_before is null then
        return;
    elsif not p_session.erasure_checked then
        v_before := greatest(v_before, hybridflow.erased_before(p_session.tenant_id, p_event));
        update public.sessions set erased_before = v_before, erasure_checked = true where id = p_session.id;
    end if;
    if p_at <= v_before or hybridflow.was_erased(p_session.tenant_id, p_event ->> 'wa_id') then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- Keeps nothing of an edit, deletion or delivery state of a message that was erased, or that nobody knows
-- and somebody sends whose data was erased and who has not written since.
create or replace function hybridflow.refuse_erased_change(p_tenant_id bigint, p_event jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.erased_before(p_tenant_id, p_event);
begin
    if hybridflow.was_erased(p_tenant_id, p_event ->> 'wa_id')
        or (p_event ->> 'edited_at')::timestamptz <= v_before
        or (v_before is not null and not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id
                and i.jid in (select j from jsonb_array_elements_text(p_event -> 'jids') as j)
        ))
    then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- The id of the message that an event was about, by its key; null for the connection's.
create or replace function hybridflow.wa_id_of_event(p_key text)
returns text
language sql
immutable
set search_path = ''
as $$
    select (regexp_match(p_key, case split_part(p_key, ':', 1)
        when 'edit' then '^edit:(.*):[0-9]*:[0-9a-f]+$'
        when 'delete' then '^delete:(.*)$'
        when 'messages.update' then '^messages\.update:(.*):[a-z_]+$'
        else '^(?:messages\.upsert|send\.message):[01]:(.*)$'
    end))[1]
$$;

-- The sessions of whom p_jids name. Raises PT404 where there is none.
create or replace function hybridflow.sessions_of_contact(p_tenant_id bigint, p_jids text[])
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    select array_agg(distinct i.session_id order by i.session_id) into v_ids
    from public.session_identities as i
    where i.tenant_id = p_tenant_id and i.jid = any(p_jids);
    if v_ids is null then
        raise exception 'tenant % has no session with %', p_tenant_id, p_jids[1] using errcode = 'PT404';
    end if;
    return v_ids;
end
$$;

-- The same, locked, the lower id first.
create or replace function hybridflow.lock_contact(p_tenant_id bigint, p_jids text[])
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_locked integer;
begin
    loop
        v_ids := hybridflow.sessions_of_contact(p_tenant_id, p_jids);
        perform from public.sessions where id = any(v_ids) order by id for update;
        get diagnostics v_locked = row_count;
        exit when v_locked = cardinality(v_ids);  -- else one was merged away while we waited
    end loop;
    return v_ids;
end
$$;

-- The JIDs under which the sessions are known.
create or replace function hybridflow.identities_of(p_session_ids bigint[])
returns text[]
language sql
stable
set search_path = ''
as $$
    select array(
        select i.jid from public.session_identities as i where i.session_id = any(p_session_ids) order by i.jid
    )
$$;

-- The notices about a contact: a contact's own, and those of sessions that are gone.
create or replace function hybridflow.notices_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.notices
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.* from (  -- by the index of that alone: the tenant's is as good while there are no statistics
        select s.* from public.notices as s where s.session_id = any(p_session_ids) offset 0
    ) as n
    where n.tenant_id = p_tenant_id
    union all
    select n.* from public.notices as n
    where n.tenant_id = p_tenant_id and n.facts ->> 'jid' = any(p_jids)
        and coalesce(n.session_id <> all(p_session_ids), true)
$$;

-- The ids of all that was said in the sessions, archived messages included.
create or replace function hybridflow.wa_ids_of(p_session_ids bigint[])
returns setof text
language sql
stable
set search_path = ''
as $$
    select m.wa_id from public.messages as m where m.session_id = any(p_session_ids) and m.wa_id is not null
    union
    select a.wa_id from public.messages_archive as a
    where a.session_id = any(p_session_ids) and a.wa_id is not null
$$;

-- The events that were about a message.
create or replace function hybridflow.events_about_message(p_tenant_id bigint, p_wa_id text)
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id and e.event_key = any(array[
        'messages.upsert:0:' || p_wa_id, 'messages.upsert:1:' || p_wa_id,
        'send.message:0:' || p_wa_id, 'send.message:1:' || p_wa_id, 'delete:' || p_wa_id
    ])
    union all
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id
        and e.event_key ~>=~ ('edit:' || p_wa_id || ':') and e.event_key ~<~ ('edit:' || p_wa_id || ';')
        and hybridflow.wa_id_of_event(e.event_key) = p_wa_id
    union all
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id
        and e.event_key ~>=~ ('messages.update:' || p_wa_id || ':')
        and e.event_key ~<~ ('messages.update:' || p_wa_id || ';')
        and hybridflow.wa_id_of_event(e.event_key) = p_wa_id
$$;

-- The edits, deletions and delivery states that waited for a contact's message, or wait still.
create or replace function hybridflow.changes_about(p_tenant_id bigint, p_jids text[])
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    with told as materialized (
        select e.* from public.processed_events as e
        where e.change is not null and (e.change -> 'jids') ?| p_jids
    )

    select * from told as t where t.tenant_id = p_tenant_id
$$;

-- The events that were about a contact's messages, or wait for one. An event that is about no message is
-- about no contact either, and pruning a message prunes its events.
create or replace function hybridflow.events_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    select e.* from hybridflow.wa_ids_of(p_session_ids) as w (wa_id)
    cross join lateral hybridflow.events_about_message(p_tenant_id, w.wa_id) as e
    union
    select c.* from hybridflow.changes_about(p_tenant_id, p_jids) as c
$$;

-- find_contact({tenant_id, jids: [jid]})
-- Under which JIDs a contact is known. Returns {session_ids: [id], identities: [jid]}. PT404: no session has
-- any of `jids`.
create or replace function public.find_contact(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('find_contact', p, '{tenant_id,jids}');
    v_ids := hybridflow.sessions_of_contact(
        (p ->> 'tenant_id')::bigint, array(select jsonb_array_elements_text(p -> 'jids'))
    );
    return jsonb_build_object(
        'session_ids', to_jsonb(v_ids), 'identities', to_jsonb(hybridflow.identities_of(v_ids))
    );
end
$$;

-- A turn as an export has it; the attempts at it are a list of their own.
create or replace function hybridflow.exported_turn(p_turn public.turns)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select hybridflow.turn_json(p_turn.id) || jsonb_build_object('said_so_far', p_turn.said_so_far)
$$;

-- The attempts at a turn.
create or replace function hybridflow.attempts_at(p_turn_id bigint)
returns setof public.turn_attempts
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select a.* from public.turn_attempts as a where a.turn_id = p_turn_id
$$;

-- How many rows there are about a contact, except events and attempts at turns.
create or replace function hybridflow.rows_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'sessions', cardinality(p_session_ids),
        'messages', (select count(*) from public.messages as m where m.session_id = any(p_session_ids)),
        'archived_messages', (
            select count(*) from public.messages_archive as a where a.session_id = any(p_session_ids)
        ),
        'turns', (select count(*) from public.turns as t where t.session_id = any(p_session_ids)),
        'notices', (select count(*) from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids)),
        'spending', (select count(*) from public.spending as s where s.session_id = any(p_session_ids)),
        'session_notes', (
            select count(*) from public.session_notes as n where n.session_id = any(p_session_ids)
        ),
        'handoffs', (select count(*) from public.handoffs as h where h.session_id = any(p_session_ids)),
        'relays', (select count(*) from hybridflow.relays_about(p_session_ids))
    )
$$;

-- A media job as an export has it. Its bytes are not in it, of which there may be megabytes for each: where
-- there are some, `left_out` says which, and why.
create or replace function hybridflow.exported_media_job(p_job public.media_jobs)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_job) - '{token_hash,waiting,pictures,content}'::text[] || jsonb_build_object(
        'left_out', nullif(concat_ws(
            ' ',
            case when p_job.pictures is not null then
                'Small copies of what was sent are kept for a day, to be shown to the AI, and deleted then.'
            end,
            case when p_job.content is not null then
                'The file is kept until it is understood, and deleted then.'
            end,
            case when p_job.pictures is not null or p_job.content is not null then
                'An export is text and has no files: what was sent is in the chat of whoever sent it.'
            end
        ), '')
    )
$$;

-- All rows about a contact at once: {messages, archived_messages, turns, turn_attempts, notices, media_jobs,
-- kept_files, spending, session_notes, handoffs, relays, events}.
create or replace function hybridflow.all_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'messages', (
            select coalesce(jsonb_agg(hybridflow.message_json(m) order by m.sent_at, m.id), '[]')
            from public.messages as m where m.session_id = any(p_session_ids)
        ),
        'archived_messages', (
            select coalesce(jsonb_agg(to_jsonb(a) order by a.sent_at, a.id), '[]')
            from public.messages_archive as a where a.session_id = any(p_session_ids)
        ),
        'turns', (
            select coalesce(jsonb_agg(hybridflow.exported_turn(t) order by t.id), '[]')
            from public.turns as t where t.session_id = any(p_session_ids)
        ),
        'turn_attempts', (
            select coalesce(jsonb_agg(to_jsonb(a) order by a.turn_id, a.id), '[]')
            from public.turns as t
            cross join lateral hybridflow.attempts_at(t.id) as a
            where t.session_id = any(p_session_ids)
        ),
        'notices', (
            select coalesce(jsonb_agg(to_jsonb(n) - '{token_hash,waiting}'::text[] order by n.id), '[]')
            from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n
        ),
        'media_jobs', (
            select coalesce(jsonb_agg(hybridflow.exported_media_job(j.job) order by j.id), '[]')
            from public.messages as m
            cross join lateral (
                select k.id, k as job from public.media_jobs as k where k.message_id = m.id offset 0
            ) as j
            where m.session_id = any(p_session_ids)
        ),
        'kept_files', (
            select coalesce(jsonb_agg(hybridflow.exported_kept_file(j.file) order by j.id), '[]')
            from public.messages as m
            cross join lateral (
                select k.id, k as file from public.kept_files as k where k.message_id = m.id offset 0
            ) as j
            where m.session_id = any(p_session_ids)
        ),
        'spending', (
            select coalesce(jsonb_agg(to_jsonb(s) - 'id' order by s.day), '[]')
            from public.spending as s where s.session_id = any(p_session_ids)
        ),
        'session_notes', (
            select coalesce(jsonb_agg(to_jsonb(n) order by n.id), '[]')
            from public.session_notes as n where n.session_id = any(p_session_ids)
        ),
        'relays', (
            select coalesce(jsonb_agg(hybridflow.exported_relay(r) order by r.id), '[]')
            from hybridflow.relays_about(p_session_ids) as r
        ),
        'handoffs', (
            select coalesce(jsonb_agg(to_jsonb(h) order by h.id), '[]')
            from public.handoffs as h where h.session_id = any(p_session_ids)
        ),
        'events', (
            select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]')
            from hybridflow.events_about(p_tenant_id, p_session_ids, p_jids) as e
        )
    )
$$;

-- export_contact({tenant_id, jids: [jid], rows_follow?})
-- All that is stored of a contact under any of its identities. Returns {contact: {tenant_id, exported_at,
-- identities, sessions, messages?, archived_messages?, turns?, turn_attempts?, notices?, media_jobs?,
-- kept_files?, spending?, session_notes?, handoffs?, relays?, events?}, audit}. With rows_follow only as far
-- as `sessions`: the caller asks export_rows for the rest, which may be a lot. Locks nothing. PT404: see
-- find_contact.
create or replace function public.export_contact(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[];
    v_jids text[];
    v_audit jsonb;
    v_contact jsonb;
begin
    perform hybridflow.require_keys('export_contact', p, '{tenant_id,jids}');
    v_ids := hybridflow.sessions_of_contact(
        v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids'))
    );
    v_jids := hybridflow.identities_of(v_ids);
    v_audit := hybridflow.rows_about(v_tenant_id, v_ids, v_jids);
    v_contact := jsonb_build_object(
        'tenant_id', v_tenant_id, 'exported_at', hybridflow.clock(), 'identities', to_jsonb(v_jids),
        'sessions', (select jsonb_agg(hybridflow.session_json(i) order by i) from unnest(v_ids) as i)
    );
    if not coalesce((p ->> 'rows_follow')::boolean, false) then
        v_contact := v_contact || hybridflow.all_about(v_tenant_id, v_ids, v_jids);
        v_audit := v_audit || jsonb_build_object('events', jsonb_array_length(v_contact -> 'events'));
    end if;
    return jsonb_build_object('audit', v_audit, 'contact', v_contact);
end
$$;

-- A page of a session's messages, archived or not, the oldest first, for export_rows: their ids and times.
create or replace function hybridflow.said_in_session(
    p_session_id bigint, p_archived boolean, p_sent_at timestamptz, p_id bigint, p_limit integer
)
returns table (id bigint, sent_at timestamptz, wa_id text)
language sql
stable
set search_path = ''
as $$
    (
        select m.id, m.sent_at, m.wa_id from public.messages as m
        where not p_archived and m.session_id = p_session_id and (m.sent_at, m.id) > (p_sent_at, p_id)
        order by m.sent_at, m.id limit p_limit
    )
    union all
    (
        select a.id, a.sent_at, a.wa_id from public.messages_archive as a
        where p_archived and a.session_id = p_session_id and (a.sent_at, a.id) > (p_sent_at, p_id)
        order by a.sent_at, a.id limit p_limit
    )
$$;

-- A page of a session's messages for export_rows. They are read one by one, until the page is full: 500,000
-- bytes, and what its last message has beyond that.
create or replace function hybridflow.page_of_said(
    p_list text, p_session_id bigint, p_after jsonb, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_archived boolean := p_list like 'archived%';
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_last jsonb;
    m record;
begin
    for m in
        select s.* from hybridflow.said_in_session(
            p_session_id, v_archived, coalesce((p_after ->> 0)::timestamptz, '-infinity'),
            coalesce((p_after ->> 1)::bigint, 0), p_limit + 1
        ) as s
        order by s.sent_at, s.id
    loop
        if cardinality(v_items) = p_limit or v_size >= 500000 then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
            );
        elsif v_archived then
            select to_jsonb(a) into v_item from public.messages_archive as a where a.id = m.id;
        else
            select hybridflow.message_json(w) into v_item from public.messages as w where w.id = m.id;
        end if;
        v_items := v_items || v_item;
        v_size := v_size + octet_length(v_item::text);
        v_last := jsonb_build_array(m.sent_at, m.id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of the events of a session's messages for export_rows, likewise. It goes through p_limit messages,
-- and may end within the events of one: its key is then the message's with the id of the last event.
create or replace function hybridflow.page_of_events(
    p_list text, p_tenant_id bigint, p_session_id bigint, p_after jsonb, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_seen integer := 0;
    v_last jsonb;
    v_event_id bigint := (p_after ->> 2)::bigint;
    m record;
    e record;
begin
    for m in
        select s.* from hybridflow.said_in_session(
            p_session_id, p_list like 'archived%', coalesce((p_after ->> 0)::timestamptz, '-infinity'),
            -- the message that is not done, once more
            coalesce((p_after ->> 1)::bigint, 0) - case when v_event_id is null then 0 else 1 end, p_limit + 1
        ) as s
        order by s.sent_at, s.id
    loop
        if v_seen = p_limit then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
            );
        end if;
        for e in
            select f.id from hybridflow.events_about_message(p_tenant_id, m.wa_id) as f
            where f.id > coalesce(v_event_id, 0) and not exists (
                -- a message may be there as ours and as the contact's
                select from hybridflow.messages_called(m.wa_id) as o
                where o.session_id = p_session_id and o.id < m.id
            )
            order by f.id
        loop
            if v_size >= 500000 then
                return jsonb_build_object(
                    'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
                );
            end if;
            select to_jsonb(f) into v_item from public.processed_events as f where f.id = e.id;
            v_items := v_items || v_item;
            v_size := v_size + octet_length(v_item::text);
            v_last := jsonb_build_array(m.sent_at, m.id, e.id);
        end loop;
        v_event_id := null;
        v_seen := v_seen + 1;
        v_last := jsonb_build_array(m.sent_at, m.id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of the attempts at a session's turns for export_rows, likewise. It goes through p_limit turns, and
-- may end within the attempts at one.
create or replace function hybridflow.page_of_attempts(p_session_id bigint, p_after jsonb, p_limit integer)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_seen integer := 0;
    v_last jsonb;
    v_attempt_id bigint := (p_after ->> 1)::bigint;
    v_turn_id bigint;
    a record;
begin
    for v_turn_id in
        select t.id from public.turns as t
        where t.session_id = p_session_id
            -- the turn that is not done, once more
            and t.id > coalesce((p_after ->> 0)::bigint, 0) - case when v_attempt_id is null then 0 else 1 end
        order by t.id limit p_limit + 1
    loop
        if v_seen = p_limit then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export turn_attempts', v_last)
            );
        end if;
        for a in
            select f.id from public.turn_attempts as f
            where f.turn_id = v_turn_id and f.id > coalesce(v_attempt_id, 0)
            order by f.id
        loop
            if v_size >= 500000 then
                return jsonb_build_object(
                    'items', to_jsonb(v_items),
                    'next_cursor', hybridflow.to_cursor('export turn_attempts', v_last)
                );
            end if;
            select to_jsonb(f) into v_item from public.turn_attempts as f
            where f.turn_id = v_turn_id and f.id = a.id;
            v_items := v_items || v_item;
            v_size := v_size + octet_length(v_item::text);
            v_last := jsonb_build_array(v_turn_id, a.id);
        end loop;
        v_attempt_id := null;
        v_seen := v_seen + 1;
        v_last := jsonb_build_array(v_turn_id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of what waits for a contact's messages, for export_rows, likewise.
create or replace function hybridflow.page_of_changes(
    p_tenant_id bigint, p_session_id bigint, p_jids text[], p_after_id bigint, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_last bigint;
    c record;
begin
    for c in
        select f.id from hybridflow.changes_about(p_tenant_id, p_jids) as f
        where f.id > p_after_id and not exists (  -- not those that a page of events has
            select from hybridflow.messages_called(hybridflow.wa_id_of_event(f.event_key)) as m
            where m.session_id = p_session_id
        )
        order by f.id limit p_limit + 1
    loop
        if cardinality(v_items) = p_limit or v_size >= 500000 then
            return jsonb_build_object(
                'items', to_jsonb(v_items),
                'next_cursor', hybridflow.to_cursor('export changes', jsonb_build_array(v_last))
            );
        end if;
        select to_jsonb(f) into v_item from public.processed_events as f where f.id = c.id;
        v_items := v_items || v_item;
        v_size := v_size + octet_length(v_item::text);
        v_last := c.id;
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- export_rows({tenant_id, session_id, list, limit?, cursor?})
-- Returns {items, next_cursor}: a page of what an export has of one session: its messages,
-- archived_messages, turns, notices, media_jobs, kept_files, spending, session_notes, handoffs or relays;
-- the attempts at its turns (turn_attempts: a page goes through `limit` turns); its events by the messages
-- that they were about (events: a page goes through `limit` messages; archived_events), or that they
-- wait for (changes). A page ends earlier where it is large. PT404: not this tenant's.
-- PT422: there is no such list.
create or replace function public.export_rows(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_list text := p ->> 'list';
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_jids text[] := hybridflow.identities_of(array[v_session_id]);
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('export ' || v_list, p);
    v_after_id bigint := coalesce((v_after ->> -1)::bigint, 0);  -- every key ends with it
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('export_rows', p, '{tenant_id,session_id,list}');
    perform hybridflow.require_own(p);
    case v_list
        when 'messages', 'archived_messages' then
            return hybridflow.page_of_said(v_list, v_session_id, v_after, v_limit);
        when 'events', 'archived_events' then
            return hybridflow.page_of_events(v_list, v_tenant_id, v_session_id, v_after, v_limit);
        when 'turn_attempts' then
            return hybridflow.page_of_attempts(v_session_id, v_after, v_limit);
        when 'turns' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array((f.turn).id), 'item', hybridflow.exported_turn(f.turn)
            ) order by (f.turn).id)
            into v_rows
            from (
                select t as turn from public.turns as t
                where t.session_id = v_session_id and t.id > v_after_id order by t.id limit v_limit + 1
            ) as f;
        when 'notices' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f) - '{token_hash,waiting}'::text[]
            ) order by f.id)
            into v_rows
            from (
                select n.* from hybridflow.notices_about(v_tenant_id, array[v_session_id], v_jids) as n
                where n.id > v_after_id order by n.id limit v_limit + 1
            ) as f;
        when 'media_jobs' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id),
                'item', hybridflow.exported_media_job(f.job)
            ) order by f.id)
            into v_rows
            from (
                select j.* from public.messages as m
                cross join lateral (
                    select k.id, k as job from public.media_jobs as k where k.message_id = m.id offset 0
                ) as j
                where m.session_id = v_session_id and j.id > v_after_id order by j.id limit v_limit + 1
            ) as f;
        when 'kept_files' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id),
                'item', hybridflow.exported_kept_file(f.file)
            ) order by f.id)
            into v_rows
            from (
                select j.* from public.messages as m
                cross join lateral (
                    select k.id, k as file from public.kept_files as k where k.message_id = m.id offset 0
                ) as j
                where m.session_id = v_session_id and j.id > v_after_id order by j.id limit v_limit + 1
            ) as f;
        when 'spending' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f) - 'id'
            ) order by f.id)
            into v_rows
            from (
                select s.* from public.spending as s
                where s.session_id = v_session_id and s.id > v_after_id order by s.id limit v_limit + 1
            ) as f;
        when 'session_notes' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f)
            ) order by f.id)
            into v_rows
            from (
                select n.* from public.session_notes as n
                where n.session_id = v_session_id and n.id > v_after_id order by n.id limit v_limit + 1
            ) as f;
        when 'relays' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array((f.relay).id), 'item', hybridflow.exported_relay(f.relay)
            ) order by (f.relay).id)
            into v_rows
            from (
                select r as relay from hybridflow.relays_about(array[v_session_id]) as r
                where r.id > v_after_id order by r.id limit v_limit + 1
            ) as f;
        when 'handoffs' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f)
            ) order by f.id)
            into v_rows
            from (
                select h.* from public.handoffs as h
                where h.session_id = v_session_id and h.id > v_after_id order by h.id limit v_limit + 1
            ) as f;
        when 'changes' then
            return hybridflow.page_of_changes(v_tenant_id, v_session_id, v_jids, v_after_id, v_limit);
        else
            raise exception 'there is no list % to export', v_list using errcode = 'PT422';
    end case;
    return hybridflow.page('export ' || v_list, v_rows, v_limit);
end
$$;

-- Deletes the sessions' rows of a table with tenant_id and session_id; how many.
create or replace function hybridflow.erase_rows(p_table text, p_tenant_id bigint, p_session_ids bigint[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_count bigint;
begin
    execute format('delete from public.%I where tenant_id = $1 and session_id = any($2)', p_table)
    using p_tenant_id, p_session_ids;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Notes who was erased, and which messages: the tombstone.
create or replace function hybridflow.bury_contact(p_tenant_id bigint, p_session_ids bigint[], p_hashes jsonb)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    delete from public.erased_messages where erased_at < v_now - interval '30 days';
    perform hybridflow.bury_message(p_tenant_id, i) from hybridflow.wa_ids_of(p_session_ids) as i;
    insert into public.erased_contacts (tenant_id, contact_hash, erased_at)
    select distinct p_tenant_id, h.contact_hash, v_now
    from jsonb_each(p_hashes) as j (jid, hashes)
    cross join jsonb_array_elements_text(j.hashes) as h (contact_hash)
    on conflict (tenant_id, contact_hash) do update set erased_at = excluded.erased_at;
end
$$;

-- The notices of failures that name some of the sessions, and others with them.
create or replace function hybridflow.notices_that_name(p_session_ids bigint[])
returns bigint[]
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select array(
        select o.notice_id from public.turns as t
        inner join public.outages as o on o.id = t.outage_id and o.about is null
        where t.session_id = any(p_session_ids) and o.notice_id is not null
    )
$$;

-- Deletes the notices about a contact. What the staff was told of it by WhatsApp keeps its place, so that
-- its echo is known as our own, without its text. Notices of failures name others, too: these stay, and one
-- that is about to be told is given out anew, without the contact.
create or replace function hybridflow.erase_notices(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_naming bigint[] := hybridflow.notices_that_name(p_session_ids);
    v_count bigint;
begin
    perform from public.notices as n
    where n.id = any(v_naming) and n.state = 'pending'
    order by n.id for update;
    update public.notices
    set token_hash = null, lease_until = null, next_at = hybridflow.clock(), attempt = greatest(attempt - 1, 0)
    where id = any(v_naming) and state = 'pending' and token_hash is not null and number_told_at is null;
    update public.messages as m set body = ''
    from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n
    where m.id = n.message_id;
    update public.messages as m set body = ''
    from public.notices as n
    where m.id = n.message_id and n.id = any(v_naming);
    -- A turn knows the outage that it met last alone, and may be gone: what was told of others names numbers.
    update public.messages as m set body = ''
    from public.outages as o
    inner join public.notices as n on n.id = o.notice_id
    where o.tenant_id = p_tenant_id and o.about is null and m.id = n.message_id and exists (
        select from unnest(p_jids) as j (jid) where position(split_part(j.jid, '@', 1) in m.body) > 0
    );
    delete from public.notices
    where id = any(array(select n.id from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- erase_history({tenant_id, jids: [jid], batch?})
-- Deletes up to `batch` (500) of the oldest messages of a contact of whom there are more than twice as many,
-- and the events about them, so that erase_contact need not delete all of them at once: other calls wait
-- for the session as long as that takes. Returns {erased: {<table>: rows}, more}. PT404: see find_contact.
create or replace function public.erase_history(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_batch integer := coalesce((p ->> 'batch')::integer, 500);
    v_ids bigint[];
    v_id bigint;
    v_archived boolean;
    v_old bigint[];
    v_wa_ids text[];
    v_counts jsonb := '{}';
    v_events bigint;
    v_more boolean := false;
begin
    perform hybridflow.require_keys('erase_history', p, '{tenant_id,jids}');
    v_ids := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    foreach v_id in array v_ids loop
        foreach v_archived in array array[true, false] loop
            select array_agg(s.id order by s.sent_at, s.id), array_agg(s.wa_id order by s.sent_at, s.id)
            into v_old, v_wa_ids
            from hybridflow.said_in_session(v_id, v_archived, '-infinity', 0, 2 * v_batch + 1) as s;
            continue when coalesce(cardinality(v_old), 0) <= 2 * v_batch;
            v_more := true;
            v_wa_ids := array_remove(v_wa_ids[:v_batch], null);
            perform hybridflow.bury_message(v_tenant_id, w) from unnest(v_wa_ids) as w;
            delete from public.processed_events where id = any(array(
                select e.id from unnest(v_wa_ids) as w
                cross join lateral hybridflow.events_about_message(v_tenant_id, w) as e
            ));
            get diagnostics v_events = row_count;
            if v_archived then
                delete from public.messages_archive where id = any(v_old[:v_batch]);
            else
                delete from public.messages where id = any(v_old[:v_batch]);
            end if;
            v_counts := jsonb_build_object(
                'events', v_events, case when v_archived then 'messages_archive' else 'messages' end, v_batch
            );
            exit;
        end loop;
        exit when v_more;
    end loop;
    return jsonb_build_object('erased', v_counts, 'more', v_more);
end
$$;

-- erase_contact({tenant_id, jids: [jid], hashes: {<jid>: [hash]}, erased?: {<table>: rows}})
-- Deletes all that is stored of a contact under any of its identities, running turns included, and leaves
-- `hashes` (the router's, keyed) behind: what it wrote before is not recorded again, however it comes.
-- `erased` is what erase_history deleted before, which is counted, too. Returns {erased: {<table>: rows},
-- session_ids: [id], execution_ids: [id], audit}; the executions are n8n's, which worked on it. PT404: see
-- find_contact. PT409: it is known under a JID that has no hash: find it again.
create or replace function public.erase_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[];
    v_jids text[];
    v_executions jsonb;
    v_events bigint;
    v_counts jsonb;
begin
    perform hybridflow.require_keys('erase_contact', p, '{tenant_id,jids,hashes}');
    v_ids := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    v_jids := hybridflow.identities_of(v_ids);
    if not coalesce(p -> 'hashes' ?& v_jids, false) then
        raise exception 'the contact has become known under another identity: try again' using errcode = 'PT409';
    end if;
    v_executions := hybridflow.erase_executions(v_tenant_id, v_ids);
    perform hybridflow.bury_contact(v_tenant_id, v_ids, p -> 'hashes');
    delete from public.processed_events
    where id = any(array(select e.id from hybridflow.events_about(v_tenant_id, v_ids, v_jids) as e));
    get diagnostics v_events = row_count;
    v_counts := jsonb_build_object(
        'events', v_events, 'notices', hybridflow.erase_notices(v_tenant_id, v_ids, v_jids),
        'relays', hybridflow.erase_relays(v_ids)
    );
    select v_counts || jsonb_object_agg(t, hybridflow.erase_rows(t, v_tenant_id, v_ids)) into v_counts
    from unnest(array[
        'messages', 'messages_archive', 'turns', 'spending', 'session_notes', 'handoffs', 'session_identities'
    ]) as t;
    select v_counts || coalesce(
        jsonb_object_agg(b.key, b.value::bigint + (v_counts ->> b.key)::bigint), '{}'
    )
    into v_counts from jsonb_each_text(nullif(p -> 'erased', 'null')) as b where v_counts ? b.key;
    delete from public.sessions where id = any(v_ids);
    return jsonb_build_object(
        'erased', v_counts || jsonb_build_object('sessions', cardinality(v_ids)),
        'session_ids', to_jsonb(v_ids), 'execution_ids', v_executions,
        'audit', v_counts || jsonb_build_object(
            'sessions', cardinality(v_ids), 'contact', p -> 'hashes' -> (p -> 'jids' ->> 0) -> 0
        )
    );
end
$$;
