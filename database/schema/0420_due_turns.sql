-- HybridFlow: which turns are next: the due ones, tenant by tenant, each tenant within its share.
--
-- Claims read an index in its order and stop early, so these queries never sort what an index has in order.

-- The due turns of a tenant that can be claimed: the p_most newest, and the oldest. A turn cannot be claimed
-- if its session has an active turn (the customer has written again while that is being made). At each end
-- only 100 are looked at, so that very many such turns cost no more; those between come when the others have
-- ended. Each session is looked up separately: a join whose plan was made when hardly any turn was under way
-- would read all turns under way for each session.
create or replace function hybridflow.due_turns(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, run_after timestamptz, is_oldest boolean)
language sql
stable
rows 4
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    (
        select d.id, d.run_after, false
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after desc limit 100
        ) as d
        where (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and not a.beside limit 1
        ) is null and (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and a.beside limit 1
        ) is null
        limit p_most
    )
    union all
    (
        select d.id, d.run_after, true
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after limit 100
        ) as d
        where (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and not a.beside limit 1
        ) is null and (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and a.beside limit 1
        ) is null
        limit least(p_most, 1)
    )
$$;

-- The next tenants that have a turn that can be claimed, and room for it (they are not in p_full). They come
-- in the order of their ids, beginning after tenant p_after and then again from the first, so the tenant that
-- was served last comes last. Each tenant with a waiting turn costs one look at the index. The search ends
-- when p_enough are found, after p_most tenants, or after 50 whose due turns cannot be claimed. The next
-- round begins after `last`. is_whole: all tenants with a waiting turn were looked at.
create or replace function hybridflow.next_tenants(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 200;
    v_next record;
    v_from_start boolean := false;
    v_in_vain integer := 0;
begin
    -- Usually only a few turns are due: then one query finds all of them.
    select array_agg(d.tenant_id) filter (where not d.is_behind), count(*) < c_few into tenants, is_whole from (
        select w.tenant_id, exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and not a.beside
            ) or exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and a.beside
            ) as is_behind
        from (
            select t.tenant_id, t.session_id from public.turns as t
            where t.waiting and not t.held and t.run_after <= p_now
            order by t.run_after limit c_few
        ) as w
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        last := case when is_whole then p_after else coalesce(tenants[p_enough], p_after) end;
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select t.tenant_id, t.run_after into v_next from public.turns as t
        where t.waiting and t.tenant_id > last
        order by t.tenant_id, t.run_after limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select t.tenant_id, t.run_after into v_next from public.turns as t
            where t.waiting
            order by t.tenant_id, t.run_after limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.run_after <= p_now and v_next.tenant_id <> all(p_full) then
            if exists (select from hybridflow.due_turns(v_next.tenant_id, p_now, 1)) then
                tenants := tenants || v_next.tenant_id;
                is_whole := cardinality(tenants) < p_enough;
                exit when not is_whole;
            else
                v_in_vain := v_in_vain + 1;
                is_whole := v_in_vain < 50;
                exit when not is_whole;
            end if;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

create index if not exists tenants_with_own_key on public.tenants (id) where llm_api_key is not null;

