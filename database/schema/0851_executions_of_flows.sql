-- HybridFlow: which execution of n8n a turn's flow is, and what is heard of that execution.

-- The tenant that an execution of n8n belongs to, if any: of the turns that name it, the one of which n8n
-- itself has said so last, else the first whose flow claims it. Looked at are turns that are under way, or
-- ended within the days for which n8n keeps executions. Before that it proves nothing: an n8n that lost its
-- database counts from one again. What another tenant's turn claims is left to stand there, and worth
-- nothing: a call that holds a session's lock does not wait for another tenant's rows, or write them.
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

-- Whether this is an execution's id as n8n gives it: a number in one spelling, exact in JavaScript.
create or replace function hybridflow.is_execution_id(p_execution_id text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_execution_id ~ '^[1-9][0-9]{0,14}$', false)
$$;

-- Raises PT422 unless it is an execution's id as n8n gives it.
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

-- Whether a flow of p_tenant_id may say that it is this execution. Of two tenants that claim one at the same
-- moment one is refused: nobody waits for the other.
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
-- The flow has begun, as the execution that n8n gave it: what is heard of that execution is heard of the
-- turn. `by_n8n`: n8n said so in its answer to the router. That wins over what a flow has claimed (n8n
-- counts, so the next id can be guessed), and counts for a turn that its flow has closed meanwhile, too.
-- Returns {ok} or {refused: reason}: 'execution_taken' where a flow claims what is another tenant's.
-- PT422: the id is none that n8n gives.
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

-- The turn that an execution worked on, locked together with its session (session first); `refused` says why
-- nothing may be done about it: a turn that has its reply is its flow's no more, whatever becomes of that.
-- PT404: no turn was worked on by it.
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
-- n8n says that an execution crashed: who reports it has the attempt that it worked on, to end it as the flow
-- itself would have. The flow's own token opens nothing any more. Returns {turn_id, token} or {refused:
-- 'superseded' | 'stale'}. PT404: no turn was worked on by it.
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
-- As routers of 0.2.0 say that an execution crashed: the attempt that it worked on failed, as by fail_turn.
-- Returns {turn_id, state, run_after?, outage?, handoff?} or {refused: 'superseded' | 'stale'}. PT404: no
-- turn was worked on by it.
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
