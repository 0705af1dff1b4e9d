-- HybridFlow: who the caller of the API is, as a console shows it.

-- who_am_i({caller})
-- Returns {kind, name, role, roles}: the caller as `as_operator` knows it. role: its role in every tenant, or
-- null. If it is null, roles lists its roles: [{tenant_id, instance_name, role}], of at most a thousand
-- tenants in the order of their ids.
create or replace function public.who_am_i(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_caller jsonb := p -> 'caller';
    v_role text := hybridflow.role_in(v_caller, null);
begin
    perform hybridflow.require_keys('who_am_i', p, '{caller}');
    return jsonb_build_object(
        'kind', v_caller -> 'kind', 'name', v_caller -> 'name', 'role', v_role,
        'roles', case when v_role is null then (
            select coalesce(jsonb_agg(jsonb_build_object(
                'tenant_id', f.id, 'instance_name', f.instance_name, 'role', f.role
            ) order by f.id), '[]')
            from (
                select t.id, t.instance_name, hybridflow.role_in(v_caller, t.id) as role
                from public.tenants as t
                where t.id = any(hybridflow.tenants_of(v_caller, 'viewer'))
                order by t.id limit 1000
            ) as f
        ) else '[]' end
    );
end
$$;
