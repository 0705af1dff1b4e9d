-- HybridFlow: workers claim notices, in rounds over the tenants.

-- Returns what a worker needs to tell the notice, including its token. `number` and `url` are those that
-- still have to be told. There is no number if the notice is that the tenant's own line is down. A line that
-- does not deliver replies may still reach the staff.
create or replace function hybridflow.notice_context(p_notice public.notices, p_token uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'notice_id', p_notice.id, 'token', p_token, 'attempt', p_notice.attempt, 'kind', p_notice.kind,
        'tenant_id', t.id, 'instance_name', t.instance_name, 'language', t.language,
        'session_id', coalesce(p_notice.session_id, (  -- it may have been merged into another
            select i.session_id from public.session_identities as i
            where i.tenant_id = t.id and i.jid = p_notice.facts ->> 'jid'
        )),
        'facts', hybridflow.notice_facts(p_notice), 'created_at', p_notice.created_at,
        'number', case
            when p_notice.kind not in ('connection_lost', 'qr_waiting') and p_notice.number_told_at is null
                then hybridflow.notice_number(p_notice, t)
        end,
        'url', case when p_notice.url_told_at is null then t.notify_url end,
        'told', p_notice.number_told_at is not null or p_notice.url_told_at is not null
    )
    from public.tenants as t
    where t.id = p_notice.tenant_id
$$;

