-- HybridFlow: workers claim media jobs, in rounds over the tenants.

-- Returns what a worker needs for the job, including its token.
create or replace function hybridflow.media_job_context(p_job public.media_jobs, p_token uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'job_id', p_job.id, 'token', p_token, 'attempt', p_job.attempt, 'message_id', m.id,
        'session_id', m.session_id, 'wa_id', m.wa_id, 'kind', m.kind,
        'seconds', m.media -> 'seconds', 'bytes', m.media -> 'bytes',
        'language', t.speech_language, 'has_content', p_job.content is not null,
        'keeps', t.keep_media_days > 0, 'keep_only', p_job.keep_only,
        'tenant_id', t.id, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url,
        'evo_api_key', t.evo_api_key
    )
    from public.messages as m
    inner join public.tenants as t on t.id = m.tenant_id
    where m.id = p_job.message_id
$$;

-- Returns the contexts of jobs that were just claimed. All are built in one query. If that fails, each one is
-- built alone, and a job whose context fails is not given out; once its attempts are used up, the job fails
-- with that error.
create or replace function hybridflow.media_job_contexts(p_ids bigint[], p_tokens uuid[])
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
        select jsonb_agg(hybridflow.media_job_context(j, c.token) order by j.id) into v_contexts
        from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.media_jobs as j on j.id = c.id;
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_claim in
        select j as job, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.media_jobs as j on j.id = c.id
        order by j.id
    loop
        begin
            v_contexts := v_contexts || hybridflow.media_job_context(v_claim.job, v_claim.token);
        exception
            when others then
                update public.media_jobs set error = 'what is to be heard could not be read: SQLSTATE ' || sqlstate
                where id = (v_claim.job).id;
        end;
    end loop;
    return v_contexts;
end
$$;

-- Returns the next tenants, in rounds, that have a due job and room for it. It works like next_to_tell; see
-- there.
create or replace function hybridflow.next_to_hear(
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
        select j.tenant_id from public.media_jobs as j
        where j.waiting and j.attempt >= 0 and j.next_at <= p_now
        order by j.next_at limit c_few
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
        select j.tenant_id, j.next_at into v_next from public.media_jobs as j
        where j.waiting and j.tenant_id > last
        order by j.tenant_id, j.next_at limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select j.tenant_id, j.next_at into v_next from public.media_jobs as j
            where j.waiting
            order by j.tenant_id, j.next_at limit 1;
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

-- Returns the due jobs in their order. There are more than p_limit, because some may be locked. It works like
-- claimable_notices.
create or replace function hybridflow.claimable_media_jobs(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (job_id bigint, place bigint, was_cut boolean)
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
                select j.id, j.next_at from public.media_jobs as j
                where j.tenant_id = w.tenant_id and j.waiting and j.next_at <= p_now
                order by j.next_at limit least(w.enough, w.room)
            ) as f
        ) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- claim_media_jobs({limit, lease_seconds, max_attempts, after_tenant?, tenant_max?, own?: {<tenant_id>:
-- jobs}, own_max?, sitting?: {<tenant_id>: jobs}, own_times?})
-- Gives out due jobs, each with a token that is valid for lease_seconds. After that the job is due again, or
-- has failed if it was given out max_attempts times. The tenants take turns, starting with those after
-- after_tenant. The limits for one tenant (tenant_max, own, own_max, sitting, own_times) are the same as for
-- claim_turns. Never waits for a lock. Returns {jobs: [{job_id, token, attempt, message_id, session_id,
-- wa_id, kind, seconds, bytes, language, has_content, keeps, keep_only, tenant_id, instance_name,
-- evo_server_url, evo_api_key}], now, after_tenant, more, next_due_at}, as claim_turns does.
create or replace function public.claim_media_jobs(p jsonb)
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
    v_tokens uuid[];
    v_claimed bigint[];
    v_last bigint;
begin
    perform hybridflow.require_keys('claim_media_jobs', p, '{limit,lease_seconds,max_attempts}');
    update public.media_jobs set pictures = null, pictures_until = null
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.pictures_until <= v_now
        order by j.pictures_until limit 20 for update skip locked
    ));
    v_round := hybridflow.next_to_hear(v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 100), array(
        select o.key::bigint from jsonb_each_text(nullif(p -> 'own', 'null')) as o
        where hybridflow.room_for(o.key::bigint, null, v_limit, p) = 0
    ));
    select coalesce(array_agg(f.job_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_media_jobs(v_round.tenants, v_now, v_limit, p) as f;
    v_ids := array(
        select j.id
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.media_jobs as j on j.id = f.id
        where j.state = 'pending' and j.next_at <= v_now
        order by f.place limit v_limit for update of j skip locked
    );
    update public.media_jobs
    set state = 'failed', lease_until = null, finished_at = v_now, updated_at = v_now, content = null,
        waits_for = null, error = coalesce(error, 'every attempt ended without a word: the lease ran out each time')
    where id = any(v_ids) and attempt >= (p ->> 'max_attempts')::integer;

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
    ),

    claimed as (
        update public.media_jobs as j
        set attempt = j.attempt + 1, token_hash = hybridflow.hash_token(f.token), updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            next_at = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        from fresh as f
        where j.id = f.id and j.state = 'pending'
        returning j.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select o.tenant_id from public.media_jobs as o where o.id = any(v_ids))
    order by n.nth desc limit 1;
    return jsonb_build_object(
        'jobs', hybridflow.media_job_contexts(v_claimed, v_tokens),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', cardinality(v_ids) = v_limit or v_more or not v_round.is_whole,
        'next_due_at', case
            when cardinality(v_ids) < least(v_limit, cardinality(v_offered)) then v_now
            else (
                select j.next_at from public.media_jobs as j
                where j.waiting and j.attempt >= 0 and j.next_at > v_now
                order by j.next_at limit 1
            )
        end
    );
end
$$;
