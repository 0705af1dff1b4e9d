-- HybridFlow: parts of a reply that can never be sent: they are given up, and the parts after them are sent.
--
-- For example: media whose address answers 404, that is too large or unusable, or that Evolution refuses for
-- good. Another try would fail again, and would hold up the parts after it for ever.

-- Tells the people of the business that a part of a reply was given up; of many parts they are told once an
-- hour. Not while a notice waits about replies that WhatsApp does not deliver, because that is worse.
create or replace function hybridflow.notice_given_up(p_message public.messages, p_why text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    if exists (
        select from (
            select o.* from public.notices as o
            where o.tenant_id = p_message.tenant_id and o.kind = 'undelivered'
            order by o.id desc limit 10
        ) as n
        where n.waiting or (not n.facts ? 'since' and n.created_at > hybridflow.clock() - interval '1 hour')
    ) or not pg_try_advisory_xact_lock(hashtextextended('undelivered:' || p_message.tenant_id, 0))
    then
        return;
    end if;
    select * into v_session from public.sessions where id = p_message.session_id;
    perform hybridflow.make_notice(
        p_message.tenant_id, 'undelivered', v_session.id, jsonb_build_object(
            'reason', left(format('part %s (%s): %s', p_message.part + 1, p_message.kind, p_why), 500),
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'contact_name', v_session.contact_name
        ),
        hybridflow.clock()
    );
end
$$;

-- Gives up the part, and keeps p_why. If the part has a caption, that becomes the next part of the reply,
-- before everything after it. The caller sets the part's send_state. The session is locked.
create or replace function hybridflow.give_up(p_message public.messages, p_why text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_reply jsonb;
    v_caption text;
begin
    update public.messages set given_up = left(p_why, 1000) where id = p_message.id;
    select t.reply into v_reply from public.turns as t where t.id = p_message.turn_id for update;
    if v_reply is null then
        return;  -- a flow's part: the flow is told, and knows best what to say instead
    end if;
    v_caption := nullif(btrim(v_reply -> p_message.part -> 'body' ->> 'caption'), '');
    if v_caption is not null and v_reply -> (p_message.part + 1) is distinct from to_jsonb(v_caption)
        and not exists (
            select from public.messages as m where m.turn_id = p_message.turn_id and m.part > p_message.part
        )
    then
        update public.turns
        set reply = jsonb_insert(v_reply, array[p_message.part::text], to_jsonb(v_caption), true)
        where id = p_message.turn_id;
    end if;
    perform hybridflow.notice_given_up(p_message, p_why);
end
$$;

-- Records a part of a turn that was never begun, as one that certainly did not leave.
create or replace function hybridflow.never_begun(p_session public.sessions, p_part integer, p jsonb)
returns public.messages
language sql
volatile
set search_path = ''
as $$
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, sent_at, send_state,
        send_began_at, sends
    )
    values (
        p_session.tenant_id, p_session.id, (p ->> 'turn_id')::bigint, p_part, true, 'ai', p ->> 'kind',
        hybridflow.cut(p ->> 'body'), p ->> 'identity', date_trunc('second', hybridflow.clock()), 'failed',
        hybridflow.clock(), 0
    )
    returning *
$$;

-- give_up_part({turn_id, token, part?, kind, body, identity?, text?, error})
-- A part of the turn's reply can never be sent: its media cannot be fetched, or Evolution refuses it for
-- good. It is given up, with `error` as the reason; its caption is sent in its place, and then the parts
-- after it. Without `part`, it is what a flow asked the gateway for, named by its `identity`, with all its
-- `text`. The fence is passed as in begin_send. When all the rest is sent, the turn is closed as sent,
-- incomplete; if all parts are given up, it is dead. Returns {ok, turn_state, reply} or {refused: reason}: as
-- begin_send, and 'too_many_sends' as begin_flow_send. Called again with the same token, it gives the same
-- answer.
create or replace function public.give_up_part(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_message public.messages;
    v_part integer := (p ->> 'part')::integer;
begin
    perform hybridflow.require_keys('give_up_part', p, '{turn_id,token,kind,body,error}');
    v_held := hybridflow.hold_turn(p);
    v_turn := v_held.turn;  -- null if the token is not the turn's own
    select * into v_message from public.messages as m
    where m.turn_id = v_turn.id and m.part is not null
        and case when v_part is null then m.identity = p ->> 'identity' else m.part = v_part end
    order by m.part limit 1;
    if v_message.given_up is null or v_message.send_state <> 'failed' then
        v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
        if v_held.refused is not null then
            return v_held.refused;
        elsif v_stopped is not null then
            perform hybridflow.stop_turn(v_turn.id, v_stopped);
            return '{"refused": "paused"}';
        elsif v_part is null and v_turn.reply is not null then
            return '{"refused": "has_answered"}';
        elsif v_message.send_state = 'sent' then
            return '{"refused": "already_sent"}';
        elsif v_message.send_state = 'unknown' or (v_message.send_state = 'sending' and v_part is null) then
            return '{"refused": "in_doubt"}';
        end if;
        if v_message.late_until is not null then
            -- After a doubt it was judged as not sent: its row stays for a late echo.
            v_part := v_message.part;
            update public.messages set part = null where id = v_message.id;
            v_message := null;
        end if;
        if v_message.id is null then
            v_part := coalesce(v_part, hybridflow.next_part(v_turn.id));
            if v_part >= 500 then
                return '{"refused": "too_many_sends"}';
            end if;
            if p ->> 'part' is null then
                -- The guard has checked it. If it is asked for again its media may be there, and it is sent
                -- without another check.
                update public.turns
                set said_so_far = concat_ws(
                    E'\n\n', nullif(hybridflow.said_so_far(v_turn), ''),
                    nullif(coalesce(p ->> 'text', p ->> 'body'), '')
                )
                where id = v_turn.id;
            end if;
            v_message := hybridflow.never_begun(v_held.session, v_part, p);
        end if;
        perform hybridflow.give_up(v_message, p ->> 'error');
        update public.messages set send_state = 'failed', check_at = null where id = v_message.id;
        perform hybridflow.after_settlement(v_turn.id, null);
    end if;
    return (
        select jsonb_build_object('ok', true, 'turn_state', t.state, 'reply', t.reply)
        from public.turns as t where t.id = v_turn.id
    );
end
$$;
