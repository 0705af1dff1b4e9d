-- HybridFlow: handoffs: taken by a human, given back with the conversation, merged with it.

-- A human of the business has come: takes the handoff that waits in the locked session, if there is one. p_by
-- is 'owner' or 'operator', p_name is that person's name if known, and p_message_id what they wrote, at p_at.
-- A message from before the handoff does not take it (10 s of tolerance: WhatsApp's clock is not ours).
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

-- Message p_message_id was taken for a human's and is not: the handoff that it took waits again, and the turn
-- that was telling the customer about it goes on. The session is locked.
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

-- A session that is no longer paused belongs to the AI again: its handoffs end. A handoff that nobody took,
-- and whose pause ran out, has expired. What the customer has not been told about it yet is not said any
-- more, because the customer's messages may get another answer now. This is a trigger because pauses end in
-- several ways.
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

-- Session p_from is merged into p_into: both are locked, and the messages are already moved. The handoffs of
-- p_from now belong to p_into. Of two that wait, the older one stays, and the other is done. A waiting
-- handoff is taken if a human has written in the other session since, for example to a LID whose phone was
-- not known.
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
