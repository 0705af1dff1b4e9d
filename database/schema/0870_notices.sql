-- HybridFlow: notices: the people of a business are told that the AI has handed a conversation over, that
-- the connection to WhatsApp is lost or waits for its QR code to be scanned, that WhatsApp does not deliver
-- their replies, or that their customers get no answer (see 0865_outages.sql).
--
-- A notice is made in the transaction of what it tells of. It is told at least once at the tenant's
-- webhook (or to n8n), and at most once by WhatsApp: a send whose answer was lost counts as told.

-- A phone number as it is dialled, without what people write between the digits; a JID as it is.
create or replace function hybridflow.dialled(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_number like '%@%' then p_number
        -- With the dashes, blanks and unseen marks that phones copy along.
        else regexp_replace(
            p_number, '[\s()+./\u00a0\u2010-\u2015\u200b-\u200f\u202a-\u202f\u2060-\u2069-]', '', 'g'
        )
    end
$$;

-- The JID of a number that people are told at; null where it is.
create or replace function hybridflow.notified_jid(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_number like '%@%' then p_number else p_number || '@s.whatsapp.net' end
$$;

-- The JID of the tenant's staff; null where nobody is to be told by WhatsApp.
create or replace function hybridflow.staff_jid(p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select hybridflow.notified_jid(p_tenant.notify_number)
$$;

-- Every spelling of the numbers at which the tenant's staff are told.
create or replace function hybridflow.staff_jids(p_tenant public.tenants)
returns text[]
language sql
stable
set search_path = ''
as $$
    select hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number))
        || hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number_next))
$$;

-- Whether anybody is told by WhatsApp.
create or replace function hybridflow.has_staff(p_tenant public.tenants)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select p_tenant.notify_number is not null or p_tenant.notify_number_next is not null
$$;

-- Which of the tenant's staff is told in the chat with the business's own number, of which p_event is: as
-- that was typed. By its JIDs, or where that is the own LID, by where that was told which it quotes.
create or replace function hybridflow.own_staff_jid(p_tenant public.tenants, p_event jsonb)
returns text
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.jid
    from unnest(array[
        hybridflow.staff_jid(p_tenant), hybridflow.notified_jid(p_tenant.notify_number_next)
    ]) with ordinality as n (jid, place)
    where n.jid is not null and (
        exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where j.value = any(hybridflow.spellings_typed(n.jid))
        )
        or p_event ->> 'chat' <> 'self' and exists (
            select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
            inner join public.session_identities as i on i.session_id = m.session_id
            where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
                and i.jid = any(hybridflow.spellings_typed(n.jid))
        )
    )
    order by n.place limit 1
$$;

-- Whether the session is one with the staff, whichever way their number was typed.
create or replace function hybridflow.is_staff(p_tenant public.tenants, p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.session_identities as i
        where i.tenant_id = p_tenant.id and i.session_id = p_session_id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    )
$$;

