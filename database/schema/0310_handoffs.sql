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

-- The turn p_turn, which a flow has and whose session is locked, ends with a handoff (p_handoff), of which
-- the customer is told p_say, a list of texts. That, behind what the flow has said, is its reply now: whoever
-- claims it goes on with it, and it hands off as that begins to be said (see begin_send). What of the flow
-- did not leave is given up: it is for the human now. So is what is in doubt, where it is found not to have
-- left: of a file the reply has no more than what stands for it. p_outcome: how the flow's attempt
-- ended with that.
create or replace function hybridflow.say_handoff(
    p_turn public.turns, p_handoff jsonb, p_say jsonb, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_in_doubt boolean := hybridflow.is_in_doubt(p_turn.id);
    v_told jsonb := jsonb_build_array(jsonb_build_object('handoff', p_handoff, 'text', p_say -> 0))
        || (p_say - 0);
begin
    if v_in_doubt or exists (
        select from public.messages as m where m.turn_id = p_turn.id and m.from_me and m.send_state = 'sent'
    ) then
        update public.messages set given_up = 'its flow has called a human'
        where turn_id = p_turn.id and part is not null and send_state in ('failed', 'sending', 'unknown')
            and given_up is null;
        update public.turns
        set state = 'sending', reply = (
                select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
                where m.turn_id = p_turn.id and m.part is not null
            ) || v_told
        where id = p_turn.id;
        perform hybridflow.put_aside(
            p_turn.id, v_now + case when v_in_doubt then interval '3 seconds' else interval '0' end, p_outcome
        );
    else
        perform hybridflow.reply_instead(p_turn.id, v_told, p_outcome);
    end if;
    -- To send what is left is no further attempt.
    update public.turns set handler = p_turn.handler, attempt = greatest(attempt - 1, 0)
    where id = p_turn.id;
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
create or replace function hybridflow.words_end(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs as h
    set words = case when h.part is not null then case when exists (
            -- A flow's own send promised a human: what else it sent, and how that ended, is another matter.
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part = h.part and m.send_state = 'sent'
        ) then 'said' else 'not_said' end when p_turn.state = 'sent' and not exists (
            select from jsonb_array_elements(p_turn.reply) with ordinality as w (part, number)
            where w.number >= (
                select min(f.number)
                from jsonb_array_elements(p_turn.reply) with ordinality as f (part, number)
                where f.part -> 'handoff' is not null
            ) and not exists (
                select from public.messages as m
                where m.turn_id = p_turn.id and m.part = w.number - 1 and m.send_state = 'sent'
            )
        ) then 'said' else 'not_said' end
    where h.turn_id = p_turn.id and h.words = 'saying'
    returning * into v_handoff;
    if v_handoff.id is null then
        return;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_handoff.words = 'not_said' and v_handoff.state = 'waiting' then
        perform hybridflow.notice_words_lost(v_handoff);
    end if;
end
$$;

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
    perform hybridflow.lock_turns_of_handoffs(p_session_id);
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
    perform hybridflow.lock_turns_of_handoffs(h.session_id) from public.handoffs as h
    where h.taken_message_id = p_message_id;
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
-- whose pause ran out, has expired. What was not said of them yet is said no more: what the customer wrote
-- may have another answer now. A trigger, for pauses end in several ways.
create or replace function hybridflow.end_handoffs()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_saying bigint[];
begin
    perform hybridflow.lock_turns_of_handoffs(new.id);
    with ended as (
        update public.handoffs
        set state = case when state = 'waiting' and new.resume_source = 'cron' then 'expired' else 'done' end,
            ended_at = hybridflow.clock(), next_at = null
        where session_id = new.id and ended_at is null
        returning turn_id, line_turn_id
    )

    select array_agg(e.turn_id) || array_agg(e.line_turn_id) into v_saying from ended as e;
    if v_saying is null then
        return null;
    end if;
    perform hybridflow.handoff_changed(new.tenant_id, new.id);
    perform hybridflow.stop_turn(t.id, 'paused')
    from public.turns as t
    where t.id = any(v_saying) and t.state in ('pending', 'running', 'sending');
    return null;
end
$$;

create or replace trigger sessions_end_handoffs
after update of is_paused on public.sessions
for each row when (old.is_paused and not new.is_paused)
execute function hybridflow.end_handoffs();

-- Session p_from is merged into p_into, both locked, its messages already: its handoffs are the other's now.
-- Of two that wait the older one does, and the other is done. One is taken where a human wrote since in the
-- other session: to a LID, say, of which no phone was known.
create or replace function hybridflow.merge_handoffs(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_human public.messages;
begin
    perform hybridflow.lock_turns_of_handoffs(s.id) from unnest(array[p_into, p_from]) as s (id);
    update public.handoffs
    set state = 'done', ended_at = hybridflow.clock(), next_at = null
    where id = (
        select max(h.id) from public.handoffs as h
        where h.session_id in (p_into, p_from) and h.state = 'waiting'
        having count(*) > 1
    );
    update public.handoffs set session_id = p_into where session_id = p_from;
    select m.* into v_human
    from public.handoffs as h
    inner join public.tenants as t on t.id = h.tenant_id
    inner join public.messages as m on m.session_id = h.session_id
    where h.session_id = p_into and h.state = 'waiting' and m.sent_at >= h.created_at - interval '10 seconds'
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
    order by m.sent_at desc, m.id desc limit 1;
    if v_human.id is not null then
        perform hybridflow.take_handoff(
            p_into, case v_human.sender when 'operator' then 'operator' else 'owner' end, v_human.author_name,
            v_human.id, v_human.sent_at
        );
    end if;
end
$$;

-- look_at_handoffs({limit})
-- Handoffs that wait and are to be looked at now, the longest due first: whether enough time in which the
-- business is open has passed since `step_at` is the router's to say. Returns {handoffs: [{handoff_id, step,
-- step_at, minutes, timezone, opening_hours, jids: [jid], wrote: [text]}], now}: `wrote` is what the contact
-- wrote last.
create or replace function public.look_at_handoffs(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    perform hybridflow.require_keys('look_at_handoffs', p, '{limit}');
    return jsonb_build_object('now', hybridflow.clock(), 'handoffs', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'handoff_id', d.id, 'step', d.step, 'step_at', d.step_at,
            'minutes', t.handoff_remind_minutes, 'timezone', t.timezone, 'opening_hours', t.opening_hours,
            'jids', (
                select coalesce(jsonb_agg(i.jid), '[]') from public.session_identities as i
                where i.session_id = d.session_id
            ),
            'wrote', (
                select coalesce(jsonb_agg(hybridflow.cut(l.body, 1000)), '[]') from (
                    select m.body from public.messages as m
                    where m.session_id = d.session_id and not m.from_me and m.kind = 'text'
                    order by m.sent_at desc, m.id desc limit 3
                ) as l
            )
        ) order by d.next_at, d.id), '[]')
        from (
            select h.* from public.handoffs as h
            where h.state = 'waiting' and h.next_at is not null and h.next_at <= hybridflow.clock()
            order by h.next_at limit (p ->> 'limit')::integer
        ) as d
        inner join public.tenants as t on t.id = d.tenant_id
    ));
