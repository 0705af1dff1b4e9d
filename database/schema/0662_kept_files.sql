-- HybridFlow: kept files of contacts: stored by the media job that fetched the media, read by operators, and
-- removed when their days are over or their message is gone.

-- begin_keeping({job_id, token, store, media_type, bytes, sha256, most_bytes})
-- Called before the media of a job is written to the store: makes a row for the file, with the name under
-- which it is written. most_bytes: the limit for all files of the tenant together. Returns {file_id, name} or
-- {refused: reason}: 'stale' or 'superseded' as in begin_media_job, 'not_wanted' (the tenant keeps no files,
-- or the message was deleted), 'kept' (already in the store, or in the row), 'full'.
create or replace function public.begin_keeping(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_tenant public.tenants;
    v_message public.messages;
    v_file public.kept_files;
    v_full boolean;
begin
    perform hybridflow.require_keys(
        'begin_keeping', p, '{job_id,token,store,media_type,bytes,sha256,most_bytes}'
    );
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_message := v_held.message;
    select * into v_tenant from public.tenants where id = v_message.tenant_id;
    if v_tenant.keep_media_days = 0 or v_message.deleted_at is not null then
        return '{"refused": "not_wanted"}';
    end if;
    select * into v_file from public.kept_files where message_id = v_message.id for update;
    if v_file.state in ('kept', 'waiting', 'expired', 'deleted') then
        return '{"refused": "kept"}';
    elsif v_file.id is not null then
        -- An earlier attempt began to keep this file, and may have written something: remove that.
        update public.kept_files
        set message_id = null, content = null, removal_at = greatest(removal_at, v_now), updated_at = v_now
        where id = v_file.id;
    end if;
    v_full := (p ->> 'bytes')::bigint + coalesce((
        select sum(f.bytes) from public.kept_files as f
        where f.tenant_id = v_tenant.id and f.name is not null
    ), 0) > (p ->> 'most_bytes')::bigint;
    insert into public.kept_files (
        tenant_id, message_id, state, store, name, media_type, bytes, sha256, expires_at, next_at, removal_at,
        error, created_at, updated_at
    )
    values (
        v_tenant.id, v_message.id, case when v_full then 'failed' else 'writing' end, p ->> 'store',
        case when not v_full then
            v_tenant.id || '/' || v_message.session_id || '/' || v_message.id || '-'
            || substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
        end,
        left(p ->> 'media_type', 100), (p ->> 'bytes')::bigint, p ->> 'sha256',
        v_now + make_interval(days => v_tenant.keep_media_days), v_now + interval '1 hour',
        v_now + interval '10 minutes', case when v_full then 'the tenant''s files take all the room they may have' end,
        v_now, v_now
    )
    returning * into v_file;
    return case
        when v_full then '{"refused": "full"}'::jsonb
        else jsonb_build_object('file_id', v_file.id, 'name', v_file.name)
    end;
end
$$;

-- begin_own_file({tenant_id, store, media_type, bytes, sha256})
-- Called before one of the business's own files is written to the store: makes a row for it, with the name
-- under which it is written. set_file then takes the file; if it does not within ten minutes, the file is
-- removed. Returns {file_id, name}. PT404: no such tenant.
create or replace function public.begin_own_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('begin_own_file', p, '{tenant_id,store,media_type,bytes,sha256}');
    perform from public.tenants where id = v_tenant_id for key share;
    if not found then
        raise exception 'there is no tenant %', v_tenant_id using errcode = 'PT404';
    end if;
    insert into public.kept_files (
        tenant_id, store, name, media_type, bytes, sha256, expires_at, next_at, removal_at, created_at, updated_at
    )
    values (
        v_tenant_id, p ->> 'store',
        v_tenant_id || '/0/0-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 16),
        left(p ->> 'media_type', 100), (p ->> 'bytes')::bigint, p ->> 'sha256', 'infinity', 'infinity',
        v_now + interval '10 minutes', v_now, v_now
    )
    returning * into v_file;
    return jsonb_build_object('file_id', v_file.id, 'name', v_file.name);
end
$$;

-- finish_keeping({file_id, error?, content?, most_waiting?})
-- The file was written, or `error` says why not. After an error it is tried again for a day, if `content`
-- (base64) is given, and the tenant's waiting files together with this one are smaller than most_waiting
-- bytes. Returns {state}: the state of the file from now on; 'gone': there is no such row.
create or replace function public.finish_keeping(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_file public.kept_files;
    v_content bytea;
    v_state text;
begin
    perform hybridflow.require_keys('finish_keeping', p, '{file_id}');
    select * into v_file from public.kept_files where id = (p ->> 'file_id')::bigint for update;
    if v_file.id is null then
        return '{"state": "gone"}';
    elsif not v_file.has_owner then
        update public.kept_files set removal_at = v_now, updated_at = v_now where id = v_file.id;
        return jsonb_build_object('state', v_file.state);
    end if;
    if p ->> 'error' is not null and p ->> 'content' is not null and v_file.bytes + coalesce((
        select sum(f.bytes) from public.kept_files as f
        where f.tenant_id = v_file.tenant_id and f.state = 'waiting'
    ), 0) <= (p ->> 'most_waiting')::bigint
    then
        v_content := decode(p ->> 'content', 'base64');
    end if;
    v_state := case
        when v_file.state <> 'writing' then v_file.state
        when exists (
            select from public.messages as m where m.id = v_file.message_id and m.deleted_at is not null
        ) then 'deleted'
        when p ->> 'error' is null then 'kept'
        when v_content is not null then 'waiting'
        else 'failed'
    end;
    update public.kept_files
    set state = v_state, error = left(p ->> 'error', 500), updated_at = v_now, removal_at = v_now,
        content = case when v_state = 'waiting' then v_content end,
        next_at = case v_state
            when 'kept' then expires_at when 'waiting' then v_now + interval '30 seconds' else v_now
        end
    where id = v_file.id;
    return jsonb_build_object('state', v_state);
end
$$;

-- claim_kept_files({stores: [store], limit, retry_seconds})
-- Returns the work that is due for files in these stores. A file is to be written if the row has its content
-- because the store was away (for up to a day). It is to be removed if its days are over, its message is gone
-- or was deleted, or a crash left it half written. Each file is due again after retry_seconds, unless it is
-- settled. Never waits for a lock. Returns {files: [{file_id, store, name, wanted: 'write' or 'remove'}],
-- more}.
create or replace function public.claim_kept_files(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_again timestamptz;
    v_limit integer := (p ->> 'limit')::integer;
    v_ids bigint[];
    v_files jsonb;
begin
    perform hybridflow.require_keys('claim_kept_files', p, '{stores,limit,retry_seconds}');
    v_again := v_now + hybridflow.seconds((p ->> 'retry_seconds')::numeric);
    v_ids := array(
        select d.id from jsonb_array_elements_text(p -> 'stores') as s (store)
        cross join lateral (
            select f.id from public.kept_files as f
            where f.store = s.store and f.due_at <= v_now
            order by f.due_at limit v_limit for update skip locked
        ) as d
    );
    delete from public.kept_files where id = any(v_ids) and not has_owner and name is null;
    with claimed as (
        update public.kept_files as f
        set state = n.state, attempt = f.attempt + 1, updated_at = v_now,
            content = case when n.state = 'waiting' and f.has_owner then f.content end,
            next_at = v_again, removal_at = greatest(f.removal_at, v_again)
        from (
            select k.id, case
                when k.state = 'writing' or (k.state = 'waiting' and k.created_at <= v_now - interval '1 day')
                    then 'failed'
                when k.state = 'kept' and k.expires_at <= v_now then 'expired'
                else k.state
            end as state
            from public.kept_files as k where k.id = any(v_ids)
        ) as n
        where f.id = n.id
        returning f.id, f.store, f.name, f.state, f.has_owner
    )

    select coalesce(jsonb_agg(jsonb_build_object(
        'file_id', c.id, 'store', c.store, 'name', c.name,
        'wanted', case when c.state = 'waiting' and c.has_owner then 'write' else 'remove' end
    )), '[]')
    into v_files from claimed as c;
    return jsonb_build_object('files', v_files, 'more', cardinality(v_ids) >= v_limit);
end
$$;

-- read_waiting_file({file_id})
-- The content of a file that waits for its store. Returns {content}, in base64; null: it does not wait any
-- more.
create or replace function public.read_waiting_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('read_waiting_file', p, '{file_id}');
    return jsonb_build_object('content', (
        select translate(encode(f.content, 'base64'), E'\n', '')
        from public.kept_files as f
        where f.id = (p ->> 'file_id')::bigint and f.state = 'waiting' and f.has_owner
    ));
end
$$;

-- settle_kept_file({file_id, done, error?})
-- Reports the result for a claimed file: done is 'written' or 'removed', or `error` says why it failed.
-- Returns {known}.
create or replace function public.settle_kept_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('settle_kept_file', p, '{file_id,done}');
    select * into v_file from public.kept_files where id = (p ->> 'file_id')::bigint for update;
    if v_file.id is null then
        return '{"known": false}';
    elsif p ->> 'error' is not null then
        update public.kept_files
        set error = left(p ->> 'error', 500), updated_at = v_now,
            next_at = case
                when state = 'waiting' then v_now + hybridflow.seconds(hybridflow.back_off(30, attempt, 900))
                else next_at
            end
        where id = v_file.id;
    elsif p ->> 'done' = 'removed' and not v_file.has_owner then
        delete from public.kept_files where id = v_file.id;
    elsif p ->> 'done' = 'removed' then
        update public.kept_files set name = null, sha256 = null, updated_at = v_now where id = v_file.id;
    else
        update public.kept_files
        set state = case when state = 'waiting' then 'kept' else state end, content = null, error = null,
            next_at = case when state = 'waiting' then expires_at else v_now end, removal_at = v_now,
            updated_at = v_now
        where id = v_file.id;
    end if;
    return '{"known": true}';
end
$$;

-- find_kept_file({tenant_id, message_id})
-- Where the file of a message is stored. Returns {file: {file_id, store, name, media_type, bytes, sha256,
-- expires_at}} or {refused: reason}: 'not_kept', 'not_yet' (its store is away), 'failed', 'expired',
-- 'deleted' (by the person who sent the message). PT404: the tenant has no such message.
create or replace function public.find_kept_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('find_kept_file', p, '{tenant_id,message_id}');
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint;
    if v_message.id is null then
        raise exception 'tenant % has no message %', p ->> 'tenant_id', p ->> 'message_id' using errcode = 'PT404';
    end if;
    select * into v_file from public.kept_files where message_id = v_message.id;
    if v_message.deleted_at is not null then
        return '{"refused": "deleted"}';
    elsif v_file.id is null then
        return '{"refused": "not_kept"}';
    elsif v_file.state = 'kept' and v_file.expires_at > hybridflow.clock() then
        return jsonb_build_object('file', jsonb_build_object(
            'file_id', v_file.id, 'store', v_file.store, 'name', v_file.name, 'media_type', v_file.media_type,
            'bytes', v_file.bytes, 'sha256', v_file.sha256, 'expires_at', v_file.expires_at
        ));
    end if;
    return jsonb_build_object('refused', case
        when v_file.state = 'kept' then 'expired'
        when v_file.state in ('writing', 'waiting') then 'not_yet'
        else v_file.state
    end);
end
$$;

-- A kept file as an export shows it. Its content is not included; `left_out` says so.
create or replace function hybridflow.exported_kept_file(p_file public.kept_files)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_file) - '{content,store,name,own_file_id,next_at,removal_at,due_at,has_owner,attempt}'::text[]
        || jsonb_build_object('left_out', case when p_file.state in ('writing', 'waiting', 'kept') then
            'An export is text and has no files: this one is given out by GET /api/messages/'
            || p_file.message_id || '/media until it expires.'
        end)
$$;
