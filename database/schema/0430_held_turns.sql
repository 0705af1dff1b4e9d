-- HybridFlow: whether the holder of a turn's token may still act for the turn.

-- Why the holder of p.token may not act for the turn, as every function answers it: {refused: reason}, or
-- null. 'stale': the turn is not the holder's, or no longer: a newer attempt has it, the lease ran out, or it
-- does not exist. A token that is not the turn's own learns nothing else. A turn that was closed keeps its
-- last token; the reason is then 'paused', or 'superseded' (closed or merged).
create or replace function hybridflow.turn_refusal(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
volatile
set search_path = ''
as $$
begin
    if p_turn.id is null or p_turn.state = 'pending' or p ->> 'token' is null
        or p_turn.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_turn.state in ('cancelled', 'sent') and p_turn.reason in ('takeover', 'paused') then
        return '{"refused": "paused"}';
    elsif p_turn.state in ('cancelled', 'sent', 'dead') then
        return '{"refused": "superseded"}';
    elsif p_turn.lease_until <= hybridflow.clock() then
        return '{"refused": "stale"}';
    end if;
    return null;
end
$$;

-- Why a held turn may say no more: a takeover, a pause, the label no-ai, or is_active = false; null: it may.
-- What a handoff says passes the handoff's own pause while nobody has taken it.
create or replace function hybridflow.stopped_for(p_turn public.turns, p_session public.sessions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    v_own text;
begin
    if p_turn.stop_reason is not null then
        return p_turn.stop_reason;
    elsif p_turn.reply @? '$[*] ? (exists(@.handoff) || exists(@.line))'
        or (p_turn.reply is null and p_turn.handler = 'n8n' and p_session.is_paused)  -- by a flow's promise
    then
        select h.state into v_own from public.handoffs as h
        where h.turn_id = p_turn.id or h.line_turn_id = p_turn.id
        order by h.id desc limit 1;
    end if;
    return case
        when v_own = 'taken' then 'takeover'
        when v_own <> 'waiting' or (p_session.is_paused and v_own is null) then 'paused'
        when 'no-ai' = any(p_session.labels) then 'no_ai'
        when not (select t.is_active from public.tenants as t where t.id = p_turn.tenant_id) then 'tenant_inactive'
    end;
end
$$;

-- The turn p.turn_id, locked together with its session (session first). `refused` says why the holder of
-- p.token may not act for it, see turn_refusal. For callers that need not hold the turn: the router itself,
-- when it reports on a send that an earlier attempt began.
create or replace function hybridflow.lock_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint := (p ->> 'turn_id')::bigint;
begin
    loop
        select s.* into session from public.sessions as s
        inner join public.turns as t on t.session_id = s.id
        where t.id = v_id
        for update of s;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found;
        exit when not exists (select from public.turns as t where t.id = v_id);
    end loop;
    select * into turn from public.turns where id = v_id for update;
    refused := hybridflow.turn_refusal(turn, p);
end
$$;

-- The turn that a handler holds with p.token, locked as by lock_turn; `refused` says why it may not go on. A
-- caller whose token is not the turn's own gets no lock and waits for none: it may be a flow that names
-- another tenant's turn.
create or replace function hybridflow.hold_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id constant bigint := (p ->> 'turn_id')::bigint;
    v_hash constant bytea := hybridflow.hash_token((p ->> 'token')::uuid);
    v_session_id bigint;
    v_locked record;
begin
    select t.session_id into v_session_id from public.turns as t where t.id = v_id and t.token_hash = v_hash;
    if found then
        select s.* into session from public.sessions as s where s.id = v_session_id for update;
        if not found then  -- its session was merged away while we waited, or is gone
            v_locked := hybridflow.lock_turn(p);
            turn := v_locked.turn;
            session := v_locked.session;
            refused := v_locked.refused;
            return;
        end if;
        select t.* into turn from public.turns as t where t.id = v_id for update;
        if turn.id is null or turn.state not in ('running', 'sending') or turn.token_hash is distinct from v_hash
            or turn.lease_until <= hybridflow.clock()
        then
            refused := hybridflow.turn_refusal(turn, p);
        end if;
    else
        refused := hybridflow.turn_refusal(turn, p);
    end if;
end
$$;
