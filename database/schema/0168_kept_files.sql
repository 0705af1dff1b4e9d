-- HybridFlow: files outside the database, in a folder or in a bucket of Supabase Storage: what contacts sent,
-- for some days, and the business's own files. A row exists before its file and is deleted after it, so no
-- crash leaves a file that nobody knows of.

create table if not exists public.kept_files (
    id bigint generated always as identity primary key,
    tenant_id bigint references public.tenants (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    own_file_id bigint references public.tenant_files (id) on delete set null,
    state text not null default 'writing' constraint kept_files_state_check
    check (state in ('writing', 'waiting', 'kept', 'failed', 'deleted', 'expired')),
    store text not null constraint kept_files_store_check check (store in ('folder', 'bucket')),
    name text constraint kept_files_name_check check (name ~ '^[0-9]+/[0-9]+/[0-9]+-[0-9a-f]{16}$'),
    media_type text not null,
    bytes bigint not null,
    sha256 text,
    content bytea,
    expires_at timestamptz not null,
    next_at timestamptz not null,
    removal_at timestamptz not null,
    attempt integer not null default 0,
    error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    due_at timestamptz generated always as (
        case
            when message_id is null and own_file_id is null then removal_at
            when name is not null then next_at
        end
    ) stored,
    has_owner boolean generated always as (message_id is not null or own_file_id is not null) stored
);

comment on table public.kept_files is
'A file outside the database: one that a contact sent, or an own file of the business. Once its message'
' (erased, pruned, archived) or own file (removed, replaced) is gone, the file is removed, and then the row.';
comment on column public.kept_files.state is
'writing: on its way to the store; waiting: the store did not take it, so the row has it; kept: it is in'
' the store; failed, deleted (by its sender), expired: it is not in the store, or soon will not be.';
comment on column public.kept_files.name is
'Its name in the store, made of ids and random digits. Null: nothing of it is left.';
comment on column public.kept_files.media_type is 'Determined from its bytes.';
comment on column public.kept_files.content is 'The file itself, while its store is away.';
comment on column public.kept_files.next_at is
'While its message or own file exists: when the file must be written or removed.';
comment on column public.kept_files.removal_at is
'Once its message or own file is gone: from when the file may be removed. Before that a router may still be'
' writing it.';

create unique index if not exists kept_files_once on public.kept_files (message_id);
create unique index if not exists kept_files_own on public.kept_files (own_file_id);
create index if not exists kept_files_due on public.kept_files (store, due_at) where due_at is not null;
create index if not exists kept_files_by_tenant on public.kept_files (tenant_id) include (bytes)
where name is not null;
create index if not exists kept_files_waiting on public.kept_files (tenant_id) include (bytes)
where state = 'waiting';
alter table public.kept_files enable row level security;
