-- HybridFlow: identities: which session a contact's JIDs lead to.

-- Finds or creates the session that is known under any of p_jids, and returns its row, locked. New JIDs are
-- recorded. If the JIDs lead to several sessions, these are one person's: they are merged, see
-- connect_identities.
create or replace function hybridflow.resolve_session(
    p_tenant_id bigint, p_jids text[], p_chat text, p_name text
)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_known integer;
    v_found record;
    v_session public.sessions;
    v_jid text;
begin
    if p_jids = '{}' then
        raise exception 'a contact has a JID: the list of them is empty' using errcode = 'PT422';
    elsif cardinality(p_jids) = 1 then
        select s as session into v_found from public.sessions as s
        where s.id = (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = p_jids[1]
        )
        for update of s;
        v_session := v_found.session;
    end if;
    while v_session.id is null loop
        select array_agg(distinct i.session_id order by i.session_id), count(*)
        into v_ids, v_known
        from public.session_identities as i
        where i.tenant_id = p_tenant_id and i.jid = any(p_jids);

        if cardinality(v_ids) = 1 and v_known = cardinality(p_jids) then
            select * into v_session from public.sessions where id = v_ids[1] for update;
            exit when found;
            continue;  -- merged away while we waited for it
        end if;

        for v_jid in select j from unnest(p_jids) as j order by j loop
            perform pg_advisory_xact_lock(hashtextextended(p_tenant_id || ':' || v_jid, 0));
        end loop;
        perform hybridflow.connect_identities(p_tenant_id, p_jids, p_chat);
    end loop;

    if p_name is not null and p_name <> '' and p_name is distinct from v_session.contact_name then
        update public.sessions set contact_name = p_name where id = v_session.id;
        v_session.contact_name := p_name;
    end if;
    return v_session;
end
$$;

-- How large a session is: hundreds of rows of each kind, with at most ten thousand rows of each kind counted.
create or replace function hybridflow.size_of_session(p_session_id bigint)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
    return (select count(*) from (
            select from public.messages as m where m.session_id = p_session_id limit 10000
        ) as m) / 100
        + (select count(*) from (
            select from public.messages_archive as a where a.session_id = p_session_id limit 10000
        ) as a) / 100
        + (select count(*) from (
            select from public.turns as t where t.session_id = p_session_id limit 10000
        ) as t) / 100
        + (select count(*) from (
            select from public.session_identities as i where i.session_id = p_session_id limit 10000
        ) as i) / 100;
end
$$;

-- Forgets identities of a session above the eighth, the oldest first, except p_kept and those that its
-- messages are sent to. A person has a phone number, in two spellings, and a LID. A contact with ever more
-- identities would make each lock, claim and lookup of the session cost more.
create or replace function hybridflow.forget_identities(p_session_id bigint, p_kept text[])
returns void
language sql
set search_path = ''
as $$
    with counted as (
        select i.tenant_id, i.jid, row_number() over (
            order by
                i.jid = any(p_kept) desc, coalesce(i.jid in (s.phone_jid, s.lid), false) desc,
                i.created_at desc, i.jid
        ) as place
        from public.session_identities as i
        inner join public.sessions as s on s.id = i.session_id
        where i.session_id = p_session_id
    )

    delete from public.session_identities as i
    using counted as c
    where c.place > 8 and i.tenant_id = c.tenant_id and i.jid = c.jid
        and i.jid <> all(p_kept)
$$;

-- Makes all p_jids lead to one session. The caller holds the advisory locks of the JIDs.
create or replace function hybridflow.connect_identities(p_tenant_id bigint, p_jids text[], p_chat text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_locked integer;
    v_session_id bigint;
    v_other bigint;
begin
    select array_agg(distinct i.session_id order by i.session_id) into v_ids
    from public.session_identities as i
    where i.tenant_id = p_tenant_id and i.jid = any(p_jids);
    perform from public.sessions where id = any(v_ids) order by id for update;
    get diagnostics v_locked = row_count;
    if v_locked <> coalesce(cardinality(v_ids), 0) then
        return;  -- one was merged away while we waited: the caller looks again
    end if;

    if cardinality(v_ids) > 1 then
        -- Merge into the largest, so that little has to be moved, however often somebody causes this. Of
        -- sessions with next to nothing, and of equal ones, the oldest is used.
        v_ids := array(
            select i from unnest(v_ids) as i order by hybridflow.size_of_session(i) desc, i
        );
    end if;
    v_session_id := v_ids[1];
    if v_session_id is null then
        insert into public.sessions (tenant_id, chat) values (p_tenant_id, p_chat)
        returning id into v_session_id;
    end if;
    foreach v_other in array coalesce(v_ids[2:], '{}') loop
        perform hybridflow.merge_sessions(v_session_id, v_other);
    end loop;

    insert into public.session_identities (tenant_id, jid, session_id)
    select p_tenant_id, j, v_session_id from unnest(p_jids) as j
    on conflict do nothing;
    update public.sessions
    set phone_jid = coalesce((select j from unnest(p_jids) as j where j not like '%@lid' limit 1), phone_jid),
        lid = coalesce((select j from unnest(p_jids) as j where j like '%@lid' limit 1), lid),
        erasure_checked = false
    where id = v_session_id;
    perform hybridflow.forget_identities(v_session_id, p_jids);
end
$$;
