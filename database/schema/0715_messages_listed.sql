-- HybridFlow: operators list messages, of one session or of all, and search in them.

-- Whether a message matches the filters `sender` and `from_me`. This is a function of its own because the
-- planner would otherwise assume that a filter that is not set leaves few rows.
create or replace function hybridflow.message_matches(p_message public.messages, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.sender = (p ->> 'sender'), true)
        and coalesce(p_message.from_me = (p ->> 'from_me')::boolean, true)
$$;

-- Whether one of the filters `sender` and `from_me` is set.
create or replace function hybridflow.picks_messages(p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p ->> 'sender', p ->> 'from_me') is not null
$$;

-- A page of a session's messages in the order of the conversation, newest first.
create or replace function hybridflow.messages_of_session(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('session_messages', p);
    v_look integer := hybridflow.rows_to_look_at(v_limit, hybridflow.picks_messages(p));
    v_rows jsonb[];
    v_fit integer;
    v_keys jsonb[];
begin
    with looked as materialized (
        select m.id, m.sent_at, hybridflow.message_matches(m, p) as is_asked_for from public.messages as m
        where m.session_id = (p ->> 'session_id')::bigint
            and (m.sent_at, m.id) < (
                coalesce((v_after ->> 0)::timestamptz, 'infinity'),
                coalesce((v_after ->> 1)::bigint, 9223372036854775807)
            )
            and m.sent_at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
        order by m.sent_at desc, m.id desc limit v_look
    ),

    found as (
        select l.id, l.sent_at from looked as l where l.is_asked_for
        order by l.sent_at desc, l.id desc limit v_limit + 1
    ),

    measured as (
        select f.id, f.sent_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
            order by f.sent_at desc, f.id desc rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from found as f
        inner join public.messages as m on m.id = f.id
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.sent_at, f.id), 'item', case when f.fits then (
                    select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
                ) end
            ) order by f.sent_at desc, f.id desc)
            from measured as f
        ),
        (select least(v_limit, count(*) filter (where f.fits)) from measured as f),
        (
            select array_agg(jsonb_build_array(l.sent_at, l.id) order by l.sent_at desc, l.id desc)
            from looked as l
        )
    into v_rows, v_fit, v_keys;
    if v_fit < v_limit and v_fit < cardinality(v_rows) then
        return hybridflow.page('session_messages', v_rows, v_fit);
    end if;
    return hybridflow.page_of_search('session_messages', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- A page of a tenant's messages in the order in which they were recorded, newest first. A message from a late
-- webhook or from gap repair is new here, however old it is.
create or replace function hybridflow.messages_of_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('tenant_messages', p);
    v_before timestamptz := coalesce((v_after ->> 0)::timestamptz, 'infinity');
    v_look integer := hybridflow.rows_to_look_at(v_limit, hybridflow.picks_messages(p));
    v_rows jsonb[];
    v_fit integer;
    v_keys jsonb[];
begin
    with looked as materialized (
        select m.id, m.created_at, hybridflow.message_matches(m, p) as is_asked_for from public.messages as m
        where m.tenant_id = (p ->> 'tenant_id')::bigint
            and m.created_at <= v_before
            and (m.created_at, m.id) < (v_before, coalesce((v_after ->> 1)::bigint, 9223372036854775807))
            and m.created_at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
        order by m.created_at desc, m.id desc limit v_look
    ),

    found as (
        select l.id, l.created_at from looked as l where l.is_asked_for
        order by l.created_at desc, l.id desc limit v_limit + 1
    ),

    measured as (
        select f.id, f.created_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
            order by f.created_at desc, f.id desc rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from found as f
        inner join public.messages as m on m.id = f.id
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.created_at, f.id), 'item', case when f.fits then (
                    select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
                ) end
            ) order by f.created_at desc, f.id desc)
            from measured as f
        ),
        (select least(v_limit, count(*) filter (where f.fits)) from measured as f),
        (
            select array_agg(jsonb_build_array(l.created_at, l.id) order by l.created_at desc, l.id desc)
            from looked as l
        )
    into v_rows, v_fit, v_keys;
    if v_fit < v_limit and v_fit < cardinality(v_rows) then
        return hybridflow.page('tenant_messages', v_rows, v_fit);
    end if;
    return hybridflow.page_of_search('tenant_messages', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- list_messages({tenant_id, session_id?, sender?, from_me?, since?, limit?, cursor?})
-- Returns {items: [message], next_cursor}: the messages of a session by sent_at, or of all the tenant's
-- sessions by created_at, newest first. `since` refers to the same time as the order. With a filter, a page
-- reads 1000 messages (see page_of_search). A page ends before its `limit` if it reaches 500,000 characters.
-- PT404: no such tenant, or the session is not the tenant's.
create or replace function public.list_messages(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('list_messages', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    if p ->> 'session_id' is not null then
        return hybridflow.messages_of_session(p);
    end if;
    return hybridflow.messages_of_tenant(p);
end
$$;
