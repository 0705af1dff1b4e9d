-- HybridFlow: checks whether a caller is known, before the body of the call is read.

-- prove_caller({caller})
-- Checks that the caller (see 0830) is known at this moment. Returns {tenant_id?}: the first tenant of a
-- user, or of a key that is not for every tenant. The rate limit counts the call together with the other
-- calls for that tenant. PT401: the API key is unknown, revoked or expired. What a known caller may do is
-- checked by the call itself.
create or replace function public.prove_caller(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_caller jsonb;
begin
    perform hybridflow.require_keys('prove_caller', p, '{caller}');
    v_caller := hybridflow.known_caller(p -> 'caller');
    return jsonb_strip_nulls(jsonb_build_object('tenant_id', case v_caller ->> 'kind'
        when 'key' then (
            select min(k.tenant_id) from public.api_key_tenants as k
            where k.api_key_id = (v_caller ->> 'api_key_id')::bigint
                and not (v_caller ->> 'every_tenant')::boolean
        )
        when 'user' then (
            select min(m.tenant_id) from public.memberships as m
            where m.user_id = (v_caller ->> 'user_id')::uuid
        )
    end));
end
$$;

-- prove_flow({turn_id | notice_id | dry_turn_id, token})
-- Returns {tenant_id} or {refused: reason}: the tenant of the turn, notice or test turn that has this token,
-- or why none has it, as the function that acts on it would say. Whether the token may still act is checked
-- when it acts. Takes no lock, because anybody may call it.
create or replace function public.prove_flow(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_hash bytea := hybridflow.hash_token((p ->> 'token')::uuid);
    v_tenant_id bigint;
    v_refusal text := 'stale';
begin
    perform hybridflow.require_keys('prove_flow', p, '{turn_id|notice_id|dry_turn_id,token}');
    if p ->> 'turn_id' is not null then
        select s.tenant_id into v_tenant_id
        from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.id = (p ->> 'turn_id')::bigint and t.token_hash = v_hash;
    elsif p ->> 'dry_turn_id' is not null then
        select d.tenant_id into v_tenant_id
        from public.dry_turns as d
        where d.id = (p ->> 'dry_turn_id')::bigint and d.token_hash = v_hash
            and d.ends_at > hybridflow.clock();
    else
        select n.tenant_id into v_tenant_id
        from public.notices as n
        where n.id = (p ->> 'notice_id')::bigint and n.token_hash = v_hash;
        if not exists (select from public.notices as n where n.id = (p ->> 'notice_id')::bigint) then
            v_refusal := 'unknown_notice';
        end if;
    end if;
    if v_tenant_id is null then
        return jsonb_build_object('refused', v_refusal);
    end if;
    return jsonb_build_object('tenant_id', v_tenant_id);
end
$$;
