-- HybridFlow: lets a front end follow sessions and messages live, over Supabase Realtime. Run this file once,
-- after the schema; it is safe to run it again. Row level security decides who gets what: only members of a
-- tenant (table memberships) get its rows. Realtime does not check row level security for deleted rows: every
-- listener gets the id of a deleted row, and nothing else. So do not change the tables' replica identity.
--
-- To stop it: alter publication supabase_realtime drop table public.sessions, public.messages;

do $$
declare
    v_table text;
    v_told text;
begin
    select string_agg(c.relname, ', ' order by c.relname) into v_told
    from pg_catalog.pg_class as c
    where c.relnamespace = 'public'::pg_catalog.regnamespace and c.relname in ('sessions', 'messages')
        and c.relreplident <> 'd';
    if v_told is not null then
        raise exception 'a deletion in % would tell more than its id to every listener', v_told
            using hint = 'alter table public.… replica identity default;';
    end if;
    if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
    end if;
    foreach v_table in array array['sessions', 'messages'] loop
        if not exists (
            select from pg_catalog.pg_publication_tables
            where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = v_table
        ) then
            execute format('alter publication supabase_realtime add table public.%I', v_table);
        end if;
    end loop;
end
$$;
