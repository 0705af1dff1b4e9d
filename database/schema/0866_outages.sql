-- HybridFlow: outages: when they begin, when they end, and how many there are.

-- Returns the tenant's outage for p_cause, and begins one if there is none. If the last one ended a moment
-- ago, and nobody has been told that it ended, that one goes on. Returns null if another call begins it at
-- this moment. Never waits.
create or replace function hybridflow.begin_outage(p_tenant_id bigint, p_cause text, p_error text)
returns public.outages
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_how record;
    v_outage public.outages;
begin
    select * into v_how from hybridflow.endings() as e where e.cause = p_cause;
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.id is not null and v_outage.notice_id is not null
        and (v_how.lasts is null or v_outage.began_at > v_now - v_how.lasts)
    then
        update public.outages set last_at = v_now where id = (
            select o.id from public.outages as o
            where o.id = v_outage.id and o.last_at < v_now - interval '1 minute' for update skip locked
        );
        return v_outage;
    elsif not pg_try_advisory_xact_lock(hashtextextended(format('outage:%s:%s', p_tenant_id, p_cause), 0)) then
        return null;
    end if;
    -- Look again: another call may have begun it meanwhile.
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.began_at <= v_now - v_how.lasts then
        update public.outages set ended_at = v_now where id = v_outage.id and ended_at is null;
        v_outage := null;
    end if;
    if v_outage.id is null then
        update public.outages as o set ended_at = null, last_at = v_now
        where o.cause = p_cause and o.id = any((hybridflow.waiting_notice(p_tenant_id, 'answered_again')).ids)
            and hybridflow.untell_outage(p_tenant_id, 'answered_again', o.id)
        returning * into v_outage;
    end if;
    if v_outage.id is null then
        insert into public.outages (tenant_id, cause, about, began_at, last_at, error)
        values (
            p_tenant_id, p_cause,
            case v_how.about
                when 'llm' then hybridflow.llm_of(p_tenant_id)
                when 'line' then hybridflow.line_of(p_tenant_id)
                when 'tenant' then 'tenant ' || p_tenant_id
            end,
            v_now, v_now, left(p_error, 500)
        )
        returning * into v_outage;
    end if;
    if v_outage.notice_id is null then
        update public.outages
        set notice_id = hybridflow.tell_outage(
            p_tenant_id, 'unanswered', v_outage.id, v_outage.began_at + v_how.tells_after
        )
        where id = v_outage.id
        returning * into v_outage;
    end if;
    return v_outage;
end
$$;

-- Whether the people of the business were already told of an outage that also explains why flows fail. If so,
-- they are told of failing flows only after that outage is over (see tell_flow_failing).
create or replace function hybridflow.know_why_flows_fail(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null and o.notice_id is not null
            and o.cause in ('account_empty', 'account_refused', 'misconfigured', 'flow_failed')
    )
$$;

-- The subject of an outage (see outages.about) works again: for all tenants, or for p_tenant_id. If there are
-- many, only some end now, and the others at later calls. An outage whose notice another transaction holds
-- also ends later. The people who were told that an outage began are told that it is over. That notice waits
-- two minutes, because the problem may come back, or half an hour if an outage of the same cause, of which
-- they were told, ended within the last hour: an outage that comes and goes is told as one. The notice that a
-- flow fails is told then as well, if the flow still fails (see claim_notices), once no outage is left that
-- it waited for (see know_why_flows_fail).
create or replace function hybridflow.end_outages(p_about text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_few constant integer := 100;
    v_now timestamptz := hybridflow.clock();
    v_outage public.outages;
begin
    for v_outage in
        select o.* from public.outages as o
        where o.ended_at is null and o.about is not null and o.about = p_about
            and (p_tenant_id is null or o.tenant_id = p_tenant_id)
        order by o.about, o.tenant_id limit c_few for update skip locked
    loop
        continue when not hybridflow.has_waiting_notices(v_outage.tenant_id);
        update public.outages set ended_at = v_now where id = v_outage.id;
        update public.notices set next_at = least(next_at, v_now + interval '2 minutes')
        where id = any(array(
            select n.id from public.notices as n
            where n.tenant_id = v_outage.tenant_id and n.kind = 'flow_failing' and n.waiting and n.attempt = 0
            for update skip locked
        )) and not hybridflow.know_why_flows_fail(v_outage.tenant_id);
        if hybridflow.untell_outage(v_outage.tenant_id, 'unanswered', v_outage.id) then
            update public.outages set notice_id = null where id = v_outage.id;
        elsif exists (
            select from public.notices as n
            where n.id = v_outage.notice_id and n.reason is distinct from 'nobody'
        ) then
            perform hybridflow.tell_outage(
                v_outage.tenant_id, 'answered_again', v_outage.id, v_now + case when exists (
                    select from public.outages as o
                    inner join public.notices as n
                        on n.id = o.notice_id and n.reason is distinct from 'nobody'
                    where o.tenant_id = v_outage.tenant_id and o.cause = v_outage.cause and o.id <> v_outage.id
                        and o.ended_at > v_now - interval '1 hour'
                ) then interval '30 minutes' else interval '2 minutes' end
            );
        end if;
    end loop;
end
$$;

-- A model or a flow has made a reply for the tenant. That ends the outages about the tenant and about its
-- LLM, even if the tenant had another LLM or another key when they began.
create or replace function hybridflow.replies_are_made(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_outages(d.about, p_tenant_id)
    from (
        select distinct o.about from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null
            and (o.about = 'tenant ' || p_tenant_id or starts_with(o.about, 'llm '))
    ) as d;
end
$$;

-- count_outages({})
-- For the health check: the causes for which customers get no answer now, each with the number of tenants,
-- and the number of those for which the deployment must fix it. Only outages that were met within the last
-- day count. Returns {causes: [{cause, tenants, deployments}]}.
create or replace function public.count_outages(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return jsonb_build_object('causes', (
        select coalesce(jsonb_agg(to_jsonb(c) order by c.cause), '[]')
        from (
            select
                o.cause, count(*) as tenants, count(*) filter (
                    where e.told_deployment = 'always'
                        or (e.told_deployment = 'own_key' and t.llm_api_key is null)
                ) as deployments
            from (
                select u.* from public.outages as u
                where u.ended_at is null and u.about is not null and u.last_at > v_now - interval '1 day'
                limit 1000
            ) as o
            inner join hybridflow.endings() as e on e.cause = o.cause
            inner join public.tenants as t on t.id = o.tenant_id and t.is_active
            where o.began_at + e.tells_after <= v_now
            group by o.cause
        ) as c
    ));
end
$$;
