-- HybridFlow: how long a tenant's messages and turns are kept. After that they are archived or deleted.

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
'Messages older than their tenant''s retention. They are kept, and only exports read them.';

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

-- Whether an unknown message may have been pruned. Messages younger than a day are never pruned.
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

-- The tenants whose data is not kept for ever, each with the time before which it is too old.
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

-- Whether the session has a turn that is not over. If so, all of the session is kept.
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

-- Archives or deletes up to p_batch messages, with the events about them. Their sessions are locked, so that
-- a call that brings one of them again waits, and then finds that it was pruned. Returns {deleted, archived,
-- full}; full: there may be more.
create or replace function hybridflow.prune_messages(p_batch integer, p_default_days integer)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    -- Found once, because a session that always has a turn may have any number of old messages.
    v_busy bigint[] := array(
        select t.session_id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select w.session_id from public.turns as w where w.tenant_id = r.tenant_id and w.waiting
            union
            select h.session_id from public.turns as h where h.tenant_id = r.tenant_id and h.held
            offset 0  -- so that each tenant is read by index, whatever the statistics say
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
    -- Deleting a message changes its relay. The relay is locked before the message, as when a contact is
    -- erased.
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

-- Deletes up to p_batch turns that have ended and have no message left. Returns how many.
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
