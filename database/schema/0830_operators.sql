-- HybridFlow: who may do what over the API, and who did.
--
-- A caller is {kind, …}: `deployment` (a key of API_KEYS) and `script` (a script with the configuration)
-- have every right; `key` shows the SHA-256 of an API key of the table api_keys; `user` is a user of
-- Supabase Auth, whose rights are the memberships. The router says who calls, having checked the key or
-- the token; what the caller may do is decided here, in the transaction that does it.
--
-- Roles, each with the rights of those before it: viewer (reads), operator (pauses, resumes, retries),
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
comment on column public.api_keys.key_hash is 'SHA-256: a key is random and long, so nothing more is needed.';
comment on column public.api_keys.starts_with is 'The first characters of the key, to know it by.';
comment on column public.api_keys.every_tenant is 'It holds for every tenant, also for those yet to come.';
comment on column public.api_keys.last_used_at is 'To the minute.';

create table if not exists public.api_key_tenants (
    api_key_id bigint not null references public.api_keys (id) on delete cascade,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    primary key (api_key_id, tenant_id)
);

comment on table public.api_key_tenants is 'The tenants of a key that is not for every one.';

create index if not exists api_key_tenants_by_tenant on public.api_key_tenants (tenant_id);

create table if not exists public.memberships (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    user_id uuid not null,
    role text not null check (role in ('viewer', 'operator', 'admin')),
    created_by text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);

comment on table public.memberships is 'What a user of Supabase Auth (auth.users.id) is in a tenant.';

create index if not exists memberships_by_user on public.memberships (user_id);

create table if not exists public.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    tenant_id bigint,
    caller_kind text not null
    check (caller_kind in ('deployment', 'script', 'key', 'user', 'owner', 'contact', 'ai', 'cron')),
    caller text not null,
    action text not null,
    session_id bigint,
    turn_id bigint,
    detail jsonb not null default '{}'
);

comment on table public.audit_log is
'Who did what. Lines are only ever added, outlive what they are about, and hold no content.';
comment on column public.audit_log.action is 'The function that was called.';

-- Which key did it: names are no proof, for two keys may have one.
alter table public.audit_log add column if not exists api_key_id bigint;
comment on column public.audit_log.api_key_id is 'Of caller_kind ''key'': which one.';

create index if not exists audit_log_by_tenant on public.audit_log (tenant_id, id desc);

alter table public.api_keys enable row level security;
alter table public.api_key_tenants enable row level security;
alter table public.memberships enable row level security;
alter table public.audit_log enable row level security;

create or replace function hybridflow.refuse_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'audit_log is append-only' using errcode = '42501';
end
$$;

create or replace trigger audit_log_is_append_only
before update or delete or truncate on public.audit_log
for each statement execute function hybridflow.refuse_change();

-- Notes who paused or resumed a session where no caller of the API did: the owner, by writing, the AI, by
-- a handoff, a contact, a scheduler.
create or replace function hybridflow.audit_pause()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_source text := case when new.is_paused then new.pause_source else new.resume_source end;
begin
    insert into public.audit_log (at, tenant_id, caller_kind, caller, action, session_id)
    values (
        hybridflow.clock(), new.tenant_id, v_source, v_source,
        case when new.is_paused then 'pause_session' else 'resume_session' end, new.id
    );
    return null;
end
$$;

create or replace trigger sessions_audit_pause
after update of is_paused on public.sessions
for each row
when (
    old.is_paused is distinct from new.is_paused
    and case when new.is_paused then new.pause_source else new.resume_source end
    in ('owner', 'contact', 'ai', 'cron')
)
execute function hybridflow.audit_pause();

-- What callers may ask for: the function, the role that it needs in the tenant that the argument names,
-- whether it is audited, and what of its argument then stands in the line. A function that is not here
-- cannot be called by as_operator at all.
create or replace function hybridflow.operator_calls()
returns table (name text, needs text, audited boolean, details text[])
language sql
immutable
set search_path = ''
as $$
    values
    ('list_tenants', 'anybody', false, '{}'::text[]),
    ('who_am_i', 'anybody', false, '{}'),
    ('get_tenant', 'viewer', false, '{}'),
    ('get_spending', 'viewer', false, '{}'),
    ('get_tenant_stats', 'viewer', false, '{}'),
    ('list_sessions', 'viewer', false, '{}'),
    ('get_session', 'viewer', false, '{}'),
    ('list_messages', 'viewer', false, '{}'),
    ('list_turns', 'viewer', false, '{}'),
    ('list_handoffs', 'viewer', false, '{}'),
    ('get_turn', 'viewer', false, '{}'),
    ('tell_turn', 'viewer', false, '{}'),
    ('follow_tenant', 'viewer', false, '{}'),
    ('find_turn', 'deployment', false, '{}'),
    ('pause_session', 'operator', true, '{until,indefinite}'),
    ('resume_session', 'operator', true, '{}'),
    ('pause_contact', 'operator', true, '{until,indefinite}'),
    ('resume_contact', 'operator', true, '{}'),
    ('retry_turn', 'operator', true, '{}'),
    ('retry_turns', 'operator', true, '{}'),
    ('begin_human_send', 'operator', true, '{knowingly}'),
    ('send_message', 'operator', true, '{}'),
    ('find_sent_message', 'operator', false, '{}'),
    ('find_kept_file', 'operator', true, '{message_id}'),
    ('set_labels', 'operator', true, '{}'),
    ('set_owner', 'operator', true, '{owner}'),
    ('list_notes', 'viewer', false, '{}'),
    ('add_note', 'operator', true, '{}'),
    ('remove_note', 'operator', true, '{note_id}'),
    ('list_files', 'viewer', false, '{}'),
    ('begin_own_file', 'admin', false, '{}'),
    ('set_file', 'admin', true, '{name,kind}'),
    ('remove_file', 'admin', true, '{name}'),
    ('find_contact', 'admin', false, '{}'),
    ('export_contact', 'admin', true, '{}'),
    ('export_rows', 'admin', false, '{}'),
    ('erase_history', 'admin', false, '{}'),
    ('erase_contact', 'admin', true, '{}'),
    ('get_instance', 'operator', false, '{}'),
    ('get_qrcode', 'admin', true, '{}'),
    ('begin_dry_turn', 'admin', true, '{flow}'),
    ('look_at_dry_turn', 'admin', false, '{}'),
    ('reserve_tenant', 'deployment', false, '{}'),
    ('create_tenant', 'deployment', true, '{}'),
    ('change_tenant', 'admin', true, '{}'),
    ('list_webhook_secrets', 'admin', false, '{}'),
    ('add_webhook_secret', 'admin', true, '{ends_with,retire_others_after_hours}'),
    ('retire_webhook_secret', 'admin', true, '{webhook_secret_id,after_hours}'),
    ('list_members', 'admin', false, '{}'),
    ('set_member', 'admin', true, '{user_id,role}'),
    ('remove_member', 'admin', true, '{user_id}'),
    ('list_api_keys', 'anybody', false, '{}'),
    ('create_api_key', 'anybody', true, '{name,starts_with,role,tenant_ids,expires_at}'),
    ('revoke_api_key', 'anybody', true, '{api_key_id}'),
    ('list_audit', 'admin', false, '{}')
