-- HybridFlow: which schema this is, and how routers call one another.

-- call_routers({by?})
-- All places of this router are taken: a router that hears it and has one free may claim what is due. Those
-- that cannot listen read it among the changes, where `by` says who calls, as who cannot listen itself does.
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
-- For the start and the health check: which schema is in place, and what waits. Returns {schema_version,
-- serves_from, now, tenants, turns_due}: turns_due is how many turns are due, 200 standing for any more.
-- `schema_version` is raised, together with SCHEMA_VERSION in router/state/schema_version.py, whenever
-- routers begin to need what an older schema lacks. `serves_from` is the oldest SCHEMA_VERSION of routers
-- that this schema still serves: raised when something goes that they need; older ones refuse to start.
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
