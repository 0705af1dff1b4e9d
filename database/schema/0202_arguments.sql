-- HybridFlow: how functions read their argument: a value from the tenant or from the caller's policy, and
-- keys that are required.

-- A setting's value: the tenant's own, else the caller's policy, else the product's default.
create or replace function hybridflow.rule(p_own numeric, p_policy jsonb, p_name text, p_default numeric)
returns numeric
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(p_own, (p_policy ->> p_name)::numeric, p_default);
end
$$;

-- Raises PT422 for the first of p_keys that is missing or null in the argument of p_function, so that nothing
-- is done for a caller that leaves out something important. `a|b`: one of the two is required. `a or null`:
-- the key is required, and null has a meaning of its own.
create or replace function hybridflow.require_keys(p_function text, p jsonb, p_keys text[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_key text;
    v_names text[];
begin
    foreach v_key in array p_keys loop
        continue when p ->> v_key is not null;
        v_names := string_to_array(replace(v_key, ' or null', ''), '|');
        continue when exists (select from unnest(v_names) as n (name) where p ->> n.name is not null)
            or (v_key like '% or null' and p ? v_names[1]);
        raise exception '% needs "%": it is %', p_function, array_to_string(v_names, '" or "'),
            case when p ?| v_names then 'null' else 'missing' end using errcode = 'PT422';
    end loop;
end
$$;

-- Like require_keys, for each object in the list p_list of the argument; p_list must be a list.
create or replace function hybridflow.require_keys_of_each(
    p_function text, p jsonb, p_list text, p_keys text[]
)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if jsonb_typeof(p -> p_list) <> 'array' then
        raise exception '% needs "%": it must be a list', p_function, p_list using errcode = 'PT422';
    end if;
    perform hybridflow.require_keys(format('each of the %s of %s', p_list, p_function), e.item, p_keys)
    from jsonb_array_elements(p -> p_list) as e (item);
end
$$;
