-- HybridFlow: if no part of a reply arrived, and none can arrive any more, the reply counts as not sent: its
-- messages are answered again, a few times.

-- Whether the message may arrive if it is sent again. Of the Cloud API's codes (five digits and more), only
-- those that name a temporary problem (its own fault, or a rate limit) say so; others, such as 131026 and
-- 131047, are final. WhatsApp's own code 463 may pass: it asks for a token that comes when the contact is
-- active again.
create or replace function hybridflow.may_pass(p_error_code text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(
        length(p_error_code) < 5
        or p_error_code in ('80007', '130429', '131000', '131016', '131056', '131057'), true
    )
$$;

-- Whether a part of the turn's reply is on the contact's phone or may be on its way there: it left and
-- WhatsApp has not reported a failure, or nobody knows yet how its send ended.
create or replace function hybridflow.may_have_arrived(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and (
            m.send_state in ('sending', 'unknown')
            or (m.send_state = 'sent' and m.status is distinct from 'error')
        )
    )
$$;

-- Returns the contact's messages of the turn that are worth answering again: they were sent since p_since,
-- nobody of the business wrote after them, and they were answered again in vain fewer than two times. Two
-- repetitions are enough to get past a temporary refusal; a restricted number stays restricted for longer the
-- more it tries.
create or replace function hybridflow.messages_to_answer_again(p_turn public.turns, p_since timestamptz)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    with last_human as materialized (
        select h.sent_at, h.id
        from public.messages as h
        inner join public.tenants as t on t.id = h.tenant_id
        where h.session_id = p_turn.session_id and h.from_me and h.sender in ('owner', 'operator', 'client')
            and (h.sender <> 'client' or t.other_client_takeover) and h.kind <> 'reaction'
        order by h.sent_at desc, h.id desc limit 1
    )

    select array_agg(m.id)
    from public.messages as m
    where m.turn_id = p_turn.id and not m.from_me and m.expects_reply and m.deleted_at is null
        and m.sent_at >= p_since and cardinality(m.undelivered_turns) < 2
        and not exists (select from last_human as h where (h.sent_at, h.id) > (m.sent_at, m.id))
$$;

-- The turn is over and no part of its reply arrived. Its messages move to another turn, which is due in five
-- seconds, so that a delivery state that comes late can still call it off. Does nothing if another answer
-- cannot help, or is not ours to give. The caller has locked the session.
create or replace function hybridflow.answer_undelivered(p_turn_id bigint, p_since timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_wait constant numeric := 5;
    v_turn public.turns;
    v_tenant public.tenants;
    v_ids bigint[];
    v_next_id bigint;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    if v_turn.state <> 'sent' or v_turn.undelivered = 0 or hybridflow.may_have_arrived(v_turn.id)
        or exists (
            select from public.messages as m
            where m.turn_id = v_turn.id and m.from_me and not hybridflow.may_pass(m.error_code)
        )
        or (select s.is_paused from public.sessions as s where s.id = v_turn.session_id)
        or (select f.replies from hybridflow.failed_in_a_row(v_turn.tenant_id) as f)
            >= hybridflow.many_in_a_row()
    then
        return;
    end if;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    v_ids := hybridflow.messages_to_answer_again(v_turn, p_since);
    if v_ids is null or not v_tenant.is_active or hybridflow.is_without_ai(v_turn.session_id) then
        return;
    end if;
    v_next_id := (hybridflow.join_turn(
        v_tenant, v_turn.session_id, v_wait, v_wait, v_turn.correlation_id, hybridflow.clock()
    )).turn_id;
    update public.messages
    set turn_id = v_next_id, undelivered_turns = undelivered_turns || v_turn.id
    where id = any(v_ids);
end
$$;

-- A part of the turn's reply arrived after all. The turn that was to answer its messages again is called off,
-- unless it has already said something. The caller has locked the session.
create or replace function hybridflow.call_off_answer(p_turn_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_next public.turns;
begin
    for v_next in
        select * from public.turns
        where id in (
            select w.id from public.turns as w where w.session_id = p_session_id and w.waiting
            union all
            select h.id from hybridflow.held_turns(p_session_id) as h where h.state = 'running'
        ) and state in ('pending', 'running')
        order by id for update
    loop
        update public.messages
        set turn_id = p_turn_id, undelivered_turns = array_remove(undelivered_turns, p_turn_id)
        where turn_id = v_next.id and not from_me and p_turn_id = any(undelivered_turns);
        if found and not exists (
            select from public.messages
            where turn_id = v_next.id and not from_me and deleted_at is null
        ) then
            perform hybridflow.close_turn(v_next.id, 'cancelled', 'delivered');
        end if;
    end loop;
end
$$;

-- A turn ended, and a part of its reply had failed before that (a flow in n8n reports later that it is done).
-- If the turn ends without its session's lock (its flow died) and another transaction holds that lock,
-- nothing is done.
create or replace function hybridflow.look_at_ended_turn()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.state <> 'sent' or old.state = 'sent' or new.reason is not distinct from 'handoff' then
        return null;
    end if;
    perform from public.sessions where id = new.session_id for update skip locked;
    if found then
        perform hybridflow.answer_undelivered(new.id, '-infinity');
    end if;
    return null;
end
$$;

create or replace trigger turns_undelivered
after update of state on public.turns
for each row
when (new.undelivered > 0)
execute function hybridflow.look_at_ended_turn();
