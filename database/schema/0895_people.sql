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

-- The sessions of whom p_jids name, locked, the lower id first. Raises PT404 where there is none.
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
        select array_agg(distinct i.session_id order by i.session_id) into v_ids
        from public.session_identities as i
        where i.tenant_id = p_tenant_id and i.jid = any(p_jids);
        if v_ids is null then
            raise exception 'tenant % has no session with %', p_tenant_id, p_jids[1] using errcode = 'PT404';
        end if;
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
as $$
    select * from public.notices
    where tenant_id = p_tenant_id and (session_id = any(p_session_ids) or facts ->> 'jid' = any(p_jids))
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

-- The events that were about a contact or its messages, or wait for one.
create or replace function hybridflow.events_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    with said as materialized (select i as wa_id from hybridflow.wa_ids_of(p_session_ids) as i)

    select * from public.processed_events as e
    where e.tenant_id = p_tenant_id and (
        (e.decision ->> 'session_id')::bigint = any(p_session_ids)
        or e.change -> 'jids' ?| p_jids
        or hybridflow.wa_id_of_event(e.event_key) in (select s.wa_id from said as s)
    )
$$;

-- find_contact({tenant_id, jids})
-- Under which JIDs a contact is known: {session_ids, identities}. PT404: no session has any of `jids`.
create or replace function public.find_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[] := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
begin
    return jsonb_build_object(
        'session_ids', to_jsonb(v_ids), 'identities', to_jsonb(hybridflow.identities_of(v_ids))
    );
end
$$;

-- export_contact({tenant_id, jids})
-- All that is stored of a contact under any of its identities: {contact: {tenant_id, exported_at,
-- identities, sessions, messages, archived_messages, turns, notices, spending, events}}. PT404: see
-- find_contact.
create or replace function public.export_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[] := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    v_jids text[] := hybridflow.identities_of(v_ids);
    v_lists jsonb := jsonb_build_object(
        'sessions', (select jsonb_agg(hybridflow.session_json(i) order by i) from unnest(v_ids) as i),
        'messages', (
            select jsonb_agg(hybridflow.message_json(m) order by m.sent_at, m.id)
            from public.messages as m where m.session_id = any(v_ids)
        ),
        'archived_messages', (
            select jsonb_agg(to_jsonb(a) order by a.sent_at, a.id)
            from public.messages_archive as a where a.session_id = any(v_ids)
        ),
        'turns', (
            select jsonb_agg(
                hybridflow.turn_json(t.id) || jsonb_build_object('said_so_far', t.said_so_far) order by t.id
            )
            from public.turns as t where t.session_id = any(v_ids)
        ),
        'notices', (
            select jsonb_agg(to_jsonb(n) - 'token_hash' order by n.id)
            from hybridflow.notices_about(v_tenant_id, v_ids, v_jids) as n
        ),
        'spending', (
            select jsonb_agg(to_jsonb(s) - 'id' order by s.day)
            from public.spending as s where s.session_id = any(v_ids)
        ),
        'events', (
            select jsonb_agg(to_jsonb(e) order by e.id)
            from hybridflow.events_about(v_tenant_id, v_ids, v_jids) as e
        )
    );
    v_name text;
    v_counts jsonb := '{}';
begin
    foreach v_name in array array(select jsonb_object_keys(v_lists)) loop
        v_lists := jsonb_set(v_lists, array[v_name], coalesce(nullif(v_lists -> v_name, 'null'), '[]'));
        v_counts := v_counts || jsonb_build_object(v_name, jsonb_array_length(v_lists -> v_name));
    end loop;
    return jsonb_build_object('audit', v_counts, 'contact', v_lists || jsonb_build_object(
        'tenant_id', v_tenant_id, 'exported_at', hybridflow.clock(), 'identities', to_jsonb(v_jids)
    ));
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

-- Deletes the notices about a contact. What the staff was told of it by WhatsApp keeps its place, so that
-- its echo is known as our own, without its text.
create or replace function hybridflow.erase_notices(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_count bigint;
begin
    update public.messages as m set body = ''
    from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n
    where m.id = n.message_id;
    delete from public.notices
    where id in (select n.id from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n);
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- erase_contact({tenant_id, jids, hashes: {jid: [hash]}})
-- Deletes all that is stored of a contact under any of its identities, running turns included, and leaves
-- `hashes` (the router's, keyed) behind: what it wrote before is not recorded again, whoever brings it.
-- Returns {erased: {table: rows}, session_ids, execution_ids: n8n's runs that worked on it}.
-- PT404: see find_contact. PT409: it is known under a JID that has no hash: find it again.
create or replace function public.erase_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[] := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    v_jids text[] := hybridflow.identities_of(v_ids);
    v_executions jsonb;
    v_events bigint;
    v_counts jsonb;
begin
    if not coalesce(p -> 'hashes' ?& v_jids, false) then
        raise exception 'the contact has become known under another identity: try again' using errcode = 'PT409';
    end if;
    v_executions := hybridflow.erase_executions(v_tenant_id, v_ids);
    perform hybridflow.bury_contact(v_tenant_id, v_ids, p -> 'hashes');
    delete from public.processed_events
    where id in (select e.id from hybridflow.events_about(v_tenant_id, v_ids, v_jids) as e);
    get diagnostics v_events = row_count;
    v_counts := jsonb_build_object('events', v_events, 'notices', hybridflow.erase_notices(v_tenant_id, v_ids, v_jids));
    select v_counts || jsonb_object_agg(t, hybridflow.erase_rows(t, v_tenant_id, v_ids)) into v_counts
    from unnest(array['messages', 'messages_archive', 'turns', 'spending', 'session_identities']) as t;
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
