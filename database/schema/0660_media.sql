-- HybridFlow: what a contact sent as a voice message is put into words, beside the turn that answers it.
--
-- A job is made in the transaction that records its message. The turn waits for its jobs, up to a bound; what
-- is not there then is told as not heard, and words that come later are in the history, and answered by no
-- second turn.

alter table public.turns
add column if not exists due_when_heard timestamptz;
comment on column public.turns.due_when_heard is
'While it waits for media to be put into words: when it is due once they are. Null: it waits for none.';

-- A message of the contact was recorded whose media the router can put into words (its kind is in p_policy's
-- `senses`): a job for it, and the turn that answers it, if any, waits for that, up to media_wait_seconds,
-- but no longer than that after its debounce must end. Returns when the turn is due; null: it does not wait.
-- Where files are kept (the policy's `keeps_files`, the tenant's days) there is a job in any case.
create or replace function hybridflow.await_media(
    p_tenant public.tenants, p_message_id bigint, p_turn_id bigint, p_event jsonb, p_policy jsonb
)
returns timestamptz
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_wait interval := hybridflow.seconds(
        hybridflow.rule(p_tenant.media_wait_seconds, p_policy, 'media_wait_seconds', 20)
    );
    v_due timestamptz;
    v_understood boolean := coalesce(p_policy -> 'senses' ? (p_event ->> 'kind'), false)
        and p_tenant.understand_media and p_event ->> 'transcript' is null
        and p_event ->> 'decision' in ('turn_pending', 'paused');
begin
    if nullif(p_event -> 'media', 'null') is null or p_event -> 'media' ->> 'too_large' is not null
        or exists (select from public.messages as m where m.id = p_message_id and m.deleted_at is not null)
        or not (v_understood or (
            coalesce((p_policy ->> 'keeps_files')::boolean, false) and p_tenant.keep_media_days > 0
        ))
    then
        return null;
    end if;
    insert into public.media_jobs (tenant_id, message_id, keep_only, next_at)
    values (
        p_tenant.id, p_message_id, not v_understood,
        -- What came inside of the webhook is given at once, but in a call of its own: see give_media.
        case when (p_event ->> 'carried')::boolean then v_now + interval '30 seconds' else v_now end
    );
    if not v_understood then
        return null;
    end if;
    update public.turns
    set due_when_heard = coalesce(due_when_heard, run_after),
        run_after = greatest(run_after, least(v_now + v_wait, debounce_until + v_wait)), updated_at = v_now
    where id = p_turn_id and waiting
    returning run_after into v_due;
    return v_due;
end
$$;

-- A turn's media was put into words, or never will be: where nothing more is waited for, it is due as its
-- debounce says. Returns in how many seconds; null: it waits on, or did not wait. Its session is locked.
create or replace function hybridflow.heard(p_turn_id bigint)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_due timestamptz;
begin
    update public.turns
    set run_after = greatest(due_when_heard, v_now), due_when_heard = null, updated_at = v_now
    where id = p_turn_id and waiting and due_when_heard is not null and not exists (
        select from public.messages as m
        inner join public.media_jobs as j on j.message_id = m.id
        where m.turn_id = p_turn_id and not m.from_me and m.deleted_at is null
            and j.waiting and not j.keep_only
    )
    returning run_after into v_due;
    return extract(epoch from v_due - v_now);
end
$$;

