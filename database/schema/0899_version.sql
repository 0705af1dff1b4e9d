-- HybridFlow: which schema this is, and how routers call one another.

-- call_routers({})
-- All places of this router are taken: whoever hears it and has one free may claim what is due.
create or replace function public.call_routers(p jsonb)
returns jsonb
language sql
set search_path = ''
as $$
    select jsonb_build_object('ok', pg_notify('hybridflow_turns', '') is not null)
$$;

-- check_database({})
-- For the start and the health check: which schema is in place, and what waits. `schema_version` is
-- raised, together with SCHEMA_VERSION in router/state/schema_version.py, whenever routers begin to need
-- what an older schema lacks; then this function stands in the newest migration that has such a thing.
create or replace function public.check_database(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'schema_version', 2,
        'now', hybridflow.clock(),
        'tenants', (select count(*) from public.tenants),
        'turns_due', (
            select count(*) from public.turns where waiting and not held and run_after <= hybridflow.clock()
        )
    )
$$;
