-- HybridFlow: API keys: operators list, make and revoke them. as_operator calls these functions, and puts the
-- known caller into the argument.

-- The user of Supabase Auth for whom a known caller acts, directly or with a key; null: no user.
create or replace function hybridflow.member_behind(p_caller jsonb)
returns uuid
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_caller ->> 'user_id', p_caller ->> 'made_by')::uuid
$$;

-- A key as the API shows it: everything except its hash.
create or replace function hybridflow.api_key_json(p_key public.api_keys)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_key) - 'key_hash' || jsonb_build_object(
        'tenant_ids', case when not p_key.every_tenant then (
            select coalesce(jsonb_agg(t.tenant_id order by t.tenant_id), '[]')
            from public.api_key_tenants as t where t.api_key_id = p_key.id
        ) end,
        'is_active', p_key.revoked_at is null and coalesce(p_key.expires_at > hybridflow.clock(), true)
    )
$$;

-- What the audit log says about a key that is made or revoked: {audit, audit_tenants: the tenants of the
-- key}.
create or replace function hybridflow.audit_of_key(p_key public.api_keys)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'audit', jsonb_build_object(
            'api_key_id', p_key.id, 'name', p_key.name, 'starts_with', p_key.starts_with, 'role', p_key.role,
            'expires_at', p_key.expires_at
        ),
        'audit_tenants', (
            select coalesce(jsonb_agg(t.tenant_id order by t.tenant_id), '[]')
            from public.api_key_tenants as t where t.api_key_id = p_key.id
        )
    )
$$;

