-- HybridFlow: the fence: whether a message may be sent, and that its send has begun.

-- Records a send that is about to begin. p says what it is: {kind?, body, identity?, told_as?,
-- upload_seconds?}; upload_seconds is how much longer than others it may take. A part that was begun before
-- and certainly did not leave begins again in its own row. If a part was judged as not sent after a doubt,
-- that row stays for a late echo, and the part gets a new row.
create or replace function hybridflow.begin_message(
    p_session public.sessions, p_turn_id bigint, p_part integer, p_sender text, p jsonb
)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
begin
    update public.messages set part = null
    where turn_id = p_turn_id and part = p_part and late_until is not null;
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, told_as, chosen_id,
        sent_at, send_state, send_began_at, sends, upload_seconds
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_part, true, p_sender,
        coalesce(p ->> 'kind', 'text'), hybridflow.cut(p ->> 'body'), p ->> 'identity',
        case when p -> 'told_as' <> 'null' then array(select jsonb_array_elements_text(p -> 'told_as')) end,
        '3EB0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 18)),
        date_trunc('second', v_now), 'sending', v_now, 1, (p ->> 'upload_seconds')::numeric
    )
    on conflict (turn_id, part) where part is not null do update
        set body = excluded.body, kind = excluded.kind, identity = excluded.identity,
            told_as = excluded.told_as, chosen_id = excluded.chosen_id, sent_at = excluded.sent_at,
            send_state = 'sending', send_began_at = excluded.send_began_at, sends = messages.sends + 1,
            upload_seconds = excluded.upload_seconds, given_up = null
    returning * into v_message;
    return v_message;
end
$$;

-- The answer of begin_send for the turn and the session that it holds.
create or replace function hybridflow.pass_fence(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_stopped text;
    v_message public.messages;
begin
    v_stopped := coalesce(
        hybridflow.stopped_for(p_turn, p_session), hybridflow.stopped_by_newer(p_turn)
    );
    if v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('refused', case when v_stopped = 'new_message' then v_stopped else 'paused' end);
    elsif hybridflow.waits_for_stranger(p_turn, p_session) then
        return jsonb_build_object('refused', 'stale');
    end if;

    select * into v_message from public.messages
    where turn_id = p_turn.id and part = (p ->> 'part')::integer;
    if v_message.send_state = 'sent' then
        return jsonb_build_object('refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id);
    elsif v_message.send_state in ('sending', 'unknown') then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;

    v_message := hybridflow.begin_message(p_session, p_turn.id, (p ->> 'part')::integer, 'ai', p);
    if p_turn.reply -> (p ->> 'part')::integer -> 'handoff' is not null then
        perform hybridflow.hand_off_with(p_session, p_turn, (p ->> 'part')::integer);
    end if;
    update public.turns
    set state = 'sending', updated_at = v_message.send_began_at,
        said_so_far = coalesce(p ->> 'said_so_far', said_so_far),
        lease_until = greatest(
            lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        )
    where id = p_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid)
    );
end
$$;

