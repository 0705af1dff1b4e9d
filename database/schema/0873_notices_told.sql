-- HybridFlow: tells a notice: the fence before its message, and how the telling ended.

-- Why p.token may not act on the notice, as every function answers it: {refused: 'unknown_notice'}, 'stale'
-- (it was given out again), 'superseded' (it is closed). Null: it may.
create or replace function hybridflow.notice_refusal(p_notice public.notices, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_notice.id is null then
        return '{"refused": "unknown_notice"}';
    elsif p ->> 'token' is null
        or p_notice.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_notice.state <> 'pending' then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- Returns the notice that p names, locked. `refused` says why p.token may not act on it; see notice_refusal.
create or replace function hybridflow.hold_notice(p jsonb, out notice public.notices, out refused jsonb)
language plpgsql
set search_path = ''
as $$
begin
    select * into notice from public.notices where id = (p ->> 'notice_id')::bigint for update;
    refused := hybridflow.notice_refusal(notice, p);
end
$$;

-- begin_notice_send({notice_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds, instance_name?, number?})
-- The fence before the one WhatsApp message of a notice. Records the message, and counts the number as told.
-- Returns {ok, message_id, chosen_id, number, tenant_id, instance_name, evo_server_url, evo_api_key} or
-- {refused: reason, wa_id?, jid?, body?}. The first is only for the router. Reasons: 'unknown_notice',
-- 'stale', 'superseded', 'no_number' (the tenant has none), 'instance' or 'number' (the notice is for another
-- one than the caller named), 'already_sent' (with wa_id, jid and body of the first message; wa_id is null
-- while it is in doubt).
create or replace function public.begin_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_notice public.notices;
    v_tenant public.tenants;
    v_session public.sessions;
    v_message public.messages;
    v_held record;
    v_refused jsonb;
    v_number text;
    v_jid text;
begin
    perform hybridflow.require_keys('begin_notice_send', p, '{notice_id,token,body,lease_seconds}');
    select * into v_notice from public.notices where id = (p ->> 'notice_id')::bigint;
    select * into v_tenant from public.tenants where id = v_notice.tenant_id;
    v_number := hybridflow.notice_number(v_notice, v_tenant);
    v_jid := hybridflow.notified_jid(v_number);
    v_refused := coalesce(hybridflow.notice_refusal(v_notice, p), case
        when v_tenant.instance_name <> p ->> 'instance_name' then '{"refused": "instance"}'
        when v_number is null then '{"refused": "no_number"}'
        when p ->> 'number' <> all(hybridflow.spellings_typed(v_jid)) then '{"refused": "number"}'
    end::jsonb);
    if v_refused is not null then
        return v_refused;
    end if;
    -- Lock the session first, as everywhere: an event that closes the notice may hold the session.
    v_session := hybridflow.resolve_session(
        v_tenant.id, array[hybridflow.known_as(v_tenant.id, v_jid)],
        case when v_number like '%@g.us' then 'group' else 'contact' end, null
    );
    v_held := hybridflow.hold_notice(p);
    v_notice := v_held.notice;
    if v_held.refused is not null then
        return v_held.refused;
    elsif v_notice.number_told_at is not null then
        select * into v_message from public.messages where id = v_notice.message_id;
        return jsonb_build_object(
            'refused', 'already_sent', 'wa_id', v_message.wa_id, 'jid', v_jid,
            'body', v_message.body
        );
    elsif v_notice.lease_until <= v_now then
        return '{"refused": "stale"}';
    end if;

    v_message := hybridflow.begin_message(v_session, null, null, 'ai', p);
    update public.notices
    set message_id = v_message.id, number_told_at = v_now, updated_at = v_now,
        lease_until = greatest(lease_until, v_until), next_at = greatest(next_at, v_until)
    where id = v_notice.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id, 'number', v_number,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url,
        'evo_api_key', v_tenant.evo_api_key
    );
end
$$;

-- finish_notice({notice_id, token, handler, reason?, url_told?})
-- The notice was told, as far as possible. A token whose lease has run out is accepted as long as the notice
-- was not given out again. A second call with the same token gets the same answer, with `already`. Returns
-- {ok, already?} or {refused: reason}.
create or replace function public.finish_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
begin
    perform hybridflow.require_keys('finish_notice', p, '{notice_id,token,handler}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused ->> 'refused' = 'superseded' and (v_held.notice).state = 'delivered' then
        return '{"ok": true, "already": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.notices
    set state = 'delivered', reason = p ->> 'reason', handler = p ->> 'handler', error = null, lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        finished_at = v_now, updated_at = v_now
    where id = (v_held.notice).id;
    return '{"ok": true}';
end
$$;

-- fail_notice({notice_id, token, error, away?, url_told?, max_attempts, base_seconds})
-- The notice could not be told to everybody. It is tried again after an exponential back-off with jitter, and
-- is dead when the attempts are used up. An attempt does not count if Evolution or the line is `away` and the
-- notice is less than a day old. Returns {state} or {refused: reason}.
create or replace function public.fail_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_notice public.notices;
    v_held record;
    v_away boolean;
    v_dead boolean;
begin
    perform hybridflow.require_keys('fail_notice', p, '{notice_id,token,error,max_attempts,base_seconds}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_notice := v_held.notice;
    v_away := coalesce((p ->> 'away')::boolean, false) and v_notice.created_at > v_now - interval '1 day';
    v_dead := not v_away and v_notice.attempt >= (p ->> 'max_attempts')::integer;
    update public.notices
    set state = case when v_dead then 'dead' else 'pending' end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        error = left(p ->> 'error', 2000), lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        next_at = v_now + hybridflow.seconds(hybridflow.back_off(
            (p ->> 'base_seconds')::numeric, v_notice.attempt - 1, case when v_away then 60 else 900 end
        )),
        finished_at = case when v_dead then v_now end, updated_at = v_now
    where id = v_notice.id;
    return jsonb_build_object('state', case when v_dead then 'dead' else 'pending' end);
end
$$;

-- finish_notice_send({message_id, wa_id, jid?, status?, policy?})
-- Like finish_send; for routers of 0.1.0. Returns {ok}.
create or replace function public.finish_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('finish_notice_send', p, '{message_id,wa_id}');
    perform public.finish_send(p - 'turn_id' || jsonb_build_object('tenant_id', m.tenant_id))
    from public.messages as m where m.id = (p ->> 'message_id')::bigint and m.turn_id is null;
    return '{"ok": true}';
end
$$;

-- fail_notice_send({message_id, in_doubt, chosen_id?, given_up?, policy?})
-- Like doubt_send or fail_send; for routers of 0.1.0, which do not know `given_up`. Returns {ok}.
create or replace function public.fail_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_named jsonb := p - '{turn_id,token}'::text[] || jsonb_build_object('tenant_id', (
        select m.tenant_id from public.messages as m
        where m.id = (p ->> 'message_id')::bigint and m.turn_id is null
    ));
begin
    perform hybridflow.require_keys('fail_notice_send', p, '{message_id,in_doubt}');
    if v_named ->> 'tenant_id' is null then
        null;  -- erased meanwhile
    elsif (p ->> 'in_doubt')::boolean then
        perform public.doubt_send(v_named || '{"check_after": 3, "error": "nobody knows how it ended"}');
    else
        perform public.fail_send(v_named);
    end if;
    return '{"ok": true}';
end
$$;