$$;

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

-- The caller with what it is known by: {kind, name} and, of a key, {api_key_id, role, every_tenant, made_by}.
-- Raises PT401 for a key that is not known, revoked or over.
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
            -- Where another call of the key has noted it, and goes on for long, that is not waited for.
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

-- The role of a known caller in a tenant; in the whole deployment, where p_tenant_id is null. Null: none.
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

-- Raises PT404 where the caller has no role in the tenant (which then looks as if there were none), PT403
-- where the role is too low; p_tenant_id null: the deployment, of which everybody may know.
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

-- The tenant that an argument is about, if the known caller has the role p_needs in it; null: the whole
-- deployment. Raises PT403 and PT404 as require_role does, and for another's instance as for none.
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

-- Adds a line to the audit log: what a known caller did.
create or replace function hybridflow.record_audit(
    p_caller jsonb, p_action text, p_tenant_id bigint, p jsonb, p_detail jsonb
)
returns void
language sql
set search_path = ''
as $$
    insert into public.audit_log (
        at, tenant_id, caller_kind, caller, api_key_id, action, session_id, turn_id, detail
    )
    values (
        hybridflow.clock(), p_tenant_id, p_caller ->> 'kind', coalesce(p_caller ->> 'name', '?'),
        (p_caller ->> 'api_key_id')::bigint, p_action,
        (p ->> 'session_id')::bigint, (p ->> 'turn_id')::bigint, jsonb_strip_nulls(p_detail)
    )
$$;

-- as_operator({caller, function, argument?})
-- Calls the function for the caller, if it has the role that this needs, and audits it. The function is given
-- the known caller as `caller`. Returns {caller: its name, result}: what the function returns, without
-- `audit` and `audit_tenants`, which go into the audit log. PT401: no such key; PT403: the role is too low,
-- or nobody may call this; PT404: another tenant's; and what the function raises.
create or replace function public.as_operator(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_caller jsonb;
    v_argument jsonb;
    v_call record;
    v_tenant_id bigint;
    v_result jsonb;
begin
    perform hybridflow.require_keys('as_operator', p, '{caller,function}');
    v_caller := hybridflow.known_caller(p -> 'caller');
    v_argument := coalesce(nullif(p -> 'argument', 'null'), '{}') || jsonb_build_object('caller', v_caller);
    select * into v_call from hybridflow.operator_calls() as c where c.name = p ->> 'function';
    if not found then
        raise exception 'nobody may call % over the API', p ->> 'function' using errcode = 'PT403';
    end if;
    v_tenant_id := hybridflow.allowed_tenant(v_caller, v_call.needs, v_argument);
    execute format('select public.%I($1)', v_call.name) into v_result using v_argument;
    if v_call.audited then
        -- What is about several tenants has a line for the admins of each, which names no other.
        perform hybridflow.record_audit(
            v_caller, v_call.name, coalesce(v_tenant_id, (v_result #>> '{tenant,id}')::bigint, a.tenant_id),
            jsonb_build_object(
                'session_id', coalesce(v_argument -> 'session_id', v_result #> '{session,id}'),
                'turn_id', coalesce(v_argument -> 'turn_id', v_result -> 'turn_id')
            ),
            coalesce(v_result -> 'audit', (
                select jsonb_object_agg(d.key, v_argument -> d.key) from unnest(v_call.details) as d (key)
            ), '{}')
        )
        from (
            select t.id::bigint as tenant_id from jsonb_array_elements_text(v_result -> 'audit_tenants') as t (id)
            union all
            select null where coalesce(jsonb_array_length(v_result -> 'audit_tenants'), 0) = 0
        ) as a;
    end if;
    return jsonb_build_object(
        'caller', v_caller -> 'name', 'result', v_result - '{audit,audit_tenants}'::text[]
    );
end
$$;
