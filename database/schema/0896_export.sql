-- HybridFlow: exports all of one contact's data in one answer.

-- A turn as an export shows it. Its attempts are a list of their own.
create or replace function hybridflow.exported_turn(p_turn public.turns)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select hybridflow.turn_json(p_turn.id) || jsonb_build_object('said_so_far', p_turn.said_so_far)
$$;

-- Returns the attempts at a turn.
create or replace function hybridflow.attempts_at(p_turn_id bigint)
returns setof public.turn_attempts
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select a.* from public.turn_attempts as a where a.turn_id = p_turn_id
$$;

-- Returns how many rows there are about a contact, except events and attempts at turns.
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

-- A media job as an export shows it. Its bytes are not included, because each job may have megabytes. If it
-- has some, `left_out` says which, and why they are left out.
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
                'An export is text and has no files: what was sent is in the chat of its sender.'
            end
        ), '')
    )
$$;

-- Returns all rows about a contact at once: {messages, archived_messages, turns, turn_attempts, notices,
-- media_jobs, kept_files, spending, session_notes, handoffs, relays, events}.
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
-- Everything that is stored about a contact, under all its identities. Returns {contact: {tenant_id,
-- exported_at, identities, sessions, messages?, archived_messages?, turns?, turn_attempts?, notices?,
-- media_jobs?, kept_files?, spending?, session_notes?, handoffs?, relays?, events?}, audit}. With
-- rows_follow, only the keys up to `sessions` are given: the caller gets the rest from export_rows, because
-- it may be large. Locks nothing. PT404: see find_contact.
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
