-- HybridFlow: workers claim relays, and hold them by a token.

-- Returns what a worker needs to carry out the relay, including its token.
create or replace function hybridflow.relay_context(p_relay public.relays, p_token uuid)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_message public.messages;
begin
    select * into v_tenant from public.tenants where id = p_relay.tenant_id;
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'relay_id', p_relay.id, 'token', p_token, 'attempt', p_relay.attempt, 'source', p_relay.source,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'timezone', v_tenant.timezone, 'language', v_tenant.language,
        'answer_within_minutes', v_tenant.answer_within_minutes, 'session_id', p_relay.session_id,
        'words', case when p_relay.source = 'staff' then p_relay.said end,
        'facts', p_relay.facts, 'outcome', p_relay.outcome,
        'send_state', case
            when v_message.id is not null and not hybridflow.is_unbegun(v_message) then v_message.send_state
        end,
        'error', p_relay.error, 'created_at', p_relay.created_at, 'now', hybridflow.clock()
    );
end
$$;

-- claim_relays({limit, lease_seconds})
-- Gives out due relays, each with a token that is valid for lease_seconds. After that the relay is due again.
-- The next relay of a session goes out when the one before it is done, or has been on its way for ten
-- minutes. A tenant has four at a time, including those that are already given out. Never waits for a lock.
-- Returns {relays: [{relay_id, token, attempt, source, tenant_id, instance_name, evo_server_url, evo_api_key,
-- timezone, language, answer_within_minutes, session_id, words, facts, outcome, send_state, error,
-- created_at, now}], now, next_due_at}, only for the router. words: what the staff wrote, until the relay has
-- an outcome. send_state: the state of the message to the contact; null while its send has not begun.
create or replace function public.claim_relays(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
    v_relays jsonb;
begin
    perform hybridflow.require_keys('claim_relays', p, '{limit,lease_seconds}');
    select array_agg(d.id) into v_ids
    from (
        select f.id
        from (select distinct w.tenant_id from public.relays as w where w.waiting and w.next_at <= v_now) as t
        cross join lateral (
            select r.id, r.next_at from public.relays as r
            where r.tenant_id = t.tenant_id and r.waiting and r.next_at <= v_now and not exists (
                select from public.relays as e
                where e.session_id = r.session_id and e.id < r.id and e.waiting and e.outcome is null
                    and e.created_at > v_now - interval '10 minutes'
            )
            order by r.next_at, r.id limit greatest(0, 4 - (
                select count(*) from public.relays as g
                where g.tenant_id = t.tenant_id and g.waiting and g.next_at > v_now and g.lease_until > v_now
            ))
        ) as f
        order by f.next_at, f.id limit (p ->> 'limit')::integer
    ) as d;
    with fresh as materialized (
        select r.id, gen_random_uuid() as token from public.relays as r
        where r.id = any(v_ids) and r.waiting and r.next_at <= v_now
        for update skip locked
    ),

    claimed as (
        update public.relays as r
        set attempt = r.attempt + 1, token_hash = hybridflow.hash_token(f.token), lease_until = v_until,
            next_at = v_until, updated_at = v_now
        from fresh as f
        where r.id = f.id
        returning r.*, f.token
    )

    select jsonb_agg(hybridflow.relay_context(r, c.token) order by c.id) into v_relays
    from claimed as c
    inner join public.relays as r on r.id = c.id;
    return jsonb_build_object(
        'relays', coalesce(v_relays, '[]'), 'now', v_now,
        'next_due_at', (
            select r.next_at from public.relays as r where r.waiting order by r.next_at limit 1
        )
    );
end
$$;

-- Why p.token may not act on the relay: {refused: 'unknown_relay'} (it was erased), 'stale' (it was given out
-- again), 'superseded' (it is over). Null: it may.
create or replace function hybridflow.relay_refusal(p_relay public.relays, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_relay.id is null then
        return '{"refused": "unknown_relay"}';
    elsif p_relay.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    elsif p_relay.finished_at is not null then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- Returns the relay that p names, locked after its session (the staff's with p_of_staff, else the contact's).
-- `refused` says why p.token may not act on it.
create or replace function hybridflow.hold_relay(
    p jsonb, p_of_staff boolean, out relay public.relays, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint;
    refused := hybridflow.relay_refusal(relay, p);
    if refused is not null then
        return;
    end if;
    select * into session from public.sessions
    where id = case when p_of_staff then relay.staff_session_id else relay.session_id end for update;
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint for update;
    refused := hybridflow.relay_refusal(relay, p);
    v_id := case when p_of_staff then relay.staff_session_id else relay.session_id end;
    if refused is null and v_id is null then
        refused := '{"refused": "erased"}';
    elsif refused is null and session.id is distinct from v_id then
        refused := '{"refused": "stale"}';  -- merged while we waited: it is tried again
    end if;
end
$$;

-- read_relay({relay_id, token})
-- Returns {said} or {refused: reason}: what is to be sent, as it was requested; see relay_refusal.
create or replace function public.read_relay(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    perform hybridflow.require_keys('read_relay', p, '{relay_id,token}');
    select * into v_relay from public.relays where id = (p ->> 'relay_id')::bigint;
    return coalesce(hybridflow.relay_refusal(v_relay, p), jsonb_build_object('said', v_relay.said));
end
$$;
