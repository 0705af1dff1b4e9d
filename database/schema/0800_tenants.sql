-- HybridFlow: tenants, their Evolution instances, and the gaps in what these have told us.

-- A tenant as the API shows it: of keys that there is one, not which; of its own services' URLs besides;
-- the QR code has its own function.
create or replace function hybridflow.tenant_json(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    with stored as materialized (select to_jsonb(p_tenant) as tenant)

    select s.tenant
        - (hybridflow.tenant_keys() || array['qr_code', 'pairing_code', 'qr_updated_at', 'guard_changed_at'])
        || (
            select jsonb_object_agg(k || '_set', coalesce(s.tenant ->> k, '') <> '')
            from unnest(hybridflow.tenant_keys() || hybridflow.settings_for_admins()) as k
        )
    from stored as s
$$;

-- A tenant as a caller may see it (every value, without one): the URLs of its own services, in which a
-- secret may stand, are shown to those alone who may set them.
create or replace function hybridflow.tenant_seen_by(p_caller jsonb, p_tenant public.tenants)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_caller is null or hybridflow.reaches(hybridflow.role_in(p_caller, p_tenant.id), 'admin') then
        return hybridflow.tenant_json(p_tenant);
    end if;
    return hybridflow.tenant_json(p_tenant) || (
        select jsonb_object_agg(k, 'null'::jsonb) from unnest(hybridflow.settings_for_admins()) as k
    );
end
$$;

-- The tenant that p names by tenant_id or instance_name. Raises PT404.
create or replace function hybridflow.tenant_of(p jsonb)
returns public.tenants
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    if p ->> 'instance_name' is not null then
        select * into v_tenant from public.tenants where instance_name = p ->> 'instance_name';
    else
        select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    end if;
    if not found then
        raise exception 'there is no tenant %', coalesce(
            'with the instance ' || (p ->> 'instance_name'), p ->> 'tenant_id'
        ) using errcode = 'PT404';
    end if;
    return v_tenant;
end
$$;

-- list_tenants({caller?, limit?, cursor?})
-- Returns {items: [tenant], next_cursor}: the tenants that the caller may see (every one, without a caller),
-- in the order of creation. A page ends before its `limit` where its prompts, facts and hours have 500,000
-- bytes.
create or replace function public.list_tenants(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after bigint := coalesce((hybridflow.from_cursor('tenants', p) ->> 0)::bigint, 0);
    v_own bigint[] := case when p ? 'caller' then hybridflow.tenants_of(p -> 'caller', 'viewer') end;
    v_rows jsonb[];
begin
    with found as (
        select t.id, coalesce(sum(
            coalesce(octet_length(t.system_prompt), 0)::bigint + coalesce(octet_length(t.facts), 0)
            + coalesce(octet_length(t.opening_hours::text), 0)
        ) over (
            order by t.id rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from public.tenants as t
        where t.id > v_after and (v_own is null or t.id = any(v_own))
        order by t.id limit v_limit + 1
    )

    select
        array_agg(jsonb_build_object('key', jsonb_build_array(f.id), 'item', case when f.fits then (
            select hybridflow.tenant_seen_by(p -> 'caller', t) from public.tenants as t where t.id = f.id
        ) end) order by f.id),
        least(v_limit, count(*) filter (where f.fits))
    into v_rows, v_limit
    from found as f;
    return hybridflow.page('tenants', v_rows, v_limit);
end
$$;

-- get_tenant({caller?, tenant_id | instance_name})
-- Returns {tenant}. PT404: there is none.
create or replace function public.get_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_tenant', p, '{tenant_id|instance_name}');
    return jsonb_build_object('tenant', hybridflow.tenant_seen_by(p -> 'caller', hybridflow.tenant_of(p)));
end
$$;

-- Raises PT422 for a name that would not read as what it is: with control characters, those that turn the
-- direction of text round, such as nobody sees (router/safety/unseen.py says which), or spaces that look like
-- the plain one; or of nothing that is seen. What joins and parts letters (U+200C, U+200D), or makes a sign
-- coloured (U+FE0F), is taken where it does: within the words of scripts that need it, and after a sign.
create or replace function hybridflow.check_name(p_what text, p_name text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_name ~ '^ +$' then
        raise exception '% must have something in it that can be seen', p_what using errcode = 'PT422';
    elsif p_name ~ ('[\u0001-\u001F\u007F-\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2'
        '\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200B\u200E\u200F\u2028-\u202F\u205F-\u206F\u2800'
        '\u3000\u3164\uFE00-\uFE0E\uFEFF\uFFA0\uFFF0-\uFFFC\U000110BD\U000110CD\U00013430-\U0001343F'
        '\U00016FE4\U0001BCA0-\U0001BCA3\U0001D159\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]'
        '|(^|[\u0001-\u058F\u1E00-\u1FFF\u200C\u200D])[\u200C\u200D]|[\u200C\u200D]$'
        '|(^|[^\u00A9\u00AE\u2010-\u2BFF\u3030\u303D\u3297\u3299\U0001F000-\U0001FAFF])\uFE0F')
    then
        raise exception '% must not have control characters, such as turn text round or nobody sees, or other'
            ' spaces than the plain one in it', p_what using errcode = 'PT422';
    end if;
end
$$;

-- Raises PT422 for a list of p_values that is longer than anybody needs: each is gone through for every
-- webhook, or message, of the tenant; and for a text: each event is handed on with its tenant's whole row.
create or replace function hybridflow.check_sizes(p_values jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_name text;
    v_bound jsonb;
begin
    for v_name, v_bound in
        select b.key, b.value from jsonb_each(hybridflow.list_bounds()) as b
        where jsonb_typeof(p_values -> b.key) = 'array'
    loop
        if jsonb_array_length(p_values -> v_name) > (v_bound ->> 0)::integer then
            raise exception '% may name at most %, not %',
                v_name, v_bound ->> 0, jsonb_array_length(p_values -> v_name) using errcode = 'PT422';
        elsif exists (
            select from jsonb_array_elements_text(p_values -> v_name) as t (v)
            where length(t.v) > (v_bound ->> 1)::integer
        ) then
            raise exception '% may have no name of more than % characters', v_name, v_bound ->> 1
                using errcode = 'PT422';
        end if;
    end loop;
    for v_name, v_bound in select b.key, b.value from jsonb_each(hybridflow.text_bounds()) as b loop
        if length(p_values ->> v_name) > v_bound::integer then
            raise exception '% may have % characters, not %', v_name,
                to_char(v_bound::integer, 'FM999,999,999'), length(p_values ->> v_name) using errcode = 'PT422';
        end if;
    end loop;
end
$$;

-- Raises PT422 if a change to the tenant has its messages die before they are answered: while a customer's
-- next ones are waited for, what is to be answered gets too old. p_policy is the deployment's; null: not
-- known.
create or replace function hybridflow.check_waiting(p_tenant public.tenants, p_values jsonb, p_policy jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_new public.tenants := jsonb_populate_record(p_tenant, p_values);
    v_debounce numeric := hybridflow.rule(v_new.debounce_seconds, p_policy, 'debounce_seconds', 2);
    v_minutes numeric := hybridflow.rule(v_new.answer_within_minutes, p_policy, 'answer_within_minutes', 60);
begin
    if p_values ?| array['debounce_seconds', 'answer_within_minutes'] and v_minutes > 0
        and v_debounce >= 60 * v_minutes
    then
        raise exception 'debounce_seconds (%) must be less than answer_within_minutes (% minutes): every message'
            ' would be too old when its turn comes', trim_scale(v_debounce), trim_scale(v_minutes)
            using errcode = 'PT422';
    end if;
end
$$;

-- Raises PT422 for the first of p_values that no tenant has or whose type is wrong.
create or replace function hybridflow.check_tenant_values(p_values jsonb)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_unknown text;
    v_name text;
begin
    select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_values) as k
    where k <> all(hybridflow.tenant_settings());
    if v_unknown is not null then
        raise exception 'a tenant has no % that can be set; there are %',
            v_unknown, array_to_string(hybridflow.tenant_settings(), ', ') using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('instance_name', p_values ->> 'instance_name');
    if p_values ->> 'instance_name' in ('.', '..') then
        raise exception 'instance_name must not be % : it is part of the paths of Evolution''s URLs',
            p_values ->> 'instance_name' using errcode = 'PT422';
    end if;
    for v_name in select k from jsonb_object_keys(p_values) as k loop
        perform jsonb_populate_record(null::public.tenants, jsonb_build_object(v_name, p_values -> v_name));
    end loop;
    perform hybridflow.check_sizes(p_values);
exception
    when data_exception then
        raise exception '% has a value that it cannot have (%)', v_name, sqlstate using errcode = 'PT422';
end
$$;

-- Gives the tenant the values, which have been checked as far as their names and types go.
create or replace function hybridflow.write_tenant(p_tenant public.tenants, p_values jsonb)
returns public.tenants
language plpgsql
set search_path = ''
as $$
declare
    v_new public.tenants := jsonb_populate_record(p_tenant, p_values);
begin
    v_new.notify_number := hybridflow.dialled(v_new.notify_number);
    v_new.notify_number_next := hybridflow.dialled(v_new.notify_number_next);
    return hybridflow.store_settings(v_new);
end
$$;

-- Raises PT422 if p_values would have a key of the tenant shown to another server or provider than it was
-- given for: who may change a tenant may not learn its keys.
create or replace function hybridflow.check_key_stays(p_tenant public.tenants, p_values jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_origin text := '^https?://[^/?#]*';
begin
    if coalesce(p_tenant.evo_api_key, '') <> '' and not p_values ? 'evo_api_key'
        and lower(substring(p_values ->> 'evo_server_url' from v_origin))
        <> lower(substring(p_tenant.evo_server_url from v_origin))
    then
        raise exception 'evo_server_url is another server: give its evo_api_key along (null: EVOLUTION_API_KEY)'
            using errcode = 'PT422';
    elsif coalesce(p_tenant.llm_api_key, '') <> '' and not p_values ? 'llm_api_key'
        and p_values ->> 'llm_provider' <> p_tenant.llm_provider
    then
        raise exception 'llm_provider is another: give its llm_api_key along (null: the deployment''s)'
            using errcode = 'PT422';
    end if;
end
$$;

-- Whether a caller acts for the whole deployment: one of its keys, a script, or (null) the router itself.
create or replace function hybridflow.is_deployment(p_caller jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return p_caller is null or hybridflow.reaches(hybridflow.role_in(p_caller, null), 'admin');
end
$$;

-- Raises PT403 if the caller is none of the deployment's and p_values would change what is the deployment's:
-- such a setting (which instance the tenant is, for whose webhooks it gets); or whether EVOLUTION_API_KEY,
-- which opens every instance of a server, serves it. Nothing of other tenants is looked at: the answer tells
-- nothing of them.
create or replace function hybridflow.check_deployments_own(
    p_caller jsonb, p_tenant public.tenants, p_values jsonb
)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_key text := case
        when p_values ? 'evo_api_key' then p_values ->> 'evo_api_key' else p_tenant.evo_api_key
    end;
    v_name text;
begin
    if hybridflow.is_deployment(p_caller) then
        return;
    end if;
    select k into v_name from unnest(hybridflow.settings_of_deployment()) as k
    where p_values ? k and p_values ->> k is distinct from to_jsonb(p_tenant) ->> k
    order by k limit 1;
    if v_name is not null then
        raise exception '% is the deployment''s: to change it needs a key of the deployment', v_name
            using errcode = 'PT403';
    elsif coalesce(v_key, '') = '' and (
        coalesce(p_tenant.evo_api_key, '') <> ''
        or (
            p_values ? 'evo_server_url'
            and p_values ->> 'evo_server_url' is distinct from p_tenant.evo_server_url
        )
    ) then
        raise exception '%', 'EVOLUTION_API_KEY is the deployment''s: give the tenant''s own evo_api_key along,'
            ' or have this done with a key of the deployment' using errcode = 'PT403';
    end if;
end
$$;

-- Raises PT422 if one of p_values is above what the deployment allows every tenant, of which p_ceilings has
-- the most; or if the caller is none of the deployment's and gives the tenant a model on the deployment's key
-- that is not among its `llm_models`. Whoever has an LLM key of its own pays for itself.
create or replace function hybridflow.check_ceilings(
    p_caller jsonb, p_tenant public.tenants, p_values jsonb, p_ceilings jsonb
)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(to_jsonb(p_tenant), '{}') || p_values;
    v_pays boolean := coalesce(v_values ->> 'llm_api_key', '') <> '';
    v_name text;
begin
    select c.key into v_name from jsonb_each(nullif(p_ceilings, 'null')) as c
    where jsonb_typeof(c.value) = 'number' and p_values ->> c.key is not null
        and (p_values ->> c.key)::numeric > c.value::numeric
        and not (c.key = 'llm_max_tokens' and v_pays)
    order by c.key limit 1;
    if v_name is not null then
        raise exception '% must be at most %, the deployment''s %', v_name, p_ceilings -> v_name, upper(v_name)
            using errcode = 'PT422';
    elsif not v_pays and (p_values ? 'llm_model' or p_values ? 'llm_api_key')
        and v_values ->> 'llm_model' is not null and not hybridflow.is_deployment(p_caller)
        and not p_ceilings -> 'llm_models' ? (v_values ->> 'llm_model')
    then
        raise exception '%', 'llm_model must be null or one of '
            || (select string_agg(m, ', ') from jsonb_array_elements_text(p_ceilings -> 'llm_models') as m)
            || ' (LLM_MODELS names more), or the tenant needs an llm_api_key of its own' using errcode = 'PT422';
    end if;
end
$$;

-- A value as the audit log tells it: of a long one the beginning, how long it is, and a hash that tells it
-- from any other. What is told so is not cut again.
create or replace function hybridflow.told_shortly(p_value jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when coalesce(length(p_value #>> '{}') <= 1200, true) then p_value else to_jsonb(format(
        '%s […] (%s characters, SHA-256 %s)', left(p_value #>> '{}', 1000), length(p_value #>> '{}'),
        encode(sha256(convert_to(p_value #>> '{}', 'UTF8')), 'hex')
    )) end
$$;

-- For the audit log: what has changed of a tenant, {column: {from, to}}; of its key of Evolution and its
-- URLs, in which a secret may be, only that they have.
create or replace function hybridflow.tenant_changes(p_old public.tenants, p_new public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_object_agg(n.key, case
        when n.key = any(hybridflow.untold_settings()) then '{}'
        else jsonb_strip_nulls(jsonb_build_object(
            'from', hybridflow.told_shortly(to_jsonb(p_old) -> n.key), 'to', hybridflow.told_shortly(n.value)
        ))
    end), '{}')
    from jsonb_each(to_jsonb(p_new)) as n
    where n.key = any(hybridflow.tenant_settings()) and n.value is distinct from to_jsonb(p_old) -> n.key
$$;

-- Changes the tenant that p_tenant_id names, or, where it names none, makes one of p_values, with the
-- id that reserve_tenant gave, if any. Raises PT404, PT409 (another tenant has the instance) and PT422.
create or replace function hybridflow.save_tenant(p_tenant_id bigint, p_reserved_id bigint, p_values jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_new public.tenants;
    v_subject text;
begin
    perform hybridflow.check_tenant_values(p_values);
    if p_tenant_id is null then
        insert into public.tenants (id, instance_name, evo_server_url)
        overriding system value
        values (
            coalesce(p_reserved_id, nextval(pg_get_serial_sequence('public.tenants', 'id'))),
            p_values ->> 'instance_name', p_values ->> 'evo_server_url'
        )
        returning * into v_tenant;
    else
        select * into v_tenant from public.tenants where id = p_tenant_id for update;
        if not found then
            raise exception 'there is no tenant %', p_tenant_id using errcode = 'PT404';
        end if;
        perform hybridflow.check_key_stays(v_tenant, p_values);
    end if;
    v_new := hybridflow.write_tenant(v_tenant, p_values);
    return jsonb_build_object(
        'tenant', hybridflow.tenant_json(v_new), 'audit', hybridflow.tenant_changes(v_tenant, v_new)
    );
exception
    when unique_violation then
        raise exception 'another tenant has the instance %', p_values ->> 'instance_name'
            using errcode = 'PT409';
    when check_violation then
        get stacked diagnostics v_subject = constraint_name;
        raise exception '%', hybridflow.tenant_rule(v_subject) using errcode = 'PT422';
    when not_null_violation then
        get stacked diagnostics v_subject = column_name;
        raise exception '% must have a value', v_subject using errcode = 'PT422';
end
$$;

-- reserve_tenant({})
-- The id of a tenant that is yet to be created: what is encrypted for it is bound to it. Returns
-- {tenant_id}.
create or replace function public.reserve_tenant(p jsonb)
returns jsonb
language sql
volatile
set search_path = ''
as $$
    select jsonb_build_object('tenant_id', nextval(pg_get_serial_sequence('public.tenants', 'id')))
    where p is not null
$$;

-- create_tenant({caller?, tenant_id?, values: {instance_name, evo_server_url, …}, ceilings?, policy?})
-- tenant_id is one that reserve_tenant gave; ceilings as check_ceilings takes them. A demo's tenant goes,
-- also one that was left behind where whoever played it was killed. Returns {tenant, audit}. PT409: another
-- tenant has the instance. PT422: which value is wrong, and how.
create or replace function public.create_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
begin
    perform hybridflow.require_keys('create_tenant', p, '{values}');
    perform hybridflow.check_tenant_values(v_values);
    perform hybridflow.check_ceilings(p -> 'caller', null, v_values, p -> 'ceilings');
    perform hybridflow.check_waiting(null, v_values, p -> 'policy');
    delete from public.tenants where is_demo;
    return hybridflow.save_tenant(null, (p ->> 'tenant_id')::bigint, v_values);
end
$$;

-- change_tenant({caller?, tenant_id, values: {…}, ceilings?, policy?})
-- Changes the values given, and only these; null takes a value away, so that the default holds. Returns
-- {tenant, audit}. PT403: only the deployment may change this. PT404, PT409 and PT422 as above.
create or replace function public.change_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('change_tenant', p, '{tenant_id,values}');
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint for update;
    if found then
        perform hybridflow.check_tenant_values(v_values);
        perform hybridflow.check_deployments_own(p -> 'caller', v_tenant, v_values);
        perform hybridflow.check_ceilings(p -> 'caller', v_tenant, v_values, p -> 'ceilings');
        perform hybridflow.check_waiting(v_tenant, v_values, p -> 'policy');
    end if;
    return hybridflow.save_tenant(coalesce((p ->> 'tenant_id')::bigint, 0), null, v_values);
end
$$;

-- tenants_elsewhere({named: [url]})
-- For the start and the health check: the tenants that EVOLUTION_API_KEY may not serve any more, for they
-- have no key of their own and their server is none of `named`; and those whose URL is not plainly
-- scheme, host and port, of which nothing may be asked. Returns {servers: [{evo_server_url, own_key, tenants,
-- instances: [name]}]}, at most a hundred, with how many tenants each has and the first twenty of their
-- instances. It compares texts only; whether two of them mean one server, and whether an odd one has a fault,
-- is the router's to say.
create or replace function public.tenants_elsewhere(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('tenants_elsewhere', p, '{named}');
    return (
        select jsonb_build_object('servers', coalesce(jsonb_agg(to_jsonb(s) order by s.instances), '[]'))
        from (
            select
                t.evo_server_url, coalesce(t.evo_api_key, '') <> '' as own_key, count(*) as tenants,
                (array_agg(t.instance_name order by t.id))[1:20] as instances
            from public.tenants as t
            where (
                coalesce(t.evo_api_key, '') = ''
                or t.evo_server_url
                !~* '^https?://([a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,3}|:[1-5][0-9]{4})?/*$'
            )
                and rtrim(t.evo_server_url, '/') <> all(array(select jsonb_array_elements_text(p -> 'named')))
            group by t.evo_server_url, coalesce(t.evo_api_key, '') <> ''
            order by min(t.id) limit 100
        ) as s
    );
end
$$;

-- get_instance({tenant_id | instance_name, probe?})
-- How to reach the tenant's Evolution instance, with its key, which of its replies were not delivered of
-- late, when its webhook last brought an event (null: not within the week that events are remembered), and
-- whether the probe with this mark has arrived: for the router itself, never for the API. Returns {tenant_id,
-- instance_name, evo_server_url, evo_api_key, is_active, llm_provider, llm_api_key_set, llm_api_key,
-- connection_state, shared_webhook_secret, webhook_hashes: [hash], undelivered, outages, last_event_at,
-- probe_arrived}: the keys as they are stored; outages are those for which its customers get no answer now
-- (see outage_json). PT404: there is none.
create or replace function public.get_instance(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_instance', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    return jsonb_build_object(
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'is_active', v_tenant.is_active, 'llm_provider', v_tenant.llm_provider,
        'llm_api_key_set', coalesce(v_tenant.llm_api_key, '') <> '', 'llm_api_key', v_tenant.llm_api_key,
        'connection_state', v_tenant.connection_state,
        'shared_webhook_secret', v_tenant.shared_webhook_secret,
        'webhook_hashes', hybridflow.webhook_hashes(v_tenant.id, true),
        'undelivered', hybridflow.failures_json(v_tenant.id),
        'outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from public.outages as o
            where o.tenant_id = v_tenant.id and o.ended_at is null and o.about is not null
                and o.last_at > hybridflow.clock() - interval '1 day'
        ),
        'last_event_at', (
            select e.processed_at from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event not in ('hybridflow.test', 'gap_repair')
            order by e.processed_at desc limit 1
        ),
        'probe_arrived', exists (
            select from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event_key = 'probe:' || (p ->> 'probe')
        )
    );
end
$$;

-- get_qrcode({tenant_id | instance_name})
-- The QR code that Evolution last sent, to connect the phone. Returns {instance_name, code, pairing_code,
-- updated_at, age_seconds, connection_state}. WhatsApp takes a code for less than a minute. PT404: there is
-- none.
create or replace function public.get_qrcode(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_qrcode', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    if v_tenant.qr_code is null and v_tenant.pairing_code is null then
        raise exception 'Evolution has sent no QR code for the instance % (its connection is %)',
            v_tenant.instance_name, coalesce(v_tenant.connection_state, 'not known') using errcode = 'PT404';
    end if;
    return jsonb_build_object(
        'instance_name', v_tenant.instance_name, 'code', v_tenant.qr_code,
        'pairing_code', v_tenant.pairing_code, 'updated_at', v_tenant.qr_updated_at,
        'age_seconds', floor(extract(epoch from hybridflow.clock() - v_tenant.qr_updated_at)),
        'connection_state', v_tenant.connection_state
    );
end
$$;

-- p with the session_id of the contact whom it names by `jids` (spellings of one number). Where there is
-- no session, p_make makes one; else PT404.
create or replace function hybridflow.with_contact(p jsonb, p_make boolean)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants := hybridflow.tenant_of(p - 'instance_name');
    -- What is known comes first: the session goes on being answered at the JID that it has.
    v_jids text[] := array(
        select j.jid from jsonb_array_elements_text(p -> 'jids') with ordinality as j (jid, place)
        left join public.session_identities as i on i.tenant_id = v_tenant.id and i.jid = j.jid
        order by i.jid is null, j.place
    );
    v_session public.sessions;
begin
    if not p_make and not exists (
        select from public.session_identities where tenant_id = v_tenant.id and jid = any(v_jids)
    ) then
        raise exception 'tenant % has no session with %', v_tenant.id, v_jids[1] using errcode = 'PT404';
    end if;
    v_session := hybridflow.resolve_session(v_tenant.id, v_jids, 'contact', null);
    return p || jsonb_build_object('session_id', v_session.id);
end
$$;

-- pause_contact({caller?, tenant_id, jids: [jid], source, reason?, until?, indefinite?, policy?})
-- pause_session for a contact, before there is a session or after. Returns {session, cancelled_turns} as that
-- does. PT404: no such tenant.
create or replace function public.pause_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('pause_contact', p, '{tenant_id,jids,source}');
    return public.pause_session(hybridflow.with_contact(p, true));
end
$$;

-- resume_contact({tenant_id, jids: [jid], source, policy})
-- resume_session for a contact. Returns {session, resumed, turn_id} as that does. PT404: no such tenant, or
-- it has no session with any of `jids`.
create or replace function public.resume_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('resume_contact', p, '{tenant_id,jids,source,policy}');
    return public.resume_session(hybridflow.with_contact(p, false));
end
$$;

-- gaps_by_activity({})
-- Whose gap is to be repaired after a start. Returns {instances: [[instance_name, evo_server_url]]}: the
-- active tenants, those with the most recent conversation first. All at once, for an order by activity has no
-- pages.
create or replace function public.gaps_by_activity(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object('instances', coalesce(jsonb_agg(
        jsonb_build_array(t.instance_name, t.evo_server_url) order by l.last_message_at desc nulls last, t.id desc
    ), '[]'))
    from public.tenants as t
    left join lateral (
        select s.last_message_at from public.sessions as s
        where s.tenant_id = t.id
        order by s.last_message_at desc nulls last, s.id desc limit 1
    ) as l on true
    where p is not null and t.is_active
$$;

-- gap_start({tenant_id, margin_seconds, look_back_hours})
-- From when on messages may be missing: since the newest message that is known, or, since newer ones
-- may have come after a gap, since the last gap repair; the latter look_back_hours back at most. From a
-- repair that brought everything it is never gone back for longer than that: of what it could not read, and
-- left out, nothing will ever be known. margin_seconds is taken off for clocks that differ. Returns
-- {since, now}. PT404: no such tenant.
create or replace function public.gap_start(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_look_back interval := hybridflow.seconds(3600 * (p ->> 'look_back_hours')::numeric);
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('gap_start', p, '{tenant_id,margin_seconds,look_back_hours}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('now', v_now, 'since', greatest(
        least(
            (select max(s.last_message_at) from public.sessions as s where s.tenant_id = v_tenant.id),
            greatest(coalesce(v_tenant.caught_up_at, v_tenant.created_at), v_now - v_look_back)
        ),
        v_tenant.caught_up_at - v_look_back
    ) - hybridflow.seconds((p ->> 'margin_seconds')::numeric));
end
$$;

-- caught_up({tenant_id, until})
-- Gap repair has brought everything that was sent before `until`. Returns {caught_up_at}.
create or replace function public.caught_up(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz;
begin
    perform hybridflow.require_keys('caught_up', p, '{tenant_id,until}');
    update public.tenants set caught_up_at = greatest(caught_up_at, (p ->> 'until')::timestamptz)
    where id = (p ->> 'tenant_id')::bigint
    returning caught_up_at into v_until;
    return jsonb_build_object('caught_up_at', v_until);
end
$$;
