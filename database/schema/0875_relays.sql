-- HybridFlow: relays: what a human of the business says to a contact through HybridFlow, over the API or by
-- quoting a notice in WhatsApp, on its way.
--
-- A relay is a row: written in the transaction of what it was asked by, and carried out by whichever router
-- gets to it, so nothing is lost with a router. It is sent once: what is begun is begun again only where it
-- certainly did not leave. One of the staff (who quoted a notice) ends with one word back to them.

create table if not exists public.relays (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete set null,
    staff_session_id bigint references public.sessions (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    word_message_id bigint references public.messages (id) on delete set null,
    source text not null constraint relays_source_check check (source in ('operator', 'staff')),
    caller text,
    idempotency_key text,
    request_hash text,
    said jsonb,
    facts jsonb not null default '{}',
    outcome text constraint relays_outcome_check check (
        outcome in (
            'sent', 'failed', 'in_doubt', 'taken', 'resumed', 'until', 'past', 'too_far', 'no_notice',
            'no_session', 'erased', 'unsupported', 'no_media', 'unquoted', 'too_old',
            'too_many', 'switched_off'
        )
    ),
    error text,
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiting boolean generated always as (finished_at is null) stored
);

comment on table public.relays is
'What a human of the business says to a contact, or asks for by quoting a notice, on its way.';
comment on column public.relays.session_id is
'The conversation that it is for; null: none, or it is erased.';
comment on column public.relays.staff_session_id is
'Of one of the staff: where they wrote, and get their word back.';
comment on column public.relays.message_id is 'What was sent to the contact, or is about to be.';
comment on column public.relays.word_message_id is 'The one word back to the staff.';
comment on column public.relays.caller is
'Who asked over the API, with the kind: key:12, user:…, deployment:…';
comment on column public.relays.idempotency_key is
'By which the same request of the same caller is known.';
comment on column public.relays.request_hash is 'A hash of what was asked, to tell another request by.';
comment on column public.relays.said is
'What is to be sent, or what the staff wrote; until the relay is over.';
comment on column public.relays.facts is 'What the word back says of it: who, and until when, say.';
comment on column public.relays.outcome is 'What became of it; null: it is on its way.';
comment on column public.relays.waiting is 'It is not over; see turns.waiting.';

create unique index if not exists relays_once on public.relays (tenant_id, caller, idempotency_key)
where idempotency_key is not null;
create index if not exists relays_waiting on public.relays (tenant_id, next_at) where waiting;
create index if not exists relays_waiting_until on public.relays (next_at) where waiting;
create index if not exists relays_by_session on public.relays (session_id, id desc)
where session_id is not null;
create index if not exists relays_by_staff on public.relays (staff_session_id, id desc)
where staff_session_id is not null;
create index if not exists relays_by_message on public.relays (message_id) where message_id is not null;
create index if not exists relays_by_word on public.relays (word_message_id)
where word_message_id is not null;
create index if not exists relays_finished on public.relays (tenant_id, finished_at)
where finished_at is not null;
alter table public.relays enable row level security;

-- How many relays of a tenant may be on their way.
create or replace function hybridflow.most_relays()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 200
$$;

-- Whether as many relays of the tenant are on their way as may be.
create or replace function hybridflow.has_too_many_relays(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select hybridflow.most_relays() <= (
        select count(*) from (
            select r.id from public.relays as r
            where r.tenant_id = p_tenant_id and r.waiting limit hybridflow.most_relays()
        ) as w
    )
$$;

-- Whether a relay's message is written down and nothing of it was begun.
create or replace function hybridflow.is_unbegun(p_message public.messages)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.send_state = 'sending' and p_message.check_at = 'infinity', false)
$$;

-- A relay with its message as the API shows them: {message, state, error}. state: 'waiting' (it is on its
-- way), 'in_doubt' (it has begun, and nobody knows yet how it ended), 'sent', 'failed'.
create or replace function hybridflow.relay_json(p_relay public.relays)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'message', case when v_message.id is not null then hybridflow.short_message_json(v_message) end,
        'state', case
            when v_message.send_state = 'sent' then 'sent'
            when p_relay.outcome in ('sent', 'failed', 'in_doubt') then p_relay.outcome
            when p_relay.outcome is not null then 'failed'
            when v_message.send_state = 'unknown' then 'in_doubt'
            else 'waiting'
        end,
        'error', p_relay.error
    );
