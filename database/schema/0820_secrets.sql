-- HybridFlow: the secrets of tenants, and who may post webhooks for them.
--
-- The router encrypts an Evolution key before it stores it here; the database never sees the encryption key.
-- Of a webhook secret only its SHA-256 is stored. The secret is random and long, so a plain hash is enough,
-- and nobody can read the secret again.

create table if not exists public.webhook_secrets (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    ends_with text not null check (length(ends_with) <= 4),
    created_by text,
    created_at timestamptz not null default now(),
    retires_at timestamptz
);

comment on table public.webhook_secrets is
'Secrets that a tenant''s Evolution sends with its webhooks, besides EVOLUTION_WEBHOOK_SHARED_SECRET.';
comment on column public.webhook_secrets.ends_with is
'The last characters of the secret, so that people can recognise it.';
comment on column public.webhook_secrets.retires_at is
'The time from which the secret is refused; null: never.';

create index if not exists webhook_secrets_by_tenant on public.webhook_secrets (tenant_id);

alter table public.webhook_secrets enable row level security;

-- A webhook secret as the API shows it: everything except the secret itself.
create or replace function hybridflow.webhook_secret_json(p_secret public.webhook_secrets)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_secret) - 'secret_hash'
        || jsonb_build_object('is_active', coalesce(p_secret.retires_at > hybridflow.clock(), true))
$$;

-- Returns the hashes of the tenant's secrets that are accepted now, in hex, the newest first; with p_lasting
-- only those without an end.
create or replace function hybridflow.webhook_hashes(p_tenant_id bigint, p_lasting boolean)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(encode(w.secret_hash, 'hex') order by w.id desc), '[]')
    from public.webhook_secrets as w
    where w.tenant_id = p_tenant_id
        and (w.retires_at is null or (not p_lasting and w.retires_at > hybridflow.clock()))
$$;

-- add_webhook_secret({tenant_id, secret_hash, ends_with, created_by?, retire_others_after_hours?})
-- Accepts one more secret (its SHA-256, in hex) for the tenant's webhooks. The tenant's other secrets stay
-- valid, or end after retire_others_after_hours if that is given. Of the retired secrets, the newest 50 are
-- kept. Returns {webhook_secret}. PT404: no such tenant. PT409: it has ten already. PT422: secret_hash is not
-- a hash.
create or replace function public.add_webhook_secret(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_secret public.webhook_secrets;
begin
    perform hybridflow.require_keys('add_webhook_secret', p, '{tenant_id,secret_hash,ends_with}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    if coalesce(p ->> 'secret_hash', '') !~ '^[0-9a-f]{64}$' then
        raise exception 'secret_hash must be a SHA-256 in hex' using errcode = 'PT422';
    end if;
    perform from public.tenants where id = v_tenant.id for update;
    update public.webhook_secrets
    set retires_at = least(
        retires_at, hybridflow.clock() + hybridflow.seconds(3600 * (p ->> 'retire_others_after_hours')::numeric)
    )
    where tenant_id = v_tenant.id and p ->> 'retire_others_after_hours' is not null;
    if jsonb_array_length(hybridflow.webhook_hashes(v_tenant.id, false)) >= 10 then
        raise exception 'the tenant has ten webhook secrets already: retire one first' using errcode = 'PT409';
    end if;
    delete from public.webhook_secrets
    where id in (  -- a secret that was made and retired has an end as well
        select w.id from public.webhook_secrets as w
        where w.tenant_id = v_tenant.id and w.retires_at <= hybridflow.clock()
        order by w.id desc offset 50
    );
    insert into public.webhook_secrets (tenant_id, secret_hash, ends_with, created_by, created_at)
    values (
        v_tenant.id, decode(p ->> 'secret_hash', 'hex'), p ->> 'ends_with', p ->> 'created_by',
        hybridflow.clock()
    )
    returning * into v_secret;
    return jsonb_build_object('webhook_secret', hybridflow.webhook_secret_json(v_secret));
end
$$;

-- list_webhook_secrets({tenant_id})
-- Returns {items: [webhook_secret]}, the newest first, including retired ones. PT404: no such tenant.
create or replace function public.list_webhook_secrets(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('list_webhook_secrets', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(hybridflow.webhook_secret_json(w) order by w.id desc), '[]')
        from public.webhook_secrets as w where w.tenant_id = v_tenant.id
    ));
end
$$;

-- retire_webhook_secret({tenant_id, webhook_secret_id, after_hours?})
-- Ends a secret after after_hours, or at once without it. A retired secret stays retired. Returns
-- {webhook_secret}. PT404: the tenant has no such secret. PT409: all its webhooks would be refused.
create or replace function public.retire_webhook_secret(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_secret public.webhook_secrets;
begin
    perform hybridflow.require_keys('retire_webhook_secret', p, '{tenant_id,webhook_secret_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    perform from public.tenants where id = v_tenant.id for update;
    update public.webhook_secrets
    set retires_at = least(
        retires_at, hybridflow.clock() + hybridflow.seconds(3600 * coalesce((p ->> 'after_hours')::numeric, 0))
    )
    where id = (p ->> 'webhook_secret_id')::bigint and tenant_id = v_tenant.id
    returning * into v_secret;
    if not found then
        raise exception 'tenant % has no webhook secret %', v_tenant.id, p ->> 'webhook_secret_id'
            using errcode = 'PT404';
    elsif not v_tenant.shared_webhook_secret and hybridflow.webhook_hashes(v_tenant.id, true) = '[]' then
        raise exception '%', 'it is the last, and shared_webhook_secret is off: every webhook would be refused;'
            ' make a new secret first' using errcode = 'PT409';
    end if;
    return jsonb_build_object('webhook_secret', hybridflow.webhook_secret_json(v_secret));
end
$$;

-- list_sealed({after?, limit?})
-- Returns {items: [{tenant_id, column, value}]}: the keys as they are stored, of the next `limit` (200)
-- tenants after the id `after`, in the order of their ids. Only for scripts.rotate_secrets.
create or replace function public.list_sealed(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object('items', coalesce(jsonb_agg(
        jsonb_build_object('tenant_id', f.id, 'column', k.name, 'value', k.value) order by f.id, k.name
    ), '[]'))
    from (
        select t.id, t.evo_api_key, t.llm_api_key from public.tenants as t
        where t.id > coalesce((p ->> 'after')::bigint, 0) and (t.evo_api_key <> '' or t.llm_api_key <> '')
        order by t.id limit coalesce((p ->> 'limit')::integer, 200)
    ) as f
    cross join lateral (values ('evo_api_key', f.evo_api_key), ('llm_api_key', f.llm_api_key)) as k (name, value)
    where k.value <> ''
$$;

-- reseal({tenant_id, column, old, new})
-- Replaces the stored value `old` by `new`, which is the same key encrypted again. Returns {changed}: false
-- if `old` is not stored any more, because the tenant has got another key meanwhile.
create or replace function public.reseal(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_is_evolutions boolean := p ->> 'column' = 'evo_api_key';
begin
    perform hybridflow.require_keys('reseal', p, '{tenant_id,column,old,new}');
    update public.tenants
    set evo_api_key = case when v_is_evolutions then p ->> 'new' else evo_api_key end,
        llm_api_key = case when v_is_evolutions then llm_api_key else p ->> 'new' end
    where id = (p ->> 'tenant_id')::bigint
        and case when v_is_evolutions then evo_api_key else llm_api_key end = p ->> 'old';
    return jsonb_build_object('changed', found);
end
$$;
