-- HybridFlow: deletes one batch of everything that is past its time.

-- Deletes up to p_batch notices that were delivered or given up, and outages that are over. Returns how many
-- notices.
create or replace function hybridflow.prune_notices(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select n.id from public.notices as n
            where n.tenant_id = r.tenant_id and n.finished_at < r.cutoff and n.state <> 'pending'
            order by n.finished_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.notices where id = any(v_ids);
    delete from public.outages where id = any(array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select o.id from public.outages as o
            where o.tenant_id = r.tenant_id and o.ended_at < r.cutoff
            order by o.ended_at limit p_batch
        ) as old
        limit p_batch
    ));
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch handoffs that are over. Returns how many.
create or replace function hybridflow.prune_handoffs(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select h.id from public.handoffs as h
            where h.tenant_id = r.tenant_id and h.ended_at < r.cutoff
            order by h.ended_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.handoffs where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch days of spending that are older than 400 days. Returns how many.
create or replace function hybridflow.prune_spending(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_first date := (hybridflow.clock() at time zone 'UTC')::date - 400;
    v_ids bigint[] := array(
        select old.id from public.tenants as t
        cross join lateral (
            select s.id from public.spending as s
            where s.tenant_id = t.id and s.day < v_first
            order by s.day limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.spending where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch ids of erased messages that are older than 30 days. Returns how many.
create or replace function hybridflow.prune_erased(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.clock() - interval '30 days';
    v_count bigint;
begin
    update public.erased_contacts set human_wrote_at = null, contact_wrote_at = null
    where coalesce(human_wrote_at, contact_wrote_at) is not null and erased_at < v_before;
    delete from public.erased_messages where ctid = any(array(
        select e.ctid from public.erased_messages as e
        where e.erased_at < v_before order by e.erased_at limit p_batch
        for update skip locked
    ));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Deletes the parts of media that are kept only for a short time, even if no router understands media any
-- more: pictures after a day, and what came inside a webhook if nobody has claimed its job for a day.
create or replace function hybridflow.prune_media(p_batch integer)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.media_jobs set pictures = null, pictures_until = null
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.pictures_until <= v_now
        order by j.pictures_until limit p_batch for update skip locked
    ));
    update public.media_jobs
    set state = 'failed', content = null, lease_until = null, finished_at = v_now, updated_at = v_now,
        error = coalesce(error, 'nobody has worked on it for a day')
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.waiting and j.attempt >= 0 and j.next_at <= v_now - interval '1 day'
        order by j.next_at limit p_batch for update skip locked
    ));
end
$$;

-- prune({batch?, events_days?, retention_days?})
-- Deletes one batch (5000 rows of each kind) of what is past its time: processed events after events_days (7,
-- and never fewer, because is_forgotten relies on them); messages, turns, notices, handoffs and relays after
-- their tenant's retention (retention_days if the tenant has none; null: for ever); spending after 400 days;
-- ids of erased messages after 30 days; changes after ten minutes; what is kept of media after a day. It
-- deletes nothing of a session with an unfinished turn, no turn that may go on, and no notice that still has
-- to be told. Returns {events, messages_deleted, messages_archived, turns, notices, handoffs, relays,
-- spending, erased_messages, changes, more}; with `more`, call it again. PT422: a number is out of range.
create or replace function public.prune(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_batch integer := coalesce((p ->> 'batch')::integer, 5000);
    v_events_days integer := coalesce((p ->> 'events_days')::integer, 7);
    v_retention_days integer := (p ->> 'retention_days')::integer;
    v_now timestamptz := hybridflow.clock();
    v_messages jsonb;
    v_counts jsonb;
    v_ids bigint[];
begin
    if v_batch not between 1 and 100000 then
        raise exception 'batch must be from 1 to 100000' using errcode = 'PT422';
    elsif v_events_days < 7 then
        raise exception 'events_days must be at least 7: for so long a delivery may come again'
            using errcode = 'PT422';
    elsif v_retention_days < 1 then
        raise exception 'retention_days must be at least 1, or null: for ever' using errcode = 'PT422';
    end if;
    v_ids := array(
        select e.id from public.processed_events as e
        where e.processed_at < v_now - make_interval(days => v_events_days)
        order by e.processed_at limit v_batch
        for update skip locked
    );
    delete from public.processed_events where id = any(v_ids);
    v_messages := hybridflow.prune_messages(v_batch, v_retention_days);
    perform hybridflow.prune_media(v_batch);
    v_counts := jsonb_build_object(
        'events', cardinality(v_ids),
        'turns', hybridflow.prune_turns(v_batch, v_retention_days),
        'notices', hybridflow.prune_notices(v_batch, v_retention_days),
        'handoffs', hybridflow.prune_handoffs(v_batch, v_retention_days),
        'relays', hybridflow.prune_relays(v_batch, v_retention_days),
        'spending', hybridflow.prune_spending(v_batch),
        'erased_messages', hybridflow.prune_erased(v_batch),
        'changes', hybridflow.prune_changes(v_batch)
    );
    return v_counts || jsonb_build_object(
        'messages_deleted', v_messages -> 'deleted', 'messages_archived', v_messages -> 'archived',
        'more', (v_messages ->> 'full')::boolean
        or (select max(c.value::bigint) from jsonb_each_text(v_counts) as c) >= v_batch
    );
end
$$;
