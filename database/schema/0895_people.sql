-- HybridFlow: finds the rows about one contact.

-- Returns the sessions of the contact that p_jids name. Raises PT404 if there is none.
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

-- Like sessions_of_contact, but locks them, in the order of their ids.
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
        exit when v_locked = cardinality(v_ids);  -- otherwise one was merged while we waited
    end loop;
    return v_ids;
end
$$;

-- Returns the JIDs of the sessions.
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

-- Returns the notices about a contact: those of its sessions, and those that name it but have no session any
-- more.
create or replace function hybridflow.notices_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.notices
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.* from (  -- without statistics, PostgreSQL might use the tenant's index
        select s.* from public.notices as s where s.session_id = any(p_session_ids) offset 0
    ) as n
    where n.tenant_id = p_tenant_id
    union all
    select n.* from public.notices as n
    where n.tenant_id = p_tenant_id and n.facts ->> 'jid' = any(p_jids)
        and coalesce(n.session_id <> all(p_session_ids), true)
$$;

-- Returns the ids of all messages of the sessions, including archived ones.
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

-- Returns the events about a message.
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

-- Returns the edits, deletions and delivery states that waited for a contact's message, or are still waiting.
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

-- Returns the events about a contact's messages, and those that wait for one. Events about no message are not
-- about a contact either. Pruning a message also prunes its events.
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
-- Returns {session_ids: [id], identities: [jid]}: the sessions of a contact and all JIDs under which it is
-- known. PT404: no session has any of `jids`.
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
