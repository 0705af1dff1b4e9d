-- HybridFlow: who calls the API, and which role a caller has in a tenant.
--
-- A caller is {kind, …}. `deployment` (a key of API_KEYS) and `script` (a script with the configuration) have
-- every right. `key` gives the SHA-256 of an API key in the table api_keys. `user` is a user of Supabase
-- Auth, whose rights are its memberships. The router checks the key or the token and says who calls. What the
-- caller may do is decided here, in the transaction that does it.
--
-- Each role also has the rights of the roles before it: viewer (reads), operator (pauses, resumes, retries),
-- admin (settings, secrets, keys, members, people's data, the audit log).

create table if not exists public.api_keys (
    id bigint generated always as identity primary key,
    name text not null check (length(btrim(name)) between 1 and 100),
    key_hash bytea not null unique check (length(key_hash) = 32),
    starts_with text not null check (length(starts_with) between 1 and 20),
    role text not null check (role in ('viewer', 'operator', 'admin')),
    every_tenant boolean not null default false,
    created_by text,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

comment on table public.api_keys is 'Keys of the REST API, each with a role, for some tenants or for all.';
comment on column public.api_keys.key_hash is
'SHA-256 of the key. A key is random and long, so a plain hash is enough.';
comment on column public.api_keys.starts_with is
'The first characters of the key, so that people can recognise it.';
comment on column public.api_keys.every_tenant is 'The key is for every tenant, including those made later.';
comment on column public.api_keys.last_used_at is 'When the key was last used, to the minute.';

create table if not exists public.api_key_tenants (
    api_key_id bigint not null references public.api_keys (id) on delete cascade,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    primary key (api_key_id, tenant_id)
);

comment on table public.api_key_tenants is 'The tenants of a key that is not for every tenant.';

create index if not exists api_key_tenants_by_tenant on public.api_key_tenants (tenant_id);

create table if not exists public.memberships (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    user_id uuid not null,
    role text not null check (role in ('viewer', 'operator', 'admin')),
    created_by text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);

comment on table public.memberships is 'The role of a user of Supabase Auth (auth.users.id) in a tenant.';

create index if not exists memberships_by_user on public.memberships (user_id);

alter table public.api_keys enable row level security;
alter table public.api_key_tenants enable row level security;
alter table public.memberships enable row level security;

-- Whether the role has the rights of p_needs.
create or replace function hybridflow.reaches(p_role text, p_needs text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_position(array['viewer', 'operator', 'admin'], p_role)
        >= array_position(array['viewer', 'operator', 'admin'], p_needs), false)
$$;

-- Returns what is known about the caller: {kind, name} and, for a key, {api_key_id, role, every_tenant,
-- made_by}. Raises PT401 for a key that is unknown, revoked or expired.
create or replace function hybridflow.known_caller(p_caller jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_key public.api_keys;
begin
    case p_caller ->> 'kind'
        when 'deployment', 'script' then
            return jsonb_build_object('kind', p_caller -> 'kind', 'name', p_caller -> 'name');
        when 'user' then
            return jsonb_build_object(
                'kind', 'user', 'name', p_caller -> 'user_id', 'user_id', (p_caller ->> 'user_id')::uuid
            );
        when 'key' then
            select * into v_key from public.api_keys
            where key_hash = decode(p_caller ->> 'key_hash', 'hex');
            if v_key.id is null then
                raise exception 'this API key is not known' using errcode = 'PT401';
            elsif v_key.revoked_at is not null then
                raise exception 'the API key % was revoked', v_key.name using errcode = 'PT401';
            elsif v_key.expires_at <= hybridflow.clock() then
                raise exception 'the API key % has expired', v_key.name using errcode = 'PT401';
            end if;
            -- If another call with this key holds the row, that call notes the use: do not wait for it.
            update public.api_keys set last_used_at = hybridflow.clock()
            where id = (
                select k.id from public.api_keys as k
                where k.id = v_key.id
                    and (k.last_used_at is null or k.last_used_at < hybridflow.clock() - interval '1 minute')
                for no key update skip locked
            );
            return jsonb_build_object(
                'kind', 'key', 'made_by', v_key.made_by, 'name', v_key.name, 'api_key_id', v_key.id, 'role', v_key.role,
                'every_tenant', v_key.every_tenant
            );
        else
            raise exception 'nobody calls' using errcode = 'PT401';
    end case;
end
$$;

-- The role of a known caller in a tenant, or in the whole deployment if p_tenant_id is null. Null: no role.
create or replace function hybridflow.role_in(p_caller jsonb, p_tenant_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select case p_caller ->> 'kind'
        when 'deployment' then 'admin'
        when 'script' then 'admin'
        when 'key' then (
            select k.role from public.api_keys as k
            where k.id = (p_caller ->> 'api_key_id')::bigint and (k.every_tenant or exists (
                select from public.api_key_tenants as t
                where t.api_key_id = k.id and t.tenant_id = p_tenant_id
            ))
        )
        when 'user' then (
            select m.role from public.memberships as m
            where m.user_id = (p_caller ->> 'user_id')::uuid and m.tenant_id = p_tenant_id
        )
    end
$$;

-- The tenants in which a known caller has at least the role p_needs; null: every tenant.
create or replace function hybridflow.tenants_of(p_caller jsonb, p_needs text)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select case
        when hybridflow.reaches(hybridflow.role_in(p_caller, null), p_needs) then null
        else array(
            select k.tenant_id from public.api_key_tenants as k
            where k.api_key_id = (p_caller ->> 'api_key_id')::bigint
                and hybridflow.reaches(p_caller ->> 'role', p_needs)
            union all
            select m.tenant_id from public.memberships as m
            where m.user_id = (p_caller ->> 'user_id')::uuid and hybridflow.reaches(m.role, p_needs)
        )
    end
$$;

-- Raises PT404 if the caller has no role in the tenant, as if the tenant did not exist, and PT403 if the role
-- is too low. If p_tenant_id is null, the role in the deployment is checked; everybody may know that it
-- exists.
create or replace function hybridflow.require_role(p_caller jsonb, p_tenant_id bigint, p_needs text)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_role text := hybridflow.role_in(p_caller, p_tenant_id);
begin
    if hybridflow.reaches(v_role, p_needs) then
        return;
    elsif p_tenant_id is null then
        raise exception 'this needs the role % for every tenant', p_needs using errcode = 'PT403';
    elsif v_role is null then
        raise exception 'there is no tenant %', p_tenant_id using errcode = 'PT404';
    end if;
    raise exception 'this needs the role %, and % is %', p_needs, p_caller ->> 'name', v_role
        using errcode = 'PT403';
end
$$;

-- Returns the tenant that the argument is about, if the known caller has the role p_needs in it; null: the
-- whole deployment. Raises PT403 and PT404 as require_role does. An instance of another tenant gets the same
-- PT404 as one that does not exist.
create or replace function hybridflow.allowed_tenant(p_caller jsonb, p_needs text, p jsonb)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
declare
    v_name text := p ->> 'instance_name';
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
begin
    if v_name is not null and v_tenant_id is not null then
        raise exception 'tenant_id and instance_name exclude each other: give one, not both' using errcode = 'PT422';
    elsif v_name is not null then
        select t.id into v_tenant_id from public.tenants as t where t.instance_name = v_name;
        if p_needs <> 'anybody' and hybridflow.role_in(p_caller, v_tenant_id) is null then
            raise exception 'there is no tenant with the instance %', v_name using errcode = 'PT404';
        end if;
    end if;
    if p_needs = 'deployment' then
        perform hybridflow.require_role(p_caller, null, 'admin');
    elsif p_needs <> 'anybody' then
        perform hybridflow.require_role(p_caller, v_tenant_id, p_needs);
    end if;
    return v_tenant_id;
end
$$;
