-- HybridFlow: what changed a moment ago, for clients that look at it: ids and kinds, never a text.
--
-- A change is a row. Triggers write it in the transaction that makes the change, whatever program makes it.
-- Rows are kept for ten minutes.
--
-- Changes contain no texts, names or numbers of people, and their ids lead to nobody once a contact is
-- erased. So an export does not include them, and an erasure lets them expire.

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
'What changed in the last minutes, as ids and kinds, for /api/stream. Rows are deleted after ten minutes.';
comment on column public.changes.txid is
'The transaction that made the change. A snapshot that sees this transaction sees the change.';
comment on column public.changes.sign_in is
'For the kind signed_out: a hash of the sign-in that ended, which belongs to no tenant.';

alter table public.changes add column if not exists router text;

comment on column public.changes.router is
'For the kinds here and call, which routers use that cannot listen: the router that wrote the row.';

create index if not exists changes_by_transaction on public.changes (txid);
alter table public.changes enable row level security;

-- How long a change is kept, and (changes_told) how long a reader can be away without missing one.
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

-- Reports a change. Call this if no trigger reports the change.
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

-- Each table has its own trigger function; its argument is the kind of change. The functions of messages,
-- turns and sessions insert the row themselves, because each turn causes some ten of them, and a call of
-- tell_change would double the cost. The function of turns also ends the words of a handoff with their turn.
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

-- A trigger costs nothing if the statement does not name its columns. A condition (when) is parsed again,
-- from its text, by each statement that names them. If the condition is nearly always true, that costs more
-- than to call a function that checks for itself. Rows that are moved in bulk, as by a merge, are reported by
-- one row for the session, not one for each. Incoming messages are reported by insert_message, which saves a
-- statement.
create or replace trigger messages_begun
after insert on public.messages
for each row when (new.wa_id is null) execute function hybridflow.message_changed();

create or replace trigger messages_changed
after update of body, deleted_at, status, send_state, sender on public.messages
for each row execute function hybridflow.message_changed();

-- A new turn needs no report: its message, or the end of its pause, is reported.
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
    -- Only the first rows by transaction are read, so the cost is the same however many rows there are.
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
