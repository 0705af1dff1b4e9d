-- HybridFlow: which execution in n8n works on a turn, and what is reported about that execution.

-- The tenant that an execution of n8n belongs to, or null. Several turns may name the execution. Then it
-- belongs to the turn about which n8n itself said so last, or else to the first turn whose flow claims it.
-- Only turns that are under way, or ended within the days for which n8n keeps executions, are read. An
-- earlier turn proves nothing, because an n8n that lost its database counts from one again. A wrong claim of
-- another tenant's turn stays in its row, but has no effect: a call that holds a session's lock does not wait
-- for another tenant's rows, or write them.
create or replace function hybridflow.execution_owner(p_execution_id text)
returns bigint
language sql
volatile
set search_path = ''
as $$
    select t.tenant_id from public.turns as t
    where t.execution_id = p_execution_id
        and (t.finished_at is null or t.finished_at > hybridflow.clock() - interval '7 days')
    order by t.execution_told_at desc nulls last, t.id limit 1
$$;

-- Whether this is an execution id as n8n makes them: a number that JavaScript represents exactly, written in
-- one way only.
create or replace function hybridflow.is_execution_id(p_execution_id text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_execution_id ~ '^[1-9][0-9]{0,14}$', false)
$$;

-- Raises PT422 unless this is an execution id as n8n makes them.
create or replace function hybridflow.check_execution_id(p_execution_id text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if not hybridflow.is_execution_id(p_execution_id) then
        raise exception 'execution_id must be n8n''s `$execution.id`: a number' using errcode = 'PT422';
    end if;
end
$$;

create or replace function hybridflow.is_anothers_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language sql
volatile
set search_path = ''
as $$
    select coalesce(hybridflow.execution_owner(p_execution_id) <> p_tenant_id, false)
$$;

-- Whether a flow of p_tenant_id may say that it is this execution. If two tenants claim the same one at the
-- same moment, one of them is refused; nobody waits.
create or replace function hybridflow.may_claim_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    return pg_try_advisory_xact_lock(hashtextextended('execution:' || p_execution_id, 0))
        and not hybridflow.is_anothers_execution(p_execution_id, p_tenant_id);
end
$$;

-- begin_flow({turn_id, token, execution_id, by_n8n?, execution_url?})
-- The flow has begun, as this execution of n8n. From now on, what is reported about the execution applies to
-- the turn. `by_n8n`: n8n itself named the execution in its answer to the router. That has priority over the
-- claim of a flow, because n8n counts its executions, so that the next id can be guessed. It is also accepted
-- for a turn that its flow has closed meanwhile. Returns {ok} or {refused: reason}: 'execution_taken' if a
-- flow claims an execution of another tenant. PT422: n8n does not make such an id.
create or replace function public.begin_flow(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_is_told boolean;
begin
    perform hybridflow.require_keys('begin_flow', p, '{turn_id,token,execution_id}');
    perform hybridflow.check_execution_id(p ->> 'execution_id');
    v_held := hybridflow.hold_turn(p);
    v_is_told := (p ->> 'by_n8n')::boolean
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid);
    if v_held.refused is not null and v_is_told is not true then
        return v_held.refused;
    elsif v_is_told is not true
        and not hybridflow.may_claim_execution(p ->> 'execution_id', (v_held.session).tenant_id)
    then
        return jsonb_build_object('refused', 'execution_taken');
    end if;
    update public.turns
    set execution_id = p ->> 'execution_id', updated_at = hybridflow.clock(),
        execution_url = case
            when p ->> 'execution_url' is not null then p ->> 'execution_url'
            when execution_id = p ->> 'execution_id' then execution_url
        end,
        execution_told_at = case
            when v_is_told then hybridflow.clock()
            when execution_id = p ->> 'execution_id' then execution_told_at
        end
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- Returns the turn that an execution worked on, locked together with its session (session first). `refused`
-- says why nothing may be done about it: once a turn has its reply, it does not belong to its flow any more,
-- however the sending ends. PT404: no turn names this execution.
create or replace function hybridflow.lock_execution(
    p_execution_id text, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_owner bigint := hybridflow.execution_owner(p_execution_id);
begin
    select s.* into session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.execution_id = p_execution_id and t.tenant_id = coalesce(v_owner, t.tenant_id)
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update of s;
    select t.* into turn from public.turns as t
    where t.execution_id = p_execution_id and t.session_id = session.id
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update;
    if turn.id is null then
        raise exception 'no turn was worked on by the execution %', p_execution_id using errcode = 'PT404';
    elsif turn.state not in ('running', 'sending') or turn.reply is not null then
        refused := jsonb_build_object('refused', 'superseded');
    elsif turn.lease_until <= hybridflow.clock() then
        refused := jsonb_build_object('refused', 'stale');
    end if;
end
$$;

-- take_execution({execution_id})
-- n8n reports that an execution crashed. The caller takes over the attempt that the execution worked on, and
-- ends it as the flow itself would have done. The flow's own token is no longer valid. Returns {turn_id,
-- token} or {refused: 'superseded' | 'stale'}. PT404: no turn names this execution.
create or replace function public.take_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_token uuid := gen_random_uuid();
begin
    perform hybridflow.require_keys('take_execution', p, '{execution_id}');
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set token_hash = hybridflow.hash_token(v_token),
        lease_until = greatest(lease_until, hybridflow.clock() + interval '1 minute')
    where id = (v_held.turn).id;
    return jsonb_build_object('turn_id', (v_held.turn).id, 'token', v_token);
end
$$;

-- fail_execution({execution_id, kind, error, away?, retry_after?, tokens?, check_after?, max_attempts,
-- base_seconds, answer_within_minutes?, cause?})
-- Used by routers of 0.2.0 when an execution crashed: the attempt that it worked on failed, as in fail_turn.
-- Returns {turn_id, state, run_after?, outage?, handoff?} or {refused: 'superseded' | 'stale'}. PT404: no
-- turn names this execution.
create or replace function public.fail_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys(
        'fail_execution', p, '{execution_id,kind,error,max_attempts,base_seconds}'
    );
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    return hybridflow.end_attempt(v_held.turn, v_held.session, p)
        || jsonb_build_object('turn_id', (v_held.turn).id);
end
$$;
