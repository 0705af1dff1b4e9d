-- HybridFlow: the demo business, which `make run` plays while there is no other tenant.

alter table public.tenants add column if not exists is_demo boolean not null default false;
comment on column public.tenants.is_demo is
'A demo business, made by `make run` and played on loopback. It is deleted before the first real'
' tenant is served.';

-- look_at_demo({})
-- Returns {has_tenants, tenant_id}: whether there is a real tenant, and the id of the demo's tenant (null:
-- none).
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
-- Makes the demo's tenant again from scratch, with this id, so that the ids of real tenants still start at 1.
-- Returns {tenant}. PT409: there is a real tenant, so there is no demo. PT422: which value is wrong, and how.
create or replace function public.begin_demo(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('begin_demo', p, '{tenant_id,values}');
    perform hybridflow.require_keys('begin_demo', p -> 'values', '{instance_name,evo_server_url}');
    if exists (select from public.tenants where not is_demo) then
        raise exception 'there is a tenant already: the demo business needs an empty deployment'
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
-- Deletes the demo's tenant with all its messages. Returns {ended}: how many such tenants there were.
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

-- pass_demo_time({tenant_id, policy})
-- Lets the time of the demo's pauses pass: moves their beginnings and ends back until they are over. They are
-- ended by auto_resume, as always. A pause without an end stays. Returns {session_ids}: the sessions of those
-- pauses.
create or replace function public.pass_demo_time(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('pass_demo_time', p, '{tenant_id,policy}');
    with passed as (
        update public.sessions as s
        set paused_at = s.paused_at - d.rest, last_human_at = s.last_human_at - d.rest,
            paused_until = s.paused_until - d.rest, pause_asked_at = s.pause_asked_at - d.rest,
            pause_written_at = s.pause_written_at - d.rest
        from (
            select x.id, greatest(
                interval '0',
                hybridflow.pause_ends_at(x, t.resume_after_hours, p -> 'policy') - hybridflow.clock()
            ) as rest
            from public.sessions as x
            inner join public.tenants as t on t.id = x.tenant_id
            where t.id = (p ->> 'tenant_id')::bigint and t.is_demo and x.is_paused and not x.pause_indefinite
        ) as d
        where s.id = d.id
        returning s.id
    )
    select array_agg(q.id) into v_ids from passed as q;
    return jsonb_build_object('session_ids', coalesce(to_jsonb(v_ids), '[]'));
end
$$;
