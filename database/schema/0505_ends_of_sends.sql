-- HybridFlow: how a send ended: it left, it did not leave, or nobody knows.

-- Whether p names the message: by its tenant, or, as routers of 0.1.0 do, by its turn.
create or replace function hybridflow.is_named(p_message public.messages, p jsonb)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case
        when p ->> 'tenant_id' is null then p_message.turn_id = (p ->> 'turn_id')::bigint
        else p_message.tenant_id = (p ->> 'tenant_id')::bigint
    end;
end
$$;

-- The send that p names (see is_named), with its session locked; null: it was erased.
create or replace function hybridflow.send_of(p jsonb)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    loop
        perform from public.sessions as s
        where s.id = (
            select m.session_id from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        )
        for update;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found;
        exit when not exists (
            select from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        );
    end loop;
    select * into v_message from public.messages as m
    where m.id = (p ->> 'message_id')::bigint and m.from_me and m.send_state is not null and hybridflow.is_named(m, p);
    return v_message;
end
$$;

-- Makes p_jid an identity of the session, if the session still exists. A session that p_jid led to before is
-- merged.
create or replace function hybridflow.learn_identity(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_known text;
begin
    perform from public.sessions where id = p_session_id for update;
    if not found then
        return;
    end if;
    -- One of the session's identities says which session is meant.
    select i.jid into v_known from public.session_identities as i
    inner join public.sessions as s on s.id = i.session_id
    where i.session_id = p_session_id and i.jid <> p_jid
    order by i.jid = s.phone_jid desc nulls last, i.jid = s.lid desc nulls last, i.created_at, i.jid limit 1;
    perform hybridflow.resolve_session(p_tenant_id, array_remove(array[v_known, p_jid], null), 'contact', null);
end
$$;

-- Makes p_jid an identity of the session, if the session still exists and p_jid is nobody's yet: this never
-- merges.
create or replace function hybridflow.learn_other(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    -- A call that creates a session for this JID holds this lock, and may be waiting for the session that we
    -- hold.
    if pg_try_advisory_xact_lock(hashtextextended(p_tenant_id || ':' || p_jid, 0)) and not exists (
        select from public.session_identities as i where i.tenant_id = p_tenant_id and i.jid = p_jid
    ) then
        perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- Evolution's answer to a send named p_jid for a session. A server that a tenant named may answer anything,
-- so an answer cannot make the contact another person. It can only add another spelling of the contact's own
-- number and, if only the phone or only the LID is known, the other one, if that is nobody's yet.
create or replace function hybridflow.learn_answer(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_session_id and chat = 'contact';
    if v_session.id is null or p_jid is null then
        return;
    elsif hybridflow.plain_number(p_jid) = hybridflow.plain_number(v_session.phone_jid) then
        if not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = p_jid and i.session_id = p_session_id
        ) then
            perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
        end if;
    elsif (p_jid ~ '^[1-9][0-9]{4,19}@lid$' and v_session.lid is null)
        or (p_jid ~ '^[1-9][0-9]{4,19}@s[.]whatsapp[.]net$' and v_session.phone_jid is null)
    then
        perform hybridflow.learn_other(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- What an answer says in addition if the id belongs to another message; otherwise nothing.
create or replace function hybridflow.told_taken(p_is_taken boolean)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case when p_is_taken then '{"id_taken": true}' else '{}' end;
end
$$;

-- finish_send({tenant_id | turn_id, message_id, wa_id, jid?, status?, policy?})
-- Evolution has accepted a message of ours, of any sender: records its id, even if its turn has ended
-- meanwhile (failing to record is not failing to send). The tenant's line works: see is_back. The JID that
-- Evolution says it sent to is recorded, as far as learn_answer allows. The send is named by its tenant, or,
-- by routers of 0.1.0, by its turn. Returns {turn_state, id_taken?, leaves_due?}: turn_state is null if there
-- is no turn, or if the contact was erased during the send (then nothing is recorded). id_taken: the id
-- belongs to another message, so the send was recorded without it. leaves_due, if the turn is closed: whether
-- a turn is due that nobody has; if not, the worker need not look for more.
create or replace function public.finish_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
    v_taken boolean;
    v_state text;
begin
    if num_nulls(coalesce(p ->> 'tenant_id', p ->> 'turn_id'), p ->> 'message_id', p ->> 'wa_id') > 0 then
        perform hybridflow.require_keys('finish_send', p, '{tenant_id|turn_id,message_id,wa_id}');
    end if;
    v_message := hybridflow.send_of(p);
    v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
    if v_message.id is null then
        perform hybridflow.bury_message(t.id, p ->> 'wa_id')
        from public.tenants as t
        where t.id = (p ->> 'tenant_id')::bigint and not exists (
            select from hybridflow.messages_called(p ->> 'wa_id') as m where m.tenant_id = t.id
        );
        return '{"turn_state": null}';
    end if;
    perform hybridflow.mark_sent(
        v_message.id, p ->> 'wa_id',
        case when hybridflow.status_rank(p ->> 'status') > 0 then p ->> 'status' end, p -> 'policy'
    );
    if not v_taken then
        perform hybridflow.learn_answer(v_message.tenant_id, v_message.session_id, p ->> 'jid');
    end if;
    perform hybridflow.is_back(hybridflow.line_of(v_message.tenant_id), v_message.tenant_id);
    select t.state into v_state from public.turns as t where t.id = v_message.turn_id;
    return jsonb_build_object('turn_state', v_state) || hybridflow.told_taken(v_taken) || case
        when v_state in ('sent', 'cancelled', 'dead')
            then jsonb_build_object('leaves_due', hybridflow.is_one_due())
        else '{}'
    end;
end
$$;

-- Records that a message certainly did not leave; it must have no wa_id. If it was of a notice, that may be
-- told again.
-- p_late_until: until when an echo of it would still be ours; null: Evolution refused it, so there will be no
-- echo.
create or replace function hybridflow.mark_not_sent(
    p_message_id bigint, p_late_until timestamptz, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_notice_id bigint;
begin
    update public.messages set send_state = 'failed', late_until = p_late_until, check_at = null
    where id = p_message_id and wa_id is null and send_state in ('sending', 'unknown')
    returning * into v_message;
    if v_message.id is null then
        return;
    end if;
    update public.notices
    set number_told_at = null, message_id = null, updated_at = hybridflow.clock()
    where message_id = p_message_id
    returning id into v_notice_id;
    if p_late_until is not null then
        update public.notices as n set state = 'pending', finished_at = null, next_at = hybridflow.clock()
        where n.id = v_notice_id and not exists (
            select from public.notices as o  -- of its kind, and newer: that one is told instead
            where o.tenant_id = n.tenant_id and o.kind = n.kind and o.waiting and o.kind <> 'handoff'
        );
    end if;
    perform hybridflow.after_settlement(v_message.turn_id, p_policy);
end
$$;

-- fail_send({tenant_id | turn_id, message_id, chosen_id?, given_up?, policy?})
-- Evolution certainly did not accept a message of ours: it may be begun again. `given_up`, for a part of a
-- turn: the reason why Evolution would never accept it, see give_up_part. Returns {ok}; a repeated call gives
-- the same answer, even if the message was begun again meanwhile, with another chosen_id.
create or replace function public.fail_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
begin
    perform hybridflow.require_keys('fail_send', p, '{tenant_id|turn_id,message_id}');
    v_message := hybridflow.send_of(p);
    if coalesce(p ->> 'chosen_id' <> v_message.chosen_id, false) then
        return '{"ok": true}';
    end if;
    if p ->> 'given_up' is not null and v_message.part is not null and v_message.wa_id is null
        and v_message.send_state in ('sending', 'unknown')
    then
        perform hybridflow.give_up(v_message, p ->> 'given_up');
    end if;
    perform hybridflow.mark_not_sent(v_message.id, null, p -> 'policy');
    return '{"ok": true}';
end
$$;

-- doubt_send({tenant_id | turn_id, message_id, token?, error, check_after})
-- A send has begun and nobody knows how it ended (time-out, lost answer). The message is `unknown` until
-- evidence settles it, which is looked for after check_after seconds. If the message has a turn, its turn
-- looks for it; the turn's worker gives turn_id and token. Returns {ok} or {refused: reason}, see
-- turn_refusal; the message is `unknown` in both cases.
create or replace function public.doubt_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_check_at timestamptz := v_now + hybridflow.seconds((p ->> 'check_after')::numeric);
    v_held record;
begin
    perform hybridflow.require_keys('doubt_send', p, '{tenant_id|turn_id,message_id,error,check_after}');
    v_held := hybridflow.lock_turn(p);
    update public.messages as m
    set send_state = 'unknown', check_at = case when m.turn_id is null then v_check_at end
    where m.id = (p ->> 'message_id')::bigint and m.send_state = 'sending' and hybridflow.is_named(m, p);
    if p ->> 'turn_id' is null then
        return '{"ok": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
    where id = (v_held.turn).id;
    perform hybridflow.put_aside((v_held.turn).id, v_check_at, 'in_doubt');
    return '{"ok": true}';
end
$$;
