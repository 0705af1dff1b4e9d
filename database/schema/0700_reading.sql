-- HybridFlow: what operators read.
--
-- Every list answers {items, next_cursor}. `cursor` takes the next_cursor of the page before; it is null
-- on the last page. A cursor names the last item given, not a count, so that what is recorded meanwhile
-- neither repeats nor hides an item. `limit` is 1 to 200, 50 if not given. What a page looks at is bounded.

-- A place in the list p_list: its name and the key of the last item given, opaque to callers.
create or replace function hybridflow.to_cursor(p_list text, p_key jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
    select translate(
        encode(convert_to(jsonb_build_array(p_list, p_key)::text, 'UTF8'), 'base64'), e'+/=\n', '-_'
    )
$$;

-- The key in p's cursor; null where there is none. Raises PT422 for a cursor of another list.
create or replace function hybridflow.from_cursor(p_list text, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_text text := translate(p ->> 'cursor', '-_', '+/');
    v_place jsonb;
begin
    if v_text is null then
        return null;
    end if;
    begin
        v_place := convert_from(
            decode(rpad(v_text, (length(v_text) + 3) / 4 * 4, '='), 'base64'), 'UTF8'
        )::jsonb;
    exception
        when data_exception then
            null;
    end;
    if v_place ->> 0 is distinct from p_list or jsonb_typeof(v_place -> 1) is distinct from 'array' then
        raise exception 'cursor must be the next_cursor of a page of %, not %', p_list, p ->> 'cursor'
            using errcode = 'PT422';
    end if;
    return v_place -> 1;
end
$$;

-- How many items a page may have.
create or replace function hybridflow.page_size(p jsonb)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_limit integer := coalesce((p ->> 'limit')::integer, 50);
begin
    if v_limit not between 1 and 200 then
        raise exception 'limit must be from 1 to 200, not %', v_limit using errcode = 'PT422';
    end if;
    return v_limit;
end
$$;

-- The page made of p_rows ({key, item} each, in order, one more than p_limit where there are more). It ends
-- earlier where it is large, at 500,000 bytes and what its last row has beyond that: the router holds whole
-- pages.
create or replace function hybridflow.page(p_list text, p_rows jsonb[], p_limit integer)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'items', coalesce(jsonb_agg(r.item order by r.place) filter (where r.fits), '[]'),
        'next_cursor', case
            when count(*) > count(*) filter (where r.fits)
                then hybridflow.to_cursor(p_list, p_rows[count(*) filter (where r.fits)] -> 'key')
        end
    )
    from (
        select
            e.entry -> 'item' as item, e.place,
            e.place <= p_limit and coalesce(
                sum(octet_length((e.entry -> 'item')::text)) over before, 0
            ) < 500000 as fits
        from unnest(p_rows) with ordinality as e (entry, place)
        window before as (order by e.place rows between unbounded preceding and 1 preceding)
    ) as r
$$;

-- How many rows a page looks at: one more than it has, or, where not all of them are wanted, so many that
-- a search for what is nowhere takes as little as any other.
create or replace function hybridflow.rows_to_look_at(p_limit integer, p_searches boolean)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when p_searches then 1000 else p_limit + 1 end
$$;

-- The page made of p_rows (see page), which are those that are wanted of the rows looked at. Where these were
-- not the last ones, p_last is the key of the last one, and the next page looks on behind it: a page may have
-- few items, or none, and still a next_cursor.
create or replace function hybridflow.page_of_search(
    p_list text, p_rows jsonb[], p_limit integer, p_last jsonb
)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select f.page || case
        when f.page ->> 'next_cursor' is null and p_last is not null
            then jsonb_build_object('next_cursor', hybridflow.to_cursor(p_list, p_last))
        else '{}'
    end
    from (select hybridflow.page(p_list, p_rows, p_limit) as page) as f
$$;

-- Raises PT404 where there is no tenant p.tenant_id, or the session p.session_id is not the tenant's own.
create or replace function hybridflow.require_own(p jsonb)
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
    if not exists (select from public.tenants where id = (p ->> 'tenant_id')::bigint) then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    end if;
    if p ->> 'session_id' is not null and not exists (
        select from public.sessions
        where id = (p ->> 'session_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
    ) then
        raise exception 'tenant % has no session %', p ->> 'tenant_id', p ->> 'session_id'
            using errcode = 'PT404';
    end if;
end
$$;

-- A session as the API shows it; with pause_ends_at where the policy is given that decides it.
create or replace function hybridflow.session_json(p_session_id bigint, p_policy jsonb default null)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(s) - array[
        'pause_message_id', 'pause_asked_at', 'pause_written_at', 'merged_at', 'erased_before', 'erasure_checked',
        'awaited_pictures', 'awaited_until', 'away_until', 'away_message_id',
        'fallback_told_at', 'fallback_message_id'
    ] || jsonb_build_object(
        'contact_name', hybridflow.cut(s.contact_name, 256),
        'identities', (
            select coalesce(jsonb_agg(i.jid order by i.jid), '[]')
            from public.session_identities as i where i.session_id = s.id
        ),
        'handoff', hybridflow.open_handoff_json(s.id)
    ) || case when p_policy is null then '{}' else jsonb_build_object(
        'pause_ends_at', hybridflow.pause_ends_at(s, t.resume_after_hours, p_policy)
    ) end
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_session_id
$$;

-- A turn as the API shows it: without its token.
create or replace function hybridflow.turn_json(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(t)
        - '{token_hash,beside,seen_at,said_so_far,waiting,held,due_when_heard,outage_id}'::text[]
    from public.turns as t where t.id = p_turn_id
$$;

-- A message as the API shows it.
create or replace function hybridflow.message_json(p_message public.messages)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_message)
        - '{send_began_at,identity,told_as,chosen_id,late_until,check_at,upload_seconds}'::text[]
$$;

-- The same, cut where it was stored longer than a message may be now.
create or replace function hybridflow.short_message_json(p_message public.messages)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    p_message.body := hybridflow.cut(p_message.body);
    p_message.quoted := hybridflow.cut_fields(p_message.quoted);
    p_message.media := hybridflow.cut_fields(p_message.media);
    p_message.transcript := hybridflow.cut(p_message.transcript);
    p_message.description := hybridflow.cut(p_message.description);
    p_message.author_name := hybridflow.cut(p_message.author_name, 256);
    return hybridflow.message_json(p_message);
end
$$;

-- get_session({tenant_id, session_id, policy?})
-- Returns {session}. PT404: not this tenant's.
create or replace function public.get_session(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_session', p, '{tenant_id,session_id}');
    perform hybridflow.require_own(p);
    return jsonb_build_object(
        'session', hybridflow.session_json((p ->> 'session_id')::bigint, p -> 'policy')
    );
end
$$;

-- The sessions that `contact` names exactly, as a JID or a whole phone number in any spelling; of one contact
-- there may be two, which nobody has known to be one. {0} for a JID that nobody has; null: it is something to
-- look for.
create or replace function hybridflow.sessions_called(p_tenant_id bigint, p_contact text)
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_contact text := lower(btrim(p_contact));
    v_jid text := case
        when v_contact like '%@%' then v_contact
        else regexp_replace(v_contact, '[\s()+./-]', '', 'g') || '@s.whatsapp.net'
    end;
    v_ids bigint[] := array(
        select distinct i.session_id from public.session_identities as i
        where i.tenant_id = p_tenant_id and i.jid = any(hybridflow.spellings_typed(v_jid))
    );
begin
    return case
        when v_ids <> '{}' then v_ids
        when v_contact like '%@%' then '{0}'
    end;
end
$$;

-- The digits of a part of a phone number in any spelling; null: it is none.
create or replace function hybridflow.digits_of(p_contact text)
returns text
language sql
immutable
set search_path = ''
as $$
    select substring(regexp_replace(p_contact, '[\s()+./-]', '', 'g') from '^[0-9]+$')
$$;

-- How a number may begin that somebody typed the beginning of, and how one may end, as typed first: people
-- leave digits out, or put them in, where WhatsApp does neither (see spellings_typed).
create or replace function hybridflow.beginnings_typed(p_digits text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_digits, case
        when p_digits ~ '^55[1-9]{2}9[6-9]' then left(p_digits, 4) || substr(p_digits, 6)
        when p_digits ~ '^55[1-9]{2}[6-9]' then left(p_digits, 4) || '9' || substr(p_digits, 5)
        when p_digits ~ '^(521|549)[0-9]' then left(p_digits, 2) || substr(p_digits, 4)
        when p_digits ~ '^52[0-9]' then '521' || substr(p_digits, 3)
        when p_digits ~ '^54[0-9]' then '549' || substr(p_digits, 3)
    end], null)
$$;

create or replace function hybridflow.ends_typed(p_digits text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_digits, case
        when p_digits ~ '^9[6-9][0-9]{7}$' then substr(p_digits, 2)
        when p_digits ~ '^[1-9]{2}9[6-9][0-9]{7}$' then left(p_digits, 2) || substr(p_digits, 4)
        when p_digits ~ '^[1-9]{2}[6-9][0-9]{7}$' then left(p_digits, 2) || '9' || substr(p_digits, 3)
    end], null)
$$;

-- The sessions of contacts whose number begins or ends with these digits, in any spelling, found by indexes;
-- none, where there are more than 200 of them, or no digits.
create or replace function hybridflow.sessions_numbered(p_tenant_id bigint, p_digits text)
returns bigint[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[];
begin
    if p_digits is null then
        return '{}';
    end if;
    select array_agg(h.session_id) into v_ids
    from (
        select b.session_id
        from unnest(hybridflow.beginnings_typed(p_digits)) as t (digits)
        cross join lateral (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid ~>=~ t.digits and i.jid ~<~ (t.digits || '~')
            limit 201
        ) as b
        union
        select e.session_id
        from unnest(hybridflow.ends_typed(p_digits)) as t (digits)
        cross join lateral (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id
                and reverse(split_part(i.jid, '@', 1)) ~>=~ reverse(t.digits)
                and reverse(split_part(i.jid, '@', 1)) ~<~ (reverse(t.digits) || '~')
            limit 201
        ) as e
    ) as h;
    return case when cardinality(v_ids) <= 200 then v_ids else '{}' end;
end
$$;

-- list_sessions({tenant_id, paused?, label?, owner?, contact?, active_since?, policy?, limit?, cursor?})
-- Returns {items: [session], next_cursor}: the tenant's sessions, newest activity first; those without any
-- message (a pause came first) last. `contact` is a JID or number (see sessions_called), the beginning or end
-- of a number (see sessions_numbered), or else any part of a number, in any spelling, or of the name: these
-- are looked for in the newest sessions first, 1000 of them for a page (see page_of_search).
create or replace function public.list_sessions(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_since timestamptz := (p ->> 'active_since')::timestamptz;
    v_contact text := lower(btrim(p ->> 'contact'));
    v_digits text := hybridflow.digits_of(v_contact);
    v_called bigint[] := hybridflow.sessions_called(v_tenant_id, p ->> 'contact');
    v_known bigint[] := case
        when v_called is null then nullif(hybridflow.sessions_numbered(v_tenant_id, v_digits), '{}')
        else v_called
    end;
    v_paused boolean := (p ->> 'paused')::boolean;
    v_limit integer := hybridflow.page_size(p);
    v_look integer := hybridflow.rows_to_look_at(
        v_limit,
        coalesce(v_contact, p ->> 'label', p ->> 'owner') is not null or coalesce(not v_paused, false)
    );
    v_after jsonb := hybridflow.from_cursor('sessions', p);
    -- Three starts: at the top, after a session with messages, after one without.
    v_at timestamptz := case
        when v_after is null then 'infinity' else coalesce((v_after ->> 0)::timestamptz, '-infinity')
    end;
    v_id bigint := coalesce((v_after ->> 1)::bigint, 9223372036854775807);
    v_silent_id bigint := case when v_after ->> 0 is null then v_id else 9223372036854775807 end;
    v_rows jsonb[];
    v_keys jsonb[];
begin
    perform hybridflow.require_keys('list_sessions', p, '{tenant_id}');
    perform hybridflow.require_own(jsonb_build_object('tenant_id', v_tenant_id));
    with looked as materialized (
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_paused is not true
                and s.tenant_id = v_tenant_id and (s.last_message_at, s.id) < (v_at, v_id)
                and s.last_message_at >= coalesce(v_since, '-infinity')
            order by s.last_message_at desc nulls last, s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_paused and s.is_paused
                and s.tenant_id = v_tenant_id and (s.last_message_at, s.id) < (v_at, v_id)
                and s.last_message_at >= coalesce(v_since, '-infinity')
            order by s.last_message_at desc nulls last, s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_since is null
                and s.tenant_id = v_tenant_id and s.last_message_at is null and s.id < v_silent_id
            order by s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where s.id = any(v_known)
                and coalesce((s.last_message_at, s.id) < (v_at, v_id), s.id < v_silent_id)
                and coalesce(s.last_message_at >= v_since, v_since is null)
        )
        order by last_message_at desc nulls last, id desc limit v_look
    ),

    found as (
        select l.id, l.last_message_at from looked as l
        where l.is_paused = coalesce(v_paused, l.is_paused)
            and (p ->> 'label' is null or p ->> 'label' = any(l.labels))
            and (p ->> 'owner' is null or l.owner is not distinct from p ->> 'owner') and case
            when v_contact is null or v_known is not null then true
            when v_digits is null then coalesce(position(v_contact in lower(l.contact_name)) > 0, false)
            else (  -- no exists: it would be looked up in all identities at once
                select coalesce(bool_or(split_part(i.jid, '@', 1) like '%' || v_digits || '%'), false)
                from public.session_identities as i where i.session_id = l.id
            )
        end
        order by l.last_message_at desc nulls last, l.id desc limit v_limit + 1
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.last_message_at, f.id),
                'item', hybridflow.session_json(f.id, p -> 'policy')
            ) order by f.last_message_at desc nulls last, f.id desc)
            from found as f
        ),
        (
            select array_agg(
                jsonb_build_array(l.last_message_at, l.id)
                order by l.last_message_at desc nulls last, l.id desc
            )
            from looked as l
        )
    into v_rows, v_keys;
    return hybridflow.page_of_search('sessions', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- Whether a message is one that the filters `sender` and `from_me` ask for. A function of its own, for the
-- planner not to think that a filter that is not set leaves few rows.
create or replace function hybridflow.message_matches(p_message public.messages, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.sender = (p ->> 'sender'), true)
        and coalesce(p_message.from_me = (p ->> 'from_me')::boolean, true)
$$;

-- Whether one of these filters is set.
create or replace function hybridflow.picks_messages(p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p ->> 'sender', p ->> 'from_me') is not null
$$;

-- A page of a session's messages, in the order of the conversation, newest first.
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

-- A page of a tenant's messages, in the order in which they were recorded, newest first: what a late
-- webhook or gap repair brings is new here, however old the message is.
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
-- sessions by created_at, newest first; `since` goes by the same time as the order. With a filter, 1000 of
-- them are looked at for a page (see page_of_search). A page ends before its `limit` where it has 500,000
-- characters. PT404: not this tenant's.
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

-- list_turns({tenant_id, state?, session_id?, limit?, cursor?})
-- Returns {items: [turn], next_cursor}: the tenant's turns, or a session's, newest first. Of a session with a
-- state, 1000 are looked at for a page (see page_of_search). A page ends before its `limit` where its replies
-- have 500,000 characters. PT404: not this tenant's.
create or replace function public.list_turns(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_state text := p ->> 'state';
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('turns', p) ->> 0)::bigint, 9223372036854775807);
    v_look integer := hybridflow.rows_to_look_at(v_limit, v_state is not null);
    v_last jsonb;
    v_ids bigint[];
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_turns', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    if v_session_id is not null then
        select
            array_agg(l.id order by l.id desc) filter (where l.state = coalesce(v_state, l.state)),
            case when count(*) = v_look then jsonb_build_array(min(l.id)) end
        into v_ids, v_last
        from (
            select t.id, t.state from public.turns as t
            where t.session_id = v_session_id and t.id < v_before
            order by t.id desc limit v_look
        ) as l;
        v_ids := v_ids[:v_limit + 1];
    elsif v_state is not null then
        v_ids := array(
            select t.id from public.turns as t
            where t.tenant_id = v_tenant_id and t.state = v_state and t.id < v_before
            order by t.id desc limit v_limit + 1
        );
    else
        v_ids := array(
            select t.id from public.turns as t
            where t.tenant_id = v_tenant_id and t.id < v_before
            order by t.id desc limit v_limit + 1
        );
    end if;
    select
        array_agg(jsonb_build_object(
            'key', jsonb_build_array(f.id), 'item', case when f.fits then hybridflow.turn_json(f.id) end
        ) order by f.id desc),
        least(v_limit, count(*) filter (where f.fits))
    into v_rows, v_limit
    from (
        select i.id, coalesce(sum((
            select length(t.reply::text) from public.turns as t where t.id = i.id
        )) over (order by i.id desc rows between unbounded preceding and 1 preceding), 0) < 500000 as fits
        from unnest(v_ids) as i (id)
    ) as f;
    return hybridflow.page_of_search('turns', v_rows, v_limit, v_last);
end
$$;

-- get_turn({tenant_id, turn_id})
-- Returns {turn} with its messages: those that it answers and the parts of its reply, of the newest as many
-- as have 500,000 characters. PT404: not this tenant's.
create or replace function public.get_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_turn_id bigint := (p ->> 'turn_id')::bigint;
begin
    perform hybridflow.require_keys('get_turn', p, '{tenant_id,turn_id}');
    perform hybridflow.require_own(p - 'session_id');
    if not exists (
        select from public.turns where id = v_turn_id and tenant_id = (p ->> 'tenant_id')::bigint
    ) then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    return jsonb_build_object('turn', hybridflow.turn_json(v_turn_id) || jsonb_build_object('messages', (
        select coalesce(jsonb_agg((
            select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
        ) order by f.sent_at, f.id), '[]')
        from (
            select m.id, m.sent_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
                order by m.sent_at desc, m.id desc rows between unbounded preceding and 1 preceding
            ), 0) as characters_after
            from public.messages as m where m.turn_id = v_turn_id
        ) as f
        where f.characters_after < 500000
    )));
end
$$;