-- The number that is told of a notice: the tenant's, or the next one, where nobody took what it tells of.
create or replace function hybridflow.notice_number(p_notice public.notices, p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_notice.facts ? 'to_next' then p_tenant.notify_number_next else p_tenant.notify_number end
$$;

-- Makes a notice, to be told at p_at. One about the connection takes the place of an earlier one that
-- was not told yet.
create or replace function hybridflow.make_notice(
    p_tenant_id bigint, p_kind text, p_session_id bigint, p_facts jsonb, p_at timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_kind <> 'handoff' then
        perform hybridflow.drop_notices(p_tenant_id, array[p_kind], 'replaced');
    end if;
    insert into public.notices (tenant_id, session_id, kind, facts, next_at)
    values (p_tenant_id, p_session_id, p_kind, jsonb_strip_nulls(p_facts), p_at)
    on conflict do nothing;  -- two routers have heard of the same at the same time
end
$$;

-- Closes the tenant's notices of p_kinds that need not be told any more.
create or replace function hybridflow.drop_notices(p_tenant_id bigint, p_kinds text[], p_reason text)
returns void
language sql
set search_path = ''
as $$
    update public.notices
    set state = 'delivered', reason = p_reason, lease_until = null,
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where tenant_id = p_tenant_id and kind = any(p_kinds) and waiting and kind <> 'handoff'
$$;

-- The AI asked for a human in this session.
create or replace function hybridflow.notice_handoff(p_session public.sessions, p_reason text, p_summary text)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.make_notice(
        p_session.tenant_id, 'handoff', p_session.id, jsonb_build_object(
            'reason', left(p_reason, 500), 'summary', left(p_summary, 2000),
            'jid', coalesce(p_session.phone_jid, p_session.lid), 'contact_name', p_session.contact_name
        ),
        hybridflow.clock()
    )
$$;

-- Nobody has taken a handoff: the people are told again, or (p_to_next) the next number is told.
create or replace function hybridflow.notice_untaken(
    p_handoff public.handoffs, p_session public.sessions, p_to_next boolean
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.make_notice(
        p_handoff.tenant_id, 'handoff', p_session.id, jsonb_build_object(
            'reason', left(coalesce(p_handoff.why, p_handoff.reason), 500),
            'summary', p_handoff.summary, 'jid', coalesce(p_session.phone_jid, p_session.lid),
            'contact_name', p_session.contact_name,
            'waited_minutes', floor(extract(epoch from hybridflow.clock() - p_handoff.created_at) / 60),
            'words', case when p_handoff.words = 'not_said' then 'not_said' end,
            'to_next', case when p_to_next then true end
        ),
        hybridflow.clock()
    );
end
$$;

-- The newest notice of a handoff in the session, as long as nobody was told of it or is about to be.
create or replace function hybridflow.untold_handoff_notice(p_session_id bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select max(n.id) from public.notices as n
    where n.session_id = p_session_id and n.kind = 'handoff' and n.state = 'pending'
        and n.number_told_at is null and n.url_told_at is null and n.token_hash is null
$$;

-- The customer could not be told of a handoff. Where nobody was told of that yet, it is told with it.
create or replace function hybridflow.notice_words_lost(p_handoff public.handoffs)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    update public.notices set facts = facts || '{"words": "not_said"}'
    where id = hybridflow.untold_handoff_notice(p_handoff.session_id);
    if found then
        return;
    end if;
    select * into v_session from public.sessions where id = p_handoff.session_id;
    perform hybridflow.make_notice(
        p_handoff.tenant_id, 'handoff', v_session.id, jsonb_build_object(
            'reason', left(coalesce(p_handoff.why, p_handoff.reason), 500),
            'summary', p_handoff.summary, 'words', 'not_said',
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'contact_name', v_session.contact_name
        ),
        hybridflow.clock()
    );
end
$$;

-- The connection has become p_state; p_tenant is as it was before. Lost is told once until it is open
-- again, and once more if it got worse than that; after 20 seconds, since Baileys drops its connection and
-- takes it up again as a matter of course. What is over before it was told is not told.
create or replace function hybridflow.notice_connection(p_tenant public.tenants, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_state = 'open' then
        perform hybridflow.drop_notices(p_tenant.id, array['connection_lost', 'qr_waiting'], 'recovered');
    elsif p_tenant.is_active and (
        (p_state in ('close', 'refused') and p_tenant.connection_lost_at is null)
        or (p_state in ('logged_out', 'removed') and p_tenant.connection_state is distinct from p_state)
    ) then
        perform hybridflow.make_notice(
            p_tenant.id, 'connection_lost', null, jsonb_build_object('state', p_state, 'code', p_reason),
            hybridflow.clock() + interval '20 seconds'
        );
    end if;
end
$$;

-- A QR code is there to be scanned; p_tenant is as it was before. Told once a wait: WhatsApp changes the
-- code every 20 to 40 seconds, so a wait is over when none has come for five minutes. Nobody is told
-- of a code that is asked for and scanned at once.
create or replace function hybridflow.notice_qr(p_tenant public.tenants, p_event jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if not p_tenant.is_active or coalesce(p_event ->> 'code', p_event ->> 'pairing_code') is null then
        return;
    elsif coalesce(p_tenant.qr_code, p_tenant.pairing_code) is null
        or p_tenant.qr_updated_at < hybridflow.clock() - interval '5 minutes'
    then
        perform hybridflow.make_notice(
            p_tenant.id, 'qr_waiting', null, '{"state": "connecting"}', hybridflow.clock() + interval '20 seconds'
        );
    end if;
end
$$;

-- Whether a flow in n8n has answered a turn of the tenant since p_since, to its end.
create or replace function hybridflow.flow_has_worked(p_tenant_id bigint, p_since timestamptz)
returns boolean
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    return exists (
        select from public.turns as t
        where t.tenant_id = p_tenant_id and t.finished_at is not null and t.finished_at > p_since
            and t.handler = 'n8n' and t.state = 'sent'
            and coalesce(t.reason, '') not in ('flow_failed', 'flow_settled')
    );
end
$$;

-- tell_flow_failing({tenant_id, flow, failures, goes_on})
-- Tells the people of a business that a flow in n8n has failed so many times in a row; once, until it has
-- answered a turn again, and no two times within an hour. goes_on: what its turns do meanwhile, 'fallback' or
-- 'queue'. Where they know that nobody is answered for what makes a flow fail, that is one notice: this one
-- waits for its end (see end_outages), for a day at most. Returns {ok, already?}.
create or replace function public.tell_flow_failing(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant public.tenants;
    v_last public.notices;
begin
    perform hybridflow.require_keys('tell_flow_failing', p, '{tenant_id,flow,failures,goes_on}');
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    select * into v_last from public.notices as n
    where n.tenant_id = v_tenant.id and n.kind = 'flow_failing' and n.reason is distinct from 'recovered'
        and n.reason is distinct from 'replaced'
    order by n.id desc limit 1;
    if v_tenant.id is null or not v_tenant.is_active
        or (
            v_last.facts ->> 'flow' = left(p ->> 'flow', 500)
            and (
                v_last.created_at > v_now - interval '1 hour'
                or not hybridflow.flow_has_worked(v_tenant.id, v_last.created_at)
            )
        )
        or not pg_try_advisory_xact_lock(hashtextextended('flow_failing:' || v_tenant.id, 0))
    then
        return '{"ok": true, "already": true}';  -- or it is being told at this moment by another router
    end if;
    perform hybridflow.make_notice(
        v_tenant.id, 'flow_failing', null, jsonb_build_object(
            'flow', left(p ->> 'flow', 500), 'failures', (p ->> 'failures')::integer, 'state', p ->> 'goes_on'
        ),
        v_now + case when exists (
            select from public.outages as o
            where o.tenant_id = v_tenant.id and o.ended_at is null and o.notice_id is not null
                and o.cause in ('account_empty', 'account_refused', 'misconfigured', 'flow_failed')
        ) then interval '1 day' else interval '0' end
    );
    return '{"ok": true}';
end
$$;

-- tell_flow_works({tenant_id})
-- A flow of the tenant that failed works again: what nobody has been told yet is not told. Returns {ok}.
create or replace function public.tell_flow_works(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('tell_flow_works', p, '{tenant_id}');
    perform hybridflow.drop_notices((p ->> 'tenant_id')::bigint, array['flow_failing'], 'recovered');
    return '{"ok": true}';
end
$$;

-- A notice with all that is needed to tell it, its token included. `number` and `url` are what is still to be
-- told; there is no number while it is the tenant's own line that is down. A line that does not deliver
-- replies may still reach the staff.
create or replace function hybridflow.notice_context(p_notice public.notices, p_token uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'notice_id', p_notice.id, 'token', p_token, 'attempt', p_notice.attempt, 'kind', p_notice.kind,
        'tenant_id', t.id, 'instance_name', t.instance_name, 'language', t.language,
        'session_id', coalesce(p_notice.session_id, (  -- merged into another meanwhile
            select i.session_id from public.session_identities as i
            where i.tenant_id = t.id and i.jid = p_notice.facts ->> 'jid'
        )),
        'facts', hybridflow.notice_facts(p_notice), 'created_at', p_notice.created_at,
        'number', case
            when p_notice.kind not in ('connection_lost', 'qr_waiting') and p_notice.number_told_at is null
                then hybridflow.notice_number(p_notice, t)
        end,
        'url', case when p_notice.url_told_at is null then t.notify_url end,
        'told', p_notice.number_told_at is not null or p_notice.url_told_at is not null
    )
    from public.tenants as t
    where t.id = p_notice.tenant_id
$$;

-- The contexts of notices that were given out just now. All at once; where that fails, each by itself: one
-- that fails is not given out, and when its attempts are used up it dies of that.
create or replace function hybridflow.notice_contexts(p_ids bigint[], p_tokens uuid[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.notice_context(n, c.token) order by n.id) into v_contexts
        from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id;
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_claim in
        select n as notice, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id
        order by n.id
    loop
        begin
            v_contexts := v_contexts || hybridflow.notice_context(v_claim.notice, v_claim.token);
        exception
            when others then
                update public.notices set error = 'what is to be told could not be read: SQLSTATE ' || sqlstate
                where id = (v_claim.notice).id;
        end;
    end loop;
    return v_contexts;
end
$$;

-- The next tenants that have a notice to be told and room for it, in rounds: as next_tenants, which see.
create or replace function hybridflow.next_to_tell(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
    v_next record;
    v_from_start boolean := false;
begin
    select array_agg(d.tenant_id), count(*) < c_few into tenants, is_whole from (
        select n.tenant_id from public.notices as n
        where n.waiting and n.next_at is not null and n.next_at <= p_now
        order by n.next_at limit c_few
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        last := p_after;
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select n.tenant_id, n.next_at into v_next from public.notices as n
        where n.waiting and n.tenant_id > last
        order by n.tenant_id, n.next_at limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select n.tenant_id, n.next_at into v_next from public.notices as n
            where n.waiting
            order by n.tenant_id, n.next_at limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.next_at <= p_now and v_next.tenant_id <> all(p_full) then
            tenants := tenants || v_next.tenant_id;
            is_whole := cardinality(tenants) < p_enough;
            exit when not is_whole;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

-- The notices that are due, in the order in which they are to be told, some more than p_limit: some may be
-- locked; as claimable_turns. was_cut: its tenant may have more.
create or replace function hybridflow.claimable_notices(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (notice_id bigint, place bigint, was_cut boolean)
language sql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.id, r.place, r.was_cut
    from (
        select
            d.id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.own + d.place, w.nth, d.id) as place,
            w.own + d.place - 1 as has
        from (
            select
                a.tenant_id, a.nth, coalesce((p -> 'own' ->> a.tenant_id::text)::integer, 0) as own,
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_for(a.tenant_id, null, p_limit, p)) as room
            from unnest(p_tenants) with ordinality as a (tenant_id, nth)
        ) as w
        cross join lateral (
            select f.id, row_number() over (order by f.next_at, f.id) as place
            from (
                select n.id, n.next_at from public.notices as n
                where n.tenant_id = w.tenant_id and n.waiting and n.next_at <= p_now
                order by n.next_at limit least(w.enough, w.room)
            ) as f
        ) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- claim_notices({limit, lease_seconds, max_attempts, kinds?: [kind], after_tenant?, tenant_max?, own?:
-- {<tenant_id>: notices}, own_max?, sitting?: {<tenant_id>: notices}, own_times?})
-- Gives out notices that are due, each with a token that is good for lease_seconds; then it is due again, or
-- dead, when it was given out max_attempts times. Only those of `kinds`, which the caller can tell of; a
-- router before 0.3.0 names none, knows those of its time, and is left in peace for a while where others
-- wait. The tenants take turns, those after after_tenant first; what one tenant may have (tenant_max, own,
-- own_max, sitting, own_times) is as of claim_turns. Never waits.
-- Returns {notices: [{notice_id, token, attempt, kind, tenant_id, instance_name, language, session_id, facts,
-- created_at, number, url, told}], now, after_tenant, more, next_due_at}, as claim_turns; see notice_context.
create or replace function public.claim_notices(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_round record;
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_claimed bigint[];
    v_tokens uuid[];
    v_last bigint;
    v_kinds text[];
begin
    perform hybridflow.require_keys('claim_notices', p, '{limit,lease_seconds,max_attempts}');
    v_kinds := case
        when p ->> 'kinds' is null then '{handoff,connection_lost,qr_waiting,undelivered}'
        else array(select jsonb_array_elements_text(p -> 'kinds'))
    end;
    v_round := hybridflow.next_to_tell(v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 100), array(
        select o.key::bigint from jsonb_each_text(nullif(p -> 'own', 'null')) as o
        where hybridflow.room_for(o.key::bigint, null, v_limit, p) = 0
    ));
    select coalesce(array_agg(f.notice_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_notices(v_round.tenants, v_now, v_limit, p) as f;
    v_ids := array(
        select n.id
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.notices as n on n.id = f.id
        where n.state = 'pending' and n.next_at <= v_now and n.kind = any(v_kinds)
        order by f.place limit v_limit for update of n skip locked
    );
    update public.notices
    set state = 'dead', lease_until = null, finished_at = v_now, updated_at = v_now,
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time')
    where id = any(v_ids) and attempt >= (p ->> 'max_attempts')::integer;
    -- It may have waited for the end of an outage (see tell_flow_failing), and the flow works by now.
    update public.notices as n
    set state = 'delivered', reason = 'recovered', lease_until = null, finished_at = v_now, updated_at = v_now
    where n.id = any(v_ids) and n.state = 'pending' and n.kind = 'flow_failing' and n.attempt = 0
        and hybridflow.flow_has_worked(n.tenant_id, n.created_at);

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
    ),

    claimed as (
        update public.notices as n
        set attempt = n.attempt + 1, token_hash = hybridflow.hash_token(f.token), updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            next_at = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        from fresh as f
        where n.id = f.id and n.state = 'pending'
        returning n.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select o.tenant_id from public.notices as o where o.id = any(v_ids))
    order by n.nth desc limit 1;
    return jsonb_build_object(
        'notices', hybridflow.notice_contexts(v_claimed, v_tokens),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', coalesce(cardinality(v_claimed), 0) < cardinality(v_ids)
        or (cardinality(v_ids) < v_limit and (v_more or not v_round.is_whole)),
        'next_due_at', case
            when cardinality(v_ids) < least(v_limit, cardinality(v_offered))
                then v_now + case when p ->> 'kinds' is null then interval '5 seconds' else '0' end
            else (
                select n.next_at from public.notices as n
                where n.waiting and n.next_at is not null and n.next_at > v_now
                order by n.next_at limit 1
            )
        end
    );
end
$$;

-- Why nobody may act on the notice by p.token, as every function answers it: {refused: 'unknown_notice'},
-- 'stale' (it was given out again), 'superseded' (it is closed); null where one may.
create or replace function hybridflow.notice_refusal(p_notice public.notices, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_notice.id is null then
        return '{"refused": "unknown_notice"}';
    elsif p ->> 'token' is null
        or p_notice.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_notice.state <> 'pending' then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- The notice that p names, locked; `refused` says why who shows p.token may not act on it, see
-- notice_refusal.
create or replace function hybridflow.hold_notice(p jsonb, out notice public.notices, out refused jsonb)
language plpgsql
set search_path = ''
as $$
begin
    select * into notice from public.notices where id = (p ->> 'notice_id')::bigint for update;
    refused := hybridflow.notice_refusal(notice, p);
end
$$;

-- begin_notice_send({notice_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds, instance_name?, number?})
-- The fence before the one WhatsApp message of a notice. Records it, and counts the number as told. Returns
-- {ok, message_id, chosen_id, number, tenant_id, instance_name, evo_server_url, evo_api_key} or {refused:
-- reason, wa_id?, jid?, body?}. The former is for the router only; the latter: 'unknown_notice', 'stale',
-- 'superseded', 'no_number' (the tenant has none), 'instance', 'number' (it is for another than was named),
-- 'already_sent' (with wa_id, jid and body of the first; wa_id is null as long as it is in doubt).
create or replace function public.begin_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_notice public.notices;
    v_tenant public.tenants;
    v_session public.sessions;
    v_message public.messages;
    v_held record;
    v_refused jsonb;
    v_number text;
    v_jid text;
begin
    perform hybridflow.require_keys('begin_notice_send', p, '{notice_id,token,body,lease_seconds}');
    select * into v_notice from public.notices where id = (p ->> 'notice_id')::bigint;
    select * into v_tenant from public.tenants where id = v_notice.tenant_id;
    v_number := hybridflow.notice_number(v_notice, v_tenant);
    v_jid := hybridflow.notified_jid(v_number);
    v_refused := coalesce(hybridflow.notice_refusal(v_notice, p), case
        when v_tenant.instance_name <> p ->> 'instance_name' then '{"refused": "instance"}'
        when v_number is null then '{"refused": "no_number"}'
        when p ->> 'number' <> all(hybridflow.spellings_typed(v_jid)) then '{"refused": "number"}'
    end::jsonb);
    if v_refused is not null then
        return v_refused;
    end if;
    -- The session first, as everywhere: an event that closes the notice may have the session.
    v_session := hybridflow.resolve_session(
        v_tenant.id, array[hybridflow.known_as(v_tenant.id, v_jid)],
        case when v_number like '%@g.us' then 'group' else 'contact' end, null
    );
    v_held := hybridflow.hold_notice(p);
    v_notice := v_held.notice;
    if v_held.refused is not null then
        return v_held.refused;
    elsif v_notice.number_told_at is not null then
        select * into v_message from public.messages where id = v_notice.message_id;
        return jsonb_build_object(
            'refused', 'already_sent', 'wa_id', v_message.wa_id, 'jid', v_jid,
            'body', v_message.body
        );
    elsif v_notice.lease_until <= v_now then
        return '{"refused": "stale"}';
    end if;

    v_message := hybridflow.begin_message(v_session, null, null, 'ai', p);
    update public.notices
    set message_id = v_message.id, number_told_at = v_now, updated_at = v_now,
        lease_until = greatest(lease_until, v_until), next_at = greatest(next_at, v_until)
    where id = v_notice.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id, 'number', v_number,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url,
        'evo_api_key', v_tenant.evo_api_key
    );
end
$$;

-- finish_notice({notice_id, token, handler, reason?, url_told?})
-- It was told, as far as it can be; also by a token whose lease has run out, as long as the notice was not
-- given out again. Again by the same token: the same answer, with `already`. Returns {ok, already?} or
-- {refused: reason}.
create or replace function public.finish_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
begin
    perform hybridflow.require_keys('finish_notice', p, '{notice_id,token,handler}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused ->> 'refused' = 'superseded' and (v_held.notice).state = 'delivered' then
        return '{"ok": true, "already": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.notices
    set state = 'delivered', reason = p ->> 'reason', handler = p ->> 'handler', error = null, lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        finished_at = v_now, updated_at = v_now
    where id = (v_held.notice).id;
    return '{"ok": true}';
end
$$;

-- fail_notice({notice_id, token, error, away?, url_told?, max_attempts, base_seconds})
-- Somebody could not be told: tried again after an exponential back-off with jitter, dead when the attempts
-- are used up; none is where Evolution or the line is `away`, for a day. Returns {state} or {refused:
-- reason}.
create or replace function public.fail_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_notice public.notices;
    v_held record;
    v_away boolean;
    v_dead boolean;
begin
    perform hybridflow.require_keys('fail_notice', p, '{notice_id,token,error,max_attempts,base_seconds}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_notice := v_held.notice;
    v_away := coalesce((p ->> 'away')::boolean, false) and v_notice.created_at > v_now - interval '1 day';
    v_dead := not v_away and v_notice.attempt >= (p ->> 'max_attempts')::integer;
    update public.notices
    set state = case when v_dead then 'dead' else 'pending' end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        error = left(p ->> 'error', 2000), lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        next_at = v_now + hybridflow.seconds(hybridflow.back_off(
            (p ->> 'base_seconds')::numeric, v_notice.attempt - 1, case when v_away then 60 else 900 end
        )),
        finished_at = case when v_dead then v_now end, updated_at = v_now
    where id = v_notice.id;
    return jsonb_build_object('state', case when v_dead then 'dead' else 'pending' end);
end
$$;

-- finish_notice_send({message_id, wa_id, jid?, status?, policy?})
-- As finish_send, for routers of 0.1.0. Returns {ok}.
create or replace function public.finish_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('finish_notice_send', p, '{message_id,wa_id}');
    perform public.finish_send(p - 'turn_id' || jsonb_build_object('tenant_id', m.tenant_id))
    from public.messages as m where m.id = (p ->> 'message_id')::bigint and m.turn_id is null;
    return '{"ok": true}';
end
$$;

-- fail_notice_send({message_id, in_doubt, chosen_id?, given_up?, policy?})
-- As doubt_send or fail_send, for routers of 0.1.0, which know no `given_up`. Returns {ok}.
create or replace function public.fail_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_named jsonb := p - '{turn_id,token}'::text[] || jsonb_build_object('tenant_id', (
        select m.tenant_id from public.messages as m
        where m.id = (p ->> 'message_id')::bigint and m.turn_id is null
    ));
begin
    perform hybridflow.require_keys('fail_notice_send', p, '{message_id,in_doubt}');
    if v_named ->> 'tenant_id' is null then
        null;  -- erased meanwhile
    elsif (p ->> 'in_doubt')::boolean then
        perform public.doubt_send(v_named || '{"check_after": 3, "error": "nobody knows how it ended"}');
    else
        perform public.fail_send(v_named);
    end if;
    return '{"ok": true}';
end
$$;
