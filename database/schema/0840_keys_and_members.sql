-- HybridFlow: API keys, members of tenants, and the audit log, as operators see and change them. All are
-- called by as_operator, which puts the known caller into the argument.

-- Ends what keys that the user made may do in the tenant, where the user has no longer the role that they
-- have: a key of this tenant alone is revoked, one of several tenants loses this one. What was made with a
-- key that a member made is the member's, too.
create or replace function hybridflow.end_keys(p_user_id uuid, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_role text := (
        select m.role from public.memberships as m where m.user_id = p_user_id and m.tenant_id = p_tenant_id
    );
    v_key public.api_keys;
begin
    for v_key in
        select k.* from public.api_keys as k
        where k.made_by = p_user_id and k.revoked_at is null and not hybridflow.reaches(v_role, k.role)
            and exists (
                select from public.api_key_tenants as t where t.api_key_id = k.id and t.tenant_id = p_tenant_id
            )
        order by k.id
        for update
    loop
        delete from public.api_key_tenants as t
        where t.api_key_id = v_key.id and t.tenant_id = p_tenant_id and exists (
            select from public.api_key_tenants as o where o.api_key_id = v_key.id and o.tenant_id <> p_tenant_id
        );
        if not found then
            update public.api_keys set revoked_at = hybridflow.clock() where id = v_key.id;
        end if;
    end loop;
end
$$;

-- Who made a key is kept from 0.2.0 on; before, a user's id stood in created_by alone. Keys of members who
-- have gone end here.
do $$
begin
    if exists (
        select from pg_catalog.pg_attribute
        where attrelid = 'public.api_keys'::regclass and attname = 'made_by' and not attisdropped
    ) then
        return;
    end if;
    alter table public.api_keys add column made_by uuid;
    update public.api_keys set made_by = created_by::uuid
    where created_by ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
    perform hybridflow.end_keys(k.made_by, t.tenant_id)
    from public.api_keys as k inner join public.api_key_tenants as t on t.api_key_id = k.id
    where k.made_by is not null;
end
$$;
comment on column public.api_keys.made_by is
'The user of Supabase Auth who made it, or made the key that made it: it ends with the membership.';
create index if not exists api_keys_by_maker on public.api_keys (made_by) where made_by is not null;

alter table public.api_keys
add column if not exists made_with bigint references public.api_keys (id) on delete set null;
comment on column public.api_keys.made_with is 'The key that made it: it ends with that one.';
create index if not exists api_keys_by_making_key on public.api_keys (made_with) where made_with is not null;

create or replace function hybridflow.end_keys_made_with()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.api_keys set revoked_at = new.revoked_at where made_with = new.id and revoked_at is null;
    return null;
end
$$;

create or replace trigger api_keys_end_those_made_with
after update of revoked_at on public.api_keys
for each row when (old.revoked_at is null and new.revoked_at is not null)
execute function hybridflow.end_keys_made_with();

create or replace function hybridflow.end_keys_of_member()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_keys(old.user_id, old.tenant_id);
    return null;
end
$$;

create or replace trigger memberships_end_keys
after update or delete on public.memberships
for each row execute function hybridflow.end_keys_of_member();

-- The user of Supabase Auth that a known caller acts for, itself or with a key; null: nobody.
create or replace function hybridflow.member_behind(p_caller jsonb)
returns uuid
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_caller ->> 'user_id', p_caller ->> 'made_by')::uuid
$$;

-- A key as the API shows it: everything but its hash.
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

-- What the audit log says of a key that is made or revoked: {audit, audit_tenants: those that it is for}.
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

