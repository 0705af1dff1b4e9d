-- HybridFlow: reads tenants, each as its caller may see it.

-- A tenant as the API shows it. Of keys it says only whether there is one, and so of the URLs of the tenant's
-- own services. The QR code has its own function.
create or replace function hybridflow.tenant_json(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    with stored as materialized (select to_jsonb(p_tenant) as tenant)

    select s.tenant
        - (hybridflow.tenant_keys() || array['qr_code', 'pairing_code', 'qr_updated_at', 'guard_changed_at'])
        || (
            select jsonb_object_agg(k || '_set', coalesce(s.tenant ->> k, '') <> '')
            from unnest(hybridflow.tenant_keys() || hybridflow.settings_for_admins()) as k
        )
    from stored as s
$$;

-- A tenant as this caller may see it; without a caller, with every value. The URLs of its own services may
-- contain a secret, so they are shown only to callers who may set them.
create or replace function hybridflow.tenant_seen_by(p_caller jsonb, p_tenant public.tenants)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_caller is null or hybridflow.reaches(hybridflow.role_in(p_caller, p_tenant.id), 'admin') then
        return hybridflow.tenant_json(p_tenant);
    end if;
    return hybridflow.tenant_json(p_tenant) || (
        select jsonb_object_agg(k, 'null'::jsonb) from unnest(hybridflow.settings_for_admins()) as k
    );
end
$$;

-- Returns the tenant that p names by tenant_id or instance_name. Raises PT404.
create or replace function hybridflow.tenant_of(p jsonb)
returns public.tenants
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    if p ->> 'instance_name' is not null then
        select * into v_tenant from public.tenants where instance_name = p ->> 'instance_name';
    else
        select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    end if;
    if not found then
        raise exception 'there is no tenant %', coalesce(
            'with the instance ' || (p ->> 'instance_name'), p ->> 'tenant_id'
        ) using errcode = 'PT404';
    end if;
    return v_tenant;
end
$$;

-- list_tenants({caller?, limit?, cursor?})
-- Returns {items: [tenant], next_cursor}: the tenants that the caller may see (all of them without a caller),
-- in the order of their creation. A page ends before its `limit` if its prompts, facts and hours reach
-- 500,000 bytes.
create or replace function public.list_tenants(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after bigint := coalesce((hybridflow.from_cursor('tenants', p) ->> 0)::bigint, 0);
    v_own bigint[] := case when p ? 'caller' then hybridflow.tenants_of(p -> 'caller', 'viewer') end;
    v_rows jsonb[];
begin
    with found as (
        select t.id, coalesce(sum(
            coalesce(octet_length(t.system_prompt), 0)::bigint + coalesce(octet_length(t.facts), 0)
            + coalesce(octet_length(t.opening_hours::text), 0)
        ) over (
            order by t.id rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from public.tenants as t
        where t.id > v_after and (v_own is null or t.id = any(v_own))
        order by t.id limit v_limit + 1
    )

    select
        array_agg(jsonb_build_object('key', jsonb_build_array(f.id), 'item', case when f.fits then (
            select hybridflow.tenant_seen_by(p -> 'caller', t) from public.tenants as t where t.id = f.id
        ) end) order by f.id),
        least(v_limit, count(*) filter (where f.fits))
    into v_rows, v_limit
    from found as f;
    return hybridflow.page('tenants', v_rows, v_limit);
end
$$;

-- get_tenant({caller?, tenant_id | instance_name})
-- Returns {tenant}. PT404: no such tenant.
create or replace function public.get_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_tenant', p, '{tenant_id|instance_name}');
    return jsonb_build_object('tenant', hybridflow.tenant_seen_by(p -> 'caller', hybridflow.tenant_of(p)));
end
$$;
