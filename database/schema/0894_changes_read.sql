-- HybridFlow: changes since a position, read by who looks at them.
--
-- Nobody reads one twice and nobody misses it: who reads shows the snapshot of its last look, and is given
-- what that could not see and this one can. (By an ascending id it would miss what commits late: of two
-- transactions the one with the lower id may be seen second.) Whose snapshot is older than nine minutes is
-- told that something may have been missed, and reads everything again.

-- The position that stands for what is seen right now: when that was, and the snapshot.
create or replace function hybridflow.position_now()
returns text
language sql
stable
set search_path = ''
as $$
    select trunc(extract(epoch from clock_timestamp())) || '/' || pg_current_snapshot()
$$;

-- The snapshot of a position; null where it is none, or too old to know what came after it.
create or replace function hybridflow.snapshot_of(p_position text)
returns pg_snapshot
language plpgsql
stable
set search_path = ''
as $$
declare
    v_snapshot pg_snapshot;
begin
    if length(p_position) > 8000 or p_position !~ '^[0-9]{1,12}/[0-9]{1,19}:[0-9]{1,19}:[0-9,]*$' then
        return null;
    end if;
    v_snapshot := split_part(p_position, '/', 2)::pg_snapshot;
    if to_timestamp(split_part(p_position, '/', 1)::double precision)
            < clock_timestamp() - hybridflow.changes_told()
        or pg_snapshot_xmax(v_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
    then
        return null;
    end if;
    return v_snapshot;
exception
    when data_exception then
        return null;
end
$$;

-- What p_since could not see of these tenants and is seen now, each once and in the order in which it came:
-- {changes, lost_tenants, lost}. Of one tenant p_most at most, and ten times that of all: the tenants that
-- have the least are told of first, and of the others, which are lost_tenants, nothing is. What is nobody's
-- is told where p_everybodys says so; all is lost where there is more of that, and where more than 200,000
-- rows, of whichever tenants, would have to be read. Stable, so that all is of one snapshot.
create or replace function hybridflow.changes_since(
    p_since pg_snapshot, p_tenant_ids bigint[], p_most integer, p_everybodys boolean
)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_most_read constant integer := 200000;
    v_now pg_snapshot := pg_current_snapshot();
    v_late xid8[] := array(select x from pg_snapshot_xip(p_since) as x);  -- were under way then
    v_read bigint;
    v_changes jsonb;
    v_lost bigint[];
    v_is_all_lost boolean;
begin
    with looked_at as materialized (  -- what is not looked for is one row of this
        select
            r.is_wanted, r.tenant_id, r.session_id, r.turn_id, r.kind, r.sign_in, r.router, min(r.at) as at,
            count(*) as rows_read
        from (
            select f.is_wanted, g.*
            from (
                (
                    select c.* from public.changes as c
                    where c.txid >= pg_snapshot_xmax(p_since) and c.txid < pg_snapshot_xmax(v_now)
                    order by c.txid limit c_most_read + 1
                )
                union all
                (select c.* from public.changes as c where c.txid = any(v_late) limit c_most_read + 1)
            ) as w
            cross join lateral (
                -- What is not visible is what another cluster's dump brought.
                select
                    case when w.tenant_id is null then p_everybodys else w.tenant_id = any(p_tenant_ids) end
                    and pg_visible_in_snapshot(w.txid, v_now) as is_wanted
            ) as f
            left join lateral (
                select w.tenant_id, w.session_id, w.turn_id, w.kind, w.sign_in, w.router, w.at
            ) as g on f.is_wanted
        ) as r
        group by r.is_wanted, r.tenant_id, r.session_id, r.turn_id, r.kind, r.sign_in, r.router
    ),

    once as (
        select r.* from looked_at as r where r.is_wanted
    ),

    sizes as (
        select
            o.tenant_id, count(*) as changes,
            sum(count(*)) over (partition by o.tenant_id is null order by count(*), o.tenant_id) as with_smaller
        from once as o
        group by o.tenant_id
    ),

    told as materialized (
        select
            s.tenant_id,
            (s.changes <= p_most or s.tenant_id is null) and s.with_smaller <= p_most * 10 as is_told
        from sizes as s
    )

    select
        (
            select
                jsonb_agg(
                    jsonb_build_object(
                        'tenant_id', o.tenant_id, 'session_id', o.session_id, 'turn_id', o.turn_id,
                        'kind', o.kind, 'sign_in', o.sign_in, 'router', o.router
                    )
                    order by o.at
                )
            from once as o
            where exists (select 1 from told as t where t.is_told and t.tenant_id is not distinct from o.tenant_id)
        ),
        (select sum(r.rows_read) from looked_at as r),
        array_agg(t.tenant_id) filter (where not t.is_told and t.tenant_id is not null),
        coalesce(bool_or(not t.is_told) filter (where t.tenant_id is null), false)
    into v_changes, v_read, v_lost, v_is_all_lost
    from told as t;
    return case
        when v_is_all_lost or v_read > c_most_read then '{"changes": [], "lost_tenants": [], "lost": true}'
        else jsonb_build_object(
            'changes', coalesce(v_changes, '[]'), 'lost_tenants', to_jsonb(coalesce(v_lost, '{}')), 'lost', false
        )
    end;
end
$$;

-- read_changes({tenant_ids: [id], since?})
-- What changed in these tenants since the position `since`, which an earlier answer gave, and what is no
-- tenant's; without it nothing. Returns {position, lost, lost_tenants: [id], changes: [{tenant_id,
-- session_id, turn_id, kind, sign_in, router}]}: each change once, in the order in which they came; position
-- is for the next look. lost: `since` is none of ours, or older than what is kept, or more than 50,000 that
-- are no tenant's have come since then, or 200,000 of all; nobody can tell what changed. lost_tenants: more
-- has changed there than is told of one (5000), or of all (50,000), where those come last that have the most.
create or replace function public.read_changes(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_since pg_snapshot := hybridflow.snapshot_of(p ->> 'since');
begin
    perform hybridflow.require_keys('read_changes', p, '{tenant_ids}');
    return case
        when v_since is null then jsonb_build_object(
            'changes', '[]'::jsonb, 'lost_tenants', '[]'::jsonb, 'lost', p ->> 'since' is not null
        )
        else hybridflow.changes_since(
            v_since, array(select i::bigint from jsonb_array_elements_text(p -> 'tenant_ids') as i), 5000,
            true
        )
    end || jsonb_build_object('position', hybridflow.position_now());
end
$$;

-- follow_tenant({tenant_id, since?})
-- The same for one who begins to look at a tenant. Returns {position, lost, changes: [{tenant_id, session_id,
-- turn_id, kind, sign_in, router}]}; of changes 1000 at most, and none that is no tenant's.
create or replace function public.follow_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_since pg_snapshot := hybridflow.snapshot_of(p ->> 'since');
    v_read jsonb := '{}';
begin
    perform hybridflow.require_keys('follow_tenant', p, '{tenant_id}');
    perform hybridflow.tenant_of(p - 'instance_name');
    if v_since is not null then
        v_read := hybridflow.changes_since(v_since, array[(p ->> 'tenant_id')::bigint], 1000, false);
    end if;
    return jsonb_build_object(
        'position', hybridflow.position_now(),
        'lost', p ->> 'since' is not null and (
            v_since is null or (v_read -> 'lost')::boolean or jsonb_array_length(v_read -> 'lost_tenants') > 0
        ),
        'changes', coalesce(v_read -> 'changes', '[]')
    );
end
$$;