-- Who sent a media deleted it: nobody is asked what is in it any more, and nothing of it is kept. Who works
-- on it at this moment goes on, for that may cost, and stores nothing of it: see finish_media_job.
create or replace function hybridflow.forget_media(p_message_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.media_jobs
    set state = case when lease_until is null and waiting then 'failed' else state end,
        error = case when lease_until is null and waiting then 'it was deleted by who sent it' else error end,
        finished_at = case when lease_until is null and waiting then hybridflow.clock() else finished_at end,
        waits_for = case when lease_until is null then null else waits_for end,
        pictures = null, pictures_until = null, content = null, updated_at = hybridflow.clock()
    where message_id = p_message_id
$$;

-- What is to be worked on, its token included.
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

-- The contexts of jobs that were claimed just now. All at once; where that fails, each by itself: one that
-- fails is not given out, and when its attempts are used up it fails for that.
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

-- The next tenants that have a job that is due and room for it, in rounds: as next_to_tell, which see.
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

-- The jobs that are due, in their order, some more than p_limit: some may be locked; as claimable_notices.
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
-- Gives out jobs that are due, each with a token that is good for lease_seconds; then it is due again, or
-- has failed, when it was given out max_attempts times. The tenants take turns, those after after_tenant
-- first; what one tenant may have (tenant_max, own, own_max, sitting, own_times) is as of claim_turns.
-- Never waits. Returns {jobs: [{job_id, token, attempt, message_id, session_id, wa_id, kind, seconds,
-- bytes, language, has_content, keeps, keep_only, tenant_id, instance_name, evo_server_url, evo_api_key}],
-- now, after_tenant, more, next_due_at}, as claim_turns.
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

-- The job p names, with its message and its session, all locked (the session first); `refused` says why who
-- shows p.token may not act on it: 'stale' (it was given out again, or is gone with its message),
-- 'superseded' (it is closed).
create or replace function hybridflow.hold_media_job(
    p jsonb, out job public.media_jobs, out message public.messages, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
begin
    loop
        perform from public.sessions as s
        inner join public.messages as m on m.session_id = s.id
        inner join public.media_jobs as j on j.message_id = m.id
        where j.id = (p ->> 'job_id')::bigint
        for update of s;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found or not exists (
            select from public.media_jobs as j where j.id = (p ->> 'job_id')::bigint
        );
    end loop;
    select * into job from public.media_jobs where id = (p ->> 'job_id')::bigint for update;
    if job.id is null or job.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        refused := '{"refused": "stale"}';
        return;
    elsif job.state <> 'pending' then
        refused := '{"refused": "superseded"}';
        return;
    end if;
    select * into message from public.messages where id = job.message_id for update;
end
$$;

-- What a media job needs, as its waits_for names it: 'line' is its tenant's, which turns wait for as well.
create or replace function hybridflow.sense_of(p_tenant_id bigint, p_name text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_name = 'line' then hybridflow.line_of(p_tenant_id) else p_name end
$$;

-- What media jobs wait for works: those that wait for it are due at once, the newest; of the others some more
-- whenever it works again. Who fails at it all the same uses up an attempt: see fail_media_job.
create or replace function hybridflow.senses_are_back(p_waits_for text)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_ids bigint[] := array(
        select j.id from public.media_jobs as j
        where j.waits_for is not null and j.waits_for = p_waits_for
        order by j.id desc limit 50 for update skip locked
    );
begin
    if v_ids <> '{}' then
        update public.media_jobs
        set waits_for = null,
            next_at = case when lease_until is null then least(next_at, v_now) else next_at end
        where id = any(v_ids);
    end if;
end
$$;

-- What an attempt at a job that is held has cost is spent.
create or replace function hybridflow.spend_on_media(
    p_job public.media_jobs, p_message public.messages, p_tokens bigint
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_all public.spending;
    v_own public.spending;
begin
    if coalesce(p_tokens, 0) <= 0 then
        return;
    end if;
    v_all := hybridflow.spending_of(p_job.tenant_id, null, v_day);
    v_own := hybridflow.spending_of(p_job.tenant_id, p_message.session_id, v_day);
    update public.spending set tokens = tokens + p_tokens where id in (v_all.id, v_own.id);
    update public.media_jobs set tokens = tokens + p_tokens where id = p_job.id;
end
$$;

-- Closes a job that is held: as done, or as failed for p_error. Returns in how many seconds its turn is due;
-- null: none waited for it alone.
create or replace function hybridflow.close_media_job(
    p_job public.media_jobs, p_message public.messages, p_error text, p_tokens bigint
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.media_jobs
    set state = case when p_error is null then 'done' else 'failed' end, error = left(p_error, 2000),
        waits_for = null, lease_until = null, content = null, finished_at = v_now, updated_at = v_now
    where id = p_job.id;
    perform hybridflow.spend_on_media(p_job, p_message, p_tokens);
    perform hybridflow.tell_change(
        'message', p_message.tenant_id, p_message.session_id, p_message.turn_id
    );
    return hybridflow.heard(p_message.turn_id);
end
$$;

-- renew_media_job({job_id, token, lease_seconds})
-- Who works on a job lives: its lease lasts for lease_seconds from now. Returns {ok} or {refused: reason}.
create or replace function public.renew_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
begin
    perform hybridflow.require_keys('renew_media_job', p, '{job_id,token,lease_seconds}');
    update public.media_jobs
    set lease_until = v_until, next_at = v_until
    where id = (p ->> 'job_id')::bigint and state = 'pending'
        and token_hash = hybridflow.hash_token((p ->> 'token')::uuid) and lease_until is not null;
    return case when found then '{"ok": true}' else '{"refused": "stale"}' end::jsonb;
end
$$;

-- begin_media_job({job_id, token, policy, tokens?})
-- Before an attempt asks what costs money; tokens: what it has cost so far, and is not spent yet. Returns
-- {ok} or {refused: reason}: 'stale', 'superseded' (also where its message was deleted: the job is over), or
-- 'budget' (the tenant's or the contact's is used up: the job has failed for that).
create or replace function public.begin_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_tenant public.tenants;
    v_all public.spending;
    v_own public.spending;
    v_used_up text;
begin
    perform hybridflow.require_keys('begin_media_job', p, '{job_id,token,policy}');
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif (v_held.message).deleted_at is not null then
        perform hybridflow.close_media_job(
            v_held.job, v_held.message, 'it was deleted by who sent it', coalesce((p ->> 'tokens')::bigint, 0)
        );
        v_held := hybridflow.hold_media_job(p);
        return v_held.refused;
    end if;
    select * into v_tenant from public.tenants where id = (v_held.job).tenant_id;
    select * into v_all from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id is null;
    select * into v_own from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id = (v_held.message).session_id;
    v_used_up := hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', 0, 1);
    if v_used_up is not null then
        perform hybridflow.close_media_job(
            v_held.job, v_held.message, 'the budget is used up: ' || v_used_up,
            coalesce((p ->> 'tokens')::bigint, 0)
        );
        return '{"refused": "budget"}';
    end if;
    return '{"ok": true}';
end
$$;

-- The words of a message came when its turn spoke without them, or had spoken, and the tenant answers that
-- (answer_late_words): a turn for it, as for a new message, where nobody of the business wrote since. Returns
-- in how many seconds that is due; null: there is none. Its session is locked.
create or replace function hybridflow.answer_late_words(
    p_tenant public.tenants, p_message public.messages, p_policy jsonb
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_turn record;
begin
    select * into v_session from public.sessions where id = p_message.session_id;
    if not p_tenant.answer_late_words or not p_tenant.is_active
        or v_session.is_paused or 'no-ai' = any(v_session.labels)
        or p_message.deleted_at is not null or not p_message.expects_reply
        or p_message.kind = any(p_tenant.unanswered_kinds)
        or p_message.sent_at < v_now - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
        or not exists (
            select from public.turns as t
            where t.id = p_message.turn_id and t.state not in ('pending', 'cancelled')
        )
        or exists (
            select from public.messages as m
            where m.session_id = p_message.session_id and m.sent_at >= p_message.sent_at
                and m.from_me and m.sender in ('owner', 'operator', 'client')
                and hybridflow.is_by_human(m, p_tenant)
        )
        or (hybridflow.has_staff(p_tenant) and hybridflow.is_staff(p_tenant, v_session.id))
    then
        return null;
    end if;
    v_turn := hybridflow.join_turn(
        p_tenant, v_session.id,
        coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2),
        coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10), null, v_now
    );
    update public.messages set turn_id = v_turn.turn_id where id = p_message.id;
    return extract(epoch from v_turn.due - v_now);
end
$$;

-- finish_media_job({job_id, token, transcript?, description?, pictures?: [jpeg], tokens?, used?: [name],
-- policy?})
-- The media is understood: its words stand beside the message, what the LLM is to be shown of it is kept for
-- a day, and its turn waits no more. An empty transcript: there was nothing to be heard. used: what was
-- asked for that, and works: 'line', 'speech', 'describer'; what waits for it is due. policy: the
-- deployment's, for who answers late words. Returns {ok, due_in?} or {refused: reason}; due_in: seconds until
-- the turn is due.
create or replace function public.finish_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_tenant public.tenants;
    v_due_in numeric;
begin
    perform hybridflow.require_keys('finish_media_job', p, '{job_id,token}');
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.messages
    set transcript = hybridflow.cut(p ->> 'transcript'), description = hybridflow.cut(p ->> 'description')
    where id = (v_held.message).id and deleted_at is null
        and not (v_held.job).keep_only;  -- which may have words of Evolution's
    if jsonb_array_length(nullif(p -> 'pictures', 'null')) > 0 and (v_held.message).deleted_at is null then
        update public.media_jobs
        set pictures = p -> 'pictures', pictures_until = hybridflow.clock() + interval '1 day'
        where id = (v_held.job).id;
    end if;
    perform hybridflow.senses_are_back(hybridflow.sense_of((v_held.job).tenant_id, u.name))
    from jsonb_array_elements_text(nullif(p -> 'used', 'null')) as u (name);
    v_due_in := hybridflow.close_media_job(
        v_held.job, v_held.message, null, coalesce((p ->> 'tokens')::bigint, 0)
    );
    if not (v_held.job).keep_only and (
        coalesce(p ->> 'transcript', '') <> '' or coalesce(p ->> 'description', '') <> ''
        or jsonb_array_length(nullif(p -> 'pictures', 'null')) > 0
    ) then
        select * into v_tenant from public.tenants where id = (v_held.job).tenant_id;
        v_due_in := coalesce(
            hybridflow.answer_late_words(v_tenant, v_held.message, coalesce(p -> 'policy', '{}')), v_due_in
        );
    end if;
    return jsonb_strip_nulls(jsonb_build_object('ok', true, 'due_in', v_due_in));
end
$$;

-- fail_media_job({job_id, token, error, final, max_attempts, base_seconds, given_back?, wait_seconds?,
-- tokens?, away?, retry_after?, keep_trying_seconds?})
-- The media could not be put into words: tried again after an exponential back-off with jitter; never, where
-- that is `final`, or when the attempts are used up: then its turn waits no more. given_back: nothing is
-- known of it, it is due at once (in wait_seconds) and no attempt counts. away: 'line', 'speech' or
-- 'describer', which nobody can ask now (not before retry_after): no attempt counts, and it is tried until it
-- is keep_trying_seconds old, or has been paid for twenty times. tokens: what the attempt has cost all the
-- same. Returns {state, due_in?} or {refused: reason}; due_in as of finish_media_job.
create or replace function public.fail_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_back boolean := coalesce((p ->> 'given_back')::boolean, false);
    v_away boolean := p ->> 'away' is not null;
    v_tokens bigint := coalesce((p ->> 'tokens')::bigint, 0);
    v_counts boolean;
    v_job public.media_jobs;
begin
    perform hybridflow.require_keys(
        'fail_media_job', p, '{job_id,token,error,final,max_attempts,base_seconds}'
    );
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_job := v_held.job;
    -- Let go of, since it worked for another, and failed all the same: the fault may be its own.
    v_counts := not v_back and not (v_away and (v_job.waits = 0 or v_job.waits_for is not null));
    if not v_back and (
        (p ->> 'final')::boolean or (v_held.message).deleted_at is not null
        or (v_counts and v_job.attempt >= (p ->> 'max_attempts')::integer)
        or (v_away and v_job.created_at <= v_now - hybridflow.seconds((p ->> 'keep_trying_seconds')::numeric))
        -- Whoever is away for so long, each try was paid for: it would use up the tenant's day.
        or (v_away and v_tokens > 0 and v_job.tokens >= 19 * v_tokens)
    ) then
        return jsonb_strip_nulls(jsonb_build_object('state', 'failed', 'due_in', hybridflow.close_media_job(
            v_held.job, v_held.message, p ->> 'error', v_tokens
        )));
    end if;
    perform hybridflow.spend_on_media(v_held.job, v_held.message, v_tokens);
    update public.media_jobs
    set error = left(p ->> 'error', 2000), lease_until = null, updated_at = v_now,
        attempt = case when v_counts then attempt else greatest(attempt - 1, 0) end,
        waits = case when v_back then waits when v_away then waits + 1 else 0 end,
        waits_for = case
            when v_back then waits_for
            when v_away then hybridflow.sense_of(v_job.tenant_id, p ->> 'away')
        end,
        next_at = case
            when v_back then v_now + hybridflow.seconds(coalesce((p ->> 'wait_seconds')::numeric, 0))
            when v_away then v_now + hybridflow.seconds(greatest(
                hybridflow.back_off((p ->> 'base_seconds')::numeric, v_job.waits, 300),
                (p ->> 'retry_after')::numeric
            ))
            else v_now + hybridflow.seconds(
                hybridflow.back_off((p ->> 'base_seconds')::numeric, (v_held.job).attempt - 1, 900)
            )
        end
    where id = v_job.id;
    return '{"state": "pending"}';
end
$$;

-- read_pictures({turn_id, token, most})
-- What the LLM is shown for a turn, the `most` newest: what the contact sent that it answers, and what they
-- sent within the last day; the oldest first. left_out: how many more the turn's own messages have. Returns
-- {pictures: [{message_id, kind, jpeg}], left_out} or {refused: reason}, as turn_refusal.
create or replace function public.read_pictures(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_refused jsonb;
    v_most integer;
    v_answer jsonb;
begin
    perform hybridflow.require_keys('read_pictures', p, '{turn_id,token,most}');
    v_most := (p ->> 'most')::integer;
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    if v_refused is not null then
        return v_refused;
    end if;
    select jsonb_build_object(
        'pictures', coalesce(jsonb_agg(jsonb_build_object(
            'message_id', r.id, 'kind', r.kind, 'jpeg', r.jpeg
        ) order by r.sent_at, r.id, r.place) filter (where r.nth <= v_most), '[]'),
        'left_out', count(*) filter (where r.nth > v_most and r.in_turn)
    )
    into v_answer
    from (
        select
            m.id, m.kind, m.sent_at, m.in_turn, e.jpeg, e.place,
            row_number() over (order by m.in_turn desc, m.sent_at desc, m.id desc, e.place) as nth
        from (
            select l.id, l.kind, l.sent_at, l.deleted_at, l.turn_id is not distinct from v_turn.id as in_turn
            from public.messages as l
            where l.session_id = v_turn.session_id and not l.from_me
            order by l.sent_at desc, l.id desc limit 100
        ) as m
        inner join public.media_jobs as j on j.message_id = m.id and j.pictures_until > v_now
        cross join lateral jsonb_array_elements_text(j.pictures) with ordinality as e (jpeg, place)
        where m.deleted_at is null
    ) as r;
    return v_answer;
end
$$;

-- give_media({tenant_id, message_id, content})
-- The media (in base64) that came inside of the webhook of a message: for its job, if it has one that is not
-- done, which is due at once. Returns {ok, taken}.
create or replace function public.give_media(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('give_media', p, '{tenant_id,message_id,content}');
    update public.media_jobs
    set content = decode(p ->> 'content', 'base64'), next_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where message_id = (p ->> 'message_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
        and state = 'pending' and content is null and lease_until is null;
    return jsonb_build_object('ok', true, 'taken', found);
end
$$;

-- read_media({job_id, token})
-- The media of a job that was given. Returns {content}, in base64 (null: there is none), or {refused:
-- reason}.
create or replace function public.read_media(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_job public.media_jobs;
begin
    perform hybridflow.require_keys('read_media', p, '{job_id,token}');
    select * into v_job from public.media_jobs where id = (p ->> 'job_id')::bigint;
    if v_job.id is null or v_job.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    end if;
    return jsonb_build_object('content', translate(encode(v_job.content, 'base64'), E'\n', ''));
end
$$;
