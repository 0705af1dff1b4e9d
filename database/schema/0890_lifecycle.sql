-- HybridFlow: how long data is kept, and how much of it there is.

create table if not exists public.messages_archive (
    id bigint primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint,
    wa_id text,
    from_me boolean not null,
    sender hybridflow.sender not null,
    kind text not null,
    body text not null,
    media jsonb,
    quoted jsonb,
    author_name text,
    expects_reply boolean not null,
    status text,
    sent_at timestamptz not null,
    edited_at timestamptz,
    deleted_at timestamptz,
    part integer,
    send_state hybridflow.send_state,
    send_began_at timestamptz,
    sends integer not null,
    created_at timestamptz not null,
    archived_at timestamptz not null default now()
);

alter table public.messages_archive
add column if not exists failed_at timestamptz,
add column if not exists failed_since timestamptz,
add column if not exists error_code text,
add column if not exists undelivered_turns bigint[] not null default '{}';

comment on table public.messages_archive is
'Messages older than their tenant''s retention: kept, and read only by exports.';

alter table public.messages_archive
add column if not exists identity text,
add column if not exists told_as text[],
add column if not exists chosen_id text,
add column if not exists late_until timestamptz,
add column if not exists check_at timestamptz,
add column if not exists upload_seconds numeric,
add column if not exists given_up text,
add column if not exists transcript text,
add column if not exists description text;

create index if not exists messages_archive_by_session on public.messages_archive (session_id, sent_at, id);
create index if not exists messages_archive_by_tenant on public.messages_archive (tenant_id);
create index if not exists turns_finished
on public.turns (tenant_id, finished_at) where finished_at is not null;
create index if not exists notices_finished
on public.notices (tenant_id, finished_at) where finished_at is not null;

alter table public.messages_archive enable row level security;

-- Whether a message that is not known may be one that was pruned. Nothing younger than a day ever was.
create or replace function hybridflow.was_pruned(p_tenant_id bigint, p_sent_at timestamptz)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_sent_at > hybridflow.clock() - interval '1 day' then
        return false;
    end if;
    return exists (
        select from public.tenants as t where t.id = p_tenant_id and t.pruned_before > p_sent_at
    );
end
$$;

-- The tenants whose data ends, and what of it is older than that.
create or replace function hybridflow.retentions(p_default_days integer)
returns table (tenant_id bigint, cutoff timestamptz)
language sql
stable
set search_path = ''
as $$
    select t.id, hybridflow.clock() - make_interval(days => coalesce(t.retention_days, p_default_days))
    from public.tenants as t
    where coalesce(t.retention_days, p_default_days) is not null
$$;

-- Whether work on the session is under way or waits: then all of it is kept.
create or replace function hybridflow.has_unfinished_turn(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.turns as t
        where t.session_id = p_session_id and t.state in ('pending', 'running', 'sending')
    )
$$;

-- Archives or deletes (with the events about them) up to p_batch messages, with their sessions locked:
-- a call that brings one of them again waits, and finds that it was pruned. Returns {deleted, archived, full:
-- there may be more}.
create or replace function hybridflow.prune_messages(p_batch integer, p_default_days integer)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    -- Found once: a session that is never without a turn may have any number of old messages.
    v_busy bigint[] := array(
        select t.session_id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select w.session_id from public.turns as w where w.tenant_id = r.tenant_id and w.waiting
            union
            select h.session_id from public.turns as h where h.tenant_id = r.tenant_id and h.held
            offset 0  -- by index for each tenant, whatever the statistics say
        ) as t
    );
    v_ids bigint[];
    v_deleted bigint;
    v_archived bigint;