-- begin_send({turn_id, token, part, body, kind?, identity?, told_as?: [hash], upload_seconds?, said_so_far?,
-- lease_seconds, reply?: {parts: [part], handler, provider?, model?, tokens_in?, tokens_out?, execution_id?,
-- execution_url?}})
-- The fence: every part of a reply passes it right before it is sent. Records the message as `sending`. If
-- nobody renews the turn's lease meanwhile, lease_seconds must be longer than the send. said_so_far: see
-- turns. reply is the whole reply, as save_reply takes it, if it is not saved yet: it is saved first,
-- whatever the fence says then. A part that hands off hands the conversation off in the same step. Returns
-- {ok, message_id, chosen_id, jid} or {refused: reason, message_id?, wa_id?}: 'stale', 'superseded' (see
-- turn_refusal), 'paused' (the turn is closed), 'new_message' (the turn is closed, see stopped_by_newer),
-- 'already_sent' (with message_id and wa_id), 'in_doubt' (with message_id: this part has begun and nobody
-- knows how it ended).
create or replace function public.begin_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_refused jsonb;
    v_held record;
    v_turn public.turns;
    v_answer jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'part', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_send', p, '{turn_id,token,part,body,lease_seconds}');
    end if;
    if coalesce(p -> 'reply', 'null') <> 'null'
        and num_nulls(nullif(p -> 'reply' -> 'parts', 'null'), p -> 'reply' ->> 'handler') > 0
    then
        perform hybridflow.require_keys('save_reply', p -> 'reply', '{parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if coalesce(p -> 'reply', 'null') <> 'null' then
        v_refused := hybridflow.write_reply(v_turn, p -> 'reply');
        if v_refused is not null then
            return v_refused;
        end if;
        select * into v_turn from public.turns where id = v_turn.id;
    end if;
    v_answer := hybridflow.pass_fence(v_turn, v_held.session, p);
    if coalesce(p -> 'reply', 'null') <> 'null' then
        perform hybridflow.settle_reply(v_held.turn, p -> 'reply');
        if v_turn.reply is distinct from (v_held.turn).reply then
            perform hybridflow.reply_was_made(v_held.turn, p -> 'reply');
        end if;
    end if;
    return v_answer;
end
$$;

-- What the router needs to carry out the send p_message, which has begun, to the contact of p_session.
create or replace function hybridflow.begun_send(p_message public.messages, p_session public.sessions)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'ok', true, 'message_id', p_message.id, 'chosen_id', p_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid), 'tenant_id', t.id,
        'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key
    )
    from public.tenants as t
    where t.id = p_session.tenant_id
$$;

-- begin_human_send({tenant_id, session_id, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- seen_message_id?, knowingly?, author?, reason?})
-- The fence for a human of the business who writes through HybridFlow: a pause does not stop the message, and
-- the message takes over the session. Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name,
-- evo_server_url, evo_api_key} or {refused: 'human_wrote', message_id, by, at}. The first answer is for the
-- router only. The second one: another human wrote after seen_message_id, the last message that this human
-- has seen; called again with `knowingly`, it passes. PT404: the session was erased or merged, or is not this
-- tenant's.
create or replace function public.begin_human_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_tenant public.tenants;
    v_human public.messages;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_human_send', p, '{tenant_id,session_id,body}');
    v_session := hybridflow.session_of(p);
    select * into v_tenant from public.tenants where id = v_session.tenant_id;
    if not coalesce((p ->> 'knowingly')::boolean, false) then
        select m.* into v_human from public.messages as m
        where m.session_id = v_session.id and m.id > (p ->> 'seen_message_id')::bigint
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
        order by m.id desc limit 1;
    end if;
    if v_human.id is not null then
        return jsonb_build_object(
            'refused', 'human_wrote', 'message_id', v_human.id, 'by', v_human.sender, 'at', v_human.sent_at
        );
    end if;
    v_message := hybridflow.begin_message(v_session, null, null, 'operator', p);
    update public.messages set author_name = p ->> 'author' where id = v_message.id;
    update public.sessions as s
    set is_paused = true, pause_source = 'operator', pause_message_id = null,
        pause_reason = coalesce(p ->> 'reason', 'an operator wrote'),
        paused_at = case when is_paused then paused_at else v_message.send_began_at end,
        paused_until = case when is_paused then paused_until end,
        pause_indefinite = is_paused and pause_indefinite,
        pause_asked_at = hybridflow.asked_at(s),
        pause_written_at = v_message.send_began_at, last_human_at = v_message.send_began_at,
        updated_at = v_message.send_began_at
    where id = v_session.id;
    perform hybridflow.take_handoff(
        v_session.id, 'operator', p ->> 'author', v_message.id, v_message.send_began_at
    );
    perform hybridflow.cancel_turns(v_session.id, 'takeover');
    return hybridflow.begun_send(v_message, v_session);
end
$$;
