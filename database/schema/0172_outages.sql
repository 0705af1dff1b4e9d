-- HybridFlow: outages: times in which customers of a tenant get no answer, for one cause.
--
-- So many turns that fail for one cause are one thing to be told: that it began, how many it concerns, and
-- that it is over. Which endings there are, and who is told what, stands in 0865_endings.sql.

create table if not exists public.outages (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    cause text not null,
    about text,
    began_at timestamptz not null,
    last_at timestamptz not null,
    ended_at timestamptz,
    notice_id bigint,
    error text
);

comment on table public.outages is 'Times in which customers of a tenant got no answer, for one cause.';
comment on column public.outages.cause is 'See hybridflow.endings.';
comment on column public.outages.about is
'What must work again: the LLM (llm_of), the line (line_of), any reply of the tenant. Null: none.';
comment on column public.outages.last_at is 'When it was last met, to a minute.';
comment on column public.outages.notice_id is 'The notice by which the business is told of it.';
comment on column public.outages.error is 'What was said the first time.';

create unique index if not exists outages_open on public.outages (tenant_id, cause) where ended_at is null;
create index if not exists outages_open_about on public.outages (about, tenant_id)
where ended_at is null and about is not null;
create index if not exists outages_by_tenant on public.outages (tenant_id, ended_at);
alter table public.outages enable row level security;

alter table public.sessions
add column if not exists fallback_told_at timestamptz,
add column if not exists fallback_message_id bigint;
comment on column public.sessions.fallback_told_at is
'When the contact was last sent the fallback message while there was no answer, with fallback_message_id.';

-- When the session's contact was last sent the fallback message; null: never, or it did not leave, or
-- WhatsApp did not deliver it.
create or replace function hybridflow.told_fallback_at(p_session public.sessions)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select p_session.fallback_told_at where not exists (
        select from public.messages as m
        where m.id = p_session.fallback_message_id and (m.send_state = 'failed' or m.status = 'error')
    )
$$;
