-- HybridFlow: a session, a turn and a message as operators see them.

-- A session as the API shows it. If p_policy is given, with pause_ends_at, which depends on the policy.
create or replace function hybridflow.session_json(p_session_id bigint, p_policy jsonb default null)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(s) - array[
        'pause_message_id', 'pause_asked_at', 'pause_written_at', 'merged_at', 'erased_before', 'erasure_checked',
        'awaited_pictures', 'awaited_until', 'away_until', 'away_message_id',
        'fallback_told_at', 'fallback_message_id'
    ] || jsonb_build_object(
        'contact_name', hybridflow.cut(s.contact_name, 256),
        'identities', (
            select coalesce(jsonb_agg(i.jid order by i.jid), '[]')
            from public.session_identities as i where i.session_id = s.id
        ),
        'handoff', hybridflow.open_handoff_json(s.id)
    ) || case when p_policy is null then '{}' else jsonb_build_object(
        'pause_ends_at', hybridflow.pause_ends_at(s, t.resume_after_hours, p_policy)
    ) end
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_session_id
$$;

-- A turn as the API shows it: without its token.
create or replace function hybridflow.turn_json(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(t)
        - '{token_hash,beside,seen_at,said_so_far,waiting,held,due_when_heard,outage_id}'::text[]
    from public.turns as t where t.id = p_turn_id
$$;

-- A message as the API shows it.
create or replace function hybridflow.message_json(p_message public.messages)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_message)
        - '{send_began_at,identity,told_as,chosen_id,late_until,check_at,upload_seconds}'::text[]
$$;

-- A message as the API shows it, cut if it was stored when messages could be longer.
create or replace function hybridflow.short_message_json(p_message public.messages)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    p_message.body := hybridflow.cut(p_message.body);
    p_message.quoted := hybridflow.cut_fields(p_message.quoted);
    p_message.media := hybridflow.cut_fields(p_message.media);
    p_message.transcript := hybridflow.cut(p_message.transcript);
    p_message.description := hybridflow.cut(p_message.description);
    p_message.author_name := hybridflow.cut(p_message.author_name, 256);
    return hybridflow.message_json(p_message);
end
$$;

-- get_session({tenant_id, session_id, policy?})
-- Returns {session}. PT404: the tenant has no such session.
create or replace function public.get_session(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_session', p, '{tenant_id,session_id}');
    perform hybridflow.require_own(p);
    return jsonb_build_object(
        'session', hybridflow.session_json((p ->> 'session_id')::bigint, p -> 'policy')
    );
end
$$;