end
$$;

-- What p_name has not seen of what the business's people wrote to the session: after the message p_seen,
-- whoever it was; where that is null, what anybody else wrote in this pause, which may have been paused again
-- meanwhile: since it was last resumed. Of the newest 200 of theirs.
create or replace function hybridflow.unseen_human(p_session public.sessions, p_seen bigint, p_name text)
returns public.messages
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select m.*
    from (
        select h.id from public.messages as h
        where h.session_id = p_session.id and h.from_me and h.sender in ('owner', 'operator', 'client')
        order by h.sent_at desc, h.id desc limit 200
    ) as n
    inner join public.messages as m on m.id = n.id
    inner join public.tenants as t on t.id = m.tenant_id
    where hybridflow.is_by_human(m, t)
        and case
            when p_seen is not null then m.id > p_seen
            else p_session.is_paused
                and m.sent_at >= coalesce(p_session.resumed_at - interval '10 seconds', '-infinity')
                and (m.sender, m.author_name) is distinct from ('operator', p_name)
        end
    order by m.sent_at desc, m.id desc limit 1
$$;

-- By whom a request over the API is known: the kind of caller, and its key's id or its name.
create or replace function hybridflow.caller_label(p_caller jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
    select concat_ws(':', p_caller ->> 'kind', coalesce(p_caller ->> 'api_key_id', p_caller ->> 'name'))
$$;

-- The relay of this very request, made before: by its idempotency_key and caller. Null: there is none. PT422:
-- the key was used for another request.
create or replace function hybridflow.relay_of_request(p jsonb)
returns public.relays
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    select * into v_relay from public.relays
    where tenant_id = (p ->> 'tenant_id')::bigint and caller = hybridflow.caller_label(p -> 'caller')
        and idempotency_key = p ->> 'idempotency_key';
    if v_relay.request_hash <> p ->> 'request_hash' or v_relay.session_id <> (p ->> 'session_id')::bigint then
        raise exception 'the Idempotency-Key was used for another message: take a new one for each'
            using errcode = 'PT422';
    end if;
    return v_relay;
end
$$;

-- find_sent_message({caller?, tenant_id, session_id, idempotency_key, request_hash})
-- Returns {found}: {message, state, error, already} as send_message answers where the same was asked for
-- before; null: it was not. PT404: not this tenant's. PT422: the key was used for another request.
create or replace function public.find_sent_message(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    perform hybridflow.require_keys(
        'find_sent_message', p, '{tenant_id,session_id,idempotency_key,request_hash}'
    );
    perform hybridflow.require_own(p);
    v_relay := hybridflow.relay_of_request(p);
    return jsonb_build_object('found', case
        when v_relay.id is not null then hybridflow.relay_json(v_relay) || '{"already": true}'
    end);
end
$$;

-- send_message({caller?, tenant_id, session_id, idempotency_key, request_hash, request, body, kind?,
-- identity?, told_as?: [hash], upload_seconds?, seen_message_id?})
-- A human of the business writes to a contact over the API: the session is taken over, as by
-- begin_human_send, the message is written down, and a relay of `request` is on its way. The same
-- idempotency_key of the same caller again is answered as it was, with `already`, and nothing more is done.
-- seen_message_id is the last message that the caller has seen: without it, whoever else wrote in this pause
-- counts as unseen. Returns {message, state, error, already?, audit}: see relay_json. PT404: not this
-- tenant's. PT409: another human wrote, and the caller has not seen it: again with a later seen_message_id
-- it passes; or too much is on its way. PT422: the key was used for another request.
create or replace function public.send_message(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_caller text := hybridflow.caller_label(p -> 'caller');
    v_name text := p -> 'caller' ->> 'name';
    v_relay public.relays;
    v_human public.messages;
    v_begun jsonb;
begin
    perform hybridflow.require_keys(
        'send_message', p, '{tenant_id,session_id,idempotency_key,request_hash,request,body}'
    );
    perform pg_advisory_xact_lock(hashtextextended(
        concat_ws(' ', 'relay', p ->> 'tenant_id', v_caller, p ->> 'idempotency_key'), 0
    ));
    v_relay := hybridflow.relay_of_request(p);
    if v_relay.id is not null then
        return hybridflow.relay_json(v_relay) || jsonb_build_object(
            'already', true, 'audit', jsonb_build_object('relay_id', v_relay.id, 'already', true)
        );
    end if;
    v_session := hybridflow.session_of(p);
    v_human := hybridflow.unseen_human(v_session, (p ->> 'seen_message_id')::bigint, v_name);
    if v_human.id is not null then
        raise exception
            'another person wrote meanwhile (message %): look at it, and send again with seen_up_to % or later',
            v_human.id, v_human.id using errcode = 'PT409';
    elsif hybridflow.has_too_many_relays(v_session.tenant_id) then
        raise exception '% messages of the tenant wait to be sent: wait until they are', hybridflow.most_relays()
            using errcode = 'PT409';
    end if;
    v_begun := public.begin_human_send(
        jsonb_build_object(
            'tenant_id', v_session.tenant_id, 'session_id', v_session.id, 'author', v_name, 'knowingly', true,
            'body', p -> 'body', 'kind', p -> 'kind', 'identity', p -> 'identity', 'told_as', p -> 'told_as',
            'upload_seconds', p -> 'upload_seconds'
        )
    );
    -- It is written down, and not begun: nobody looks for it yet. See is_unbegun.
    update public.messages set check_at = 'infinity' where id = (v_begun ->> 'message_id')::bigint;
    insert into public.relays (
        tenant_id, session_id, message_id, source, caller, idempotency_key, request_hash, said, facts, next_at
    )
    values (
        v_session.tenant_id, v_session.id, (v_begun ->> 'message_id')::bigint, 'operator', v_caller,
        p ->> 'idempotency_key', p ->> 'request_hash', p -> 'request',
        jsonb_build_object('bytes', octet_length(p ->> 'request')), v_now
    )
    returning * into v_relay;
    return hybridflow.relay_json(v_relay) || jsonb_build_object('audit', jsonb_build_object(
        'relay_id', v_relay.id, 'message_id', v_relay.message_id, 'kind', p -> 'kind'
    ));
end
$$;

-- What of ours the staff quote with p_event: by its id, by the id that we asked for, or, while its own is not
-- known, by its words in their (locked) session.
create or replace function hybridflow.quoted_by_staff(p_session public.sessions, p_event jsonb)
returns public.messages
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_wa_id text := p_event -> 'quoted' ->> 'wa_id';
    v_text text := p_event -> 'quoted' ->> 'text';
    v_message public.messages;
begin
    select m.* into v_message from hybridflow.messages_called(v_wa_id) as m
    where m.tenant_id = p_session.tenant_id and m.session_id = p_session.id
    order by m.from_me desc limit 1;
    if v_message.id is null then
        select m.* into v_message from public.messages as m
        where m.chosen_id = v_wa_id and m.wa_id is null and m.tenant_id = p_session.tenant_id
            and m.session_id = p_session.id
        limit 1;
    end if;
    if v_message.id is null and v_text is not null then
        select m.* into v_message from public.messages as m
        where m.tenant_id = p_session.tenant_id
            and md5(hybridflow.folded(m.body)) = md5(hybridflow.folded(v_text))
            and m.wa_id is null and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
            and m.session_id = p_session.id
        order by m.id desc limit 1;
    end if;
    return v_message;
end
$$;

-- The session that a notice is about: also where that was merged into another meanwhile. Null: none.
create or replace function hybridflow.session_of_notice(p_notice public.notices)
returns public.sessions
language plpgsql
stable
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    select s.* into v_session from public.sessions as s
    where s.id = coalesce(p_notice.session_id, (
        select i.session_id from public.session_identities as i
        where i.tenant_id = p_notice.tenant_id and i.jid = p_notice.facts ->> 'jid'
    ));
    return v_session;
end
$$;

-- The staff wrote p_event in their (locked) session p_session. What quotes a notice is for its conversation,
-- and is relayed, or where too much waits already they are told that it is not; a command that quotes nothing
-- is told how it is done, once an hour; so is what quotes what nobody knows, in their group; all else is for
-- nobody.
-- Returns whether a relay is on its way.
create or replace function hybridflow.note_staff_words(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_at timestamptz, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_quotes boolean := p_event -> 'quoted' ->> 'wa_id' is not null;
    v_kind text := p_event ->> 'kind';
    v_message public.messages;
    v_notice public.notices;
    v_about public.sessions;
    v_outcome text;
begin
    if v_kind in ('reaction', 'poll_vote')
        or not (v_quotes or coalesce((p_event ->> 'is_command')::boolean, false))
    then
        return false;
    end if;
    if hybridflow.has_too_many_relays(p_tenant.id) then
        -- Each of the staff is told so once in ten minutes, so that what waits grows no further.
        if not v_quotes or exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'too_many'
                and r.created_at > v_now - interval '10 minutes'
        ) then
            return false;
        end if;
        v_outcome := 'too_many';
    elsif not v_quotes then
        if exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'unquoted'
                and r.created_at > v_now - interval '1 hour'
        ) then
            return false;
        end if;
        v_outcome := 'unquoted';
    else
        v_message := hybridflow.quoted_by_staff(p_session, p_event);
        if v_message.id is not null and not v_message.from_me then
            return false;  -- the staff quote themselves
        elsif exists (
            select from public.relays as r
            where r.word_message_id = v_message.id and r.outcome in ('no_notice', 'unquoted')
        ) then
            return false;  -- a bot that quotes whatever it is told: once it was told how, that ends
        elsif v_message.id is null and p_event ->> 'chat' = 'group' and exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'no_notice'
                and r.created_at > v_now - interval '1 hour'
        ) then
            return false;  -- colleagues who quote each other: what they write there is not kept
        end if;
        select n.* into v_notice from public.notices as n
        where n.message_id = v_message.id and n.tenant_id = p_tenant.id limit 1;
        v_about := hybridflow.session_of_notice(v_notice);
        v_outcome := case
            when v_message.body = '' then 'erased'
            when v_notice.id is null then 'no_notice'
            when v_about.id is null then 'no_session'
            when v_kind not in ('text', 'image', 'video', 'audio', 'ptt', 'document', 'sticker')
                then 'unsupported'
            when p_at < v_now - hybridflow.seconds(
                60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
            ) then 'too_old'
        end;
    end if;
    insert into public.relays (
        tenant_id, session_id, staff_session_id, source, said, facts, outcome, next_at, created_at
    )
    values (
        p_tenant.id, v_about.id, p_session.id, 'staff',
        case when v_outcome is null then jsonb_build_object(
            'kind', v_kind, 'text', p_event -> 'text', 'media', p_event -> 'media', 'wa_id', p_event -> 'wa_id',
            'author', coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'), 'sent_at', p_at
        ) end,
        jsonb_strip_nulls(jsonb_build_object(
            'name', v_about.contact_name, 'jid', coalesce(v_about.phone_jid, v_about.lid),
            'was_ai', not v_about.is_paused, 'wa_id', p_event -> 'wa_id'
        )),
        v_outcome, v_now, v_now
    );
    return true;
end
$$;

-- A relay with all that is needed to carry it out, its token included.
create or replace function hybridflow.relay_context(p_relay public.relays, p_token uuid)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_message public.messages;
begin
    select * into v_tenant from public.tenants where id = p_relay.tenant_id;
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'relay_id', p_relay.id, 'token', p_token, 'attempt', p_relay.attempt, 'source', p_relay.source,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'timezone', v_tenant.timezone, 'language', v_tenant.language,
        'answer_within_minutes', v_tenant.answer_within_minutes, 'session_id', p_relay.session_id,
        'words', case when p_relay.source = 'staff' then p_relay.said end,
        'facts', p_relay.facts, 'outcome', p_relay.outcome,
        'send_state', case
            when v_message.id is not null and not hybridflow.is_unbegun(v_message) then v_message.send_state
        end,
        'error', p_relay.error, 'created_at', p_relay.created_at, 'now', hybridflow.clock()
    );
