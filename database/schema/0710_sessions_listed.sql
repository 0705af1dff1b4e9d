-- HybridFlow: operators list sessions, and find them by name or number.

-- Returns the sessions that `contact` names exactly, as a JID or a whole phone number in any spelling. One
-- contact may have two sessions, if nobody knew that they belong together. Returns {0} for a JID that no
-- session has, and null if `contact` is not an exact name but a text to search for.
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

-- Returns the digits of a part of a phone number in any spelling; null if the text is not part of a number.
create or replace function hybridflow.digits_of(p_contact text)
returns text
language sql
immutable
set search_path = ''
as $$
    select substring(regexp_replace(p_contact, '[\s()+./-]', '', 'g') from '^[0-9]+$')
$$;

-- Returns the ways in which a number may begin (or end, in ends_typed) if a person typed these digits;
-- p_digits itself comes first. People may leave out digits that WhatsApp uses, or add digits that it does not
-- use (see spellings_typed).
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

-- Returns the sessions of contacts whose number begins or ends with these digits, in any spelling, found by
-- indexes. Returns none if there are more than 200, or if there are no digits.
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
-- Returns {items: [session], next_cursor}: the tenant's sessions, newest activity first. Sessions without any
-- message (they were paused first) come last. `contact` is a JID or number (see sessions_called), the
-- beginning or end of a number (see sessions_numbered), or else any part of a number, in any spelling, or of
-- the name. Parts are searched in the newest sessions first, 1000 of them for each page (see page_of_search).
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
    -- There are three places to start: at the top, after a session with messages, and after one without.
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
            else (  -- with exists, PostgreSQL would search all identities at once
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
