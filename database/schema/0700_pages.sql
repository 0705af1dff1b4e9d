-- HybridFlow: the pages of the lists that operators read.
--
-- Every list answers {items, next_cursor}. `cursor` takes the next_cursor of the page before; it is null on
-- the last page. A cursor names the last item of the page, not a count, so that rows recorded meanwhile
-- neither repeat nor hide an item. `limit` is 1 to 200, and 50 by default. The number of rows that a page
-- reads is limited.

-- Makes the cursor for a place in the list p_list: the list's name and the key of the last item. Callers
-- treat it as opaque.
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

-- Returns the key in p's cursor, or null if p has no cursor. Raises PT422 for a cursor of another list.
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

-- Returns how many items a page may have.
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

-- Makes a page of p_rows (an ordered list of {key, item}, with one row more than p_limit if there are more).
-- A large page ends earlier, with the row that reaches 500,000 bytes, because the router keeps whole pages in
-- memory.
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

-- Returns how many rows a page reads. Without a filter, that is one more than its limit. With a filter, it is
-- a fixed number, so that a search without results costs no more than any other.
create or replace function hybridflow.rows_to_look_at(p_limit integer, p_searches boolean)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when p_searches then 1000 else p_limit + 1 end
$$;

-- Makes a page of p_rows (see page): the rows that match a filter, out of all rows read. p_last is the key of
-- the last row read, or null if no rows are left after it. With p_last, the next page goes on after that row;
-- so a page may have few items or none, and still a next_cursor.
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

-- Raises PT404 if there is no tenant p.tenant_id, or if the session p.session_id does not belong to it.
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
