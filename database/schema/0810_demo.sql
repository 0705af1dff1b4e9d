-- HybridFlow: the demo business, by which `make run` shows what it does where there is no tenant yet.

alter table public.tenants add column if not exists is_demo boolean not null default false;
comment on column public.tenants.is_demo is
'Made by `make run` and played on loopback; it goes before the first real tenant is served.';

-- look_at_demo({})
-- Returns {has_tenants, tenant_id}: whether there is a real tenant, and which one is the demo's (null: none).
create or replace function public.look_at_demo(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'has_tenants', exists (select from public.tenants where not is_demo),
        'tenant_id', (select min(id) from public.tenants where is_demo)
    )
    where p is not null
$$;

-- begin_demo({tenant_id, values: {instance_name, evo_server_url, …}})
-- Makes the demo's tenant, anew, with this id: those of real tenants go on being counted from 1. Returns
-- {tenant}. PT409: there is a real tenant, beside which no demo is. PT422: which value is wrong, and how.
create or replace function public.begin_demo(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('begin_demo', p, '{tenant_id,values}');
    if exists (select from public.tenants where not is_demo) then
        raise exception 'there is a tenant already: the demo business is for who has none yet'
            using errcode = 'PT409';
    end if;
    delete from public.tenants where is_demo;
    perform hybridflow.save_tenant(null, (p ->> 'tenant_id')::bigint, p -> 'values');
    update public.tenants set is_demo = true where id = (p ->> 'tenant_id')::bigint;
    return jsonb_build_object('tenant', (
        select hybridflow.tenant_json(t) from public.tenants as t where t.id = (p ->> 'tenant_id')::bigint
    ));
end
$$;

-- end_demo({})
-- Deletes the demo's tenant with all that was said there. Returns {ended}: how many there were.
create or replace function public.end_demo(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_ended integer;
begin
    delete from public.tenants where p is not null and is_demo;
    get diagnostics v_ended = row_count;
    return jsonb_build_object('ended', v_ended);
end
$$;
