-- HybridFlow: a media job while it is worked on, and its end: what it costs, waiting for services, success,
-- failure.

-- Returns the job that p names, with its message and its session, all locked (the session first). `refused`
-- says why p.token may not act on the job: 'stale' (it was given out again, or deleted with its message) or
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
        -- If the job exists but was not found, its session was merged while we waited: look again.
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

-- Returns the name, as in waits_for, of what a media job needs. 'line' becomes the line of its tenant, for
-- which turns wait, too.
create or replace function hybridflow.sense_of(p_tenant_id bigint, p_name text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_name = 'line' then hybridflow.line_of(p_tenant_id) else p_name end
$$;

-- What media jobs were waiting for works again. The newest jobs that wait for it are due at once; some more
-- of the others follow each time it works. A job that fails with it again uses up an attempt: see
-- fail_media_job.
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

-- Adds the tokens that an attempt at this job used to what was spent. The caller has locked the job.
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

-- Closes a job as done, or as failed with p_error. Returns in how many seconds its turn is due, or null if no
-- turn waited for this job alone. The caller has locked the job.
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
-- The worker of the job is alive: its lease lasts for lease_seconds from now. Returns {ok} or {refused:
-- reason}.
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
-- Called before an attempt asks a service that costs money. tokens: what the attempt has used so far and has
-- not yet reported. Returns {ok} or {refused: reason}: 'stale', 'superseded' (also if the message was
-- deleted: the job is over), or 'budget' (the budget of the tenant or the contact is used up: the job has
-- failed for that).
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

-- The words of a message came too late for its turn. If the tenant answers that (answer_late_words) and
-- nobody of the business has written since, the message gets a turn, like a new message. Returns in how many
-- seconds that turn is due, or null if there is none. The caller has locked the session.
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
-- The media was put into words. The words are stored with the message, the pictures for the LLM are kept for
-- a day, and the turn does not wait for this job any more. An empty transcript means that there was nothing
-- to hear. used: the services that were used and work: 'line', 'speech', 'describer'; jobs that wait for them
-- are due. policy: the deployment's policy, which decides whether late words are answered. Returns {ok,
-- due_in?} or {refused: reason}; due_in: seconds until the turn is due.
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
        and not (v_held.job).keep_only;  -- it may already have Evolution's words
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
-- The attempt could not put the media into words. The job is tried again after an exponential back-off with
-- jitter. If the failure is `final` or the attempts are used up, the job has failed, and its turn does not
-- wait for it any more. given_back: the attempt found nothing out; the job is due in wait_seconds (default
-- 0), and the attempt does not count. away: 'line', 'speech' or 'describer' cannot be reached (not before
-- retry_after). The attempt does not count, and the job is tried until it is keep_trying_seconds old or
-- was paid for twenty times. tokens: what the attempt used even so. Returns {state, due_in?} or {refused:
-- reason}; due_in as in finish_media_job.
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
    -- The job was released because the service worked for another job. If it fails again, the job itself may
    -- be the cause, so the attempt counts.
    v_counts := not v_back and not (v_away and (v_job.waits = 0 or v_job.waits_for is not null));
    if not v_back and (
        (p ->> 'final')::boolean or (v_held.message).deleted_at is not null
        or (v_counts and v_job.attempt >= (p ->> 'max_attempts')::integer)
        or (v_away and v_job.created_at <= v_now - hybridflow.seconds((p ->> 'keep_trying_seconds')::numeric))
        -- A service that is away for so long, and charges for each attempt, would use up the tenant's budget
        -- for the day.
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
