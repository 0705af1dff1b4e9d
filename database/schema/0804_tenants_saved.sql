-- HybridFlow: creates and changes tenants, and tells the audit log what changed.

-- A value as the audit log shows it. Of a long value it shows the beginning, the length, and a hash that
-- distinguishes it from any other. The result is not cut again.
create or replace function hybridflow.told_shortly(p_value jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when coalesce(length(p_value #>> '{}') <= 1200, true) then p_value else to_jsonb(format(
        '%s […] (%s characters, SHA-256 %s)', left(p_value #>> '{}', 1000), length(p_value #>> '{}'),
        encode(sha256(convert_to(p_value #>> '{}', 'UTF8')), 'hex')
    )) end
$$;

-- For the audit log: what changed in a tenant, as {column: {from, to}}. Of its Evolution key and its URLs,
-- which may contain a secret, it says only that they changed.
create or replace function hybridflow.tenant_changes(p_old public.tenants, p_new public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_object_agg(n.key, case
        when n.key = any(hybridflow.untold_settings()) then '{}'
        else jsonb_strip_nulls(jsonb_build_object(
            'from', hybridflow.told_shortly(to_jsonb(p_old) -> n.key), 'to', hybridflow.told_shortly(n.value)
        ))
    end), '{}')
    from jsonb_each(to_jsonb(p_new)) as n
    where n.key = any(hybridflow.tenant_settings()) and n.value is distinct from to_jsonb(p_old) -> n.key
$$;

-- Changes the tenant p_tenant_id. If that is null, makes a new tenant of p_values, with the id from
-- reserve_tenant if one is given. Raises PT404, PT409 (another tenant has the instance) and PT422.
create or replace function hybridflow.save_tenant(p_tenant_id bigint, p_reserved_id bigint, p_values jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_new public.tenants;
    v_subject text;
begin
    perform hybridflow.check_tenant_values(p_values);
    if p_tenant_id is null then
        insert into public.tenants (id, instance_name, evo_server_url)
        overriding system value
        values (
            coalesce(p_reserved_id, nextval(pg_get_serial_sequence('public.tenants', 'id'))),
            p_values ->> 'instance_name', p_values ->> 'evo_server_url'
        )
        returning * into v_tenant;
    else
        select * into v_tenant from public.tenants where id = p_tenant_id for update;
        if not found then
            raise exception 'there is no tenant %', p_tenant_id using errcode = 'PT404';
        end if;
        perform hybridflow.check_key_stays(v_tenant, p_values);
    end if;
    v_new := hybridflow.write_tenant(v_tenant, p_values);
    return jsonb_build_object(
        'tenant', hybridflow.tenant_json(v_new), 'audit', hybridflow.tenant_changes(v_tenant, v_new)
    );
exception
    when unique_violation then
        raise exception 'another tenant has the instance %', p_values ->> 'instance_name'
            using errcode = 'PT409';
    when check_violation then
        get stacked diagnostics v_subject = constraint_name;
        raise exception '%', hybridflow.tenant_rule(v_subject) using errcode = 'PT422';
    when not_null_violation then
        get stacked diagnostics v_subject = column_name;
        raise exception '% must have a value', v_subject using errcode = 'PT422';
end
$$;

-- reserve_tenant({})
-- Reserves the id of a tenant that will be created later, because what is encrypted for the tenant is bound
-- to its id. Returns {tenant_id}.
create or replace function public.reserve_tenant(p jsonb)
returns jsonb
language sql
volatile
set search_path = ''
as $$
    select jsonb_build_object('tenant_id', nextval(pg_get_serial_sequence('public.tenants', 'id')))
    where p is not null
$$;

-- create_tenant({caller?, tenant_id?, values: {instance_name, evo_server_url, …}, ceilings?, policy?})
-- tenant_id is an id from reserve_tenant; ceilings are as in check_ceilings. The demo's tenant is deleted,
-- even if it was left behind by a demo that was killed. Returns {tenant, audit}. PT409: another tenant has
-- the instance. PT422: which value is wrong, and how.
create or replace function public.create_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
begin
    perform hybridflow.require_keys('create_tenant', p, '{values}');
    perform hybridflow.check_tenant_values(v_values);
    perform hybridflow.check_ceilings(p -> 'caller', null, v_values, p -> 'ceilings');
    perform hybridflow.check_waiting(null, v_values, p -> 'policy');
    delete from public.tenants where is_demo;
    return hybridflow.save_tenant(null, (p ->> 'tenant_id')::bigint, v_values);
end
$$;

-- change_tenant({caller?, tenant_id, values: {…}, ceilings?, policy?})
-- Changes only the values that are given; null removes a value, so that the default applies. Returns {tenant,
-- audit}. PT403: only the deployment may change this. PT404, PT409 and PT422 as above.
create or replace function public.change_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('change_tenant', p, '{tenant_id,values}');
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint for update;
    if found then
        perform hybridflow.check_tenant_values(v_values);
        perform hybridflow.check_deployments_own(p -> 'caller', v_tenant, v_values);
        perform hybridflow.check_ceilings(p -> 'caller', v_tenant, v_values, p -> 'ceilings');
        perform hybridflow.check_waiting(v_tenant, v_values, p -> 'policy');
    end if;
    return hybridflow.save_tenant(coalesce((p ->> 'tenant_id')::bigint, 0), null, v_values);
end
$$;
