-- HybridFlow: lets a front end follow sessions and messages live, by Supabase Realtime. Run it once, after
-- the schema; again does no harm. Who is told of what, row level security decides: members of a tenant
-- (table memberships) of its rows, nobody else.
--
-- To end it: alter publication supabase_realtime drop table public.sessions, public.messages;

do $$
declare
    v_table text;
begin
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
