-- HybridFlow: erases all of one contact's data. If there is very much, the oldest messages go first.

-- Deletes the sessions' rows of a table that has tenant_id and session_id. Returns how many.
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

-- Stores who was erased, and which messages: the tombstone.
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
    insert into public.erased_contacts (tenant_id, contact_hash, erased_at, was_sending, contact_wrote_at)
    select distinct p_tenant_id, h.contact_hash, v_now, exists (
        select from public.messages as m
        where m.session_id = any(p_session_ids) and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until > v_now)
    ), (
        select max(s.last_contact_at) from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.id = any(p_session_ids)
            and s.last_contact_at > v_now - hybridflow.seconds(t.auto_reply_seconds)
    )
    from jsonb_each(p_hashes) as j (jid, hashes)
    cross join jsonb_array_elements_text(j.hashes) as h (contact_hash)
    on conflict (tenant_id, contact_hash) do update
        set erased_at = excluded.erased_at, was_sending = excluded.was_sending,
            contact_wrote_at = excluded.contact_wrote_at, human_wrote_at = null;
end
$$;

-- Returns the notices of outages that may name these sessions together with others.
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

-- Deletes the notices about a contact. A notice that the staff got by WhatsApp stays as a message without
-- text, so that its echo is recognised as our own. Notices of failures that also name others are not deleted;
-- if one is about to be told, it is given out again, without the contact.
create or replace function hybridflow.erase_notices(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_naming bigint[] := hybridflow.notices_that_name(p_session_ids);
    v_count bigint;
begin
    -- The messages to the staff are in the staff's session, which is not locked. Lock the message first, and
    -- then its notice.
    perform from public.messages where id = any(array(
        select n.message_id from public.notices as n where n.id = any(v_naming) and n.message_id is not null
    )) order by id for update;
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
    -- A turn stores only the outage that it met last, and it may be deleted. So also search the texts of the
    -- notices for the contact's numbers and name.
    update public.messages as m set body = ''
    from public.outages as o
    inner join public.notices as n on n.id = o.notice_id
    where o.tenant_id = p_tenant_id and o.about is null and m.id = n.message_id and exists (
        select from unnest(p_jids) as j (jid) where position(split_part(j.jid, '@', 1) in m.body) > 0
        union all
        select from public.sessions as s
        where s.id = any(p_session_ids) and s.contact_name <> '' and position(s.contact_name in m.body) > 0
    );
    delete from public.notices
    where id = any(array(select n.id from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- erase_history({tenant_id, jids: [jid], batch?})
-- If the contact has more than twice `batch` (500) messages, deletes up to `batch` of the oldest ones, and
-- the events about them. So erase_contact need not delete all of them at once, while other calls wait for the
-- session. Returns {erased: {<table>: rows}, more}. PT404: see find_contact.
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
-- Deletes everything that is stored about a contact, under all its identities, including running turns.
-- `hashes` (keyed, made by the router) are kept, so that the contact's earlier messages are not recorded
-- again, however they come. `erased` is what erase_history deleted before; it is added to the counts. Returns
-- {erased: {<table>: rows}, session_ids: [id], execution_ids: [id], audit}. execution_ids: the executions of
-- n8n that worked on its turns. PT404: see find_contact. PT409: the contact is known under a JID that has no
-- hash; find it again.
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
    -- A claim may end a turn without the session's lock: it holds the turn, and then asks for the turn's
    -- notice. So lock the turns before the notices.
    perform from public.turns where session_id = any(v_ids) order by id for update;
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
