-- HybridFlow: the audit log: who did what. Lines are written in the transaction that does it.

create table if not exists public.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    tenant_id bigint,
    caller_kind text not null
    check (caller_kind in ('deployment', 'script', 'key', 'user', 'owner', 'contact', 'ai', 'cron')),
    caller text not null,
    action text not null,
    session_id bigint,
    turn_id bigint,
    detail jsonb not null default '{}'
);

comment on table public.audit_log is
'Who did what. Lines are only added, are kept longer than the rows that they are about, and have no'
' content of messages.';
comment on column public.audit_log.action is 'The function that was called.';

-- The key that did it. A name is no proof, because two keys may have the same name.
alter table public.audit_log add column if not exists api_key_id bigint;
comment on column public.audit_log.api_key_id is 'If caller_kind is ''key'': the id of the key.';

create index if not exists audit_log_by_tenant on public.audit_log (tenant_id, id desc);

alter table public.audit_log enable row level security;

create or replace function hybridflow.refuse_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'audit_log is append-only' using errcode = '42501';
end
$$;

create or replace trigger audit_log_is_append_only
before update or delete or truncate on public.audit_log
for each statement execute function hybridflow.refuse_change();

-- Records who paused or resumed a session if it was not a caller of the API: the owner (by writing), the AI
-- (by a handoff), a contact, or a scheduler.
create or replace function hybridflow.audit_pause()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_source text := case when new.is_paused then new.pause_source else new.resume_source end;
begin
    insert into public.audit_log (at, tenant_id, caller_kind, caller, action, session_id)
    values (
        hybridflow.clock(), new.tenant_id, v_source, v_source,
        case when new.is_paused then 'pause_session' else 'resume_session' end, new.id
    );
    return null;
end
$$;

create or replace trigger sessions_audit_pause
after update of is_paused on public.sessions
for each row
when (
    old.is_paused is distinct from new.is_paused
    and case when new.is_paused then new.pause_source else new.resume_source end
    in ('owner', 'contact', 'ai', 'cron')
)
execute function hybridflow.audit_pause();

-- Adds a line to the audit log: what a known caller did.
create or replace function hybridflow.record_audit(
    p_caller jsonb, p_action text, p_tenant_id bigint, p jsonb, p_detail jsonb
)
returns void
language sql
set search_path = ''
as $$
    insert into public.audit_log (
        at, tenant_id, caller_kind, caller, api_key_id, action, session_id, turn_id, detail
    )
    values (
        hybridflow.clock(), p_tenant_id, p_caller ->> 'kind', coalesce(p_caller ->> 'name', '?'),
        (p_caller ->> 'api_key_id')::bigint, p_action,
        (p ->> 'session_id')::bigint, (p ->> 'turn_id')::bigint, jsonb_strip_nulls(p_detail)
    )
$$;

-- Whether a line matches the filters of list_audit.
create or replace function hybridflow.audit_wanted(p_line public.audit_log, p jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_line.session_id is not distinct from coalesce((p ->> 'session_id')::bigint, p_line.session_id)
        and p_line.action = coalesce(p ->> 'action', p_line.action)
        and p_line.caller = coalesce(p ->> 'caller_name', p_line.caller)
        and p_line.at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
$$;

-- The detail of a line of the audit log, cut if it was written when details could be longer.
create or replace function hybridflow.short_detail(p_detail jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when pg_column_size(p_detail) <= 1000 then p_detail else (
        select jsonb_object_agg(d.key, case jsonb_typeof(d.value)
            when 'object' then (
                select coalesce(jsonb_object_agg(e.key, hybridflow.told_shortly(e.value)), '{}')
                from jsonb_each(d.value) as e
            )
            else hybridflow.told_shortly(d.value)
        end)
        from jsonb_each(p_detail) as d
    ) end
$$;

-- list_audit({tenant_id?, session_id?, action?, caller_name?, since?, limit?, cursor?})
-- Returns {items: [line], next_cursor}: lines of the audit log, the newest first, of one tenant, or of all
-- for a caller who may see every tenant. With a filter, a page reads 1000 lines (see page_of_search). A page
-- ends before its `limit` if it reaches 500,000 characters.
create or replace function public.list_audit(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('audit', p) ->> 0)::bigint, 9223372036854775807);
    v_since timestamptz := coalesce((p ->> 'since')::timestamptz, '-infinity');
    v_look integer := hybridflow.rows_to_look_at(
        v_limit, coalesce(p ->> 'session_id', p ->> 'action', p ->> 'caller_name', p ->> 'since') is not null
    );
    v_rows jsonb[];
    v_keys bigint[];
    v_found bigint[];
    v_last_at timestamptz;
    v_id bigint;
    v_line jsonb;
    v_characters bigint := 0;
begin
    with looked as materialized (
        (
            select a as line, a.id from public.audit_log as a
            where v_tenant_id is null and a.id < v_before
            order by a.id desc limit v_look
        )
        union all
        (
            select a as line, a.id from public.audit_log as a
            where a.tenant_id = v_tenant_id and a.id < v_before
            order by a.id desc limit v_look
        )
    ),

    found as (
        select l.* from looked as l where hybridflow.audit_wanted(l.line, p) order by l.id desc limit v_limit + 1
    )

    select
        (select array_agg(f.id order by f.id desc) from found as f),
        (select array_agg(l.id order by l.id desc) from looked as l),
        (select (l.line).at from looked as l order by l.id limit 1)
    into v_found, v_keys, v_last_at;
    foreach v_id in array coalesce(v_found, '{}') loop
        if v_characters >= 500000 then
            v_limit := least(v_limit, cardinality(v_rows));
            v_line := null;  -- there are more: the next page begins with this one
        else
            select to_jsonb(a) || jsonb_build_object('detail', hybridflow.short_detail(a.detail)) into v_line
            from public.audit_log as a where a.id = v_id;
            v_characters := v_characters + length(v_line::text);
        end if;
        v_rows := v_rows || jsonb_build_object('key', jsonb_build_array(v_id), 'item', v_line);
        exit when v_line is null;
    end loop;
    return hybridflow.page_of_search('audit', v_rows, v_limit, case
        when cardinality(v_keys) = v_look and v_last_at >= v_since then jsonb_build_array(v_keys[v_look])
    end);
end
$$;