-- Makes room for one more key of each of these tenants. Of the keys that have ended, the newest 500 are kept.
-- Raises PT409 if the tenant has 500 valid keys. Calls at the same moment may exceed that by a few.
create or replace function hybridflow.make_room_for_key(p_tenants bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint;
    v_now timestamptz := hybridflow.clock();
begin
    foreach v_tenant_id in array p_tenants loop
        continue when (
            select count(*) < 500 from (
                select from public.api_key_tenants as t where t.tenant_id = v_tenant_id limit 500
            ) as few
        );
        with ended as (
            select k.id from public.api_keys as k
            inner join public.api_key_tenants as t on t.api_key_id = k.id
            where t.tenant_id = v_tenant_id and (k.revoked_at is not null or k.expires_at <= v_now)
            order by k.id desc offset 500
        ), shared as (  -- keys that also belong to another tenant
            delete from public.api_key_tenants as t using ended as e
            where t.api_key_id = e.id and t.tenant_id = v_tenant_id and exists (
                select from public.api_key_tenants as o where o.api_key_id = e.id and o.tenant_id <> v_tenant_id
            )
            returning t.api_key_id as id
        )

        delete from public.api_keys as k using ended as e
        where k.id = e.id and k.id not in (select s.id from shared as s);
        if (
            select count(*) >= 500 from public.api_keys as k
            inner join public.api_key_tenants as t on t.api_key_id = k.id
            where t.tenant_id = v_tenant_id and k.revoked_at is null and coalesce(k.expires_at > v_now, true)
        ) then
            raise exception 'tenant % has 500 keys already: revoke one first', v_tenant_id
                using errcode = 'PT409';
        end if;
    end loop;
end
$$;

-- create_api_key({caller, name, key_hash, starts_with, role, tenant_ids: [id] | null, expires_at?})
-- Makes a key for these tenants; tenant_ids null: for every tenant. Returns {api_key, audit, audit_tenants}.
-- The caller must be admin in each of them; otherwise PT404 or PT403. A key that was made with another key
-- expires with that key at the latest. PT409: a tenant has 500 keys already. PT422: which value is not valid.
create or replace function public.create_api_key(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_every boolean := jsonb_typeof(coalesce(p -> 'tenant_ids', 'null')) = 'null';
    v_tenants bigint[];
    v_maker public.api_keys;
    v_key public.api_keys;
begin
    perform hybridflow.require_keys(
        'create_api_key', p, '{caller,name,key_hash,starts_with,role,tenant_ids or null}'
    );
    -- A call that revokes the caller's key at this moment waits for this lock, and then ends the new key,
    -- too.
    select * into v_maker from public.api_keys where id = (p #>> '{caller,api_key_id}')::bigint for share;
    if v_maker.revoked_at is not null then
        raise exception 'the API key % was revoked', v_maker.name using errcode = 'PT401';
    end if;
    if not v_every then
        v_tenants := array(select distinct t.id::bigint from jsonb_array_elements_text(p -> 'tenant_ids') as t (id));
        if v_tenants = '{}' then
            raise exception 'tenant_ids must name a tenant, or be null: every tenant' using errcode = 'PT422';
        end if;
    end if;
    -- A call that ends the caller's membership at this moment waits for this lock, and then ends the new key,
    -- too.
    perform from public.memberships as m
    where m.user_id = hybridflow.member_behind(p -> 'caller') and m.tenant_id = any(v_tenants)
    order by m.tenant_id
    for share;
    perform hybridflow.require_role(p -> 'caller', t.id, 'admin')
    from unnest(case when v_every then array[null::bigint] else v_tenants end) as t (id);
    if (p ->> 'expires_at')::timestamptz <= hybridflow.clock() then
        raise exception 'expires_at must be in the future, not %', p ->> 'expires_at' using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('the name of a key', p ->> 'name');
    perform hybridflow.make_room_for_key(coalesce(v_tenants, '{}'));
    insert into public.api_keys (
        name, key_hash, starts_with, role, every_tenant, created_by, made_by, made_with, created_at, expires_at
    )
    values (
        btrim(p ->> 'name'), decode(p ->> 'key_hash', 'hex'), p ->> 'starts_with', p ->> 'role', v_every,
        p #>> '{caller,name}', hybridflow.member_behind(p -> 'caller'), v_maker.id, hybridflow.clock(),
        least((p ->> 'expires_at')::timestamptz, v_maker.expires_at)
    )
    returning * into v_key;
    insert into public.api_key_tenants (api_key_id, tenant_id)
    select v_key.id, t.id from unnest(v_tenants) as t (id);
    return jsonb_build_object('api_key', hybridflow.api_key_json(v_key)) || hybridflow.audit_of_key(v_key);
exception
    when check_violation or not_null_violation then
        raise exception 'a key needs a name of 1 to 100 characters, and a role: viewer, operator or admin'
            using errcode = 'PT422';
    when foreign_key_violation then
        raise exception 'tenant_ids: there is no such tenant' using errcode = 'PT404';
end
$$;

-- Whether the known caller may see and revoke a key: it must be admin in every tenant of the key.
create or replace function hybridflow.may_manage(p_caller jsonb, p_key public.api_keys)
returns boolean
language sql
stable
set search_path = ''
as $$
    select case
        when hybridflow.tenants_of(p_caller, 'admin') is null then true
        when p_key.every_tenant then false
        else exists (select from public.api_key_tenants as t where t.api_key_id = p_key.id) and not exists (
            select from public.api_key_tenants as t
            where t.api_key_id = p_key.id and t.tenant_id <> all(hybridflow.tenants_of(p_caller, 'admin'))
        )
    end
$$;

-- list_api_keys({caller, limit?, cursor?})
-- Returns {items: [api_key], next_cursor}: the keys that the caller may manage, the newest first, including
-- revoked ones. For an admin of some tenants, only keys of those tenants are read, however many keys others
-- have.
create or replace function public.list_api_keys(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('api_keys', p) ->> 0)::bigint, 9223372036854775807);
    v_tenants bigint[] := hybridflow.tenants_of(p -> 'caller', 'admin');
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_api_keys', p, '{caller}');
    select array_agg(jsonb_build_object(
        'key', jsonb_build_array(f.id), 'item', hybridflow.api_key_json(f)
    ) order by f.id desc)
    into v_rows
    from (
        (
            select k.* from public.api_keys as k
            where v_tenants is null and k.id < v_before
            order by k.id desc limit v_limit + 1
        )
        union all
        (
            select k.* from public.api_keys as k
            where k.id < v_before and not k.every_tenant and k.id = any(array(
                select t.api_key_id from public.api_key_tenants as t where t.tenant_id = any(v_tenants)
            )) and not exists (
                select from public.api_key_tenants as t
                where t.api_key_id = k.id and t.tenant_id <> all(v_tenants)
            )
            order by k.id desc limit v_limit + 1
        )
    ) as f;
    return hybridflow.page('api_keys', v_rows, v_limit);
end
$$;

-- revoke_api_key({caller, api_key_id})
-- Ends a key at once, and the keys that were made with it. A revoked key stays revoked. Returns {api_key,
-- audit, audit_tenants}. PT404: there is no such key, or the caller may not manage it.
create or replace function public.revoke_api_key(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_key public.api_keys;
begin
    perform hybridflow.require_keys('revoke_api_key', p, '{caller,api_key_id}');
    select * into v_key from public.api_keys where id = (p ->> 'api_key_id')::bigint for update;
    if not found or not hybridflow.may_manage(p -> 'caller', v_key) then
        raise exception 'there is no API key %', p ->> 'api_key_id' using errcode = 'PT404';
    end if;
    update public.api_keys set revoked_at = coalesce(revoked_at, hybridflow.clock()) where id = v_key.id
    returning * into v_key;
    return jsonb_build_object('api_key', hybridflow.api_key_json(v_key)) || hybridflow.audit_of_key(v_key);
end
$$;
