-- HybridFlow: media that a contact sent, and the work of understanding it: one row for each such message.

create table if not exists public.media_jobs (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    message_id bigint not null references public.messages (id) on delete cascade,
    state text not null default 'pending' constraint media_jobs_state_check
    check (state in ('pending', 'done', 'failed')),
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    error text,
    tokens bigint not null default 0,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiting boolean generated always as (state = 'pending') stored
);

alter table public.media_jobs
add column if not exists pictures jsonb,
add column if not exists pictures_until timestamptz,
add column if not exists content bytea,
add column if not exists waits integer not null default 0,
add column if not exists waits_for text,
add column if not exists keep_only boolean not null default false;

comment on column public.media_jobs.keep_only is
'The file is kept, and nobody puts it into words: no turn waits for it.';

comment on column public.media_jobs.waits is
'How often it was put off, since what it needs was away; no such attempt counts, while it works for nobody.';
comment on column public.media_jobs.waits_for is
'What it is put off for: ''speech'', ''describer'', or its tenant''s line; due when that works again.';

comment on column public.media_jobs.content is
'The media itself, where it came inside of its webhook and is nowhere else; until the job is done.';

comment on column public.media_jobs.pictures is
'What is to be seen of it: small new JPEGs in base64, which the LLM is shown. They are gone in a day.';
comment on table public.media_jobs is
'The work of putting into words what a contact sent as a voice message, say; they stand with the message.';
comment on column public.media_jobs.next_at is 'When it is due; while it is worked on, when its lease ends.';
comment on column public.media_jobs.error is 'Why it failed, or why the last attempt did.';
comment on column public.media_jobs.tokens is 'What it cost, in tokens, as the budget counts them.';
comment on column public.media_jobs.waiting is 'It is pending; see turns.waiting.';

create unique index if not exists media_jobs_once on public.media_jobs (message_id);
create index if not exists media_jobs_waiting on public.media_jobs (tenant_id, next_at) where waiting;
-- Of all tenants together; `attempt` keeps it from being taken for one tenant's, of which it would read all.
create index if not exists media_jobs_waiting_until on public.media_jobs (next_at)
where waiting and attempt >= 0;
create index if not exists media_jobs_with_pictures on public.media_jobs (pictures_until)
where pictures_until is not null;
create index if not exists media_jobs_put_off on public.media_jobs (waits_for, id desc)
where waits_for is not null;
alter table public.media_jobs enable row level security;
