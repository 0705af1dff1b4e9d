-- HybridFlow: handoffs: begun, by the AI, a reply's words or a flow's.
--
-- A function that changes one holds its session locked. There are no triggers on the table: that
-- function also tells of the change (see changes).

-- Notes that a handoff of the session is otherwise now.
create or replace function hybridflow.handoff_changed(p_tenant_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('handoff', p_tenant_id, p_session_id);
end
$$;

-- Locks the turns that speak of the handoffs of the locked session, before anybody locks one of those: a turn
-- that ends, by a claim say, writes down what became of its handoff's words. So the order is session, turn,
-- handoff.
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

-- The words that a handoff's reason is one of; what else a flow calls it by is kept as `why`.
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

-- Why the session was paused, as a story tells it: of a handoff not its summary, which may be the contact's
-- own words.
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

-- A human is wanted in the locked session: it is paused with source 'ai', no shorter than it was, a handoff
-- waits there, and the people of the business are told by a notice. Of several at once the first one waits. p
-- has what is known of it: {reason, why?, summary?, said?, part?, is_quiet?}. p_turn_id: the turn that hands
-- off, if one does. What the session was about to say is for the caller to cancel.
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
        -- What a human asked for without saying until when counts as what they wrote then.
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

-- Part p_part of the turn's reply, which begins to be said, hands off: the locked session is paused for a
-- human, and what else it was about to say is cancelled. Said again, after it did not leave, it is the same.
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

-- Of a handoff that turn p_turn_id has begun more is known, {reason, summary?}: the people of the business
-- are told that, too, where they were not told of it yet. Returns whether the turn has begun one that waits.
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
-- for its turn. p_handoff: {reason, why?, said, part}. The flow may go on to say why (see
-- hand_off): for that the notice waits for ten seconds.
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
