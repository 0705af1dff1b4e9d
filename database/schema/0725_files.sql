-- HybridFlow: the business's own files: people add and remove them, and the router sends them.

-- set_file({caller?, tenant_id, name, description, kind, file_name, content | kept_file_id})
-- Stores a file under its name, and replaces the file that had the name. Its content is given in base64, or
-- was written to the store before (begin_own_file). Returns {file}. PT404: no such tenant. PT409: the file in
-- the store is gone. PT422: the name or description is not valid, the file is too large, or there are 50
-- already.
create or replace function public.set_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_content bytea;
    v_kept public.kept_files;
    v_bytes bigint;
    v_file public.tenant_files;
begin
    perform hybridflow.require_keys(
        'set_file', p, '{tenant_id,name,description,kind,file_name,content|kept_file_id}'
    );
    perform from public.tenants where id = (p ->> 'tenant_id')::bigint for key share;
    if not found then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    elsif p ->> 'name' !~ '^[a-z0-9][a-z0-9-]{0,39}$' then
        raise exception 'a name has 1 to 40 small letters, digits and hyphens, such as cake-menu'
            using errcode = 'PT422';
    elsif length(btrim(p ->> 'description')) = 0 or length(p ->> 'description') > 300 then
        raise exception 'a description must have from 1 to 300 characters' using errcode = 'PT422';
    end if;
    if p ->> 'kept_file_id' is null then
        v_content := decode(p ->> 'content', 'base64');
        v_bytes := octet_length(v_content);
    else
        select * into v_kept from public.kept_files
        where id = (p ->> 'kept_file_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
            and state = 'writing' and not has_owner and name is not null
            and removal_at > hybridflow.clock()
        for update;
        if v_kept.id is null then
            raise exception 'the stored file is missing: upload the file again' using errcode = 'PT409';
        end if;
        v_bytes := v_kept.bytes;
    end if;
    if v_bytes not between 1 and 16000000 then
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
        v_bytes, v_content, left(coalesce(p -> 'caller' ->> 'name', '?'), 100), hybridflow.clock()
    )
    on conflict (tenant_id, name) do update
        set description = excluded.description, kind = excluded.kind, file_name = excluded.file_name,
            bytes = excluded.bytes, content = excluded.content, created_by = excluded.created_by,
            created_at = excluded.created_at
    returning * into v_file;
    -- The file that had this name or this place before is removed from the store.
    update public.kept_files
    set own_file_id = null, removal_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where own_file_id = v_file.id;
    update public.kept_files set own_file_id = v_file.id, state = 'kept', updated_at = hybridflow.clock()
    where id = v_kept.id;
    return jsonb_build_object('file', hybridflow.file_json(v_file));
end
$$;

-- list_files({tenant_id})
-- Returns {items}: the tenant's files by name, without their content; at most 50.
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
-- Returns {removed}: false if there is no such file.
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
-- For the router, which sends the file. Returns {content, stored?: {store, name, bytes}}: content in base64,
-- or where it is stored; neither if there is no such file.
create or replace function public.read_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_file public.tenant_files;
begin
    perform hybridflow.require_keys('read_file', p, '{tenant_id,name}');
    select * into v_file from public.tenant_files as f
    where f.tenant_id = (p ->> 'tenant_id')::bigint and f.name = p ->> 'name';
    return jsonb_build_object('content', translate(encode(v_file.content, 'base64'), E'\n', ''))
        || jsonb_strip_nulls(jsonb_build_object('stored', (
            select jsonb_build_object('store', k.store, 'name', k.name, 'bytes', k.bytes)
            from public.kept_files as k where k.own_file_id = v_file.id
        )));
end
$$;
