-- HybridFlow: how many turns of each tenant are under way, and how many more it may have: of the seats of the
-- worker that claims, and of the places in n8n.

-- How many turns of each tenant are being worked on: by p_worker, or, null, by whomever. p_own is what the
-- worker itself knows to work on, by tenant: it may do so although a lease has run out.
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

-- How many turns of each tenant n8n has, or will be given, by whatever worker: all that are being worked
-- on and have no reply yet (see free_flows_without), but for p.not_in_n8n, of which the worker knows better.
-- p.in_n8n is what the worker itself knows to be there or on the way, by tenant, whatever became of the
-- leases. A router of 0.2.0 says p.own alone.
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
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer
        from jsonb_each_text(coalesce(nullif(p -> 'in_n8n', 'null'), nullif(p -> 'own', 'null'))) as o
    ) as b
    group by b.tenant_id
$$;

-- How many turns of each tenant count against its share: those in n8n where n8n is used, else the worker's.
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

-- How many of the worker's seats tenant p_tenant_id has: as many as p.sitting says, or else as it has turns.
create or replace function hybridflow.seats_of(p_tenant_id bigint, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select coalesce((coalesce(nullif(p -> 'sitting', 'null'), p -> 'own') ->> p_tenant_id::text)::integer, 0)
$$;

-- How many more turns tenant p_tenant_id may have that has p_busy (null: none); null: any number. Of the
-- worker's seats it gets another while it has less than own_times as many as are free, and own_max turns at
-- most, those that wait for its own server (see `sitting`) among them.
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

-- The same, where n8n is used: of its places, of which p.n8n_free are free, a tenant gets another by the same
-- rule as of the seats. A flow that sends by itself has no seat.
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

-- The tenants that may have no turn more now.
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
