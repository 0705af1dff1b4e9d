-- HybridFlow: what changed a moment ago, for who looks at it: ids and kinds, never a word of anybody's.
--
-- A change is a row, written in the transaction of what it tells of by triggers, whoever makes it. Nobody
-- reads it twice and nobody misses it: who reads shows the snapshot of its last look, and is given what that
-- could not see and this one can. (By an ascending id it would miss what commits late: of two transactions
-- the one with the lower id may be seen second.) Rows are kept for ten minutes. Whose snapshot is older than
-- nine is told that something may have been missed, and reads everything anew.
--
-- There are no texts, names or numbers of people here, and the ids lead to nobody once a contact is erased.
-- So an export has nothing of it, and an erasure leaves it to run out.

create table if not exists public.changes (
    txid xid8 not null default pg_current_xact_id(),
    at timestamptz not null default clock_timestamp(),
    tenant_id bigint,
    session_id bigint,
    turn_id bigint,
    kind text not null,
    sign_in text
);

comment on table public.changes is
'What changed in the last minutes, as ids and kinds: what /api/stream tells. It runs out by itself.';
comment on column public.changes.txid is 'The transaction that changed it: seen by snapshots that see that.';
comment on column public.changes.sign_in is
'Of the kind signed_out: a hash of the sign-in that ended, which is no tenant''s.';

alter table public.changes add column if not exists router text;

comment on column public.changes.router is
'Of the kinds here and call, by which routers speak that cannot listen: which router says so.';

create index if not exists changes_by_transaction on public.changes (txid);
alter table public.changes enable row level security;

-- How long a change is kept, and how long one can be gone for and miss nothing.
create or replace function hybridflow.changes_kept()
returns interval
language sql
immutable
set search_path = ''
as $$
    select interval '10 minutes'
$$;

create or replace function hybridflow.changes_told()
returns interval
language sql
immutable
set search_path = ''
as $$
    select interval '9 minutes'
$$;

-- Tells of a change. What changes without a trigger that tells of it calls this.
create or replace function hybridflow.tell_change(
    p_kind text, p_tenant_id bigint, p_session_id bigint default null, p_turn_id bigint default null
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (p_tenant_id, p_session_id, p_turn_id, p_kind);
end
$$;

-- Each table has a function of its own for its triggers; what one is called with is the kind. Those of
-- messages, turns and sessions write by themselves, for each turn has some ten of them, and to call costs as
-- much again. That of turns also has the words of a handoff end with their turn.
create or replace function hybridflow.message_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.send_state is not distinct from new.send_state
        and old.status is not distinct from new.status and old.body is not distinct from new.body
        and old.deleted_at is not distinct from new.deleted_at and old.sender is not distinct from new.sender
    then
        return null;
    end if;
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (new.tenant_id, new.session_id, new.turn_id, 'message');
    return null;
end
$$;

create or replace function hybridflow.turn_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if old.state is not distinct from new.state then
        return null;
    end if;
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (new.tenant_id, new.session_id, new.id, 'turn');
    if new.state in ('sent', 'cancelled', 'dead') and old.state in ('pending', 'running', 'sending')
        and (new.reply @? '$[*].handoff' or (new.handler = 'n8n' and new.reply is null))
    then
        perform hybridflow.words_end(new);
    end if;
    return null;
end
$$;

create or replace function hybridflow.session_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_op = 'DELETE' then
        perform hybridflow.tell_change('gone', old.tenant_id, old.id);
    else
        insert into public.changes (tenant_id, session_id, kind) values (new.tenant_id, new.id, tg_argv[0]);
    end if;
    return null;
end
$$;

create or replace function hybridflow.notice_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('notice', new.tenant_id, new.session_id);
    return null;
end
$$;

create or replace function hybridflow.tenant_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('tenant', new.id);
    return null;
end
$$;

-- A trigger costs nothing where its columns are not named in the statement. A condition (when) is read anew,
-- from its text, by each statement that names them, which costs more than to call a function that looks for
-- itself, if that is called nearly always. What is moved in bulk, as a merge moves messages, has a line for
-- the session, none for each row. Messages that come in are told of by insert_message, which has a statement
-- less to pay for.
create or replace trigger messages_begun
after insert on public.messages
for each row when (new.wa_id is null) execute function hybridflow.message_changed();

create or replace trigger messages_changed
after update of body, deleted_at, status, send_state, sender on public.messages
for each row execute function hybridflow.message_changed();

-- A turn that begins says nothing that its message, or the end of its pause, does not say.
create or replace trigger turns_changed
after update of state on public.turns
for each row execute function hybridflow.turn_changed();

create or replace trigger sessions_begun
after insert on public.sessions
for each row execute function hybridflow.session_changed('session');

create or replace trigger sessions_changed
after update of contact_name, phone_jid, lid, merged_at, labels, owner on public.sessions
for each row when (
    old.contact_name is distinct from new.contact_name or old.phone_jid is distinct from new.phone_jid
    or old.lid is distinct from new.lid or old.merged_at is distinct from new.merged_at
    or old.labels is distinct from new.labels or old.owner is distinct from new.owner
)
execute function hybridflow.session_changed('session');

create or replace trigger sessions_paused
after update of is_paused, pause_source, pause_reason, paused_until, pause_indefinite on public.sessions
for each row when (
    old.is_paused is distinct from new.is_paused or old.pause_source is distinct from new.pause_source
    or old.pause_reason is distinct from new.pause_reason
    or old.paused_until is distinct from new.paused_until
    or old.pause_indefinite is distinct from new.pause_indefinite
)
execute function hybridflow.session_changed('pause');

create or replace trigger sessions_gone
after delete on public.sessions
for each row execute function hybridflow.session_changed('gone');

create or replace trigger notices_begun
after insert on public.notices
for each row execute function hybridflow.notice_changed();

create or replace trigger notices_changed
after update of state on public.notices
for each row when (old.state is distinct from new.state)
execute function hybridflow.notice_changed();

create or replace trigger tenants_changed
after update of updated_at, connection_state, qr_code on public.tenants
for each row when (
    old.updated_at is distinct from new.updated_at or old.qr_code is distinct from new.qr_code
    or old.connection_state is distinct from new.connection_state
)
execute function hybridflow.tenant_changed();

-- The position that stands for what is seen right now: when that was, and the snapshot.
create or replace function hybridflow.position_now()
returns text
language sql
stable
set search_path = ''
as $$
    select trunc(extract(epoch from clock_timestamp())) || '/' || pg_current_snapshot()
$$;

-- The snapshot of a position; null where it is none, or too old to know what came after it.
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

-- What p_since could not see of these tenants and is seen now, each once and in the order in which it came:
-- {changes, lost_tenants, lost}. Of one tenant p_most at most, and ten times that of all: the tenants that
-- have the least are told of first, and of the others, which are lost_tenants, nothing is. What is nobody's
-- is told where p_everybodys says so; all is lost where there is more of that, and where more than 200,000
-- rows, of whichever tenants, would have to be read. Stable, so that all is of one snapshot.
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
    v_late xid8[] := array(select x from pg_snapshot_xip(p_since) as x);  -- were under way then
    v_read bigint;
    v_changes jsonb;
    v_lost bigint[];
    v_is_all_lost boolean;
begin
    with looked_at as materialized (  -- what is not looked for is one row of this
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
                -- What is not visible is what another cluster's dump brought.
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
-- What changed in these tenants since the position `since`, which an earlier answer gave, and what is no
-- tenant's; without it nothing. Returns {position, lost, lost_tenants: [id], changes: [{tenant_id,
-- session_id, turn_id, kind, sign_in, router}]}: each change once, in the order in which they came; position
-- is for the next look. lost: `since` is none of ours, or older than what is kept, or more than 50,000 that
-- are no tenant's have come since then, or 200,000 of all; nobody can tell what changed. lost_tenants: more
-- has changed there than is told of one (5000), or of all (50,000), where those come last that have the most.
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
-- The same for one who begins to look at a tenant. Returns {position, lost, changes: [{tenant_id, session_id,
-- turn_id, kind, sign_in, router}]}; of changes 1000 at most, and none that is no tenant's.
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