end
$$;

-- Makes the turn that tells the customer of the handoff that nobody has come yet, if it can be told now.
create or replace function hybridflow.tell_customer_of_wait(p_handoff public.handoffs, p_say text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn_id bigint;
begin
    if p_handoff.is_quiet or hybridflow.is_without_ai(p_handoff.session_id) or exists (
        select from public.turns as t where t.session_id = p_handoff.session_id and t.waiting
    ) or exists (select from hybridflow.held_turns(p_handoff.session_id)) then
        return null;  -- what tells of the handoff itself is still on its way
    end if;
    insert into public.turns (tenant_id, session_id, run_after, debounce_until, reply, handler)
    values (
        p_handoff.tenant_id, p_handoff.session_id, v_now, v_now,
        jsonb_build_array(jsonb_build_object('line', p_handoff.id, 'text', p_say)), 'fallback'
    )
    returning id into v_turn_id;
    update public.handoffs set line_turn_id = v_turn_id where id = p_handoff.id;
    return v_turn_id;
end
$$;

-- press_handoff({handoff_id, step, say, due_at?, policy})
-- Nobody has taken the handoff, of which so many steps are done, and it is time for the next: the people are
-- told again; the next number is told; the customer is told `say`; and then the AI goes on, or the
-- conversation waits for a human, as the tenant wants it. With due_at it is not time yet, but then. Each is
-- done at most once, however often and by however many routers this is asked. Returns {did, turn_id?}: what
-- was done: 'reminded', 'told_next', 'told_customer', 'returned', 'waits', 'expired' (nobody took it, and a
-- person's own pause lasts on), or null: nothing; with the turn that is to be answered now.
create or replace function public.press_handoff(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_handoff public.handoffs;
    v_tenant public.tenants;
    v_step integer;
    v_turn_id bigint;
begin
    perform hybridflow.require_keys('press_handoff', p, '{handoff_id,step,say,policy}');
    select s.* into v_session from public.sessions as s
    where s.id = (select h.session_id from public.handoffs as h where h.id = (p ->> 'handoff_id')::bigint)
    for update;
    perform hybridflow.lock_turns_of_handoffs(v_session.id);
    select * into v_handoff from public.handoffs where id = (p ->> 'handoff_id')::bigint for update;
    if v_handoff.id is null or v_handoff.state <> 'waiting' or v_handoff.step <> (p ->> 'step')::integer
        or v_handoff.session_id is distinct from v_session.id
    then
        return '{"did": null}';
    elsif p ->> 'due_at' is not null then
        update public.handoffs set next_at = (p ->> 'due_at')::timestamptz where id = v_handoff.id;
        return '{"did": null}';
    end if;
    select * into v_tenant from public.tenants where id = v_handoff.tenant_id;
    v_step := case
        when v_handoff.step = 0 and v_tenant.is_active then 1
        when v_handoff.step <= 1 and v_tenant.notify_number_next is not null and v_tenant.is_active then 2
        when v_handoff.step <= 2 and not v_handoff.is_quiet and v_tenant.is_active then 3
        else 4
    end;
    update public.handoffs
    set step = v_step, step_at = v_now,
        next_at = case when v_step < 4 then v_now + hybridflow.seconds(60 * v_tenant.handoff_remind_minutes) end
    where id = v_handoff.id;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_step < 3 then
        perform hybridflow.notice_untaken(v_handoff, v_session, v_step = 2);
    elsif v_step = 3 then
        v_turn_id := hybridflow.tell_customer_of_wait(v_handoff, p ->> 'say');
    elsif v_tenant.handoff_untaken = 'wait' then
        return '{"did": "waits"}';
    elsif v_session.pause_indefinite
        or hybridflow.human_pause_ends_at(v_session, v_tenant.resume_after_hours, p -> 'policy') > v_now
    then
        -- Somebody paused it besides, and that lasts.
        update public.handoffs set state = 'expired', ended_at = v_now where id = v_handoff.id;
        return '{"did": "expired"}';
    else
        perform hybridflow.end_pause(v_session.id, 'cron');
        v_turn_id := hybridflow.answer_unanswered(v_session.id, p -> 'policy');
    end if;
    return jsonb_strip_nulls(jsonb_build_object('turn_id', v_turn_id)) || jsonb_build_object(
        'did', (array['reminded', 'told_next', 'told_customer', 'returned'])[v_step]
    );
end
$$;

-- A handoff as the API shows it.
create or replace function hybridflow.handoff_json(p_handoff public.handoffs)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_handoff) - '{step_at,next_at,line_turn_id,is_quiet,taken_message_id,step,part}'::text[]
        || jsonb_build_object(
            'reminded', p_handoff.step >= 1, 'told_next', p_handoff.step >= 2,
            'told_customer', p_handoff.line_turn_id is not null
        )
$$;

-- The handoff of the session that is not over, if it has one.
create or replace function hybridflow.open_handoff_json(p_session_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select hybridflow.handoff_json(h) from public.handoffs as h
    where h.session_id = p_session_id and h.ended_at is null
    order by h.id desc limit 1
$$;

-- list_handoffs({tenant_id, state?, session_id?, limit?, cursor?})
-- Returns {items: [handoff], next_cursor}: the tenant's handoffs, or a session's, newest first; with `state`
-- those alone. PT404: not this tenant's.
create or replace function public.list_handoffs(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_state text := p ->> 'state';
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('handoffs', p) ->> 0)::bigint, 9223372036854775807);
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_handoffs', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    select array_agg(
        jsonb_build_object('key', jsonb_build_array(f.id), 'item', hybridflow.handoff_json(f)) order by f.id desc
    )
    into v_rows
    from (
        select h.* from public.handoffs as h
        where h.tenant_id = v_tenant_id and h.id < v_before
            and (v_session_id is null or h.session_id = v_session_id)
            and (v_state is null or h.state = v_state)
        order by h.id desc limit v_limit + 1
    ) as f;
    return hybridflow.page('handoffs', v_rows, v_limit);
end
$$;
