-- HybridFlow: the fence, and what became of each send.

-- Text as it is compared when a send of ours comes back: white space folded.
create or replace function hybridflow.folded(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
    select btrim(regexp_replace(p_text, '\s+', ' ', 'g'))
$$;

-- The digits by which two spellings of one phone number are the same: sendText rewrites Brazil's ninth
-- digit and the Mexican and Argentinian prefixes, all in front of the last eight.
create or replace function hybridflow.number_tail(p_jid text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_jid like '%@s.whatsapp.net' then right(split_part(p_jid, '@', 1), 8) end
$$;

-- The pause that message p_message_id caused was wrong, for the message was our own: takes it back.
create or replace function hybridflow.take_back_pause(p_session_id bigint, p_message_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.sessions as s
    set is_paused = false, pause_source = null, pause_reason = null, pause_message_id = null,
        paused_at = null, paused_until = null,
        last_human_at = (
            select max(m.sent_at) from public.messages as m
            where m.session_id = s.id and m.sender in ('owner', 'client') and m.id <> p_message_id
        ),
        updated_at = hybridflow.clock()
    where s.id = p_session_id and s.pause_message_id = p_message_id and s.is_paused
$$;

-- Records that message p_message_id left as p_wa_id. If that id had been taken for somebody else's
-- message, that record and the pause that it caused go. If the message had left already under another
-- id, the second one is recorded as well: the phone has both. Closes the turn when all of its reply
-- has been sent. The session is locked.
create or replace function hybridflow.mark_sent(p_message_id bigint, p_wa_id text, p_status text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_twin public.messages;
begin
    select * into v_message from public.messages where id = p_message_id for update;
    select * into v_twin from hybridflow.messages_called(p_wa_id)
    where tenant_id = v_message.tenant_id and from_me and id <> p_message_id
    limit 1;
    if v_twin.id is not null then
        perform hybridflow.take_back_pause(v_twin.session_id, v_twin.id);
        delete from public.messages where id = v_twin.id;
    end if;

    if v_message.wa_id is not null and v_message.wa_id <> p_wa_id then
        insert into public.messages (
            tenant_id, session_id, wa_id, from_me, sender, kind, body, status, sent_at, send_state
        )
        values (
            v_message.tenant_id, v_message.session_id, p_wa_id, true, 'ai', v_message.kind, v_message.body,
            p_status, v_message.sent_at, 'sent'
        );
    else
        update public.messages
        set wa_id = p_wa_id, send_state = 'sent',
            status = hybridflow.later_status(hybridflow.later_status(status, v_twin.status), p_status)
        where id = p_message_id;
        if v_twin.status = 'error' then
            perform hybridflow.note_failure(p_message_id, '{}');
        end if;
        perform hybridflow.apply_waiting(v_message.tenant_id, p_message_id, p_wa_id);
    end if;

    update public.sessions set last_message_at = greatest(last_message_at, v_message.sent_at)
    where id = v_message.session_id;
    perform hybridflow.close_turn(t.id, 'sent', null)
    from public.turns as t
    where t.id = v_message.turn_id and t.state = 'sending' and t.reply is not null
        and jsonb_array_length(t.reply) <= (
            select count(*) from public.messages as m where m.turn_id = t.id and m.send_state = 'sent'
        );
end
$$;

-- begin_send({turn_id, token, part, body, kind?, lease_seconds})
-- The fence, to be passed before every part of a reply, right before it is sent. Records the message
-- as `sending` and says {ok, message_id, jid}; or {refused: reason}: 'stale', 'superseded',
-- 'unknown_turn' (see hold_turn), 'paused' (the turn is closed), 'already_sent' (with its wa_id),
-- 'in_doubt' (this part has begun and nobody knows how it ended).
create or replace function public.begin_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_turn public.turns;
    v_message public.messages;
begin
    v_held := hybridflow.hold_turn((p ->> 'turn_id')::bigint, (p ->> 'token')::uuid);
    if v_held.refusal is not null then
        return jsonb_build_object('refused', v_held.refusal);
    end if;
    v_turn := v_held.turn;
    if (v_held.session).is_paused then
        perform hybridflow.stop_turn(v_turn.id, 'paused');
        return jsonb_build_object('refused', 'paused');
    end if;

    select * into v_message from public.messages
    where turn_id = v_turn.id and part = (p ->> 'part')::integer;
    if v_message.send_state = 'sent' then
        return jsonb_build_object('refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id);
    elsif v_message.send_state in ('sending', 'unknown') then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;

    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, sent_at, send_state,
        send_began_at, sends
    )
    values (
        v_turn.tenant_id, v_turn.session_id, v_turn.id, (p ->> 'part')::integer, true, 'ai',
        coalesce(p ->> 'kind', 'text'), p ->> 'body', date_trunc('second', v_now), 'sending', v_now, 1
    )
    on conflict (turn_id, part) where part is not null do update
        set body = excluded.body, kind = excluded.kind, sent_at = excluded.sent_at, send_state = 'sending',
            send_began_at = excluded.send_began_at, sends = messages.sends + 1
    returning * into v_message;
    update public.turns
    set state = 'sending', lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
        updated_at = v_now
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;

-- finish_send({turn_id, token, tenant_id, message_id, wa_id, jid?, status?})
-- Evolution has taken the message: records its id, whatever has become of the turn meanwhile (failing
-- to record is not failing to send), and the JID that Evolution really sent to as one of the contact's.
-- Returns {turn_state}; null where the contact was erased while it was sent: then nothing is recorded.
create or replace function public.finish_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
begin
    select m.* into v_message from public.messages as m
    where m.id = (p ->> 'message_id')::bigint and m.turn_id = (p ->> 'turn_id')::bigint;
    perform from public.sessions where id = v_message.session_id for update;
    if not exists (select from public.turns where id = (p ->> 'turn_id')::bigint) then
        perform hybridflow.bury_message(t.id, p ->> 'wa_id')
        from public.tenants as t where t.id = (p ->> 'tenant_id')::bigint;
        return '{"turn_state": null}';
    elsif v_message.id is null then
        raise exception 'turn % has no send %', p ->> 'turn_id', p ->> 'message_id' using errcode = 'PT404';
    end if;
    perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', p ->> 'status');
    if p ->> 'jid' is not null and not exists (
        select from public.session_identities as i
        where i.tenant_id = v_message.tenant_id and i.jid = p ->> 'jid' and i.session_id = v_message.session_id
    ) then
        perform hybridflow.learn_identity(v_message.tenant_id, v_message.session_id, p ->> 'jid');
    end if;
    return jsonb_build_object(
        'turn_state', (select t.state from public.turns as t where t.id = v_message.turn_id)
    );
end
$$;

-- The session, if it is still there, is also known under p_jid. What was recorded under p_jid before is
-- merged.
create or replace function hybridflow.learn_identity(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_jids text[];
begin
    perform from public.sessions where id = p_session_id for update;
    if not found then
        return;
    end if;
    select array_agg(i.jid) || p_jid into v_jids from public.session_identities as i
    where i.session_id = p_session_id;
    perform hybridflow.resolve_session(p_tenant_id, v_jids, 'contact', null);
end
$$;

-- doubt_send({turn_id, token, message_id, error, check_after})
-- The send has begun and nobody knows how it ended (time-out, lost answer). The part is `unknown`
-- until evidence settles it; the turn can be claimed again in check_after seconds to look for it.
create or replace function public.doubt_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
begin
    v_held := hybridflow.hold_turn((p ->> 'turn_id')::bigint, (p ->> 'token')::uuid);
    update public.messages set send_state = 'unknown'
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint and send_state = 'sending';
    if v_held.refusal is not null then
        return jsonb_build_object('refused', v_held.refusal);
    end if;
    update public.turns
    set error_kind = 'in_doubt', error = left(p ->> 'error', 2000), updated_at = hybridflow.clock(),
        lease_until = hybridflow.clock() + hybridflow.seconds((p ->> 'check_after')::numeric)
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- settle_send({turn_id, token, message_id, outcome, wa_id?, error?, check_after, give_up_hours})
-- What was found out about a send in doubt. 'sent': it is on the phone as wa_id. 'not_sent': it never
-- left, and may be begun again. 'unknown': look again in check_after seconds; after give_up_hours the
-- turn is dead, never sent again by itself. Returns {turn_state} or {refused: reason}.
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
begin
    v_held := hybridflow.hold_turn((p ->> 'turn_id')::bigint, (p ->> 'token')::uuid);
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint;
    if p ->> 'outcome' = 'sent' then
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null);
    elsif v_held.refusal is not null then
        return jsonb_build_object('refused', v_held.refusal);
    elsif v_message.send_state = 'sent' then
        null;  -- a webhook has settled it meanwhile
    elsif p ->> 'outcome' = 'not_sent' then
        update public.messages set send_state = 'failed' where id = v_message.id;
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.turns set error_kind = 'in_doubt', error = p ->> 'error' where id = (v_held.turn).id;
        perform hybridflow.close_turn((v_held.turn).id, 'dead', 'in_doubt');
    else
        update public.messages set send_state = 'unknown' where id = v_message.id;
        update public.turns
        set error_kind = 'in_doubt', error = p ->> 'error', updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'check_after')::numeric)
        where id = (v_held.turn).id;
    end if;
    return jsonb_build_object(
        'turn_state', (select t.state from public.turns as t where t.id = (p ->> 'turn_id')::bigint)
    );
end
$$;
