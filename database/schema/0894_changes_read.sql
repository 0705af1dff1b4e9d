-- HybridFlow: reads the changes since a position.
--
-- A reader gets each change once, and misses none. It gives the snapshot of its last read, and gets what that
-- snapshot could not see and the current one can. (With an ascending id it would miss a change that commits
-- late: of two transactions, the one with the lower id may become visible second.) If its snapshot is older
-- than nine minutes, the answer says that changes may be lost, and the reader reads everything again.

-- The position of what is visible right now: the time and the snapshot.
create or replace function hybridflow.position_now()
returns text
language sql
stable
set search_path = ''
as $$
    select trunc(extract(epoch from clock_timestamp())) || '/' || pg_current_snapshot()
$$;

-- The snapshot of a position; null if it is not a position, or too old to know what came after it.
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

-- Returns what p_since could not see of these tenants and is visible now, each change once, in the order in
-- which they came: {changes, lost_tenants, lost}. There are at most p_most changes of one tenant, and ten
-- times that of all. The tenants with the fewest changes come first; the others are in lost_tenants, without
-- their changes. With p_everybodys, changes without a tenant are included. Everything is lost if there are
-- too many of those, or if more than 200,000 rows, of any tenants, would have to be read. The function is
-- stable, so that one snapshot is used for all of it.
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
    v_late xid8[] := array(select x from pg_snapshot_xip(p_since) as x);  -- under way at that time
    v_read bigint;
    v_changes jsonb;
    v_lost bigint[];
    v_is_all_lost boolean;
begin
    with looked_at as materialized (  -- all changes that are not wanted are one row here
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
                -- A row that is not visible came with a dump of another cluster.
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
-- What changed in these tenants, and what changed without a tenant, since the position `since`, which an
-- earlier answer gave. Without `since`, there are no changes. Returns {position, lost, lost_tenants: [id],
-- changes: [{tenant_id, session_id, turn_id, kind, sign_in, router}]}: each change once, in the order in
-- which they came. position: the `since` of the next call. lost: nobody can tell what changed, because
-- `since` is not a position of ours, or is older than what is kept, or because too much came since then (more
-- than 50,000 changes without a tenant, or 200,000 in all). lost_tenants: tenants with more changes than are
-- reported for one (5000), or for all together (50,000; the tenants with the most changes come last).
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
-- Like read_changes, for a client that looks at one tenant. Returns {position, lost, changes: [{tenant_id,
-- session_id, turn_id, kind, sign_in, router}]}: at most 1000 changes, and none without a tenant.
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