end
$$;

-- claim_relays({limit, lease_seconds})
-- Gives out relays that are due, each with a token that is good for lease_seconds; then it is due again. Of
-- one session the next goes when the one before it is done, or has been on its way for ten minutes; of one
-- tenant four at a time, those included that are given out already. Never waits. Returns {relays: [{relay_id,
-- token, attempt, source, tenant_id, instance_name, evo_server_url, evo_api_key, timezone, language,
-- answer_within_minutes, session_id, words, facts, outcome, send_state, error, created_at, now}], now,
-- next_due_at}, for the router only. words: what the staff wrote, until it has an outcome; send_state: what
-- became of the message to the contact, null while nothing of it was begun.
create or replace function public.claim_relays(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
    v_relays jsonb;
begin
    perform hybridflow.require_keys('claim_relays', p, '{limit,lease_seconds}');
    select array_agg(d.id) into v_ids
    from (
        select f.id
        from (select distinct w.tenant_id from public.relays as w where w.waiting and w.next_at <= v_now) as t
        cross join lateral (
            select r.id, r.next_at from public.relays as r
            where r.tenant_id = t.tenant_id and r.waiting and r.next_at <= v_now and not exists (
                select from public.relays as e
                where e.session_id = r.session_id and e.id < r.id and e.waiting and e.outcome is null
                    and e.created_at > v_now - interval '10 minutes'
            )
            order by r.next_at, r.id limit greatest(0, 4 - (
                select count(*) from public.relays as g
                where g.tenant_id = t.tenant_id and g.waiting and g.next_at > v_now and g.lease_until > v_now
            ))
        ) as f
        order by f.next_at, f.id limit (p ->> 'limit')::integer
    ) as d;
    with fresh as materialized (
        select r.id, gen_random_uuid() as token from public.relays as r
        where r.id = any(v_ids) and r.waiting and r.next_at <= v_now
        for update skip locked
    ),

    claimed as (
        update public.relays as r
        set attempt = r.attempt + 1, token_hash = hybridflow.hash_token(f.token), lease_until = v_until,
            next_at = v_until, updated_at = v_now
        from fresh as f
        where r.id = f.id
        returning r.*, f.token
    )

    select jsonb_agg(hybridflow.relay_context(r, c.token) order by c.id) into v_relays
    from claimed as c
    inner join public.relays as r on r.id = c.id;
    return jsonb_build_object(
        'relays', coalesce(v_relays, '[]'), 'now', v_now,
        'next_due_at', (
            select r.next_at from public.relays as r where r.waiting order by r.next_at limit 1
        )
    );
end
$$;

-- Why nobody may act on the relay by p.token: {refused: 'unknown_relay'} (it was erased), 'stale' (it was
-- given out again), 'superseded' (it is over); null where one may.
create or replace function hybridflow.relay_refusal(p_relay public.relays, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_relay.id is null then
        return '{"refused": "unknown_relay"}';
    elsif p_relay.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    elsif p_relay.finished_at is not null then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- The relay that p names, locked behind the session that p_of_staff tells, and why who shows p.token may not
-- act on it.
create or replace function hybridflow.hold_relay(
    p jsonb, p_of_staff boolean, out relay public.relays, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint;
    refused := hybridflow.relay_refusal(relay, p);
    if refused is not null then
        return;
    end if;
    select * into session from public.sessions
    where id = case when p_of_staff then relay.staff_session_id else relay.session_id end for update;
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint for update;
    refused := hybridflow.relay_refusal(relay, p);
    v_id := case when p_of_staff then relay.staff_session_id else relay.session_id end;
    if refused is null and v_id is null then
        refused := '{"refused": "erased"}';
    elsif refused is null and session.id is distinct from v_id then
        refused := '{"refused": "stale"}';  -- merged while we waited: it is tried again
    end if;
end
$$;

-- read_relay({relay_id, token})
-- Returns {said} or {refused: reason}: what is to be sent, as it was asked for; see relay_refusal.
create or replace function public.read_relay(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    perform hybridflow.require_keys('read_relay', p, '{relay_id,token}');
    select * into v_relay from public.relays where id = (p ->> 'relay_id')::bigint;
    return coalesce(hybridflow.relay_refusal(v_relay, p), jsonb_build_object('said', v_relay.said));
end
$$;

-- Begins a send of a relay again, in its own row; one that was judged not to have left, after a doubt, keeps
-- that for its late echo. The session is locked.
create or replace function hybridflow.begin_again(
    p_session public.sessions, p_message public.messages, p jsonb
)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
begin
    if p_message.late_until is not null then
        v_message := hybridflow.begin_message(p_session, null, null, p_message.sender, p);
        update public.messages set author_name = p_message.author_name where id = v_message.id;
        return v_message;
    end if;
    update public.messages
    set send_state = 'sending', send_began_at = v_now, sent_at = date_trunc('second', v_now), check_at = null,
        sends = case when send_state = 'failed' then sends + 1 else sends end,
        chosen_id = '3EB0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 18))
    where id = p_message.id
    returning * into v_message;
    return v_message;
end
$$;

-- begin_relay_send({relay_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence before a relay's message to the contact. One of the staff takes the session over with it, as by
-- begin_human_send. Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name, evo_server_url,
-- evo_api_key} or {refused: reason, message_id?, wa_id?, jid?, body?}. The former is for the router only; the
-- latter: see relay_refusal, 'erased' (the session is), 'already_sent', or 'in_doubt' (it has begun, and
-- nobody knows how it ended).
create or replace function public.begin_relay_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_held record;
    v_relay public.relays;
    v_session public.sessions;
    v_message public.messages;
    v_begun jsonb;
begin
    perform hybridflow.require_keys('begin_relay_send', p, '{relay_id,token,body,lease_seconds}');
    v_held := hybridflow.hold_relay(p, false);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_relay := v_held.relay;
    v_session := v_held.session;
    select * into v_message from public.messages where id = v_relay.message_id;
    if v_message.send_state = 'sent' then
        return jsonb_build_object(
            'refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id,
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'body', v_message.body
        );
    elsif v_message.send_state in ('sending', 'unknown') and not hybridflow.is_unbegun(v_message) then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    elsif v_message.id is not null then
        v_message := hybridflow.begin_again(v_session, v_message, p);
    else
        v_begun := public.begin_human_send(
            (p - '{relay_id,token,lease_seconds}'::text[]) || jsonb_build_object(
                'tenant_id', v_relay.tenant_id, 'session_id', v_session.id, 'knowingly', true,
                'author', v_relay.said -> 'author', 'reason', 'the staff answered a notice'
            )
        );
        select * into v_message from public.messages where id = (v_begun ->> 'message_id')::bigint;
        perform hybridflow.record_audit(
            '{"kind": "owner", "name": "staff"}', 'send_message', v_relay.tenant_id,
            jsonb_build_object('session_id', v_session.id),
            jsonb_build_object('relay_id', v_relay.id, 'message_id', v_message.id)
        );
    end if;
    update public.relays
    set message_id = v_message.id, lease_until = greatest(lease_until, v_until),
        next_at = greatest(next_at, v_until), updated_at = hybridflow.clock()
    where id = v_relay.id;
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- begin_word_send({relay_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence before the one word back to the staff: at most once, a doubt counts as told. Returns {ok,
-- message_id, chosen_id, jid, tenant_id, instance_name, evo_server_url, evo_api_key} or {refused: reason,
-- message_id?}: as begin_relay_send.
create or replace function public.begin_word_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_held record;
    v_relay public.relays;
    v_session public.sessions;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_word_send', p, '{relay_id,token,body,lease_seconds}');
    v_held := hybridflow.hold_relay(p, true);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_relay := v_held.relay;
    v_session := v_held.session;
    select * into v_message from public.messages where id = v_relay.word_message_id;
    if v_message.id is null then
        v_message := hybridflow.begin_message(v_session, null, null, 'ai', p);
    elsif v_message.send_state = 'failed' and v_message.late_until is null then
        v_message := hybridflow.begin_again(v_session, v_message, p);
    else
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;
    update public.relays
    set word_message_id = v_message.id, lease_until = greatest(lease_until, v_until),
        next_at = greatest(next_at, v_until), updated_at = hybridflow.clock()
    where id = v_relay.id;
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- obey_staff({relay_id, token, command, until?, policy})
-- Does what the staff asked for by quoting a notice: `take` (the conversation is theirs), `resume` (it is the
-- AI's again), `until` (it is the AI's again then, whatever else paused it). Returns {outcome, facts,
-- turn_id?, was_paused} or {refused: reason}: 'taken', 'resumed', 'until', 'switched_off' (it was done, and
-- the AI answers nobody there all the same), or 'past', 'too_far' (more than 30 days): nothing was done; see
-- relay_refusal, 'erased'.
create or replace function public.obey_staff(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := (p ->> 'until')::timestamptz;
    v_held record;
    v_session public.sessions;
    v_named jsonb;
    v_outcome text;
    v_turn_id bigint;
    v_has_ai boolean;
begin
    perform hybridflow.require_keys('obey_staff', p, '{relay_id,token,command,policy}');
    v_held := hybridflow.hold_relay(p, false);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_session := v_held.session;
    v_named := jsonb_build_object(
        'tenant_id', v_session.tenant_id, 'session_id', v_session.id, 'source', 'operator',
        'policy', p -> 'policy', 'reason', 'the staff asked for it in WhatsApp'
    );
    case p ->> 'command'
        when 'take' then
            v_outcome := 'taken';
            perform public.pause_session(v_named);
        when 'resume' then
            v_outcome := 'resumed';
            v_turn_id := (public.resume_session(v_named) ->> 'turn_id')::bigint;
        else
            perform hybridflow.require_keys('obey_staff', p, '{until}');
            v_outcome := case
                when v_until <= v_now then 'past'
                when v_until > v_now + interval '30 days' then 'too_far'
                else 'until'
            end;
            if v_outcome = 'until' then
                perform public.pause_session(v_named || jsonb_build_object('until', v_until));
                -- Who says until when means just that: no earlier reason makes it longer.
                update public.sessions
                set pause_asked_at = null, pause_written_at = null, pause_indefinite = false
                where id = v_session.id;
            end if;
    end case;
    v_has_ai := not hybridflow.is_without_ai(v_session.id)
        and (select t.is_active from public.tenants as t where t.id = v_session.tenant_id);
    if v_outcome in ('resumed', 'until') and not v_has_ai then
        v_outcome := 'switched_off';
    end if;
    update public.relays
    set outcome = v_outcome, said = null, updated_at = v_now,
        facts = facts || jsonb_strip_nulls(jsonb_build_object(
            'was_ai', not v_session.is_paused, 'until', v_until
        ))
    where id = (v_held.relay).id
    returning facts into v_named;
    if v_outcome in ('taken', 'until', 'resumed', 'switched_off') then
        perform hybridflow.record_audit(
            '{"kind": "owner", "name": "staff"}',
            case when p ->> 'command' = 'resume' then 'resume_session' else 'pause_session' end,
            v_session.tenant_id, jsonb_build_object('session_id', v_session.id, 'turn_id', v_turn_id),
            jsonb_build_object('relay_id', (v_held.relay).id, 'until', v_until)
        );
    end if;
    return jsonb_build_object(
        'outcome', v_outcome, 'facts', v_named, 'turn_id', v_turn_id, 'was_paused', v_session.is_paused
    );
end
$$;

-- settle_relay({relay_id, token, outcome?, error?, again_in?, over?})
-- What has become of a relay: its outcome, which stays; that it is `over`, or is tried again in again_in
-- seconds. A message of which nothing was begun, and which is not sent any more, has failed. Returns {ok} or
-- {refused: reason}: see relay_refusal.
create or replace function public.settle_relay(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_relay public.relays;
    v_refused jsonb;
begin
    perform hybridflow.require_keys('settle_relay', p, '{relay_id,token}');
    -- The session first, as everywhere: who erases or merges it has its messages, and asks for its relays.
    perform from public.sessions as s
    inner join public.relays as r on r.session_id = s.id
    where r.id = (p ->> 'relay_id')::bigint for update of s;
    select * into v_relay from public.relays where id = (p ->> 'relay_id')::bigint for update;
    v_refused := hybridflow.relay_refusal(v_relay, p);
    if v_refused is not null then
        return v_refused;
    end if;
    if p ->> 'outcome' in ('failed', 'too_old') then
        update public.messages as m set send_state = 'failed', check_at = null
        where m.id = v_relay.message_id and hybridflow.is_unbegun(m);
    end if;
    update public.relays
    set outcome = coalesce(outcome, p ->> 'outcome'),
        said = case when coalesce(outcome, p ->> 'outcome') is null then said end,
        error = coalesce(left(p ->> 'error', 2000), case when p ->> 'outcome' = 'sent' then null else error end),
        lease_until = case when p ->> 'again_in' is null then lease_until end,
        next_at = coalesce(v_now + hybridflow.seconds((p ->> 'again_in')::numeric), next_at),
        finished_at = case when (p ->> 'over')::boolean then v_now end, updated_at = v_now
    where id = v_relay.id;
    return '{"ok": true}';
end
$$;

-- The relays about a contact. Those that one of the staff asked for are about whom they are for.
create or replace function hybridflow.relays_about(p_session_ids bigint[])
returns setof public.relays
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select r.* from public.relays as r where r.session_id = any(p_session_ids)
$$;

-- A relay as an export has it.
create or replace function hybridflow.exported_relay(p_relay public.relays)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_relay) - '{token_hash,waiting,request_hash,lease_until,said,idempotency_key}'::text[]
$$;

-- Deletes the relays about a contact, and by them, where they are of the staff. What the staff wrote there,
-- and the word back, keep their places, without a word. The relays are locked before these messages, as by
-- who sends the word: the staff's session is not. Returns how many.
create or replace function hybridflow.erase_relays(p_session_ids bigint[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select r.id from hybridflow.relays_about(p_session_ids) as r
        union
        select s.id from public.relays as s where s.staff_session_id = any(p_session_ids)
    );
begin
    perform from public.relays where id = any(v_ids) order by id for update;
    update public.messages set body = '', quoted = null, media = null, transcript = null, description = null
    where id = any(array(
        select r.word_message_id from hybridflow.relays_about(p_session_ids) as r
        union
        select m.id from hybridflow.relays_about(p_session_ids) as r
        cross join lateral hybridflow.messages_called(r.facts ->> 'wa_id') as m
        where m.session_id = r.staff_session_id
    ));
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch relays that are over. Returns how many.
create or replace function hybridflow.prune_relays(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select n.id from public.relays as n
            where n.tenant_id = r.tenant_id and n.finished_at < r.cutoff
            order by n.finished_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;
