-- HybridFlow: outages: times in which customers of a tenant get no answer, for one cause.
--
-- People are told only once about many turns that fail for one cause: that it began, how many turns it
-- concerns, and that it is over. 0865_endings.sql says which endings there are, and who is told what.

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

comment on table public.outages is 'A time in which customers of a tenant get no answer, for one cause.';
comment on column public.outages.cause is 'See hybridflow.endings.';
comment on column public.outages.about is
'What must work again: the LLM (llm_of), the line (line_of), or any reply of the tenant. Null: none of'
' these.';
comment on column public.outages.last_at is 'When it was last noticed, to the minute.';
comment on column public.outages.notice_id is 'The notice that tells the business about it.';
comment on column public.outages.error is 'The first error of the outage.';

create unique index if not exists outages_open on public.outages (tenant_id, cause) where ended_at is null;
create index if not exists outages_open_about on public.outages (about, tenant_id)
where ended_at is null and about is not null;
create index if not exists outages_by_tenant on public.outages (tenant_id, ended_at);
alter table public.outages enable row level security;

alter table public.sessions
add column if not exists fallback_told_at timestamptz,
add column if not exists fallback_message_id bigint;
comment on column public.sessions.fallback_told_at is
'When the contact was last sent the fallback message because there was no answer, with fallback_message_id.';

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
