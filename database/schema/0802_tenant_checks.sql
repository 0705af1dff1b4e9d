-- HybridFlow: checks what is written to a tenant: the values, and who may change them.

-- Raises PT422 for a name that people could not read as it is: one with control characters, characters that
-- change the direction of text, invisible characters (listed in router/safety/unseen.py), or spaces that look
-- like the plain one; or one with nothing visible. Characters that join or separate letters (U+200C, U+200D)
-- are allowed within words of scripts that need them, and U+FE0F, which makes a symbol coloured, is allowed
-- after a symbol.
create or replace function hybridflow.check_name(p_what text, p_name text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_name ~ '^ +$' then
        raise exception '% must have visible text', p_what using errcode = 'PT422';
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

-- Raises PT422 if a list or text in p_values is longer than anybody needs. Lists must be short because each
-- webhook or message of the tenant reads them, and texts because each event passes the tenant's whole row on.
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

-- Raises PT422 if the change would make all the tenant's messages too old before they are answered: a turn
-- waits for the customer's next messages (debounce_seconds), and must not wait longer than its messages may
-- be old. p_policy is the deployment's policy; null: not known.
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

-- Raises PT422 for the first of p_values that is not a tenant's setting, or has the wrong type.
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

-- Writes the values to the tenant. Their names and types are already checked.
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

-- Raises PT422 if p_values would send one of the tenant's keys to another server or provider than the one it
-- was given for. A caller who may change a tenant must not be able to learn its keys.
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
        raise exception 'evo_server_url is another server: give its evo_api_key along with it (null: EVOLUTION_API_KEY)'
            using errcode = 'PT422';
    elsif coalesce(p_tenant.llm_api_key, '') <> '' and not p_values ? 'llm_api_key'
        and p_values ->> 'llm_provider' <> p_tenant.llm_provider
    then
        raise exception 'llm_provider is another: give its llm_api_key, too (null: the deployment''s)'
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

-- Raises PT403 if the caller does not act for the deployment, but p_values would change what only the
-- deployment may change: such a setting (for example the instance, which decides whose webhooks the tenant
-- gets), or whether EVOLUTION_API_KEY, which opens every instance of a server, is used for the tenant. Other
-- tenants are not read, so the answer reveals nothing about them.
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

-- Raises PT422 if one of p_values is above what the deployment allows every tenant (p_ceilings). Also if the
-- caller does not act for the deployment, and gives the tenant a model that runs on the deployment's key and
-- is not among the `llm_models` of p_ceilings. A tenant with its own LLM key pays for itself, so it may use
-- any model.
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
