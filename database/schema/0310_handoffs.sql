-- HybridFlow: handoffs: begun, taken by a human, and given back with the conversation.
--
-- Whoever changes one holds its session locked. There are no triggers on the table: a change of one is told
-- of (see changes) by the function that makes it.

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

-- A human is wanted in the locked session: it is paused with source 'ai', no shorter than it was, a handoff
-- waits there, and the people of the business are told by a notice. Of several at once the first one waits.
-- p has what is known of it: {reason, why?, summary?, said?}. p_turn_id: the turn that hands off, if one
-- does. What the session was about to say is for the caller to cancel.
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
        pause_asked_at = v_now, pause_written_at = case when is_paused then pause_written_at end,
        last_human_at = v_now, updated_at = v_now
    where id = p_session.id;
    insert into public.handoffs (
        tenant_id, session_id, turn_id, reason, why, summary, said, words, created_at, step_at
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, hybridflow.handoff_reason(p ->> 'reason'),
        left(nullif(v_called, hybridflow.handoff_reason(p ->> 'reason')), 2000), left(p ->> 'summary', 2000),
        left(p ->> 'said', 8000), case when p ->> 'said' is null then 'none' else 'saying' end, v_now, v_now
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
            where w.number > p_part
        ))
    );
end
$$;

-- How a turn that has said all it can is closed: as a handoff, if it was one.
create or replace function hybridflow.ends_as_handoff(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select 'handoff' where exists (select from public.handoffs as h where h.turn_id = p_turn_id)
$$;

-- A turn that told the customer of a handoff has ended: notes whether all of that is on the phone. A handoff
-- stands whether or not: the people of the business are told where the customer was not.
create or replace function hybridflow.words_are_over()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs as h
    set words = case when new.state = 'sent' and not exists (
            select from jsonb_array_elements(new.reply) with ordinality as w (part, number)
            where w.number >= (
                select min(f.number)
                from jsonb_array_elements(new.reply) with ordinality as f (part, number)
                where f.part -> 'handoff' is not null
            ) and not exists (
                select from public.messages as m
                where m.turn_id = new.id and m.part = w.number - 1 and m.send_state = 'sent'
            )
        ) then 'said' else 'not_said' end
    where h.turn_id = new.id and h.words = 'saying'
    returning * into v_handoff;
    if v_handoff.id is null then
        return null;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_handoff.words = 'not_said' and v_handoff.state = 'waiting' then
        perform hybridflow.notice_words_lost(v_handoff);
    end if;
    return null;
end
$$;

create or replace trigger turns_words_are_over
after update of state on public.turns
for each row when (
    new.state in ('sent', 'cancelled', 'dead') and old.state in ('pending', 'running', 'sending')
    and new.reply @? '$[*].handoff'
)
execute function hybridflow.words_are_over();

-- A human of the business is there: the handoff that waits in the locked session, if one does, is taken.
-- p_by is 'owner' or 'operator', p_name who that is, if it is known, and p_message_id what was written at
-- p_at. What was written before it began takes nothing (10 s of tolerance: WhatsApp's clock is not ours).
create or replace function hybridflow.take_handoff(
    p_session_id bigint, p_by text, p_name text, p_message_id bigint, p_at timestamptz
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs
    set state = 'taken', taken_at = greatest(p_at, created_at), taken_by = p_by, taken_name = left(p_name, 256),
        taken_message_id = p_message_id, next_at = null
    where session_id = p_session_id and state = 'waiting' and p_at >= created_at - interval '10 seconds'
    returning * into v_handoff;
    if v_handoff.id is null then
        return false;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    return true;
end
$$;

-- Message p_message_id was taken for a human's and is none: what it took waits again, and the turn that was
-- saying so goes on with it. The session is locked.
create or replace function hybridflow.untake_handoff(p_message_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs as h
    set state = 'waiting', taken_at = null, taken_by = null, taken_name = null, taken_message_id = null,
        next_at = h.step_at
    where h.taken_message_id = p_message_id and h.state = 'taken' and not exists (
        select from public.handoffs as o where o.session_id = h.session_id and o.state = 'waiting'
    )
    returning * into v_handoff;
    if v_handoff.id is null then
        return;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    update public.turns set stop_reason = null, updated_at = hybridflow.clock()
    where id in (v_handoff.turn_id, v_handoff.line_turn_id) and held and stop_reason = 'takeover';
end
$$;

-- A session that is no longer paused is the AI's again: its handoffs are over. One that nobody took, and
-- whose pause ran out, has expired. A trigger, for pauses end in several ways.
create or replace function hybridflow.end_handoffs()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.handoffs
    set state = case when state = 'waiting' and new.resume_source = 'cron' then 'expired' else 'done' end,
        ended_at = hybridflow.clock(), next_at = null
    where session_id = new.id and ended_at is null;
    if found then
        perform hybridflow.handoff_changed(new.tenant_id, new.id);
    end if;
    return null;
end
$$;

create or replace trigger sessions_end_handoffs
after update of is_paused on public.sessions
for each row when (old.is_paused and not new.is_paused)
execute function hybridflow.end_handoffs();

-- Session p_from is merged into p_into, both locked: its handoffs are the other's now. Of two that wait the
-- older one does, and the other is done.
create or replace function hybridflow.merge_handoffs(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.handoffs
    set state = 'done', ended_at = hybridflow.clock(), next_at = null
    where id = (
        select max(h.id) from public.handoffs as h
        where h.session_id in (p_into, p_from) and h.state = 'waiting'
        having count(*) > 1
    );
    update public.handoffs set session_id = p_into where session_id = p_from;
end
$$;
