-- HybridFlow: the gaps in what the instances have told us: whose are repaired first, and since when.

-- gaps_by_activity({})
-- Whose gap is to be repaired after a start. Returns {instances: [[instance_name, evo_server_url]]}: the
-- active tenants, those with the most recent conversation first. All at once, for an order by activity has no
-- pages.
create or replace function public.gaps_by_activity(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object('instances', coalesce(jsonb_agg(
        jsonb_build_array(t.instance_name, t.evo_server_url) order by l.last_message_at desc nulls last, t.id desc
    ), '[]'))
    from public.tenants as t
    left join lateral (
        select s.last_message_at from public.sessions as s
        where s.tenant_id = t.id
        order by s.last_message_at desc nulls last, s.id desc limit 1
    ) as l on true
    where p is not null and t.is_active
$$;

-- gap_start({tenant_id, margin_seconds, look_back_hours})
-- From when on messages may be missing: since the newest message that is known, or, since newer ones
-- may have come after a gap, since the last gap repair; the latter look_back_hours back at most. From a
-- repair that brought everything it is never gone back for longer than that: of what it could not read, and
-- left out, nothing will ever be known. margin_seconds is taken off for clocks that differ. Returns
-- {since, now}. PT404: no such tenant.
create or replace function public.gap_start(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_look_back interval := hybridflow.seconds(3600 * (p ->> 'look_back_hours')::numeric);
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('gap_start', p, '{tenant_id,margin_seconds,look_back_hours}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('now', v_now, 'since', greatest(
        least(
            (select max(s.last_message_at) from public.sessions as s where s.tenant_id = v_tenant.id),
            greatest(coalesce(v_tenant.caught_up_at, v_tenant.created_at), v_now - v_look_back)
        ),
        v_tenant.caught_up_at - v_look_back
    ) - hybridflow.seconds((p ->> 'margin_seconds')::numeric));
end
$$;

-- caught_up({tenant_id, until})
-- Gap repair has brought everything that was sent before `until`. Returns {caught_up_at}.
create or replace function public.caught_up(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz;
begin
    perform hybridflow.require_keys('caught_up', p, '{tenant_id,until}');
    update public.tenants set caught_up_at = greatest(caught_up_at, (p ->> 'until')::timestamptz)
    where id = (p ->> 'tenant_id')::bigint
    returning caught_up_at into v_until;
    return jsonb_build_object('caught_up_at', v_until);
end
$$;
