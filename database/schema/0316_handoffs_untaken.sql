-- HybridFlow: handoffs that nobody took: how they are found, and the steps that follow one after the other.

-- look_at_handoffs({limit})
-- Waiting handoffs that are due to be looked at, the longest due first. The router decides whether enough
-- opening hours have passed since `step_at`. Returns {handoffs: [{handoff_id, step, step_at, minutes,
-- timezone, opening_hours, jids: [jid], wrote: [text]}], now}: `wrote` is what the contact wrote last.
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

-- Makes the turn that tells the customer that nobody has come for the handoff yet, if that can be sent now.
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
        return null;  -- what tells the customer of the handoff itself is still on its way
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
-- The next step for a handoff that nobody has taken, and for which `step` steps are done: the people are told
-- again; the next number is told; the customer is told `say`; then the AI goes on, or the conversation waits
-- for a human, as the tenant has set. With due_at no step is done: the handoff is looked at again then. Each
-- step is done at most once, however often and by however many routers this is called. Returns {did,
-- turn_id?}: did is 'reminded', 'told_next', 'told_customer', 'returned', 'waits', 'expired' (nobody took it,
-- and a person's own pause goes on), or null (nothing was done); turn_id is the turn to be answered now.
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
        -- Somebody also paused the session, and that pause goes on.
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
