-- HybridFlow: the pages of the lists that operators read.
--
-- Every list answers {items, next_cursor}. `cursor` takes the next_cursor of the page before; it is null
-- on the last page. A cursor names the last item given, not a count, so that what is recorded meanwhile
-- neither repeats nor hides an item. `limit` is 1 to 200, 50 if not given. What a page looks at is bounded.

-- A place in the list p_list: its name and the key of the last item given, opaque to callers.
create or replace function hybridflow.to_cursor(p_list text, p_key jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
    select translate(
        encode(convert_to(jsonb_build_array(p_list, p_key)::text, 'UTF8'), 'base64'), e'+/=\n', '-_'
    )
$$;

-- The key in p's cursor; null where there is none. Raises PT422 for a cursor of another list.
create or replace function hybridflow.from_cursor(p_list text, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_text text := translate(p ->> 'cursor', '-_', '+/');
    v_place jsonb;
begin
    if v_text is null then
        return null;
    end if;
    begin
        v_place := convert_from(
            decode(rpad(v_text, (length(v_text) + 3) / 4 * 4, '='), 'base64'), 'UTF8'
        )::jsonb;
    exception
        when data_exception then
            null;
    end;
    if v_place ->> 0 is distinct from p_list or jsonb_typeof(v_place -> 1) is distinct from 'array' then
        raise exception 'cursor must be the next_cursor of a page of %, not %', p_list, p ->> 'cursor'
            using errcode = 'PT422';
    end if;
    return v_place -> 1;
end
$$;

-- How many items a page may have.
create or replace function hybridflow.page_size(p jsonb)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_limit integer := coalesce((p ->> 'limit')::integer, 50);
begin
    if v_limit not between 1 and 200 then
        raise exception 'limit must be from 1 to 200, not %', v_limit using errcode = 'PT422';
    end if;
    return v_limit;
end
$$;

-- The page made of p_rows ({key, item} each, in order, one more than p_limit where there are more). It ends
-- earlier where it is large, at 500,000 bytes and what its last row has beyond that: the router holds whole
-- pages.
create or replace function hybridflow.page(p_list text, p_rows jsonb[], p_limit integer)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'items', coalesce(jsonb_agg(r.item order by r.place) filter (where r.fits), '[]'),
        'next_cursor', case
            when count(*) > count(*) filter (where r.fits)
                then hybridflow.to_cursor(p_list, p_rows[count(*) filter (where r.fits)] -> 'key')
        end
    )
    from (
        select
            e.entry -> 'item' as item, e.place,
            e.place <= p_limit and coalesce(
                sum(octet_length((e.entry -> 'item')::text)) over before, 0
            ) < 500000 as fits
        from unnest(p_rows) with ordinality as e (entry, place)
        window before as (order by e.place rows between unbounded preceding and 1 preceding)
    ) as r
$$;

-- How many rows a page looks at: one more than it has, or, where not all of them are wanted, so many that
-- a search for what is nowhere takes as little as any other.
create or replace function hybridflow.rows_to_look_at(p_limit integer, p_searches boolean)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when p_searches then 1000 else p_limit + 1 end
$$;

-- The page made of p_rows (see page), which are those that are wanted of the rows looked at. Where these were
-- not the last ones, p_last is the key of the last one, and the next page looks on behind it: a page may have
-- few items, or none, and still a next_cursor.
create or replace function hybridflow.page_of_search(
    p_list text, p_rows jsonb[], p_limit integer, p_last jsonb
)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select f.page || case
        when f.page ->> 'next_cursor' is null and p_last is not null
            then jsonb_build_object('next_cursor', hybridflow.to_cursor(p_list, p_last))
        else '{}'
    end
    from (select hybridflow.page(p_list, p_rows, p_limit) as page) as f
$$;

-- Raises PT404 where there is no tenant p.tenant_id, or the session p.session_id is not the tenant's own.
create or replace function hybridflow.require_own(p jsonb)
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
    if not exists (select from public.tenants where id = (p ->> 'tenant_id')::bigint) then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    end if;
    if p ->> 'session_id' is not null and not exists (
        select from public.sessions
        where id = (p ->> 'session_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
    ) then
        raise exception 'tenant % has no session %', p ->> 'tenant_id', p ->> 'session_id'
            using errcode = 'PT404';
    end if;
end
$$;
