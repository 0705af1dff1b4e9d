-- HybridFlow: operators pause and resume a session; a pause that has run out ends.

-- Ends the pause of the locked session if it has run out. Returns whether it did.
create or replace function hybridflow.end_expired_pause(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if coalesce(hybridflow.pause_ends_at(p_session, p_resume_after, p_policy) <= hybridflow.clock(), false) then
        perform hybridflow.end_pause(p_session.id, 'cron');
        return true;
    end if;
    return false;
end
$$;

-- The session that an operator's request names, locked. Raises PT404 if it is not the tenant's own.
create or replace function hybridflow.session_of(p jsonb)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session public.sessions;
begin
    select * into v_session from public.sessions
    where id = (p ->> 'session_id')::bigint and tenant_id = v_tenant_id
    for update;
    if not found then
        raise exception 'tenant % has no session %', v_tenant_id, p ->> 'session_id' using errcode = 'PT404';
    end if;
    return v_session;
end
$$;

-- pause_session({caller?, tenant_id, session_id, source, reason?, until?, indefinite?, policy?})
-- Pauses a session: until `until`, for ever (`indefinite`), or, with neither, until RESUME_AFTER_HOURS have
-- passed, as after a human's message. Cancels what it was about to say. `until` replaces what was asked
-- before; without `until` and `indefinite`, the earlier request stays valid as well. What a human's message
-- asks for always stays valid. The latest end counts (`pause_ends_at`); resume_session ends them all. Returns
-- {session, cancelled_turns}: the number of cancelled turns. PT404: not this tenant's. PT422: `until` is not
-- in the future.
create or replace function public.pause_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_until timestamptz := (p ->> 'until')::timestamptz;
    v_for_ever boolean := coalesce((p ->> 'indefinite')::boolean, false);
    v_cancelled integer;
begin
    perform hybridflow.require_keys('pause_session', p, '{tenant_id,session_id,source}');
    v_session := hybridflow.session_of(p);
    if v_until <= hybridflow.clock() then
        raise exception 'until must be in the future, not %', p ->> 'until' using errcode = 'PT422';
    end if;
    update public.sessions
    set is_paused = true,
        pause_source = p ->> 'source',
        pause_reason = p ->> 'reason',
        pause_message_id = null,
        paused_at = hybridflow.clock(),
        paused_until = case when v_until is not null or not is_paused then v_until else paused_until end,
        pause_indefinite = v_for_ever or (v_until is null and is_paused and pause_indefinite),
        pause_asked_at = case when v_until is null and not v_for_ever then hybridflow.clock() end,
        pause_written_at = case
            when is_paused  -- a pause from before 0.2.0 does not say when the owner wrote
                then coalesce(pause_written_at, case when pause_source = 'owner' then last_human_at end)
        end,
        last_human_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where id = v_session.id;
    if p ->> 'source' in ('owner', 'operator') then
        perform hybridflow.take_handoff(
            v_session.id, p ->> 'source', p -> 'caller' ->> 'name', null, hybridflow.clock()
        );
    end if;
    v_cancelled := hybridflow.cancel_turns(v_session.id, 'paused');
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'), 'cancelled_turns', v_cancelled
    );
end
$$;

-- resume_session({tenant_id, session_id, source, policy})
-- Ends a pause; does nothing to a session that is not paused. Recent messages of the customer that nobody
-- answered get a turn. Returns {session, resumed, turn_id}: whether it was paused, and that turn (null:
-- none). PT404: as in pause_session.
create or replace function public.resume_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_session public.sessions;
    v_turn_id bigint;
begin
    perform hybridflow.require_keys('resume_session', p, '{tenant_id,session_id,source,policy}');
    v_session := hybridflow.session_of(p);
    if v_session.is_paused then
        perform hybridflow.end_pause(v_session.id, p ->> 'source');
        v_turn_id := hybridflow.answer_unanswered(v_session.id, p -> 'policy');
    end if;
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'),
        'resumed', v_session.is_paused,
        'turn_id', v_turn_id
    );
end
$$;
