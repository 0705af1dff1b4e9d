-- HybridFlow: media that a contact sent, and the work of putting it into words: one row for each message.

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
'The file is only kept; it is not put into words, and no turn waits for it.';

comment on column public.media_jobs.waits is
'How often it was put off because something that it needs was away. Such an attempt does not count while'
' that works for nobody.';
comment on column public.media_jobs.waits_for is
'What it is put off for: ''speech'', ''describer'', or its tenant''s line; it is due when that works again.';

comment on column public.media_jobs.content is
'The media itself, if it came inside its webhook and is available nowhere else; until the job is done.';

comment on column public.media_jobs.pictures is
'Small JPEGs (base64) that were made from it and are shown to the LLM; deleted after a day.';
comment on table public.media_jobs is
'The work of putting into words what a contact sent, such as a voice message; the words are stored with the'
' message.';
comment on column public.media_jobs.next_at is 'When it is due; while it is worked on, when the lease ends.';
comment on column public.media_jobs.error is 'Why it failed, or why the last attempt failed.';
comment on column public.media_jobs.tokens is 'What it cost, in tokens, as the budget counts them.';
comment on column public.media_jobs.waiting is 'Whether it is pending; see turns.waiting.';

create unique index if not exists media_jobs_once on public.media_jobs (message_id);
create index if not exists media_jobs_waiting on public.media_jobs (tenant_id, next_at) where waiting;
-- For all tenants together. The condition on `attempt` keeps PostgreSQL from using this index for the jobs of
-- one tenant, for which it would read all of them.
create index if not exists media_jobs_waiting_until on public.media_jobs (next_at)
where waiting and attempt >= 0;
create index if not exists media_jobs_with_pictures on public.media_jobs (pictures_until)
where pictures_until is not null;
create index if not exists media_jobs_put_off on public.media_jobs (waits_for, id desc)
where waits_for is not null;
alter table public.media_jobs enable row level security;
