-- HybridFlow: how long a text may be: a longer one is cut, and ends with […].

-- A text of at most p_most characters: a longer one is cut, and ends with […]. WhatsApp's own limit is
-- 65,536. However long the text is, only so much of it is read. router/whatsapp/lengths.py cuts in the same
-- way.
create or replace function hybridflow.cut(p_text text, p_most integer default 65536)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when octet_length(p_text) <= p_most or length(left(p_text, p_most + 1)) <= p_most then p_text
        else left(p_text, p_most - 4) || ' […]'
    end
$$;

-- The object, with its texts cut to the limits of their kinds. A small object costs only a look at its size.
create or replace function hybridflow.cut_fields(p_object jsonb)
returns jsonb
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    if pg_column_size(p_object) <= 1000 or jsonb_typeof(p_object) <> 'object' then
        return p_object;
    end if;
    return (
        select jsonb_object_agg(f.key, case jsonb_typeof(f.value)
            when 'string' then to_jsonb(hybridflow.cut(f.value #>> '{}', case
                when f.key in ('text', 'caption') then 65536
                when f.key like '%name' then 256
                else 4096
            end))
            when 'object' then hybridflow.cut_fields(f.value)
            else f.value
        end)
        from jsonb_each(p_object) as f
    );
end
$$;