-- The same for tenants with an LLM key of their own, also those with a turn whose lease has run out. No flow
-- makes their replies, so they need not wait while n8n is full. is_whole: all of them were looked at.
create or replace function hybridflow.next_without_n8n(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_id bigint;
    v_from_start boolean := false;
begin
    tenants := '{}';
    last := p_after;
    is_whole := false;
    for v_looks in 1..p_most loop
        v_id := (select min(t.id) from public.tenants as t where t.llm_api_key is not null and t.id > last);
        if v_id is null and not v_from_start then
            v_from_start := true;
            v_id := (select min(t.id) from public.tenants as t where t.llm_api_key is not null);
        end if;
        is_whole := v_id is null or (v_from_start and v_id > p_after);
        exit when is_whole;
        last := v_id;
        if v_id <> all(p_full) and (
            (
                exists (
                    select from public.turns as t
                    where t.tenant_id = v_id and t.waiting and t.run_after <= p_now
                ) and exists (select from hybridflow.due_turns(v_id, p_now, 1))
            )
            or exists (
                select from public.turns as t where t.tenant_id = v_id and t.held and t.lease_until <= p_now
            )
        ) then
            tenants := tenants || v_id;
            exit when cardinality(tenants) >= p_enough;
        end if;
    end loop;
end
$$;

-- The tenants that have a turn whose lease has run out, and since when. Each tenant with a turn under way
-- costs one look at the index.
create or replace function hybridflow.lapsed_since(p_now timestamptz)
returns table (tenant_id bigint, lapsed_at timestamptz)
language sql
stable
rows 20
set search_path = ''
as $$
    with recursive leased as (
        (
            select t.tenant_id, t.lease_until from public.turns as t
            where t.held
            order by t.tenant_id, t.lease_until limit 1
        )
        union all
        (
            select n.tenant_id, n.lease_until
            from leased as l
            cross join lateral (
                select t.tenant_id, t.lease_until from public.turns as t
                where t.held and t.tenant_id > l.tenant_id
                order by t.tenant_id, t.lease_until limit 1
            ) as n
        )
    )

    select l.tenant_id, l.lease_until from leased as l where l.lease_until <= p_now
$$;

-- The next tenants that have a turn whose lease has run out, and that may have one more turn. Those with the
-- fewest turns under way come first, then those whose lease ran out longest ago. There are up to twice
-- p_limit, because some turns may be locked. Such tenants can be many: if a server hangs for an hour, all
-- sends to it are in doubt.
create or replace function hybridflow.next_lapsed(p_now timestamptz, p_limit integer, p jsonb)
returns setof bigint
language sql
stable
rows 20
set search_path = ''
as $$
    select l.tenant_id
    from hybridflow.lapsed_since(p_now) as l
    left join hybridflow.busy_tenants(p) as b on b.tenant_id = l.tenant_id
    where (
            b.tenant_id is null and not coalesce(nullif(p -> 'own', 'null') ? l.tenant_id::text, false)
        )
        or hybridflow.room_with_n8n(l.tenant_id, b.turns, p_limit, p) is distinct from 0
    order by coalesce(b.turns, 0), l.lapsed_at limit 2 * p_limit
$$;

-- The turns of a tenant that may be claimed, at most p_most. Those whose lease has run out come first, then
-- the due ones, the newest first: a customer who has just written is still there, and one who has waited long
-- may not be. So that old turns end as well, in one call of four (by chance) the oldest comes first among the
-- due ones, if it has been due for at least a minute. And in one call of two (by chance) the due ones come
-- before those that were put aside (without a worker). Otherwise many sends in doubt that cannot be looked
-- up, and are tried again and again, would leave no room for the due turns.
create or replace function hybridflow.turns_of_tenant(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, lapsed boolean, place bigint)
language sql
volatile
rows 4
set search_path = ''
as $$
    select f.id, bool_or(f.lapsed), row_number() over (order by min(f.rank))
    from (
        (
            select t.id, true as lapsed, case
                when t.worker is null and (select random()) < 0.5 then 1e12
                else -1 - extract(epoch from p_now - t.lease_until)
            end as rank
            from public.turns as t
            where t.tenant_id = p_tenant_id and t.held and t.lease_until <= p_now
            order by t.lease_until limit p_most
        )
        union all
        select d.turn_id, false, case
            when d.is_oldest and d.run_after <= p_now - interval '1 minute' and (select random()) < 0.25 then 0
            else 1 + extract(epoch from p_now - d.run_after)
        end
        from hybridflow.due_turns(p_tenant_id, p_now, p_most) as d
    ) as f
    group by f.id
    order by min(f.rank) limit p_most
$$;

-- The turns that may be claimed, in their order: up to twice p_limit, because some may be locked. They are
-- due, or their lease has run out. If p_lapsed says that there is a turn of the second kind, tenants with
-- such turns are added to p_tenants. The tenants are served in turns, in the order of p_tenants (see
-- next_tenants). A tenant with many turns under way comes after one with few, so that a flood of messages to
-- one tenant makes no other wait. No tenant gets more than its share at once (see room_for), and the last
-- places are left to tenants that have none. With p.without_n8n, only those turns are returned that need no
-- flow: all of a tenant with an LLM key of its own, and of the others those that need none any more (see
-- made_turns). was_cut: the tenant may have more.
create or replace function hybridflow.claimable_turns(
    p_tenants bigint[], p_lapsed boolean, p_now timestamptz, p_limit integer, p jsonb
)
returns table (turn_id bigint, place bigint, was_cut boolean)
language sql
volatile
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.turn_id, r.place, r.was_cut
    from (
        select
            d.turn_id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.busy + d.place, d.lapsed desc, w.nth, d.turn_id) as place,
            w.own + d.place - 1 as has,
            w.busy + d.place - 1 as has_in_n8n
        from (
            select
                a.tenant_id, a.nth, coalesce(b.turns, 0) as busy,
                hybridflow.seats_of(a.tenant_id, p) as own,
                coalesce((p ->> 'without_n8n')::boolean, false) and not exists (
                    select from public.tenants as o where o.id = a.tenant_id and o.llm_api_key is not null
                ) as only_made,
                -- Of all tenants together twice the limit (at least 4 of each), because some may be locked.
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_with_n8n(a.tenant_id, b.turns, p_limit, p)) as room
            from (
                select coalesce(n.tenant_id, l.tenant_id) as tenant_id, coalesce(n.nth, 2 * p_limit + 1) as nth
                from unnest(p_tenants) with ordinality as n (tenant_id, nth)
                full join (
                    select t.tenant_id from hybridflow.next_lapsed(p_now, p_limit, p) as t (tenant_id)
                    where p_lapsed
                ) as l on l.tenant_id = n.tenant_id
            ) as a
            left join hybridflow.busy_tenants(p) as b on b.tenant_id = a.tenant_id
        ) as w
        cross join lateral (
            select e.turn_id, e.lapsed, e.place
            from hybridflow.turns_of_tenant(w.tenant_id, p_now, least(w.enough, w.room)) as e
            where not w.only_made
            union all
            select m.turn_id, m.lapsed, m.place
            from hybridflow.made_turns(w.tenant_id, p_now, least(w.enough, w.room)) as m
            where w.only_made
        ) as d
    ) as r
    where p ->> 'own_times' is null or (
        r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
        and coalesce(
            r.has_in_n8n < (p ->> 'own_times')::numeric * ((p ->> 'n8n_free')::integer - r.place + 1), true
        )
    )
    order by r.place limit 2 * p_limit
$$;

-- Whether a turn is due and has no worker, even if it cannot be claimed now.
create or replace function hybridflow.is_one_due()
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.turns as t
        where t.waiting and not t.held and t.run_after <= (select hybridflow.clock())
    )
$$;

-- When the next turn falls due, or a lease runs out.
create or replace function hybridflow.next_claimable(p_now timestamptz)
returns timestamptz
language sql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select least(
        (
            select t.run_after from public.turns as t
            where t.waiting and not t.held and t.run_after > p_now
            order by t.run_after limit 1
        ),
        (
            select t.lease_until from public.turns as t
            where t.held and not t.waiting and t.lease_until > p_now
            order by t.lease_until limit 1
        )
    )
$$;
