-- HybridFlow: how many turns of each tenant are under way, and how many more it may have. The worker that
-- claims has a number of seats, and n8n has a number of places.

-- How many turns of each tenant are being worked on: by p_worker, or by any worker if that is null. p_own
-- says how many the worker itself counts, by tenant. It may still work on a turn whose lease has run out, so
-- the larger number counts.
create or replace function hybridflow.tenants_at_work(p_worker text, p_own jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select b.tenant_id, max(b.turns)::integer
    from (
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is not null and t.worker = p_worker and t.worker is not null
            and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is null and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer from jsonb_each_text(p_own) as o
    ) as b
    group by b.tenant_id
$$;

-- How many turns of each tenant are in n8n, or on their way there, from all workers: those that are being
-- worked on and have no reply yet (see free_flows_without). Those of a tenant with an LLM key of its own do
-- not count, nor do the turns in p.not_in_n8n: the worker knows that they are not in n8n. p.in_n8n is the
-- worker's own number of its turns in n8n or on their way, by tenant, even if their leases have run out; the
-- larger number counts. A router of 0.2.0 sends only p.own, which is used instead.
create or replace function hybridflow.tenants_in_n8n(p jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select b.tenant_id, max(b.turns)::integer
    from (
        select t.tenant_id, count(*) as turns from public.turns as t
        where t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
            and t.worker is not null and t.reply is null
            and t.id <> all((select hybridflow.not_in_n8n(p))::bigint[])
            and (select n.llm_api_key from public.tenants as n where n.id = t.tenant_id) is null
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer
        from jsonb_each_text(coalesce(nullif(p -> 'in_n8n', 'null'), nullif(p -> 'own', 'null'))) as o
    ) as b
    group by b.tenant_id
$$;

-- How many turns of each tenant count against its share: those in n8n if n8n is used, else the worker's.
create or replace function hybridflow.busy_tenants(p jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select a.tenant_id, a.turns
    from hybridflow.tenants_at_work(p ->> 'worker', nullif(p -> 'own', 'null')) as a
    where p ->> 'n8n_max_in_flight' is null
    union all
    select n.tenant_id, n.turns from hybridflow.tenants_in_n8n(p) as n
    where p ->> 'n8n_max_in_flight' is not null
$$;

-- How many of the worker's seats tenant p_tenant_id has: the number in p.sitting. Without p.sitting, each of
-- its turns (p.own) has a seat.
create or replace function hybridflow.seats_of(p_tenant_id bigint, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select coalesce((coalesce(nullif(p -> 'sitting', 'null'), p -> 'own') ->> p_tenant_id::text)::integer, 0)
$$;

-- How many more turns tenant p_tenant_id may have; null: any number. It has p_busy (null: none) of at most
-- tenant_max. It gets another seat of the worker while it has fewer than own_times as many as are free
-- (p_limit). It may have at most own_max turns in this worker, including those that have no seat because they
-- wait for the tenant's own server.
create or replace function hybridflow.room_for(p_tenant_id bigint, p_busy integer, p_limit integer, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'tenant_max' is null and p ->> 'own_times' is null then null
        else greatest(0, least(
            (p ->> 'tenant_max')::integer - coalesce(p_busy, 0),
            ceil((p ->> 'own_times')::numeric * p_limit)::integer - hybridflow.seats_of(p_tenant_id, p),
            (p ->> 'own_max')::integer - coalesce((p -> 'own' ->> p_tenant_id::text)::integer, 0)
        ))
    end
$$;

-- The same if n8n is used. Then the rule for seats is also used for the places in n8n, of which p.n8n_free
-- are free. A flow that sends by itself has no seat.
create or replace function hybridflow.room_with_n8n(
    p_tenant_id bigint, p_busy integer, p_limit integer, p jsonb
)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'own_times' is null or p ->> 'n8n_free' is null
            then hybridflow.room_for(p_tenant_id, p_busy, p_limit, p)
        else least(
            hybridflow.room_for(p_tenant_id, p_busy, p_limit, p),
            greatest(0, ceil(
                (p ->> 'own_times')::numeric * (p ->> 'n8n_free')::integer
            )::integer - coalesce(p_busy, 0))
        )
    end
$$;

-- The tenants that may not get another turn now.
create or replace function hybridflow.full_tenants(p_limit integer, p jsonb)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select coalesce(array_agg(b.tenant_id), '{}')
    from hybridflow.busy_tenants(p) as b
    where hybridflow.room_with_n8n(b.tenant_id, b.turns, p_limit, p) = 0
$$;
