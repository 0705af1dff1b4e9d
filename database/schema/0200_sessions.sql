-- HybridFlow: the clock, and who is who.

-- The one clock of every function. clock_timestamp(), not now(): a transaction that waited for a lock
-- must not judge by the time at which it began to wait. Tests move it with
-- `set hybridflow.clock_offset = '3 hours'`. This and other small rules are in PL/pgSQL, as none is put into
-- the statement that asks it (each sets search_path), and SQL's take two or three times as long to call.
create or replace function hybridflow.clock()
returns timestamptz
language plpgsql
volatile
set search_path = ''
as $$
begin
    return clock_timestamp()
        + coalesce(nullif(current_setting('hybridflow.clock_offset', true), ''), '0')::interval;
end
$$;

-- A setting's value: the tenant's own, else the caller's policy, else the product's default.
create or replace function hybridflow.rule(p_own numeric, p_policy jsonb, p_name text, p_default numeric)
returns numeric
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(p_own, (p_policy ->> p_name)::numeric, p_default);
end
$$;

-- A number of seconds as an interval.
create or replace function hybridflow.seconds(p_seconds numeric)
returns interval
language plpgsql
immutable
set search_path = ''
as $$
begin
    return make_interval(secs => p_seconds::double precision);
end
$$;

-- Raises PT422 for the first of p_keys that the argument of function p_function lacks, or has as null: so
-- nothing is done for a caller that leaves out what matters. `a|b`: one of them must be there; `a or null`:
-- it must be there, but null says something.
create or replace function hybridflow.require_keys(p_function text, p jsonb, p_keys text[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_key text;
    v_names text[];
begin
    foreach v_key in array p_keys loop
        continue when p ->> v_key is not null;
        v_names := string_to_array(replace(v_key, ' or null', ''), '|');
        continue when exists (select from unnest(v_names) as n (name) where p ->> n.name is not null)
            or (v_key like '% or null' and p ? v_names[1]);
        raise exception '% needs "%": it is %', p_function, array_to_string(v_names, '" or "'),
            case when p ?| v_names then 'null' else 'missing' end using errcode = 'PT422';
    end loop;
end
$$;

-- The same for each object in the list p_list of the argument, which must be a list.
create or replace function hybridflow.require_keys_of_each(
    p_function text, p jsonb, p_list text, p_keys text[]
)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if jsonb_typeof(p -> p_list) <> 'array' then
        raise exception '% needs "%": it must be a list', p_function, p_list using errcode = 'PT422';
    end if;
    perform hybridflow.require_keys(format('each of the %s of %s', p_list, p_function), e.item, p_keys)
    from jsonb_array_elements(p -> p_list) as e (item);
end
$$;

-- A text of no more than p_most characters: a longer one is cut, and says so. WhatsApp's own texts end at
-- 65,536. However long it is, no more of it is read than that. router/whatsapp/lengths.py cuts the same way.
create or replace function hybridflow.cut(p_text text, p_most integer default 65536)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when octet_length(p_text) <= p_most or length(left(p_text, p_most + 1)) <= p_most then p_text
        else left(p_text, p_most - 4) || ' […]'
    end
$$;

-- An object with no text in it that is longer than its kind may be. What is short costs a look at its size.
create or replace function hybridflow.cut_fields(p_object jsonb)
returns jsonb
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    if pg_column_size(p_object) <= 1000 or jsonb_typeof(p_object) <> 'object' then
        return p_object;
    end if;
    return (
        select jsonb_object_agg(f.key, case jsonb_typeof(f.value)
            when 'string' then to_jsonb(hybridflow.cut(f.value #>> '{}', case
                when f.key in ('text', 'caption') then 65536
                when f.key like '%name' then 256
                else 4096
            end))
            when 'object' then hybridflow.cut_fields(f.value)
            else f.value
        end)
        from jsonb_each(p_object) as f
    );
end
$$;

-- The messages that WhatsApp calls p_wa_id, of whatever tenant; nearly always one. A function of its
-- own, and not a condition beside others, so that no plan can come to read a tenant's or a session's
-- messages instead: before there are statistics, every index looks the same to the planner.
create or replace function hybridflow.messages_called(p_wa_id text)
returns setof public.messages
language sql
stable
rows 1
set search_path = ''
as $$
    select * from public.messages where wa_id = p_wa_id
$$;

-- The turns of a session that are running or sending, however many it has had.
create or replace function hybridflow.held_turns(p_session_id bigint)
returns setof public.turns
language sql
stable
rows 1
set search_path = ''
as $$
    select * from public.turns where session_id = p_session_id and held and not beside
    union all
    select * from public.turns where session_id = p_session_id and held and beside
$$;

-- Moves everything of session p_from into session p_into and removes p_from. Both rows are locked by
-- the caller, lower id first. The pause of either holds for both, each reason as long as it asks; a message
-- that turns out to be ours takes no pause back that had another reason. A turn that has not sent anything
-- is folded into the other's; one that is sending is finished beside it.
create or replace function hybridflow.merge_sessions(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_from public.sessions;
    v_into public.sessions;
    v_is_reason boolean;
    v_is_resume boolean;
    v_pending bigint;
    v_from_told timestamptz;
    v_into_told timestamptz;
    v_from_fallback timestamptz;
    v_into_fallback timestamptz;
begin
    select * into v_from from public.sessions where id = p_from;
    select * into v_into from public.sessions where id = p_into;
    -- What did not arrive told nothing: of the two, only one that did counts.
    v_from_told := hybridflow.told_away_until(v_from);
    v_into_told := hybridflow.told_away_until(v_into);
    v_from_fallback := hybridflow.told_fallback_at(v_from);
    v_into_fallback := hybridflow.told_fallback_at(v_into);
    -- Whose words say why it is paused, and whose resume was the last one.
    v_is_reason := v_from.is_paused
    and (not v_into.is_paused or (v_from.pause_indefinite and not v_into.pause_indefinite));
    v_is_resume := v_from.resumed_at is not null and coalesce(v_from.resumed_at > v_into.resumed_at, true);
    perform hybridflow.close_sight(i) from unnest(array[p_into, p_from]) as i;
    perform hybridflow.make_way(t.id)
    from hybridflow.held_turns(p_from) as t
    where exists (select from hybridflow.held_turns(p_into));
    select id into v_pending from public.turns where session_id = p_into and waiting;
    if v_pending is not null then
        update public.messages as m set turn_id = v_pending
        from public.turns as t
        where t.session_id = p_from and t.waiting and m.turn_id = t.id and not m.from_me;
        update public.turns as t
        set retried_at = greatest(t.retried_at, f.retried_at),
            -- It waits for the media of both.
            run_after = case
                when f.due_when_heard is not null then greatest(t.run_after, f.run_after) else t.run_after
            end,
            due_when_heard = case
                when f.due_when_heard is null then t.due_when_heard
                else greatest(coalesce(t.due_when_heard, t.run_after), f.due_when_heard)
            end
        from public.turns as f
        where t.id = v_pending and f.session_id = p_from and f.waiting;
        perform hybridflow.close_turn(t.id, 'cancelled', 'merged')
        from public.turns as t where t.session_id = p_from and t.waiting;
        perform hybridflow.widen_turn(v_pending);
    end if;
    update public.turns set session_id = p_into where session_id = p_from;
    delete from public.messages as m
    where m.session_id = p_from and exists (
        select from hybridflow.messages_called(m.wa_id) as twin
        where twin.session_id = p_into and twin.tenant_id = m.tenant_id and twin.from_me = m.from_me
    );
    update public.messages set session_id = p_into where session_id = p_from;
    update public.messages_archive set session_id = p_into where session_id = p_from;
    update public.session_identities set session_id = p_into where session_id = p_from;
    update public.notices set session_id = p_into where session_id = p_from;
    update public.session_notes set session_id = p_into where session_id = p_from;
    update public.relays set session_id = p_into where session_id = p_from;
    update public.relays set staff_session_id = p_into where staff_session_id = p_from;
    perform hybridflow.merge_handoffs(p_into, p_from);
    -- A session has one owner: the other one is not forgotten.
    insert into public.session_notes (tenant_id, session_id, body, author, created_at)
    select
        v_from.tenant_id, p_into,
        left(v_from.owner, 100) || ' looked after one of the two conversations that became this one.',
        'HybridFlow', hybridflow.clock()
    where v_from.owner <> v_into.owner;
    update public.sessions as s
    set phone_jid = coalesce(s.phone_jid, v_from.phone_jid),
        lid = coalesce(s.lid, v_from.lid),
        contact_name = coalesce(s.contact_name, v_from.contact_name),
        is_paused = s.is_paused or v_from.is_paused,
        pause_source = case when v_is_reason then v_from.pause_source else s.pause_source end,
        pause_reason = case when v_is_reason then v_from.pause_reason else s.pause_reason end,
        pause_message_id = case
            when s.is_paused and v_from.is_paused then null
            when v_from.is_paused then v_from.pause_message_id
            else s.pause_message_id
        end,
        paused_at = case
            when s.is_paused and v_from.is_paused then least(s.paused_at, v_from.paused_at)
            when v_is_reason then v_from.paused_at
            else s.paused_at
        end,
        paused_until = greatest(
            case when s.is_paused then s.paused_until end, case when v_from.is_paused then v_from.paused_until end
        ),
        pause_indefinite = (s.is_paused and s.pause_indefinite) or (v_from.is_paused and v_from.pause_indefinite),
        pause_asked_at = greatest(hybridflow.asked_at(s), hybridflow.asked_at(v_from)),
        pause_written_at = greatest(
            case when s.is_paused then s.pause_written_at end,
            case when v_from.is_paused then v_from.pause_written_at end,
            -- Beside what the AI asked for, what a human asked for counts as what they wrote then.
            case when v_from.is_paused and v_from.pause_source = 'ai' then hybridflow.asked_by_human(s) end,
            case when s.is_paused and s.pause_source = 'ai' then hybridflow.asked_by_human(v_from) end
        ),
        resumed_at = case when v_is_resume then v_from.resumed_at else s.resumed_at end,
        resume_source = case when v_is_resume then v_from.resume_source else s.resume_source end,
        last_human_at = greatest(s.last_human_at, v_from.last_human_at),
        last_message_at = greatest(s.last_message_at, v_from.last_message_at),
        last_contact_at = greatest(s.last_contact_at, v_from.last_contact_at),
        awaited_pictures = case
            when s.awaited_until >= v_from.awaited_until or v_from.awaited_until is null then s.awaited_pictures
            else v_from.awaited_pictures
        end,
        awaited_until = greatest(s.awaited_until, v_from.awaited_until),
        erased_before = greatest(s.erased_before, v_from.erased_before),
        labels = array(select distinct l from unnest(s.labels || v_from.labels) as l order by l),
        owner = coalesce(s.owner, v_from.owner),
        away_until = greatest(v_into_told, v_from_told),
        away_message_id = case
            when v_from_told > coalesce(v_into_told, '-infinity') then v_from.away_message_id
            else s.away_message_id
        end,
        fallback_told_at = greatest(v_into_fallback, v_from_fallback),
        fallback_message_id = case
            when v_from_fallback > coalesce(v_into_fallback, '-infinity') then v_from.fallback_message_id
            else s.fallback_message_id
        end,
        created_at = least(s.created_at, v_from.created_at),
        updated_at = hybridflow.clock()
    where s.id = p_into;
    insert into public.spending (tenant_id, session_id, day, turns, tokens, told_at)
    select b.tenant_id, p_into, b.day, b.turns, b.tokens, b.told_at from public.spending as b
    where b.session_id = p_from
    on conflict (tenant_id, day, session_id) do update
        set turns = spending.turns + excluded.turns, tokens = spending.tokens + excluded.tokens,
            told_at = coalesce(spending.told_at, excluded.told_at);
    delete from public.sessions where id = p_from;
    if (select is_paused from public.sessions where id = p_into) then
        perform hybridflow.cancel_turns(p_into, 'paused');
    elsif hybridflow.is_without_ai(p_into) then
        perform hybridflow.cancel_turns(p_into, 'no_ai');
    end if;
end
$$;

-- An active turn whose session is merged into one that has an active turn too. One that is sending goes on
-- beside that, for nobody knows yet what of it is on the phone; one that is not goes back to pending and
-- is folded by the caller.
create or replace function hybridflow.make_way(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn_id for update;
    if v_turn.state = 'sending' then
        update public.turns set beside = true, updated_at = hybridflow.clock() where id = p_turn_id;
        return;
    end if;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'merged');
end
$$;

-- Finds or makes the session known under any of p_jids and returns its row, locked. JIDs that are
-- new are remembered; JIDs that lead to several sessions show that these are one person: they are
-- merged, see connect_identities.
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

-- How large a session is, counted in hundreds of rows of each kind, and no further than ten thousand.
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

-- Of the identities of a session those above the eighth are forgotten, the oldest first, but not p_kept, nor
-- those that its messages are sent to. A person has a phone, in two spellings, and a LID; who has more and
-- more of them would make each lock, claim and look at the session cost more.
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
        -- Into the largest, so that what is moved is little, however often somebody makes this happen; of those
        -- that have next to nothing, and of equals, into the oldest.
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
