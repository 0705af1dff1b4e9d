-- HybridFlow: what operators read, and tenants.

-- A session as the API shows it.
create or replace function hybridflow.session_json(p_session_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(s) - 'pause_message_id' || jsonb_build_object(
        'identities', (
            select coalesce(jsonb_agg(i.jid order by i.jid), '[]')
            from public.session_identities as i where i.session_id = s.id
        )
    )
    from public.sessions as s where s.id = p_session_id
$$;

-- A turn as the API shows it: without its token.
create or replace function hybridflow.turn_json(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(t) - 'token' from public.turns as t where t.id = p_turn_id
$$;

-- check_database({})
-- For the health check: which migrations are in place, and what waits.
create or replace function public.check_database(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'now', hybridflow.clock(),
        'tenants', (select count(*) from public.tenants),
        'turns_due', (
            select count(*) from public.turns where state = 'pending' and run_after <= hybridflow.clock()
        )
    )
$$;
