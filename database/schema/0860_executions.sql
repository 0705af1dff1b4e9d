-- HybridFlow: n8n's saved executions about people who were erased. They are in n8n's own database, so they
-- are deleted over its API, which may be away. Their ids are kept here until that is done.

create table if not exists public.executions_to_erase (
    execution_id text primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    asked_at timestamptz not null default now(),
    next_at timestamptz not null default now(),
    error text
);

comment on table public.executions_to_erase is
'Ids of n8n''s executions that may contain messages of an erased person; nothing else about the person.';

create index if not exists executions_to_erase_due on public.executions_to_erase (next_at);
create index if not exists executions_to_erase_by_tenant on public.executions_to_erase (tenant_id);

alter table public.executions_to_erase enable row level security;

-- An id becomes part of the URL path of the deletion in n8n. In earlier releases a flow could store any text
-- as its execution id, and so any path.
update public.turns set execution_id = null
where execution_id is not null and not hybridflow.is_execution_id(execution_id);
do $hybridflow$
begin
    if pg_catalog.to_regtype('hybridflow.execution_id') is null then
        create domain hybridflow.execution_id as text;
        alter table public.turns
        drop constraint if exists turns_execution_id_check, alter column execution_id type hybridflow.execution_id;
        alter domain hybridflow.execution_id add constraint execution_id_check check (value ~ '^[1-9][0-9]{0,14}$');
    end if;
end
$hybridflow$;

delete from public.executions_to_erase
where not hybridflow.is_execution_id(execution_id);
alter table public.executions_to_erase drop constraint if exists executions_to_erase_execution_id_check;
alter table public.executions_to_erase add constraint executions_to_erase_execution_id_check
check (execution_id ~ '^[1-9][0-9]{0,14}$');

-- Asks for the deletion of the executions that worked on the turns of these sessions. Returns their ids. An
-- id that is already listed is left as it is, even if another tenant listed it: rows of others are not
-- written, and not waited for.
create or replace function hybridflow.erase_executions(p_tenant_id bigint, p_session_ids bigint[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids text[] := array(
        select distinct e.execution_id from public.turns as t
        cross join lateral (
            select t.execution_id
            union
            select a.execution_id from public.turn_attempts as a
            where a.turn_id = t.id and a.ended > hybridflow.clock() - interval '7 days'
        ) as e
        where t.session_id = any(p_session_ids) and e.execution_id is not null
            and not hybridflow.is_anothers_execution(e.execution_id, p_tenant_id)
        order by e.execution_id
    );
begin
    insert into public.executions_to_erase (execution_id, tenant_id, asked_at, next_at)
    select i, p_tenant_id, hybridflow.clock(), hybridflow.clock() from unnest(v_ids) as i order by i
    on conflict do nothing;
    return to_jsonb(v_ids);
end
$$;

-- claim_executions_to_erase({limit?, retry_seconds?})
-- Takes executions that are to be deleted now. Each is due again after retry_seconds (600), unless it is
-- reported as deleted by then. After 30 days without success it is given up, because n8n has pruned it long
-- before that. Returns {execution_ids: [id], waiting}: the executions taken, and how many are waiting in all.
create or replace function public.claim_executions_to_erase(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_ids jsonb;
begin
    delete from public.executions_to_erase
    where asked_at < v_now - interval '30 days' or not hybridflow.is_execution_id(execution_id);
    with due as (
        select e.execution_id from public.executions_to_erase as e
        where e.next_at <= v_now and hybridflow.is_execution_id(e.execution_id)
        order by e.next_at limit coalesce((p ->> 'limit')::integer, 50)
        for update skip locked
    ),

    claimed as (
        update public.executions_to_erase as e
        set next_at = v_now + hybridflow.seconds(coalesce((p ->> 'retry_seconds')::numeric, 600))
        from due where e.execution_id = due.execution_id
        returning e.execution_id
    )

    select coalesce(jsonb_agg(execution_id), '[]') into v_ids from claimed;
    return jsonb_build_object(
        'execution_ids', v_ids, 'waiting', (select count(*) from public.executions_to_erase)
    );
end
$$;

-- settle_execution({execution_id, error?})
-- n8n has deleted the execution, or `error` says why not. Returns {known}.
create or replace function public.settle_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('settle_execution', p, '{execution_id}');
    if p ->> 'error' is null then
        delete from public.executions_to_erase where execution_id = p ->> 'execution_id';
    else
        update public.executions_to_erase set error = left(p ->> 'error', 500)
        where execution_id = p ->> 'execution_id';
    end if;
    return jsonb_build_object('known', found);
end
$$;
