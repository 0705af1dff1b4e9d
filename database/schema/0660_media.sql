-- HybridFlow: puts into words what a contact sent as media, while the turn that answers it waits.
--
-- A job is made in the transaction that records its message. The turn waits for its jobs, up to a limit.
-- Media that is not in words by then is reported to the LLM as not heard. Words that come later are in the
-- history. They cause a second turn only if the tenant wants that (answer_late_words).

alter table public.turns
add column if not exists due_when_heard timestamptz;
comment on column public.turns.due_when_heard is
'When the turn is due once its media is in words. Null: it does not wait for media.';

-- A message with media of a contact was recorded. If the router can put its kind into words (the kind is in
-- p_policy's `senses`), makes a job for it. The turn that answers the message waits for the job for up to
-- media_wait_seconds, and no longer than that after its debounce must end. Returns when the turn is due, or
-- null if it does not wait. If files are kept (the policy's `keeps_files` and the tenant's keep_media_days),
-- a job is made in any case.
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
        -- Media that came inside the webhook is stored soon, but by another call: see give_media.
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

-- A media job of the turn has ended, or its message was deleted. If the turn waits for no other job, it is
-- due at the time that its debounce says. Returns in how many seconds, or null if it still waits or did not
-- wait. The caller has locked the session.
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

-- The contact deleted the message of this media: nobody is asked any more what it contains, and nothing of it
-- is kept. An attempt that is running goes on, because it may already cost something, but it stores nothing:
-- see finish_media_job.
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