-- Makes room for one more key of each of these tenants: of keys that have ended, it keeps the newest 500.
-- Raises PT409 where it has 500 that hold. Several at the same moment may be some more.
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
        ), shared as (  -- another tenant's list has it, too
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
-- Makes a key for these tenants; tenant_ids null: for every one. Returns {api_key, audit, audit_tenants}. The
-- caller must be admin in each of them: PT404 and PT403 else. One that a key makes is over when that is, at
-- the latest. PT409: a tenant has 500 already; PT422: which value cannot be.
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
    -- Who revokes the key that asks waits, and then ends this one, too.
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
    -- Whose membership ends meanwhile waits, and then ends this key, too.
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

-- Whether the known caller may see and revoke a key: admin wherever the key holds.
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
-- Returns {items: [api_key], next_cursor}: the keys that the caller may manage, the newest first, revoked
-- ones included. Of an admin of some tenants only theirs are looked at, however many others have.
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
-- Refuses a key from now on, and those that were made with it; one that is revoked stays so. Returns
-- {api_key, audit, audit_tenants}. PT404: there is none that the caller may manage.
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

-- The user that p names. Raises PT422 where it is no id.
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
-- Returns {items: [member]}: the users of Supabase Auth that may see the tenant, 500 at most: more it cannot
-- have. PT404: no such tenant.
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
-- Gives a user of Supabase Auth a role in the tenant, or another than before. Returns {member}. PT404: no
-- such tenant; PT409: it has 500 members already; PT422: no such role, or no id of a user.
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
-- Takes a user's rights in the tenant, at once. Returns {removed}: whether there were any. PT404: no such
-- tenant; PT422: no id of a user.
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

-- Whether a line is one that list_audit is asked for.
create or replace function hybridflow.audit_wanted(p_line public.audit_log, p jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_line.session_id is not distinct from coalesce((p ->> 'session_id')::bigint, p_line.session_id)
        and p_line.action = coalesce(p ->> 'action', p_line.action)
        and p_line.caller = coalesce(p ->> 'caller_name', p_line.caller)
        and p_line.at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
$$;

-- The detail of a line of the audit log, cut where it was written longer than one is now.
create or replace function hybridflow.short_detail(p_detail jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when pg_column_size(p_detail) <= 1000 then p_detail else (
        select jsonb_object_agg(d.key, case jsonb_typeof(d.value)
            when 'object' then (
                select coalesce(jsonb_object_agg(e.key, hybridflow.told_shortly(e.value)), '{}')
                from jsonb_each(d.value) as e
            )
            else hybridflow.told_shortly(d.value)
        end)
        from jsonb_each(p_detail) as d
    ) end
$$;

-- list_audit({tenant_id?, session_id?, action?, caller_name?, since?, limit?, cursor?})
-- Returns {items: [line], next_cursor}: lines of the audit log, the newest first: of a tenant, or, where the
-- caller has every one, of all. With a filter, 1000 are looked at for a page (see page_of_search). A page
-- ends before its `limit` where it has 500,000 characters.
create or replace function public.list_audit(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('audit', p) ->> 0)::bigint, 9223372036854775807);
    v_since timestamptz := coalesce((p ->> 'since')::timestamptz, '-infinity');
    v_look integer := hybridflow.rows_to_look_at(
        v_limit, coalesce(p ->> 'session_id', p ->> 'action', p ->> 'caller_name', p ->> 'since') is not null
    );
    v_rows jsonb[];
    v_keys bigint[];
    v_found bigint[];
    v_last_at timestamptz;
    v_id bigint;
    v_line jsonb;
    v_characters bigint := 0;
begin
    with looked as materialized (
        (
            select a as line, a.id from public.audit_log as a
            where v_tenant_id is null and a.id < v_before
            order by a.id desc limit v_look
        )
        union all
        (
            select a as line, a.id from public.audit_log as a
            where a.tenant_id = v_tenant_id and a.id < v_before
            order by a.id desc limit v_look
        )
    ),

    found as (
        select l.* from looked as l where hybridflow.audit_wanted(l.line, p) order by l.id desc limit v_limit + 1
    )

    select
        (select array_agg(f.id order by f.id desc) from found as f),
        (select array_agg(l.id order by l.id desc) from looked as l),
        (select (l.line).at from looked as l order by l.id limit 1)
    into v_found, v_keys, v_last_at;
    foreach v_id in array coalesce(v_found, '{}') loop
        if v_characters >= 500000 then
            v_limit := least(v_limit, cardinality(v_rows));
            v_line := null;  -- there are more: this one begins the next page
        else
            select to_jsonb(a) || jsonb_build_object('detail', hybridflow.short_detail(a.detail)) into v_line
            from public.audit_log as a where a.id = v_id;
            v_characters := v_characters + length(v_line::text);
        end if;
        v_rows := v_rows || jsonb_build_object('key', jsonb_build_array(v_id), 'item', v_line);
        exit when v_line is null;
    end loop;
    return hybridflow.page_of_search('audit', v_rows, v_limit, case
        when cardinality(v_keys) = v_look and v_last_at >= v_since then jsonb_build_array(v_keys[v_look])
    end);
end
$$;
