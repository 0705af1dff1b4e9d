-- HybridFlow: the version of the schema, and how a router calls the others.

-- call_routers({by?})
-- All places of this router are taken, so another router that has a free place may claim what is due. Routers
-- that cannot listen read the call among the changes. A router that cannot listen gives its name in `by`.
-- Returns {ok}.
create or replace function public.call_routers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform pg_notify('hybridflow_turns', '');
    if p ->> 'by' is not null then
        insert into public.changes (kind, router) values ('call', left(p ->> 'by', 100));
    end if;
    return '{"ok": true}';
end
$$;

-- check_database({})
-- For the start and the health check: which schema is installed, and how much is waiting. Returns
-- {schema_version, serves_from, now, tenants, turns_due}. turns_due: how many turns are due; 200 means 200 or
-- more. Raise `schema_version`, together with SCHEMA_VERSION in router/state/schema_version.py, if routers
-- need something that an older schema lacks. `serves_from` is the oldest SCHEMA_VERSION of routers that can
-- use this schema; older routers refuse to start. Raise it if something that they need is removed.
create or replace function public.check_database(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return jsonb_build_object(
        'schema_version', 3,
        'serves_from', 1,
        'now', v_now,
        'tenants', (select count(*) from public.tenants),
        'turns_due', (
            select count(*) from (
                select from public.turns as t
                where t.waiting and not t.held and t.run_after <= v_now
                order by t.run_after limit 200
            ) as d
        )
    );
end
$$;
