-- HybridFlow: members of tenants: operators list and change them.

-- Returns the user that p names. Raises PT422 if it is not a user's id.
create or replace function hybridflow.user_of(p jsonb)
returns uuid
language plpgsql
immutable
set search_path = ''
as $$
begin
    return (p ->> 'user_id')::uuid;
exception
    when data_exception then
        raise exception 'user_id must be the id of a user of Supabase Auth (a UUID), not %', p ->> 'user_id'
            using errcode = 'PT422';
end
$$;

-- list_members({tenant_id})
-- Returns {items: [member]}: the users of Supabase Auth who may see the tenant. A tenant has at most 500.
-- PT404: no such tenant.
create or replace function public.list_members(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('list_members', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(to_jsonb(m) order by m.created_at, m.user_id), '[]')
        from (
            select f.* from public.memberships as f where f.tenant_id = v_tenant.id
            order by f.created_at, f.user_id limit 500
        ) as m
    ));
end
$$;

-- set_member({caller?, tenant_id, user_id, role})
-- Gives a user of Supabase Auth a role in the tenant; it replaces an earlier role. Returns {member}. PT404:
-- no such tenant. PT409: it has 500 members already. PT422: no such role, or not a user's id.
create or replace function public.set_member(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_user_id uuid;
    v_member public.memberships;
begin
    perform hybridflow.require_keys('set_member', p, '{tenant_id,user_id,role}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    v_user_id := hybridflow.user_of(p);
    perform from public.tenants where id = v_tenant.id for no key update;
    if (select count(*) from public.memberships where tenant_id = v_tenant.id and user_id is distinct from v_user_id)
        >= 500
    then
        raise exception 'the tenant has 500 members already: remove one first' using errcode = 'PT409';
    end if;
    insert into public.memberships as m (tenant_id, user_id, role, created_by, created_at)
    values (
        v_tenant.id, v_user_id, p ->> 'role', p #>> '{caller,name}', hybridflow.clock()
    )
    on conflict (tenant_id, user_id) do update set role = excluded.role
    returning m.* into v_member;
    return jsonb_build_object('member', to_jsonb(v_member));
exception
    when check_violation or not_null_violation then
        raise exception 'a member needs a user_id, and a role: viewer, operator or admin' using errcode = 'PT422';
end
$$;

-- remove_member({tenant_id, user_id})
-- Ends a user's rights in the tenant at once. Returns {removed}: whether there were any. PT404: no such
-- tenant. PT422: not a user's id.
create or replace function public.remove_member(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('remove_member', p, '{tenant_id,user_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    delete from public.memberships
    where tenant_id = v_tenant.id and user_id = hybridflow.user_of(p);
    return jsonb_build_object('removed', found);
end
$$;