-- may_follow({followers: [{caller, tenant_id}]})
-- Whether these callers (see 0830) may still look at these tenants. Returns {ended: [{place, reason}]}: of
-- those who may not, their place in the list, from 0, and why.
create or replace function public.may_follow(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_follower record;
    v_ended jsonb := '[]';
begin
    perform hybridflow.require_keys('may_follow', p, '{followers}');
    perform hybridflow.require_keys_of_each('may_follow', p, 'followers', '{caller,tenant_id}');
    for v_follower in
        select f.caller, f.tenant_id, row_number() over () - 1 as place
        from jsonb_to_recordset(p -> 'followers') as f (caller jsonb, tenant_id bigint)
    loop
        begin
            perform hybridflow.require_role(
                hybridflow.known_caller(v_follower.caller), v_follower.tenant_id, 'viewer'
            );
        exception
            when sqlstate 'PT401' or sqlstate 'PT403' or sqlstate 'PT404' then
                v_ended := v_ended || jsonb_build_object('place', v_follower.place, 'reason', sqlerrm);
        end;
    end loop;
    return jsonb_build_object('ended', v_ended);
end
$$;

-- end_sign_in({sign_in})
-- A browser signed out; sign_in is a hash of what it had. Every router that tells changes hears of it.
-- Returns {ok}.
create or replace function public.end_sign_in(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('end_sign_in', p, '{sign_in}');
    insert into public.changes (kind, sign_in) values ('signed_out', left(p ->> 'sign_in', 100));
    return '{"ok": true}';
end
$$;

-- call_followers({says, by})
-- Says a word to routers that listen: `changed`, something may have, or `follows`, somebody looks at it here;
-- `by` is who says it, for it hears itself, too. Returns {ok}.
create or replace function public.call_followers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('call_followers', p, '{says,by}');
    perform pg_notify('hybridflow_changes', concat_ws(' ', p ->> 'says', left(p ->> 'by', 100)));
    return '{"ok": true}';
end
$$;

-- greet_routers({by})
-- A router that cannot listen says that it is there, to others that cannot; `by` is which. They read it among
-- the changes. Returns {ok}.
create or replace function public.greet_routers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('greet_routers', p, '{by}');
    insert into public.changes (kind, router) values ('here', left(p ->> 'by', 100));
    return '{"ok": true}';
end
$$;

-- Deletes up to p_batch changes that were kept long enough. Returns how many.
create or replace function hybridflow.prune_changes(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_before timestamptz := hybridflow.clock() - hybridflow.changes_kept();
    v_count bigint;
begin
    -- Of the first ones, by their transactions: so a look costs the same however many there are.
    delete from public.changes where ctid = any(array(
        select c.ctid from public.changes as c
        where c.at < v_before and c.ctid = any(array(
            select f.ctid from public.changes as f order by f.txid limit p_batch
        ))
        for update skip locked
    ));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- forget_changes({})
-- Deletes changes that were kept long enough, 10,000 at most. Returns {forgotten, more}: how many; with
-- `more`, call it again.
create or replace function public.forget_changes(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_forgotten bigint := hybridflow.prune_changes(10000);
begin
    return jsonb_build_object('forgotten', v_forgotten, 'more', v_forgotten = 10000);
end
$$;
