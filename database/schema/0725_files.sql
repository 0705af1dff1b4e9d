-- HybridFlow: the business's own files, as people put and remove them, and as they are sent.

-- set_file({caller?, tenant_id, name, description, kind, file_name, content})
-- Keeps a file under its name, in place of what had it; content is base64. Returns {file}. PT404: there is no
-- such tenant. PT422: a name or a description that cannot be, too large, or there are 50 already.
create or replace function public.set_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_content bytea;
    v_file public.tenant_files;
begin
    perform hybridflow.require_keys('set_file', p, '{tenant_id,name,description,kind,file_name,content}');
    perform from public.tenants where id = (p ->> 'tenant_id')::bigint for key share;
    if not found then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    elsif p ->> 'name' !~ '^[a-z0-9][a-z0-9-]{0,39}$' then
        raise exception 'a name has 1 to 40 small letters, digits and hyphens, such as cake-menu'
            using errcode = 'PT422';
    elsif length(btrim(p ->> 'description')) = 0 or length(p ->> 'description') > 300 then
        raise exception 'a description must have from 1 to 300 characters' using errcode = 'PT422';
    end if;
    v_content := decode(p ->> 'content', 'base64');
    if octet_length(v_content) not between 1 and 16000000 then
        raise exception 'a file must have from 1 to 16,000,000 bytes' using errcode = 'PT422';
    end if;
    if (
        select count(*) from public.tenant_files as f
        where f.tenant_id = (p ->> 'tenant_id')::bigint and f.name <> p ->> 'name'
    ) >= 50 then
        raise exception 'a tenant may have 50 files: remove some' using errcode = 'PT422';
    end if;
    insert into public.tenant_files (
        tenant_id, name, description, kind, file_name, bytes, content, created_by, created_at
    )
    values (
        (p ->> 'tenant_id')::bigint, p ->> 'name', p ->> 'description', p ->> 'kind', p ->> 'file_name',
        octet_length(v_content), v_content, left(coalesce(p -> 'caller' ->> 'name', '?'), 100), hybridflow.clock()
    )
    on conflict (tenant_id, name) do update
        set description = excluded.description, kind = excluded.kind, file_name = excluded.file_name,
            bytes = excluded.bytes, content = excluded.content, created_by = excluded.created_by,
            created_at = excluded.created_at
    returning * into v_file;
    return jsonb_build_object('file', hybridflow.file_json(v_file));
end
$$;

-- list_files({tenant_id})
-- Returns {items}: the tenant's files by name, without their content; there are 50 at most.
create or replace function public.list_files(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('list_files', p, '{tenant_id}');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(hybridflow.file_json(f) order by f.name), '[]')
        from public.tenant_files as f
        where f.tenant_id = (p ->> 'tenant_id')::bigint
    ));
end
$$;

-- remove_file({tenant_id, name})
-- Returns {removed}: false where there is no such file.
create or replace function public.remove_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('remove_file', p, '{tenant_id,name}');
    delete from public.tenant_files where tenant_id = (p ->> 'tenant_id')::bigint and name = p ->> 'name';
    return jsonb_build_object('removed', found);
end
$$;

-- read_file({tenant_id, name})
-- For the router, which sends it. Returns {content}, base64; null where there is no such file.
create or replace function public.read_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('read_file', p, '{tenant_id,name}');
    return jsonb_build_object('content', (
        select translate(encode(f.content, 'base64'), E'\n', '')
        from public.tenant_files as f
        where f.tenant_id = (p ->> 'tenant_id')::bigint and f.name = p ->> 'name'
    ));
end
$$;
