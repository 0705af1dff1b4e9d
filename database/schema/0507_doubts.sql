-- HybridFlow: sends in doubt, until it is found out how they ended.

-- From when on a send in doubt can no longer arrive late: late_seconds after it began, plus the time that it
-- may take longer than others.
create or replace function hybridflow.late_until(p_message public.messages, p jsonb)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select p_message.send_began_at + hybridflow.seconds(
        coalesce((p ->> 'late_seconds')::numeric, 120) + coalesce(p_message.upload_seconds, 0)
    )
$$;

-- Whether this part of a reply is given up, because it was sent so often, and each time was in doubt and then
-- not there. Otherwise the parts after it, and the contact's new messages, would wait for ever.
create or replace function hybridflow.doubted_too_often(p_message public.messages)
returns boolean
language sql
stable
set search_path = ''
as $$
    select count(*) >= 4
    from public.messages as m
    where m.turn_id = p_message.turn_id and m.part is null and m.late_until is not null
        and m.send_state = 'failed' and m.kind = p_message.kind
        and m.identity is not distinct from p_message.identity and m.body is not distinct from p_message.body
$$;

-- settle_send({turn_id, token, message_id, outcome, wa_id?, error?, check_after, give_up_hours,
-- late_seconds?, policy?})
-- Records what was found out about a send in doubt. 'sent': it is on the phone as wa_id. 'not_sent': it never
-- left, and may be begun again; late_seconds (120) after it began it can no longer arrive late. 'unknown':
-- look again in check_after seconds; after give_up_hours the turn is dead, and is not sent again by itself. A
-- part that was not there five times is given up, and another attempt goes on. Returns {turn_state,
-- id_taken?, given_up?} or {refused: reason}.
create or replace function public.settle_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_message public.messages;
    v_taken boolean := false;
    v_given_up boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_send', p, '{turn_id,token,message_id,outcome,check_after,give_up_hours}'
    );
    v_held := hybridflow.lock_turn(p);
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint;
    if p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_send', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif v_held.refused is not null then
        return v_held.refused;
    elsif v_message.send_state = 'sent' then
        null;  -- a webhook has settled it meanwhile
    elsif p ->> 'outcome' = 'not_sent' and hybridflow.doubted_too_often(v_message) then
        perform hybridflow.give_up(v_message, 'five times nobody knew how it ended, and it was not there');
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
        v_given_up := true;
        if exists (select from public.turns as t where t.id = v_message.turn_id and t.held) then
            -- The worker that holds it does not know what comes next: it may be a caption.
            perform hybridflow.put_aside(v_message.turn_id, v_now, 'in_doubt');
        end if;
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.close_turn((v_held.turn).id, 'dead', 'in_doubt');
        perform hybridflow.note_unanswered(v_held.turn, 'in_doubt', p ->> 'error');
    else
        update public.messages set send_state = 'unknown' where id = v_message.id;
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.put_aside(
            (v_held.turn).id, v_now + hybridflow.seconds((p ->> 'check_after')::numeric), 'in_doubt'
        );
    end if;
    return jsonb_build_object(
        'turn_state', (select t.state from public.turns as t where t.id = (p ->> 'turn_id')::bigint)
    ) || hybridflow.told_taken(v_taken) || case when v_given_up then '{"given_up": true}' else '{}' end::jsonb;
end
$$;

-- A send in doubt, with what is needed to look it up.
create or replace function hybridflow.doubt_context(p_send public.messages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'message_id', p_send.id, 'tenant_id', t.id, 'instance_name', t.instance_name,
        'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key, 'session_id', p_send.session_id,
        'jids', (
            select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = p_send.session_id
        ),
        'kind', p_send.kind, 'body', hybridflow.cut(p_send.body), 'told_as', p_send.told_as,
        'chosen_id', p_send.chosen_id, 'identity', p_send.identity, 'send_began_at', p_send.send_began_at,
        'upload_seconds', p_send.upload_seconds,
        'ours', hybridflow.recent_wa_ids(p_send, true), 'theirs', hybridflow.recent_wa_ids(p_send, false)
    )
    from public.tenants as t
    where t.id = p_send.tenant_id
$$;

-- The contexts of these sends, read all at once. If that fails, each is read by itself, and one that fails is
-- left out.
create or replace function hybridflow.doubt_contexts(p_ids bigint[])
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_send public.messages;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.doubt_context(m) order by m.id) into v_contexts
        from public.messages as m where m.id = any(p_ids);
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_send in select m.* from public.messages as m where m.id = any(p_ids) order by m.id loop
        begin
            v_contexts := v_contexts || hybridflow.doubt_context(v_send);
        exception
            when others then
                null;  -- it is looked up again when its lease is over, or its echo settles it
        end;
    end loop;
    return v_contexts;
end
$$;

-- claim_doubts({limit, lease_seconds, after_seconds})
-- Claims sends in doubt that no turn looks up (of a notice, of a human), including sends that began more than
-- after_seconds ago and whose end nobody reported. Each is due again after lease_seconds. Never waits.
-- Returns {sends: [{message_id, tenant_id, instance_name, evo_server_url, evo_api_key, session_id, jids,
-- kind, body, told_as, chosen_id, identity, send_began_at, upload_seconds, ours, theirs}], now, next_due_at},
-- for the router only: `ours` are the ids of sends that are accounted for, `theirs` those of the contact's
-- messages.
create or replace function public.claim_doubts(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_before timestamptz := v_now - hybridflow.seconds((p ->> 'after_seconds')::numeric);
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
begin
    perform hybridflow.require_keys('claim_doubts', p, '{limit,lease_seconds,after_seconds}');
    with due as (
        select m.id from public.messages as m
        where m.turn_id is null and m.send_state in ('sending', 'unknown')
            and coalesce(m.check_at, m.send_began_at) <= v_now
            and (m.send_state = 'unknown' or m.send_began_at <= v_before)
        order by coalesce(m.check_at, m.send_began_at) limit (p ->> 'limit')::integer
        for update skip locked
    ),

    claimed as (
        update public.messages as m set check_at = v_until from due where m.id = due.id returning m.id
    )

    select array_agg(c.id) into v_ids from claimed as c;
    return jsonb_build_object(
        'sends', hybridflow.doubt_contexts(v_ids), 'now', v_now, 'next_due_at', (
            select nullif(min(coalesce(m.check_at, m.send_began_at)), 'infinity') from public.messages as m
            where m.turn_id is null and m.send_state in ('sending', 'unknown')
        )
    );
end
$$;

-- settle_doubt({tenant_id, message_id, outcome, wa_id?, check_after, give_up_hours, late_seconds, policy?})
-- Records what was found out about a send that belongs to no turn, as settle_send does. 'not_sent': a notice
-- is told again; a human's message stays failed, and its writer sees that. After give_up_hours it is no
-- longer looked up. Returns {ok, id_taken?}.
create or replace function public.settle_doubt(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_taken boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_doubt', p, '{tenant_id,message_id,outcome,check_after,give_up_hours,late_seconds}'
    );
    v_message := hybridflow.send_of(p - 'turn_id');
    if v_message.id is null or v_message.send_state not in ('sending', 'unknown') then
        return '{"ok": true}';  -- erased, or settled by a webhook meanwhile
    elsif p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_doubt', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.messages set send_state = 'unknown', check_at = 'infinity' where id = v_message.id;
    else
        update public.messages
        set send_state = 'unknown', check_at = v_now + hybridflow.seconds((p ->> 'check_after')::numeric)
        where id = v_message.id;
    end if;
    return '{"ok": true}'::jsonb || hybridflow.told_taken(v_taken);
end
$$;
