-- HybridFlow: the tenant's fallback message, which replaces a reply: who gets it, when, and its fence.

-- The time since which one fallback message is enough for a contact, when p_cause is met: the beginning of
-- the outage, or of an earlier one that is not over; without an outage, one hour ago.
create or replace function hybridflow.fallback_since(p_tenant_id bigint, p_cause text)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select min(o.began_at) from public.outages as o
            inner join hybridflow.endings() as e on e.cause = o.cause and e.says_fallback
            where o.tenant_id = p_tenant_id and o.ended_at is null
                and exists (select from hybridflow.endings() as c where c.cause = p_cause and c.is_told)
        ),
        hybridflow.clock() - interval '1 hour'
    )
$$;

-- The turn has ended, and no worker held it that could have sent the fallback message. If the contact should
-- get it and has not got it yet, the message becomes the reply of a new turn. The caller has locked the
-- session.
create or replace function hybridflow.say_fallback(
    p_turn public.turns, p_session public.sessions, p_cause text, p_minutes numeric
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message text;
begin
    select t.fallback_message into v_message from public.tenants as t where t.id = p_turn.tenant_id;
    if v_message is null or p_session.is_paused or hybridflow.is_without_ai(p_session.id)
        or not exists (select from hybridflow.endings() as e where e.cause = p_cause and e.says_fallback)
        or hybridflow.has_spoken(p_turn.id) or hybridflow.is_in_doubt(p_turn.id)
        or hybridflow.is_too_old(p_turn, p_minutes)
        or hybridflow.told_fallback_at(p_session) >= hybridflow.fallback_since(p_turn.tenant_id, p_cause)
        -- If the contact has written again, that message is answered, or ends in the same way.
        or exists (select from public.turns as t where t.session_id = p_session.id and t.waiting)
        or exists (select from hybridflow.held_turns(p_session.id) as h where h.id <> p_turn.id)
    then
        return;
    end if;
    insert into public.turns (tenant_id, session_id, run_after, debounce_until, reply, handler)
    values (p_turn.tenant_id, p_session.id, v_now, v_now, jsonb_build_array(v_message), 'fallback');
    update public.sessions set fallback_told_at = v_now, fallback_message_id = null where id = p_session.id;
end
$$;

-- begin_fallback_send({turn_id, token, cause, error, kind_of_failure, max_attempts, body, kind?, identity?,
-- told_as?: [hash], upload_seconds?, lease_seconds})
-- The fence for the tenant's fallback message. An attempt sends it before it fails with `cause`, if it will
-- not be tried again. The message is no part of the turn: it answers nothing, and a doubt about it delays no
-- reply. Returns {ok, message_id, chosen_id, jid} or {refused: reason}: as begin_send, or 'told': the contact
-- was told in this outage (or, without an outage, within an hour); 'not_now': nothing is said for this cause,
-- or not yet; 'has_spoken': a part of the reply is on the phone, or may be.
create or replace function public.begin_fallback_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_how record;
    v_outage public.outages;
    v_message public.messages;
begin
    perform hybridflow.require_keys(
        'begin_fallback_send', p,
        '{turn_id,token,cause,error,kind_of_failure,max_attempts,body,lease_seconds}'
    );
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
    if v_stopped is not null then
        perform hybridflow.stop_turn(v_turn.id, v_stopped);
        return '{"refused": "paused"}';
    elsif hybridflow.waits_for_stranger(v_turn, v_held.session) then
        return '{"refused": "stale"}';
    elsif hybridflow.has_spoken(v_turn.id) or hybridflow.is_in_doubt(v_turn.id) then
        return '{"refused": "has_spoken"}';
    end if;
    select * into v_how from hybridflow.endings() as e where e.cause = p ->> 'cause' and e.says_fallback;
    if v_how.cause is null or (
        p ->> 'kind_of_failure' = 'transient' and v_turn.attempt < (p ->> 'max_attempts')::integer
    ) then
        return '{"refused": "not_now"}';
    elsif v_how.is_told then
        v_outage := hybridflow.begin_outage(v_turn.tenant_id, v_how.cause, p ->> 'error');
        if v_outage.id is null or v_outage.began_at + v_how.tells_after > hybridflow.clock() then
            return '{"refused": "not_now"}';
        end if;
    end if;
    if hybridflow.told_fallback_at(v_held.session) >= hybridflow.fallback_since(v_turn.tenant_id, v_how.cause) then
        return '{"refused": "told"}';
    end if;
    v_message := hybridflow.begin_message(v_held.session, null, null, 'ai', p);
    update public.sessions set fallback_told_at = hybridflow.clock(), fallback_message_id = v_message.id
    where id = v_turn.session_id;
    update public.turns
    set lease_until = greatest(
        lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    )
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;