-- Returns the contexts of notices that were just claimed. All are built in one query. If that fails, each one
-- is built alone, and a notice whose context fails is not given out; once its attempts are used up, it is
-- dead with that error.
create or replace function hybridflow.notice_contexts(p_ids bigint[], p_tokens uuid[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.notice_context(n, c.token) order by n.id) into v_contexts
        from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id;
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_claim in
        select n as notice, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id
        order by n.id
    loop
        begin
            v_contexts := v_contexts || hybridflow.notice_context(v_claim.notice, v_claim.token);
        exception
            when others then
                update public.notices set error = 'what is to be told could not be read: SQLSTATE ' || sqlstate
                where id = (v_claim.notice).id;
        end;
    end loop;
    return v_contexts;
end
$$;

-- Returns the next tenants, in rounds, that have a due notice and room for it. It works like next_tenants;
-- see there.
create or replace function hybridflow.next_to_tell(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
    v_next record;
    v_from_start boolean := false;
begin
    select array_agg(d.tenant_id), count(*) < c_few into tenants, is_whole from (
        select n.tenant_id from public.notices as n
        where n.waiting and n.next_at is not null and n.next_at <= p_now
        order by n.next_at limit c_few
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        last := p_after;
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select n.tenant_id, n.next_at into v_next from public.notices as n
        where n.waiting and n.tenant_id > last
        order by n.tenant_id, n.next_at limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select n.tenant_id, n.next_at into v_next from public.notices as n
            where n.waiting
            order by n.tenant_id, n.next_at limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.next_at <= p_now and v_next.tenant_id <> all(p_full) then
            tenants := tenants || v_next.tenant_id;
            is_whole := cardinality(tenants) < p_enough;
            exit when not is_whole;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

-- Returns the due notices in the order in which they are to be told. There are more than p_limit, because
-- some may be locked. It works like claimable_turns. was_cut: its tenant may have more.
create or replace function hybridflow.claimable_notices(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (notice_id bigint, place bigint, was_cut boolean)
language sql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.id, r.place, r.was_cut
    from (
        select
            d.id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.own + d.place, w.nth, d.id) as place,
            w.own + d.place - 1 as has
        from (
            select
                a.tenant_id, a.nth, coalesce((p -> 'own' ->> a.tenant_id::text)::integer, 0) as own,
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_for(a.tenant_id, null, p_limit, p)) as room
            from unnest(p_tenants) with ordinality as a (tenant_id, nth)
        ) as w
        cross join lateral (
            select f.id, row_number() over (order by f.next_at, f.id) as place
            from (
                select n.id, n.next_at from public.notices as n
                where n.tenant_id = w.tenant_id and n.waiting and n.next_at <= p_now
                order by n.next_at limit least(w.enough, w.room)
            ) as f
        ) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- claim_notices({limit, lease_seconds, max_attempts, kinds?: [kind], after_tenant?, tenant_max?, own?:
-- {<tenant_id>: notices}, own_max?, sitting?: {<tenant_id>: notices}, own_times?})
-- Gives out due notices, each with a token that is valid for lease_seconds. After that the notice is due
-- again, or dead if it was given out max_attempts times. `kinds`: the kinds that the caller can tell. A
-- router older than 0.3.0 gives no kinds, and gets only those that it knows; if notices of other kinds are
-- waiting, it is asked to come back after some seconds. The tenants take turns, starting with those after
-- after_tenant. The limits for one tenant (tenant_max, own, own_max, sitting, own_times) are the same as for
-- claim_turns. Never waits for a lock. Returns {notices: [{notice_id, token, attempt, kind, tenant_id,
-- instance_name, language, session_id, facts, created_at, number, url, told}], now, after_tenant, more,
-- next_due_at}, as claim_turns does; see notice_context.
create or replace function public.claim_notices(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_round record;
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_claimed bigint[];
    v_tokens uuid[];
    v_last bigint;
    v_kinds text[];
begin
    perform hybridflow.require_keys('claim_notices', p, '{limit,lease_seconds,max_attempts}');
    v_kinds := case
        when p ->> 'kinds' is null then '{handoff,connection_lost,qr_waiting,undelivered}'
        else array(select jsonb_array_elements_text(p -> 'kinds'))
    end;
    v_round := hybridflow.next_to_tell(v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 100), array(
        select o.key::bigint from jsonb_each_text(nullif(p -> 'own', 'null')) as o
        where hybridflow.room_for(o.key::bigint, null, v_limit, p) = 0
    ));
    select coalesce(array_agg(f.notice_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_notices(v_round.tenants, v_now, v_limit, p) as f;
    v_ids := array(
        select n.id
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.notices as n on n.id = f.id
        where n.state = 'pending' and n.next_at <= v_now and n.kind = any(v_kinds)
        order by f.place limit v_limit for update of n skip locked
    );
    update public.notices
    set state = 'dead', lease_until = null, finished_at = v_now, updated_at = v_now,
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time')
    where id = any(v_ids) and attempt >= (p ->> 'max_attempts')::integer;
    -- This notice may have waited for the end of an outage (see tell_flow_failing), and the flow may work by
    -- now.
    update public.notices as n
    set state = 'delivered', reason = 'recovered', lease_until = null, finished_at = v_now, updated_at = v_now
    where n.id = any(v_ids) and n.state = 'pending' and n.kind = 'flow_failing' and n.attempt = 0
        and hybridflow.flow_has_worked(n.tenant_id, n.created_at);

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
    ),

    claimed as (
        update public.notices as n
        set attempt = n.attempt + 1, token_hash = hybridflow.hash_token(f.token), updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            next_at = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        from fresh as f
        where n.id = f.id and n.state = 'pending'
        returning n.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select o.tenant_id from public.notices as o where o.id = any(v_ids))
    order by n.nth desc limit 1;
    return jsonb_build_object(
        'notices', hybridflow.notice_contexts(v_claimed, v_tokens),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', coalesce(cardinality(v_claimed), 0) < cardinality(v_ids)
        or (cardinality(v_ids) < v_limit and (v_more or not v_round.is_whole)),
        'next_due_at', case
            when cardinality(v_ids) < least(v_limit, cardinality(v_offered))
                then v_now + case when p ->> 'kinds' is null then interval '5 seconds' else '0' end
            else (
                select n.next_at from public.notices as n
                where n.waiting and n.next_at is not null and n.next_at > v_now
                order by n.next_at limit 1
            )
        end
    );
end
$$;
