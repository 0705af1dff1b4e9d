-- HybridFlow: handoffs: begun by the AI, by the words of a reply, or by a flow.
--
-- A function that changes a handoff holds its session locked, and itself reports the change (see changes):
-- the table has no triggers.

-- Reports that a handoff of the session has changed.
create or replace function hybridflow.handoff_changed(p_tenant_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('handoff', p_tenant_id, p_session_id);
end
$$;

-- Locks the turns that speak about the handoffs of the locked session, before anybody locks one of the
-- handoffs: when such a turn ends, for example by a claim, it records in its handoff what became of the
-- words. So the order is session, turn, handoff.
create or replace function hybridflow.lock_turns_of_handoffs(p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.turns as t
    where t.id in (
        select unnest(array[h.turn_id, h.line_turn_id]) from public.handoffs as h
        where h.session_id = p_session_id and h.ended_at is null
    )
    order by t.id
    for update;
end
$$;

-- The reason of a handoff as one of the known words. What else a flow calls it is kept as `why`.
create or replace function hybridflow.handoff_reason(p_reason text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_reason in ('asked_for_person', 'not_known', 'not_allowed', 'upset', 'tool_failed') then p_reason
        else 'other'
    end
$$;

-- Why the session was paused, for its story. For a handoff, the summary is left out, because it may contain
-- the contact's own words.
create or replace function hybridflow.pause_reason_told(p_session public.sessions)
returns text
language sql
stable
set search_path = ''
as $$
    select case
        when p_session.pause_source <> 'ai' then p_session.pause_reason
        else coalesce(
            (
                select coalesce(h.why, h.reason) from public.handoffs as h
                where h.session_id = p_session.id
                order by h.id desc limit 1
            ),
            p_session.pause_reason
        )
    end
$$;

-- Calls a human to the locked session: pauses it with source 'ai', for no shorter time than before, begins a
-- handoff, and makes the notice for the people of the business. If a handoff already waits, that one stays. p
-- has what is known: {reason, why?, summary?, said?, part?, is_quiet?}. p_turn_id: the turn that hands off,
-- if one does. The caller cancels what the session was about to say.
create or replace function hybridflow.begin_handoff(p_session public.sessions, p_turn_id bigint, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_called text := coalesce(p ->> 'why', p ->> 'reason');
begin
    update public.sessions
    set is_paused = true, pause_source = 'ai',
        pause_reason = left(concat_ws(': ', v_called, p ->> 'summary'), 2000),
        pause_message_id = null, paused_at = v_now,
        paused_until = case when is_paused then paused_until end,
        pause_indefinite = is_paused and pause_indefinite,
        pause_asked_at = v_now,
        -- What a human asked for without an end time counts as a message written then.
        pause_written_at = case
            when is_paused then greatest(pause_written_at, hybridflow.asked_by_human(p_session))
        end,
        last_human_at = v_now, updated_at = v_now
    where id = p_session.id;
    insert into public.handoffs (
        tenant_id, session_id, turn_id, reason, why, summary, said, words, created_at, step_at, next_at, is_quiet,
        part
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, hybridflow.handoff_reason(p ->> 'reason'),
        left(nullif(v_called, hybridflow.handoff_reason(p ->> 'reason')), 2000), left(p ->> 'summary', 2000),
        left(p ->> 'said', 8000), case when p ->> 'said' is null then 'none' else 'saying' end, v_now, v_now,
        v_now + hybridflow.seconds(60 * (
            select t.handoff_remind_minutes from public.tenants as t where t.id = p_session.tenant_id
        )),
        coalesce((p ->> 'is_quiet')::boolean, false), (p ->> 'part')::integer
    )
    on conflict (session_id) where state = 'waiting' do nothing;
    perform hybridflow.handoff_changed(p_session.tenant_id, p_session.id);
    perform hybridflow.notice_handoff(p_session, v_called, p ->> 'summary');
end
$$;

-- Part p_part of the turn's reply, whose send begins, hands off: the locked session is paused for a human,
-- and what else it was about to say is cancelled. If the part did not leave and is sent again, nothing more
-- happens.
create or replace function hybridflow.hand_off_with(
    p_session public.sessions, p_turn public.turns, p_part integer
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.handoffs as h where h.turn_id = p_turn.id) then
        return;
    end if;
    perform hybridflow.cancel_other_turns(p_session.id, p_turn.id, 'paused');
    perform hybridflow.begin_handoff(
        p_session, p_turn.id, p_turn.reply -> p_part -> 'handoff' || jsonb_build_object('said', (
            select string_agg(coalesce(w.part ->> 'text', w.part #>> '{}'), E'\n\n' order by w.number)
            from jsonb_array_elements(p_turn.reply) with ordinality as w (part, number)
            where w.number > p_part and w.part -> 'path' is null
        ))
    );
end
$$;

-- More is known about the handoff that turn p_turn_id has begun: {reason, summary?}. The people of the
-- business are told that as well, if they have not been told about the handoff yet. Returns whether the turn
-- has begun a handoff that waits.
create or replace function hybridflow.know_more_of_handoff(p_turn_id bigint, p jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs
    set reason = hybridflow.handoff_reason(p ->> 'reason'),
        why = left(nullif(p ->> 'reason', hybridflow.handoff_reason(p ->> 'reason')), 2000),
        summary = coalesce(left(p ->> 'summary', 2000), summary)
    where turn_id = p_turn_id and state = 'waiting'
    returning * into v_handoff;
    if v_handoff.id is null then
        return false;
    end if;
    update public.sessions
    set pause_reason = left(concat_ws(': ', p ->> 'reason', v_handoff.summary), 2000)
    where id = v_handoff.session_id and pause_source = 'ai';
    update public.notices
    set next_at = hybridflow.clock(), facts = facts || jsonb_strip_nulls(jsonb_build_object(
        'reason', left(p ->> 'reason', 500), 'summary', v_handoff.summary
    ))
    where id = hybridflow.untold_handoff_notice(v_handoff.session_id);
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    return true;
end
$$;

-- A flow's send, which is about to leave, promises a human: the locked session is handed off with it, once
-- per turn. p_handoff: {reason, why?, said, part}. The flow may still say why (see hand_off); the notice
-- waits ten seconds for that.
create or replace function hybridflow.hand_off_by_promise(
    p_session public.sessions, p_turn_id bigint, p_handoff jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.handoffs as h where h.turn_id = p_turn_id) then
        return;
    end if;
    perform hybridflow.cancel_other_turns(p_session.id, p_turn_id, 'paused');
    perform hybridflow.begin_handoff(p_session, p_turn_id, p_handoff);
    update public.notices set next_at = hybridflow.clock() + interval '10 seconds'
    where id = hybridflow.untold_handoff_notice(p_session.id);
end
$$;
