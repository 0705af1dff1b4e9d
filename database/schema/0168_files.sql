-- HybridFlow: the business's own files, which the AI may send by name: a menu, a picture, a sticker.

create table if not exists public.tenant_files (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    name text not null constraint tenant_files_name_check check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    description text not null
    constraint tenant_files_description_check check (length(description) between 1 and 300),
    kind text not null
    constraint tenant_files_kind_check check (kind in ('image', 'sticker', 'video', 'audio', 'document')),
    file_name text not null,
    bytes integer not null,
    content bytea not null
    constraint tenant_files_content_check check (octet_length(content) between 1 and 16000000),
    created_by text not null,
    created_at timestamptz not null default now(),
    unique (tenant_id, name)
);

alter table public.tenant_files alter column content drop not null;

comment on table public.tenant_files is
'Files of a business that the AI may send; kept until they, or their tenant, are removed.';
comment on column public.tenant_files.content is
'The file''s content; null: it is in the store of files (kept_files.own_file_id).';
comment on column public.tenant_files.kind is 'How it is sent; determined from its content.';
comment on column public.tenant_files.file_name is
'Ends with the extension of its type, because Evolution looks at that.';
alter table public.tenant_files enable row level security;

-- What the AI is told about a tenant's files.
create or replace function hybridflow.files_for_llm(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'name', f.name, 'description', f.description, 'kind', f.kind, 'file_name', f.file_name
    ) order by f.name), '[]')
    from public.tenant_files as f
    where f.tenant_id = p_tenant_id
$$;

-- A file as it is shown: without its content.
create or replace function hybridflow.file_json(p_file public.tenant_files)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_file) - 'content'
$$;
