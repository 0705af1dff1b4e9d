-- HybridFlow: exports all of one contact's data page by page, however much it is.

-- A page of a session's messages, archived or not, the oldest first: their ids and times. For export_rows.
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

-- A page of a session's messages for export_rows. They are read one by one until the page is full: it ends
-- with the message that reaches 500,000 bytes.
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

-- A page of the events of a session's messages for export_rows. It ends at the same size. It covers p_limit
-- messages, and may end between the events of one message; then its key also has the id of the last event.
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
            -- the message that is not finished comes again
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
                -- one id may belong to a message of ours and to one of the contact
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

-- A page of the attempts at a session's turns for export_rows. It ends at the same size. It covers p_limit
-- turns, and may end between the attempts at one turn.
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
            -- the turn that is not finished comes again
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

-- A page of the changes that wait for a contact's messages, for export_rows. It ends at the same size.
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
        where f.id > p_after_id and not exists (  -- pages of events have the others
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
-- Returns {items, next_cursor}: a page of the export of one session. `list` is messages, archived_messages,
-- turns, notices, media_jobs, kept_files, spending, session_notes, handoffs or relays; turn_attempts (a page
-- covers `limit` turns); events or archived_events, the events about its messages (a page covers `limit`
-- messages); or changes, which wait for a message. A large page ends earlier. PT404: no such tenant, or the
-- session is not the tenant's. PT422: there is no such list.
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
    v_after_id bigint := coalesce((v_after ->> -1)::bigint, 0);  -- the last element of every key is an id
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