begin
    select array_agg(due.id) into v_ids
    from (
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select m.id from public.messages as m
            join public.sessions as s on s.id = m.session_id
            where m.tenant_id = r.tenant_id and m.created_at < r.cutoff and m.sent_at < r.cutoff
                and not exists (select from unnest(v_busy) as b where b = m.session_id)
            order by m.created_at limit p_batch
            for update of s skip locked
        ) as old
        limit p_batch
    ) as due;
    -- Where a message goes its relay forgets it. Of both the relay comes first, as by who erases a contact.
    perform from public.relays where id = any(array(
        select r.id from unnest(v_ids) as m (id)
        inner join public.relays as r on r.message_id = m.id
        union
        select r.id from unnest(v_ids) as m (id)
        inner join public.relays as r on r.word_message_id = m.id
    )) order by id for update;
    update public.tenants as t set pruned_before = greatest(t.pruned_before, r.cutoff)
    from hybridflow.retentions(p_default_days) as r
    where t.id = r.tenant_id and t.id = any(array(
        select m.tenant_id from public.messages as m where m.id = any(v_ids)
    ));
    with gone as (
        delete from public.messages as m
        where m.id = any(v_ids) and not hybridflow.has_unfinished_turn(m.session_id)
        returning m.*
    ),

    kept as (
        insert into public.messages_archive (
            id, tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, media, quoted, author_name,
            expects_reply, status, sent_at, edited_at, deleted_at, part, send_state, send_began_at, sends,
            created_at, identity, told_as, chosen_id, late_until, check_at, failed_at, failed_since, error_code,
            undelivered_turns, upload_seconds, given_up, transcript, description, archived_at
        )
        select g.id, g.tenant_id, g.session_id, g.turn_id, g.wa_id, g.from_me, g.sender, g.kind, g.body,
            g.media, g.quoted, g.author_name, g.expects_reply, g.status, g.sent_at, g.edited_at, g.deleted_at,
            g.part, g.send_state, g.send_began_at, g.sends, g.created_at, g.identity, g.told_as,
            g.chosen_id, g.late_until, g.check_at, g.failed_at, g.failed_since, g.error_code,
            g.undelivered_turns, g.upload_seconds, g.given_up, g.transcript, g.description, hybridflow.clock()
        from gone as g join public.tenants as t on t.id = g.tenant_id
        where t.on_retention = 'archive'
        returning id
    ),

    unheard as (
        delete from public.processed_events
        where id = any(array(
            select e.id from gone as g
            inner join public.tenants as t on t.id = g.tenant_id
            cross join lateral hybridflow.events_about_message(g.tenant_id, g.wa_id) as e
            where t.on_retention = 'delete'
        ))
    )

    select (select count(*) from gone), (select count(*) from kept) into v_deleted, v_archived;
    return jsonb_build_object(
        'deleted', v_deleted - v_archived, 'archived', v_archived,
        'full', coalesce(cardinality(v_ids), 0) = p_batch and v_deleted > 0
    );
end
$$;

-- Deletes up to p_batch turns that ended and of which no message is left. Returns how many.
create or replace function hybridflow.prune_turns(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select t.id from public.turns as t
            where t.tenant_id = r.tenant_id and t.finished_at < r.cutoff
                and t.state in ('sent', 'cancelled', 'dead')
                and not exists (select from public.messages as m where m.turn_id = t.id)
            order by t.finished_at limit p_batch
            for update of t skip locked
        ) as old
        limit p_batch
    );
begin
    delete from public.turns where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

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

-- Deletes up to p_batch days of spending that nobody asks for any more: older than 400 days. How many.
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

-- Forgets what is kept of media for a while alone, also where no router understands media any more: pictures
-- after their day, and with a job that nobody has claimed for a day what came inside of its webhook.
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
-- One batch (5000 rows of each kind) of what is past its time: processed events after events_days (7, and
-- never fewer: is_forgotten counts on them), messages, turns, notices, handoffs and relays after their
-- tenant's retention (retention_days, where it has none; null: for ever), spending after 400 days, the ids of
-- erased messages after 30. Nothing of a session with an unfinished turn, no turn that may still go on, no
-- notice that is yet to be told; changes after their ten minutes; what is kept of media for a day. Returns
-- {events, messages_deleted, messages_archived, turns, notices, handoffs, relays, spending,
-- erased_messages, changes, more}; with `more`, call it again. PT422: a number is out of range.
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

-- How many rows of a table a tenant has, and how many bytes they take: as many each as its first 1000.
create or replace function hybridflow.amount_of(p_table text, p_tenant_id bigint)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_rows bigint;
    v_width numeric;
begin
    execute format('select count(*) from public.%I where tenant_id = $1', p_table)
    into v_rows using p_tenant_id;
    execute format(
        'select avg(pg_column_size(s.t)) from (select t from public.%I as t where t.tenant_id = $1 limit 1000) as s',
        p_table
    )
    into v_width using p_tenant_id;
    return jsonb_build_object('rows', v_rows, 'bytes', round(v_rows * coalesce(v_width, 0))::bigint);
end
$$;

-- get_tenant_stats({tenant_id})
-- How much is stored of a tenant, for its operators; reads every row of its indexes, so not for a hot path.
-- Returns {stats: {tables: {<table>: {rows, bytes}}, bytes, oldest_message_at, pruned_before}}; bytes are
-- estimated. PT404: there is none.
create or replace function public.get_tenant_stats(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_tables jsonb;
begin
    perform hybridflow.require_keys('get_tenant_stats', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    select jsonb_object_agg(t, hybridflow.amount_of(t, v_tenant.id)) into v_tables
    from unnest(array[
        'sessions', 'messages', 'messages_archive', 'turns', 'notices', 'processed_events'
    ]) as t;
    return jsonb_build_object('stats', jsonb_build_object(
        'tables', v_tables,
        'bytes', (select sum((t.value ->> 'bytes')::bigint) from jsonb_each(v_tables) as t),
        'oldest_message_at', (
            select m.sent_at from public.messages as m
            where m.tenant_id = v_tenant.id order by m.created_at limit 1
        ),
        'pruned_before', v_tenant.pruned_before
    ));
end
$$;
