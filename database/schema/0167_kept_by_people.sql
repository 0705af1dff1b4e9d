-- HybridFlow: what the people of a business keep about a conversation: labels, an owner, notes.

alter table public.sessions
add column if not exists labels text[] not null default '{}',
add column if not exists owner text;

comment on column public.sessions.labels is
'Labels that people gave it. no-ai: the AI answers nothing there; vip: the AI is told so.';
comment on column public.sessions.owner is 'Who of the business looks after it; null: nobody in particular.';

create table if not exists public.session_notes (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    body text not null constraint session_notes_body_check check (length(body) between 1 and 4000),
    author text not null,
    created_at timestamptz not null default now()
);

comment on table public.session_notes is
'Notes that the people of a business made about a conversation; never sent to the contact.';
create index if not exists session_notes_by_session on public.session_notes (session_id, id desc);
create index if not exists session_notes_by_tenant on public.session_notes (tenant_id);
alter table public.session_notes enable row level security;

-- Whether the session has the label no-ai: then the AI answers nothing there.
create or replace function hybridflow.is_without_ai(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce((select 'no-ai' = any(s.labels) from public.sessions as s where s.id = p_session_id), false)
$$;

-- The session's notes that the AI is told, oldest first: the newest twenty, if the tenant wants that.
create or replace function hybridflow.notes_for_llm(p_tenant public.tenants, p_session_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case when p_tenant.notes_to_llm then (
        select coalesce(jsonb_agg(n.body order by n.id), '[]')
        from (
            select w.id, w.body from public.session_notes as w
            where w.session_id = p_session_id order by w.id desc limit 20
        ) as n
    ) else '[]' end
$$;
