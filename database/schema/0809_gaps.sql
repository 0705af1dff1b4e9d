-- HybridFlow: gaps in what the instances have reported: which are repaired first, and from what time.

-- gaps_by_activity({})
-- The order in which gaps are repaired after a start. Returns {instances: [[instance_name, evo_server_url]]}:
-- the active tenants, the one with the most recent conversation first. All come in one answer, because a list
-- ordered by activity cannot be divided into pages.
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
-- Returns {since, now}: messages may be missing from `since` on. That is the time of the newest known
-- message, or of the last gap repair if it is earlier, because newer messages may have come after a gap. A
-- repair longer ago than look_back_hours counts as look_back_hours ago. `since` is never more than
-- look_back_hours before a repair that brought everything, because a message that such a repair could not
-- read will never be known. margin_seconds is subtracted because clocks differ. PT404: no such tenant.
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
-- Gap repair has fetched everything that was sent before `until`. Returns {caught_up_at}.
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
