-- HybridFlow: turns that wait for an LLM or a line that is away, and their release when it is back.

-- The LLM of a tenant's replies, as turns.waits_for names it: the deployment's LLM of a provider, or one with
-- the tenant's own key, because that key may be the cause.
create or replace function hybridflow.llm_of(p_tenant_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select concat('llm ', t.llm_provider, case when t.llm_api_key is not null then ' ' || t.id end)
    from public.tenants as t
    where t.id = p_tenant_id
$$;

-- A tenant's way to WhatsApp, as turns.waits_for names it: its line, and the Evolution server in front of it.
create or replace function hybridflow.line_of(p_tenant_id bigint)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    return 'line ' || p_tenant_id;
end
$$;

-- The newest turns that wait for p_waits_for, of tenant p_tenant_id or (null) of all tenants; only a few at a
-- time, so that no call takes long. There are two statements because each has an index of its own.
create or replace function hybridflow.newest_put_off(p_waits_for text, p_tenant_id bigint)
returns bigint[]
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
begin
    if p_tenant_id is null then
        return array(
            select t.id from public.turns as t
            where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            order by t.id desc limit c_few for update skip locked
        );
    end if;
    return array(
        select t.id from public.turns as t
        where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            and t.tenant_id = p_tenant_id
        order by t.tenant_id desc, t.id desc limit c_few for update skip locked
    );
end
$$;

-- The time from which a turn is due that need not wait any more: when its contact last wrote. So of all due
-- turns the newest conversations are claimed first, whenever they were released; see turns_of_tenant.
create or replace function hybridflow.due_since(p_session_id bigint)
returns timestamptz
language sql
volatile
set search_path = ''
as $$
    select least(s.last_contact_at, hybridflow.clock()) from public.sessions as s where s.id = p_session_id
$$;

-- What turns wait for is back: they are due at once, the newest conversations first. A few are released now,
-- and more each time it works again. If p_tenant_id is given, only turns of that tenant are released. All
-- routers are notified.
create or replace function hybridflow.is_back(p_waits_for text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz;
    v_ids bigint[];
    v_waits record;
begin
    -- One query: nearly always nothing waits.
    select
        exists (
            select from public.outages as o
            where o.ended_at is null and o.about is not null and o.about = p_waits_for
        ) as outages,
        exists (
            select from public.media_jobs as j where j.waits_for is not null and j.waits_for = p_waits_for
        ) as media,
        exists (
            select from public.turns as t
            where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
        ) as turns
    into v_waits;
    if v_waits.outages then
        perform hybridflow.end_outages(p_waits_for, p_tenant_id);
    end if;
    if v_waits.media then
        perform hybridflow.senses_are_back(p_waits_for);
    end if;
    if not v_waits.turns then
        return;
    end if;
    v_now := hybridflow.clock();
    v_ids := hybridflow.newest_put_off(p_waits_for, p_tenant_id);
    if v_ids = '{}' then
        return;
    end if;
    update public.turns as t
    set waits_for = null,
        run_after = case
            when t.waiting then least(t.run_after, hybridflow.due_since(t.session_id)) else t.run_after
        end,
        lease_until = case
            when t.held and t.worker is null then least(t.lease_until, v_now) else t.lease_until
        end
    where t.id = any(v_ids);
    perform public.call_routers('{}');
end
$$;
