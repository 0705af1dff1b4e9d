-- HybridFlow: turns, from pending to sent, cancelled or dead.
--
-- The functions on the hot path have `enable_seqscan = off`: a plan is kept for as long as a connection
-- lives, and one made while a table was still small would go on reading the whole of it. Claims are made in
-- the order of an index and end early: there, nothing is sorted that an index has in order already.

-- The session's pending turn, for one more message: moved (debounce, up to a cap counted from its first
-- message) or made. Where the tenant prefers it, a running turn that has said nothing yet starts again
-- with the message instead. The session is locked. Returns which turn it is, and when it is due.
create or replace function hybridflow.join_turn(
    p_tenant public.tenants, p_session_id bigint, p_debounce numeric, p_cap numeric, p_correlation_id text,
    p_now timestamptz, out turn_id bigint, out due timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    v_due timestamptz := p_now + make_interval(secs => p_debounce::double precision);
    v_running public.turns;
    v_claimed_at timestamptz;
begin
    if p_tenant.on_new_message = 'restart' then
        select * into v_running from public.turns
        where session_id = p_session_id and held and not beside and state = 'running' for update;
        if found then
            -- The attempt did not fail: it does not count.
            update public.turns set attempt = greatest(attempt - 1, 0) where id = v_running.id;
            perform hybridflow.requeue_turn(v_running, v_due, 'restarted');
        end if;
    end if;

    update public.turns
    set run_after = case
            when claimed_at is not null then greatest(run_after, v_due)
            else greatest(run_after, least(v_due, debounce_until))
        end,
        due_when_heard = case
            when due_when_heard is not null then greatest(due_when_heard, least(v_due, debounce_until))
        end,
        updated_at = p_now
    where session_id = p_session_id and waiting
    returning id, run_after, claimed_at into turn_id, due, v_claimed_at;
    if not found then
        insert into public.turns (tenant_id, session_id, run_after, debounce_until, correlation_id)
        values (
            p_tenant.id, p_session_id, v_due,
            greatest(v_due, p_now + hybridflow.seconds(p_cap)), p_correlation_id
        )
        returning id, run_after into turn_id, due;
    elsif v_claimed_at is not null then
        perform hybridflow.widen_turn(turn_id);
    end if;
end
$$;

-- A pending turn has one more message to answer. Its reply was made without that, and so was all that was
-- begun before: where that shows up late it is ours, but answers nothing of the turn.
create or replace function hybridflow.widen_turn(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.discard_reply(p_turn_id);
    update public.messages set turn_id = null where turn_id = p_turn_id and from_me;
end
$$;

-- Throws away the reply of a turn of which nothing is on the phone or in doubt: it is made again for all that
-- it answers now. What was begun of it keeps its row, so that a late echo of it is known as ours.
create or replace function hybridflow.discard_reply(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns set reply = null, updated_at = hybridflow.clock()
    where id = p_turn_id and reply is not null;
    update public.messages set part = null where turn_id = p_turn_id and part is not null;
end
$$;

-- Puts a turn of which nothing is on the phone or in doubt back to pending, due at p_run_after, and folds
-- into it what has become pending meanwhile; its reply is kept only if nothing new has to be answered. The
-- session is locked. p_turn is the turn as it was worked on, and p_outcome how that attempt ended; null:
-- there was none, or the caller notes it.
create or replace function hybridflow.requeue_turn(
    p_turn public.turns, p_run_after timestamptz, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_newer bigint;
    v_retried_at timestamptz;
    v_heard_by timestamptz;
begin
    select t.id, t.retried_at, case when t.due_when_heard is not null then t.run_after end
    into v_newer, v_retried_at, v_heard_by
    from public.turns as t
    where t.session_id = p_turn.session_id and t.waiting for update;
    if v_newer is not null then
        perform hybridflow.close_turn(v_newer, 'cancelled', 'merged');
        update public.messages set turn_id = p_turn.id where turn_id = v_newer and not from_me;
        perform hybridflow.widen_turn(p_turn.id);
    elsif p_turn.reply is null then
        perform hybridflow.discard_reply(p_turn.id);
    end if;
    update public.turns
    set state = 'pending', token_hash = null, lease_until = null, worker = null, beside = false,
        stop_reason = null, run_after = greatest(p_run_after, v_heard_by),
        due_when_heard = case when v_heard_by is not null then p_run_after end, retried_at = greatest(retried_at, v_retried_at),
        updated_at = v_now
    where id = p_turn.id;
    if p_outcome in ('refused', 'budget') then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, p_turn.error_kind, p_turn.error);
    elsif p_outcome is not null then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, null, null);
    end if;
end
$$;

-- Closes a turn for good, and with it the attempt that is under way; the one place that cancels. Its token
-- stays: it opens nothing any more, but a callback that comes twice shows by it that it is the same one.
create or replace function hybridflow.close_turn(p_turn_id bigint, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean := p_state = 'dead' or coalesce(p_reason in ('budget', 'reply_refused'), false);
begin
    update public.turns
    set state = p_state, reason = p_reason, lease_until = null, finished_at = v_now, updated_at = v_now
    where id = p_turn_id
    returning * into v_turn;
    -- Where nobody was at it, it has no worker.
    perform hybridflow.note_attempt(
        v_turn, p_state, v_now, p_reason,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- If a send of the turn is in doubt, puts the turn aside until it is looked up. Returns whether one is.
create or replace function hybridflow.await_settlement(p_turn public.turns, p_check_after numeric)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if not hybridflow.is_in_doubt(p_turn.id) then
        return false;
    end if;
    perform hybridflow.put_aside(
        p_turn.id, hybridflow.clock() + hybridflow.seconds(coalesce(p_check_after, 3)), 'in_doubt'
    );
    return true;
end
$$;

-- Nobody works on the active turn until p_until, when it is claimed again (a reconnect may be earlier). The
-- attempt, if one was under way, has ended with p_outcome.
create or replace function hybridflow.put_aside(p_turn_id bigint, p_until timestamptz, p_outcome text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    v_failed := coalesce(v_turn.error_kind = p_outcome, false);  -- else the error is an earlier attempt's
    update public.turns set lease_until = p_until, worker = null, updated_at = v_now
    where id = p_turn_id;
    perform hybridflow.note_attempt(
        v_turn, p_outcome, v_now, null,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- A turn may not say more. It is closed as sent (incomplete) if it has said something, else as cancelled;
-- while a part of it is leaving, the fence refuses the next one, and it is closed when that part is
-- settled.
create or replace function hybridflow.stop_turn(p_turn_id bigint, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if hybridflow.is_in_doubt(p_turn_id) then
        update public.turns set stop_reason = coalesce(stop_reason, p_reason), updated_at = hybridflow.clock()
        where id = p_turn_id;
    elsif exists (select from public.messages where turn_id = p_turn_id and send_state = 'sent') then
        update public.turns set incomplete = true where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', p_reason);
    else
        perform hybridflow.close_turn(p_turn_id, 'cancelled', p_reason);
    end if;
end
$$;

-- The active turn goes on at once, for the next claim; beside another one, if the session has one.
create or replace function hybridflow.take_up(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns
    set state = 'sending', incomplete = false, reason = null, finished_at = null, worker = null,
        token_hash = hybridflow.hash_token(gen_random_uuid()), lease_until = hybridflow.clock(),
        attempt = greatest(attempt - 1, 0),
        beside = exists (
            select from hybridflow.held_turns(p_turn.session_id) as a where a.id <> p_turn.id
        ),
        updated_at = hybridflow.clock()
    where id = p_turn.id;
end
$$;

-- Which parts of the turn p_turn_id are given up, and why (see give_up_part); null: none is.
create or replace function hybridflow.given_up_of(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select left(string_agg(
        format('part %s (%s) is given up: %s', m.part + 1, m.kind, m.given_up), '; ' order by m.part
    ), 2000)
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null and m.send_state = 'failed' and m.given_up is not null
$$;

-- A send of turn p_turn_id is settled, or given up. The turn is closed when all of its reply is on the phone
-- but for what is given up, or when it may say no more; where nothing of it can be had it is dead. Where
-- nothing of it was said, and the session goes on meanwhile, its messages are answered by another turn. A
-- send may prove late to have left: then its turn, which waits to be made again, goes on with the rest, or is
-- done. The session is locked.
create or replace function hybridflow.after_settlement(p_turn_id bigint, p_policy jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_sent integer;
    v_given_up integer;
    v_is_over boolean;
begin
    select * into v_turn from public.turns
    where id = p_turn_id and state in ('pending', 'running', 'sending') for update;
    if v_turn.id is null or hybridflow.is_in_doubt(p_turn_id) then
        return;
    end if;
    select
        count(*) filter (where m.send_state = 'sent'),
        count(*) filter (where m.send_state = 'failed' and m.given_up is not null)
    into v_sent, v_given_up
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null;
    v_is_over := coalesce(jsonb_array_length(v_turn.reply) <= v_sent + v_given_up, false);
    if v_is_over and v_given_up = 0 then
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_is_over and v_sent > 0 then
        update public.turns
        set incomplete = true, error_kind = 'given_up', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_turn.stop_reason is not null then
        perform hybridflow.stop_turn(p_turn_id, v_turn.stop_reason);
        if not (select s.is_paused from public.sessions as s where s.id = v_turn.session_id) then
            perform hybridflow.answer_unanswered(v_turn.session_id, p_policy);
        end if;
    elsif v_is_over then
        update public.turns
        set error_kind = 'permanent', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'dead', v_turn.reason);
    elsif v_turn.state = 'pending' and v_turn.reply is not null and v_sent > 0 then
        perform hybridflow.take_up(v_turn);
    elsif v_turn.state <> 'sending' and v_sent = 0 and exists (
        -- An earlier reply to the same messages (see widen_turn): the one made again is not said.
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent'
    ) then
        perform hybridflow.stop_turn(p_turn_id, 'late');
    end if;
end
$$;

-- The sends of a turn, in order, for the handler that goes on with it.
create or replace function hybridflow.turn_parts(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'message_id', m.id, 'part', m.part, 'kind', m.kind, 'body', hybridflow.cut(m.body), 'identity', m.identity,
        'told_as', m.told_as, 'chosen_id', m.chosen_id, 'send_state', m.send_state, 'wa_id', m.wa_id,
        'send_began_at', m.send_began_at, 'upload_seconds', m.upload_seconds,
        'given_up', m.given_up is not null
    ) order by m.part), '[]')
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null
$$;

-- How many characters of a message are read: of its text, its caption, and what it quotes.
create or replace function hybridflow.characters_of(p_body text, p_quoted jsonb, p_media jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when octet_length(p_body) > 65536 then 65536 else length(p_body) end
        + least(coalesce(length(p_quoted ->> 'text'), 0), 65536)
        + least(coalesce(length(p_media ->> 'caption'), 0), 65536)
$$;

-- The conversation up to now, oldest first, and last of all the messages that turn p_turn answers, even
-- where an earlier reply left after they were written. Left out are sends that certainly failed, what
-- WhatsApp did not deliver, messages that wait for a later turn, and what is older than the newest 200,000
-- characters, which begin with the turn's own.
create or replace function hybridflow.turn_history(p_turn public.turns, p_limit integer)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'message_id', h.id, 'wa_id', h.wa_id, 'from_me', h.from_me, 'sender', h.sender, 'kind', h.kind,
        'body', case
            when h.deleted_at is not null then '[deleted message]'
            when octet_length(h.body) > 65536 then hybridflow.cut(h.body)
            else h.body
        end,
        'quoted', hybridflow.cut_fields(h.quoted),
        'author_name', case
            when octet_length(h.author_name) > 256 then hybridflow.cut(h.author_name, 256) else h.author_name
        end,
        'sent_at', h.sent_at,
        'media', case when h.deleted_at is null then hybridflow.cut_fields(h.media) end,
        'transcript', case
            when h.transcript is not null and h.deleted_at is null then hybridflow.cut(h.transcript)
        end,
        'description', case
            when h.description is not null and h.deleted_at is null then hybridflow.cut(h.description)
        end,
        'unheard', h.media is not null and h.deleted_at is null and h.transcript is null
        and h.description is null and exists (
            select from public.media_jobs as j
            where j.message_id = h.id and j.state <> 'done' and not j.keep_only
        ),
        'pictured', h.media is not null and h.deleted_at is null and not h.from_me and exists (
            select from public.media_jobs as j where j.message_id = h.id and j.pictures_until is not null
        ),
        'in_turn', h.in_turn
    ) order by h.in_turn, h.sent_at, h.id), '[]')
    from (
        select w.*, sum(w.characters) over (
            order by w.in_turn desc, w.sent_at desc, w.id desc rows between unbounded preceding and 1 preceding
        ) as characters_after
        from (
            select
                m.*,
                case
                    when m.quoted is null and m.media is null and octet_length(m.body) <= 65536 then length(m.body)
                    else hybridflow.characters_of(m.body, m.quoted, m.media)
                end
                + least(coalesce(length(m.transcript), 0) + coalesce(length(m.description), 0), 131072)
                as characters,
                (m.turn_id is not distinct from p_turn.id and not m.from_me) as in_turn
            from public.messages as m
            where m.session_id = p_turn.session_id
                and m.send_state is distinct from 'failed'
                and not (m.from_me and m.status is not distinct from 'error')
                -- One look for all messages: a session has one pending turn at most.
                and (m.turn_id is null or m.turn_id is distinct from (
                    select o.id from public.turns as o
                    where o.session_id = p_turn.session_id and o.waiting and o.id <> p_turn.id
                ))
            order by m.sent_at desc, m.id desc
            limit p_limit
        ) as w
    ) as h
    where coalesce(h.characters_after, 0) < 200000
$$;

-- How a token is kept: as a hash, so that a reader of the table cannot act for a handler.
create or replace function hybridflow.hash_token(p_token uuid)
returns bytea
language sql
immutable
set search_path = ''
as $$
    select sha256(convert_to(p_token::text, 'UTF8'))
$$;

-- The ids of messages of the conversation around the time of a send: p_ours, or the contact's; of the newest
-- 2,000 messages.
create or replace function hybridflow.recent_wa_ids(p_send public.messages, p_ours boolean)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(r.wa_id), '[]') from (
        select l.wa_id
        from (
            select m.wa_id, m.from_me, m.sent_at, m.id from public.messages as m
            where m.session_id = p_send.session_id
            order by m.sent_at desc, m.id desc limit 2000
        ) as l
        where l.from_me = p_ours and l.wa_id is not null
        order by l.sent_at desc, l.id desc limit 100
    ) as r
$$;

-- All that a handler needs for one attempt at a turn, its token included.
create or replace function hybridflow.turn_context(p_turn public.turns, p_token uuid, p_history_limit integer)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'turn_id', p_turn.id, 'token', p_token, 'attempt', p_turn.attempt, 'now', hybridflow.clock(),
        'lease_until', p_turn.lease_until, 'reply', p_turn.reply,
        'last_handler', p_turn.handler, 'last_error', p_turn.error, 'waits', p_turn.waits,
        'correlation_id', p_turn.correlation_id,
        'tenant', jsonb_build_object(
            'tenant_id', t.id, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url,
            'evo_api_key', t.evo_api_key, 'system_prompt', t.system_prompt, 'llm_provider', t.llm_provider,
            'llm_api_key', t.llm_api_key, 'llm_model', t.llm_model, 'llm_max_tokens', t.llm_max_tokens,
            'n8n_flow', t.n8n_flow, 'n8n_contract', t.n8n_contract,
            'reply_rules', hybridflow.reply_rules(t), 'facts', t.facts, 'timezone', t.timezone,
            'opening_hours', t.opening_hours, 'away_message', t.away_message,
            'answer_when_closed', t.answer_when_closed, 'delivery', hybridflow.delivery_rules(t),
            'handoff_message', t.handoff_message,
            'handoff_words', t.handoff_words, 'handoff_on_promise', t.handoff_on_promise,
            'fallback_message', t.fallback_message, 'mark_as_read', t.mark_as_read,
            'files', hybridflow.files_for_llm(t.id)
        ),
        'session', jsonb_build_object(
            'session_id', s.id, 'chat', s.chat, 'jid', coalesce(s.phone_jid, s.lid),
            'jids', (select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = s.id),
            'contact_name', hybridflow.cut(s.contact_name, 256),
            'labels', s.labels, 'notes', hybridflow.notes_for_llm(t, s.id),
            'away_until', case when s.away_until is not null then hybridflow.told_away_until(s) end
        ),
        'parts', hybridflow.turn_parts(p_turn.id),
        'ours', (  -- where a send is to be looked up: the history leaves out what was not delivered
            select hybridflow.recent_wa_ids(m, true) from public.messages as m
            where m.turn_id = p_turn.id and m.send_state in ('sending', 'unknown') limit 1
        ),
        'history', hybridflow.turn_history(p_turn, p_history_limit)
    )
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_turn.session_id
$$;

-- Nobody can work on a turn that was claimed just now, for p_error: it waits for a minute, and when its
-- attempts are used up it dies of that.
create or replace function hybridflow.put_off_unreadable(p_turn public.turns, p_error text)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_error text := 'what a reply is made from could not be read: ' || p_error;
begin
    update public.turns set error_kind = 'unreadable', error = v_error where id = p_turn.id;
    perform hybridflow.put_aside(p_turn.id, hybridflow.clock() + interval '1 minute', 'unreadable');
    return jsonb_build_object('turn_id', p_turn.id, 'tenant_id', p_turn.tenant_id, 'error', v_error);
end
$$;

-- The contexts of turns that were claimed just now, each read by itself, so that one that fails is put off
-- and no other: {turns, unreadable: [{turn_id, tenant_id, error}]}.
create or replace function hybridflow.turn_contexts(p_ids bigint[], p_tokens uuid[], p_history_limit integer)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
    v_unreadable jsonb := '[]';
begin
    for v_claim in
        select t as turn, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.turns as t on t.id = c.id
        order by t.id
    loop
        begin
            v_contexts := v_contexts
                || hybridflow.turn_context(v_claim.turn, v_claim.token, p_history_limit);
        exception
            when others then
                v_unreadable := v_unreadable
                    || hybridflow.put_off_unreadable(v_claim.turn, 'SQLSTATE ' || sqlstate);
        end;
    end loop;
    return jsonb_build_object('turns', v_contexts, 'unreadable', v_unreadable);
end
$$;

-- Turns whose attempts are used up and whose lease has run out die here; one whose send is in doubt
-- does not: its outcome must be found out first. Nor one whose session another call holds, at this moment.
-- Returns their ids.
create or replace function hybridflow.bury_lapsed(p_max_attempts integer, p_minutes numeric)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and hybridflow.is_used_up(t, p_max_attempts)
        for update of t, s skip locked
    );
begin
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'dead', lease_until = null, error_kind = coalesce(error_kind, 'crashed'),
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.after_unanswered(
        d.turn, d.session, case when (d.turn).handler = 'n8n' then 'flow_failed' else 'crashed' end,
        (d.turn).error, p_minutes
    )
    from (
        select t as turn, s as session from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.id = any(v_ids)
        order by t.tenant_id, t.id  -- as everybody locks notices of several tenants
    ) as d;
    return v_ids;
end
$$;

-- Whether the turn, whose lease has run out, may have no attempt more.
create or replace function hybridflow.is_used_up(p_turn public.turns, p_max_attempts integer)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.attempt >= p_max_attempts and not hybridflow.is_in_doubt(p_turn.id)
$$;

-- A flow that has said something and then let its lease run out is closed as sent, incomplete: nobody
-- knows what else it wanted to say, and from the start it would repeat itself.
create or replace function hybridflow.close_dead_flows()
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and t.state = 'sending' and t.reply is null and hybridflow.has_spoken(t.id)
            and not exists (
                select from public.messages as m
                where m.turn_id = t.id and (
                    m.send_state in ('sending', 'unknown') or (m.send_state = 'failed' and m.part is not null)
                )
            )
        for update skip locked
    );
begin
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'sent', incomplete = true, reason = 'flow_died', lease_until = null,
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.note_unanswered(d.turn, 'half_said', 'its flow fell silent')
    from (select t as turn from public.turns as t where t.id = any(v_ids) order by t.tenant_id, t.id) as d;
end
$$;

-- How many more turns may be given to n8n now, so that a burst waits here and not there.
create or replace function hybridflow.free_flows(p_max_in_flight integer)
returns integer
language sql
stable
set search_path = ''
as $$
    select greatest(p_max_in_flight - count(*)::integer, 0) from public.turns
    where held and not waiting and handler = 'n8n' and lease_until > (select hybridflow.clock())
$$;

-- The due turns of a tenant that can be claimed: the p_most newest, and the oldest. One whose session has an
-- active turn cannot: the customer has written again while that is being made. Of either end 100 are looked
-- at, so that very many of those cost no more; what is between them comes when the others have ended.
create or replace function hybridflow.due_turns(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, run_after timestamptz, is_oldest boolean)
language sql
stable
rows 4
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    (
        select d.id, d.run_after, false
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after desc limit 100
        ) as d
        where not exists (
                select from public.turns as a where a.session_id = d.session_id and a.held and not a.beside
            )
            and not exists (
                select from public.turns as a where a.session_id = d.session_id and a.held and a.beside
            )
        limit p_most
    )
    union all
    (
        select d.id, d.run_after, true
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after limit 100
        ) as d
        where not exists (
                select from public.turns as a where a.session_id = d.session_id and a.held and not a.beside
            )
            and not exists (
                select from public.turns as a where a.session_id = d.session_id and a.held and a.beside
            )
        limit least(p_most, 1)
    )
$$;

-- The next tenants that have a turn that can be claimed and room for it, after tenant p_after, in the order
-- of their ids and from the first again: who was served last comes last. One look at the index for each
-- that waits; at most p_most of them are looked at, 50 of those of whose due turns none can be claimed, and
-- it ends when p_enough are found. `last` is where the next round begins; is_whole: every tenant that waits
-- was looked at.
create or replace function hybridflow.next_tenants(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 200;
    v_next record;
    v_from_start boolean := false;
    v_in_vain integer := 0;
begin
    -- Mostly few turns are due at once.
    select array_agg(d.tenant_id) filter (where not d.is_behind), count(*) < c_few into tenants, is_whole from (
        select w.tenant_id, exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and not a.beside
            ) or exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and a.beside
            ) as is_behind
        from (
            select t.tenant_id, t.session_id from public.turns as t
            where t.waiting and not t.held and t.run_after <= p_now
            order by t.run_after limit c_few
        ) as w
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        last := case when is_whole then p_after else coalesce(tenants[p_enough], p_after) end;
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select t.tenant_id, t.run_after into v_next from public.turns as t
        where t.waiting and t.tenant_id > last
        order by t.tenant_id, t.run_after limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select t.tenant_id, t.run_after into v_next from public.turns as t
            where t.waiting
            order by t.tenant_id, t.run_after limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.run_after <= p_now and v_next.tenant_id <> all(p_full) then
            if exists (select from hybridflow.due_turns(v_next.tenant_id, p_now, 1)) then
                tenants := tenants || v_next.tenant_id;
                is_whole := cardinality(tenants) < p_enough;
                exit when not is_whole;
            else
                v_in_vain := v_in_vain + 1;
                is_whole := v_in_vain < 50;
                exit when not is_whole;
            end if;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

-- The tenants that have a turn that somebody worked on until the lease ran out: one look at the index for
-- each tenant that has a turn under way.
create or replace function hybridflow.lapsed_tenants(p_now timestamptz)
returns setof bigint
language sql
stable
rows 20
set search_path = ''
as $$
    with recursive leased as (
        (
            select t.tenant_id, t.lease_until from public.turns as t
            where t.held
            order by t.tenant_id, t.lease_until limit 1
        )
        union all
        (
            select n.tenant_id, n.lease_until
            from leased as l
            cross join lateral (
                select t.tenant_id, t.lease_until from public.turns as t
                where t.held and t.tenant_id > l.tenant_id
                order by t.tenant_id, t.lease_until limit 1
            ) as n
        )
    )

    select l.tenant_id from leased as l where l.lease_until <= p_now
$$;

-- How many turns of each tenant are being worked on: by p_worker, or, null, by whomever. p_own is what the
-- worker itself knows to work on, by tenant: it may do so although a lease has run out.
create or replace function hybridflow.tenants_at_work(p_worker text, p_own jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select b.tenant_id, max(b.turns)::integer
    from (
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is not null and t.worker = p_worker and t.worker is not null
            and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is null and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer from jsonb_each_text(p_own) as o
    ) as b
    group by b.tenant_id
$$;

-- How many of the worker's seats tenant p_tenant_id has: as many as p.sitting says, or else as it has turns.
create or replace function hybridflow.seats_of(p_tenant_id bigint, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select coalesce((coalesce(nullif(p -> 'sitting', 'null'), p -> 'own') ->> p_tenant_id::text)::integer, 0)
$$;

-- How many more turns tenant p_tenant_id may have that has p_busy (null: none); null: any number. Of the
-- worker's seats it gets another while it has less than own_times as many as are free, and own_max turns at
-- most, those that wait for its own server (see `sitting`) among them.
create or replace function hybridflow.room_for(p_tenant_id bigint, p_busy integer, p_limit integer, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'tenant_max' is null and p ->> 'own_times' is null then null
        else greatest(0, least(
            (p ->> 'tenant_max')::integer - coalesce(p_busy, 0),
            ceil((p ->> 'own_times')::numeric * p_limit)::integer - hybridflow.seats_of(p_tenant_id, p),
            (p ->> 'own_max')::integer - coalesce((p -> 'own' ->> p_tenant_id::text)::integer, 0)
        ))
    end
$$;

-- The tenants that may have no turn more now.
create or replace function hybridflow.full_tenants(p_limit integer, p jsonb)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select coalesce(array_agg(b.tenant_id), '{}')
    from hybridflow.tenants_at_work(
        case when p ->> 'n8n_max_in_flight' is null then p ->> 'worker' end, nullif(p -> 'own', 'null')
    ) as b
    where hybridflow.room_for(b.tenant_id, b.turns, p_limit, p) = 0
$$;

-- The turns of a tenant that may be claimed, at most p_most: those whose lease has run out, then the due
-- ones, the newest first, as a customer who has just written is there, and one who has long waited may not
-- be. So that the old ones end, too, each fourth time the oldest comes first, once it is due for a minute.
create or replace function hybridflow.turns_of_tenant(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, lapsed boolean, place bigint)
language sql
volatile
rows 4
set search_path = ''
as $$
    select f.id, bool_or(f.lapsed), row_number() over (order by min(f.rank))
    from (
        (
            select t.id, true as lapsed, -1 - extract(epoch from p_now - t.lease_until) as rank
            from public.turns as t
            where t.tenant_id = p_tenant_id and t.held and t.lease_until <= p_now
            order by t.lease_until limit p_most
        )
        union all
        select d.turn_id, false, case
            when d.is_oldest and d.run_after <= p_now - interval '1 minute' and (select random()) < 0.25 then 0
            else 1 + extract(epoch from p_now - d.run_after)
        end
        from hybridflow.due_turns(p_tenant_id, p_now, p_most) as d
    ) as f
    group by f.id
    order by min(f.rank) limit p_most
$$;

-- The turns that may be claimed, in their order, some more than p_limit: some may be locked. They are due, or
-- their lease has run out. The tenants take turns, in the order of p_tenants (see next_tenants), and one that
-- has many under way comes after one that has few, so that a flood of one makes no other wait; none gets more
-- than its share at once (see room_for), and the last places are left to who has none. was_cut: its tenant
-- may have more.
create or replace function hybridflow.claimable_turns(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (turn_id bigint, place bigint, was_cut boolean)
language sql
volatile
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.turn_id, r.place, r.was_cut
    from (
        select
            d.turn_id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.busy + d.place, d.lapsed desc, w.nth, d.turn_id) as place,
            w.own + d.place - 1 as has
        from (
            select
                a.tenant_id, a.nth, coalesce(b.turns, 0) as busy,
                hybridflow.seats_of(a.tenant_id, p) as own,
                -- As many of each as make twice the limit together, for some may be locked.
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_for(a.tenant_id, b.turns, p_limit, p)) as room
            from (
                select coalesce(n.tenant_id, l.tenant_id) as tenant_id, coalesce(n.nth, 2 * p_limit + 1) as nth
                from unnest(p_tenants) with ordinality as n (tenant_id, nth)
                full join hybridflow.lapsed_tenants(p_now) as l (tenant_id) on l.tenant_id = n.tenant_id
            ) as a
            left join hybridflow.tenants_at_work(
                case when p ->> 'n8n_max_in_flight' is null then p ->> 'worker' end,
                nullif(p -> 'own', 'null')
            ) as b on b.tenant_id = a.tenant_id
        ) as w
        cross join lateral hybridflow.turns_of_tenant(w.tenant_id, p_now, least(w.enough, w.room)) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- Whether a turn is due that nobody has, even if it cannot be claimed now.
create or replace function hybridflow.is_one_due()
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.turns as t
        where t.waiting and not t.held and t.run_after <= (select hybridflow.clock())
    )
$$;

-- When the next turn falls due, or a lease runs out.
create or replace function hybridflow.next_claimable(p_now timestamptz)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select least(
        (
            select t.run_after from public.turns as t
            where t.waiting and not t.held and t.run_after > p_now
            order by t.run_after limit 1
        ),
        (
            select t.lease_until from public.turns as t
            where t.held and not t.waiting and t.lease_until > p_now
            order by t.lease_until limit 1
        )
    )
$$;

-- Whether what a turn answers is too old to be answered at all: it is as old as it was sent, or last changed;
-- one that a person retried is as old as that, and one that answers nothing and only says something as it was
-- made. A time to come says nothing of a change.
create or replace function hybridflow.is_too_old(p_turn public.turns, p_minutes numeric)
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(greatest(
        (
            select max(greatest(m.sent_at, case when m.edited_at <= hybridflow.clock() then m.edited_at end))
            from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ),
        p_turn.retried_at,
        case when not exists (
            select from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ) then p_turn.debounce_until end
    ) < hybridflow.clock() - hybridflow.seconds(60 * coalesce(
        (select t.answer_within_minutes from public.tenants as t where t.id = p_turn.tenant_id), p_minutes, 60
    )), false)
$$;

-- Ends those of the turns, which are locked and about to be claimed, that are too old to be answered: see
-- is_too_old. One that has a part on the phone or in doubt is not, nor one that a person retried. Returns
-- them.
create or replace function hybridflow.end_too_old(p_ids bigint[], p_minutes numeric)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.id = any(p_ids) and t.retried_at is null and hybridflow.is_too_old(t, p_minutes)
            and not hybridflow.has_spoken(t.id) and not hybridflow.is_in_doubt(t.id)
    );
begin
    if v_ids = '{}' then  -- as almost always
        return v_ids;
    end if;
    update public.turns
    set state = 'dead', reason = 'too_old', lease_until = null, waits_for = null,
        error_kind = coalesce(error_kind, 'too_old'),
        error = coalesce(error, 'nobody could answer it before it was too old (ANSWER_WITHIN_MINUTES)'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    -- What met an outage before is of that one.
    perform hybridflow.note_unanswered(
        d.turn, case when (d.turn).error_kind = 'away' then 'line_away' else 'too_late' end, (d.turn).error
    )
    from (
        select t as turn from public.turns as t
        where t.id = any(v_ids) and t.outage_id is null
        order by t.tenant_id, t.id
    ) as d;
    return v_ids;
end
$$;

-- Whether a router of 0.2.0 can say the turn's reply, which knows texts alone: of a handoff it says the text.
-- What is given up it would send again.
create or replace function hybridflow.is_in_texts(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select not coalesce(p_turn.reply @? '$[*] ? (@.type() == "object" && !exists(@.text))', false)
        and not exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.given_up is not null
        )
$$;

-- Turns as claim_turns tells of them, with their replies as texts.
create or replace function hybridflow.in_texts(p_turns jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_agg(
        case
            when jsonb_typeof(c.turn -> 'reply') <> 'array' then c.turn
            else jsonb_set(c.turn, '{reply}', (
                select coalesce(jsonb_agg(coalesce(r.part ->> 'text', r.part #>> '{}') order by r.nth), '[]')
                from jsonb_array_elements(c.turn -> 'reply') with ordinality as r (part, nth)
            ))
        end order by c.nth
    ), '[]')
    from jsonb_array_elements(p_turns) with ordinality as c (turn, nth)
$$;

-- claim_turns({limit, lease_seconds, max_attempts, history_limit, worker, after_tenant?, tenant_max?,
-- n8n_max_in_flight?, own?: {<tenant_id>: turns}, own_max?, sitting?: {<tenant_id>: turns}, own_times?,
-- answer_within_minutes?, objects?})
-- Takes due turns for one attempt each: pending ones whose session has no active turn, and active ones whose
-- lease has run out. Each gets a new token (the old one is dead) and a lease; finding out about a send in
-- doubt does not count as an attempt. What is older than answer_within_minutes ends as 'too_old'. The tenants
-- take turns (see claimable_turns), those after after_tenant first; tenant_max is how many of one tenant this
-- worker, or with n8n all of them, may have at once. `own` is how many turns of each tenant the worker is at,
-- whatever became of their leases, and own_max how many it may be at; `sitting` is how many of them have one
-- of the worker's seats, all where it is not given: a tenant gets another while it has less than own_times as
-- many as are free. `objects`: the worker says parts of a reply that are no texts; a router of 0.2.0 does
-- not, and is given those that have one as texts, and no others. What would make the answer large, long
-- prompts, is left to the next call. Never waits for a lock, nor for the disk: a claim that a crash of the
-- database takes back was never made, its token opens nothing, and what is done with it next
-- (reserve_budget, the fence) brings it to the disk before anything follows. Returns {turns: [context],
-- unreadable: [{turn_id, tenant_id, error}], too_old: [{turn_id, tenant_id, session_id}], exhausted?:
-- [{turn_id, tenant_id, session_id}], now, after_tenant, more, taken, left, next_due_at}: the context (see
-- turn_context) has the reply saved and the parts begun by an earlier attempt; exhausted: those that died
-- here, for their last lease has run out (see bury_lapsed); after_tenant is for the next claim; more: there
-- may be others that can be claimed at once; taken: how many turns were there to be claimed, or ended; left:
-- some are due that were not, such as one whose session has an active turn: its end lets it be claimed;
-- next_due_at is when the next one falls due, now where others hold what could be claimed.
create or replace function public.claim_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
-- Its lists of ids are short, and what the planner takes for a longer one it would plan anew at each call: a
-- quarter of what a claim costs.
set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_lapsed boolean := exists (
        select from public.turns as t where t.held and not t.waiting and t.lease_until <= v_now
    );
    v_round record;
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_locked integer;
    v_for_others integer := 0;
    v_old bigint[];
    v_buried bigint[] := '{}';
    v_claimed bigint[];
    v_tokens uuid[];
    v_last bigint;
    v_turns jsonb;
    v_unreadable jsonb := '[]';
    v_contexts jsonb;
begin
    if num_nulls(
        p ->> 'limit', p ->> 'lease_seconds', p ->> 'max_attempts', p ->> 'history_limit', p ->> 'worker'
    ) > 0 then
        perform hybridflow.require_keys(
            'claim_turns', p, '{limit,lease_seconds,max_attempts,history_limit,worker}'
        );
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if v_lapsed then
        perform hybridflow.close_dead_flows();
        v_buried := hybridflow.bury_lapsed(
            (p ->> 'max_attempts')::integer, (p ->> 'answer_within_minutes')::numeric
        );
    end if;
    if p ->> 'n8n_max_in_flight' is not null then
        v_limit := least(v_limit, hybridflow.free_flows((p ->> 'n8n_max_in_flight')::integer));
    end if;
    v_round := hybridflow.next_tenants(
        v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500), hybridflow.full_tenants(v_limit, p)
    );
    if v_round.tenants = '{}' and not v_lapsed then  -- the end of each turn has somebody look: mostly for nothing
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb, 'now', v_now,
            'after_tenant', v_round.last, 'taken', 0,
            'more', v_limit > 0 and not v_round.is_whole and v_round.last <> v_after,
            'left', hybridflow.is_one_due(),
            'next_due_at', hybridflow.next_claimable(v_now)
        );
    end if;
    select coalesce(array_agg(f.turn_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_turns(v_round.tenants, v_now, v_limit, p) as f;
    if p ->> 'objects' is null then
        select
            coalesce(array_agg(f.id order by f.place) filter (where r.readable), '{}'),
            count(*) filter (where not r.readable)
        into v_offered, v_for_others
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.turns as t on t.id = f.id
        cross join lateral (select hybridflow.is_in_texts(t) as readable) as r;
    end if;
    select coalesce(array_agg(s.id order by s.place) filter (where s.fits), '{}'), count(*)
    into v_ids, v_locked
    from (
        select d.id, d.place, coalesce(sum(d.size) over (
            order by d.place rows between unbounded preceding and 1 preceding
        ), 0) < 16000000 as fits
        from (
            select t.id, f.place, (
                select coalesce(octet_length(n.system_prompt), 0)::bigint + coalesce(octet_length(n.facts), 0)
                from public.tenants as n where n.id = t.tenant_id
            ) as size
            from unnest(v_offered) with ordinality as f (id, place)
            inner join public.turns as t on t.id = f.id
            where (t.state = 'pending' and t.run_after <= v_now)
                or (
                    t.state in ('running', 'sending') and t.lease_until <= v_now
                    and not hybridflow.is_used_up(t, (p ->> 'max_attempts')::integer)
                )
            order by f.place limit v_limit
            for update of t skip locked
        ) as d
    ) as s;
    if v_lapsed then
        perform hybridflow.note_lapsed(v_ids);
    end if;
    v_old := case
        -- Who does not say it, a router of 0.1.0, may have been told a longer time than the one that holds else.
        when p ->> 'answer_within_minutes' is not null
            then hybridflow.end_too_old(v_ids, (p ->> 'answer_within_minutes')::numeric)
        else '{}'
    end;
    -- Only where the next look is another one: something was taken, or it begins with another tenant.
    v_more := cardinality(v_ids) - cardinality(v_old) < v_locked or (v_locked < v_limit and (
        (v_more and v_locked > 0) or (not v_round.is_whole and (v_locked > 0 or v_round.last <> v_after))
    ));

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id) where f.id <> all(v_old)
    ),

    claimed as (
        update public.turns as t
        set state = case when t.state = 'pending' then 'running' else t.state end,
            attempt = t.attempt + case when hybridflow.is_in_doubt(t.id) then 0 else 1 end,
            seen_at = case when t.reply is null then clock_timestamp() else t.seen_at end,
            token_hash = hybridflow.hash_token(f.token),
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            worker = p ->> 'worker', waits_for = null, due_when_heard = null, claimed_at = v_now,
            updated_at = v_now
        from fresh as f
        where t.id = f.id
        returning t.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;

    -- Who was served comes last the next time; where nobody was, the next look goes on from here.
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select t.tenant_id from public.turns as t where t.id = any(v_ids))
    order by n.nth desc limit 1;
    begin
        select coalesce(jsonb_agg(
            hybridflow.turn_context(t, c.token, (p ->> 'history_limit')::integer) order by t.id
        ), '[]') into v_turns
        from unnest(v_claimed, v_tokens) as c (id, token)
        inner join public.turns as t on t.id = c.id;
    exception
        when others then
            v_contexts := hybridflow.turn_contexts(v_claimed, v_tokens, (p ->> 'history_limit')::integer);
            v_turns := v_contexts -> 'turns';
            v_unreadable := v_contexts -> 'unreadable';
    end;
    if p ->> 'objects' is null then
        v_turns := hybridflow.in_texts(v_turns);
    end if;
    return jsonb_build_object(
        'turns', v_turns,
        'unreadable', v_unreadable,
        'too_old', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'turn_id', t.id, 'tenant_id', t.tenant_id, 'session_id', t.session_id
            )), '[]')
            from public.turns as t where t.id = any(v_old)
        ),
        'exhausted', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'turn_id', t.id, 'tenant_id', t.tenant_id, 'session_id', t.session_id
            )), '[]')
            from public.turns as t where t.id = any(v_buried)
        ),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', v_more,
        'taken', v_locked,
        'left', v_lapsed or hybridflow.is_one_due(),
        'next_due_at', case
            when v_locked < least(v_limit, cardinality(v_offered)) then v_now
            when v_for_others > 0 then greatest(hybridflow.next_claimable(v_now), v_now + interval '1 second')
            else hybridflow.next_claimable(v_now)
        end
    );
end
$$;

-- Why the holder of p.token may not act for the turn, as every function answers it: {refused: reason}, or
-- null. 'stale': the turn is not theirs (any more): a newer attempt has it, the lease ran out, or there is
-- none; to a token that is not the turn's own nothing more is said. A turn that was
-- closed keeps its last one. 'paused', 'superseded' (closed or merged).
create or replace function hybridflow.turn_refusal(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
volatile
set search_path = ''
as $$
begin
    if p_turn.id is null or p_turn.state = 'pending' or p ->> 'token' is null
        or p_turn.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_turn.state in ('cancelled', 'sent') and p_turn.reason in ('takeover', 'paused') then
        return '{"refused": "paused"}';
    elsif p_turn.state in ('cancelled', 'sent', 'dead') then
        return '{"refused": "superseded"}';
    elsif p_turn.lease_until <= hybridflow.clock() then
        return '{"refused": "stale"}';
    end if;
    return null;
end
$$;

-- Why a turn that is held may say no more: what a human, a pause or the label no-ai stopped it for; null
-- where it may. What a handoff says passes its own pause, as long as nobody has taken it.
create or replace function hybridflow.stopped_for(p_turn public.turns, p_session public.sessions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    v_own text;
begin
    if p_turn.stop_reason is not null then
        return p_turn.stop_reason;
    elsif p_turn.reply @? '$[*] ? (exists(@.handoff) || exists(@.line))'
        or (p_turn.reply is null and p_turn.handler = 'n8n' and p_session.is_paused)  -- by a flow's promise
    then
        select h.state into v_own from public.handoffs as h
        where h.turn_id = p_turn.id or h.line_turn_id = p_turn.id
        order by h.id desc limit 1;
    end if;
    return case
        when v_own = 'taken' then 'takeover'
        when v_own <> 'waiting' or (p_session.is_paused and v_own is null) then 'paused'
        when 'no-ai' = any(p_session.labels) then 'no_ai'
    end;
end
$$;

-- The turn p.turn_id, locked together with its session (session first); `refused` says why who shows p.token
-- may not act for it, see turn_refusal. For who need not hold it: the router itself, which tells of a send
-- that a former attempt began.
create or replace function hybridflow.lock_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint := (p ->> 'turn_id')::bigint;
begin
    loop
        select s.* into session from public.sessions as s
        inner join public.turns as t on t.session_id = s.id
        where t.id = v_id
        for update of s;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found or not exists (select from public.turns as t where t.id = v_id);
    end loop;
    select * into turn from public.turns where id = v_id for update;
    refused := hybridflow.turn_refusal(turn, p);
end
$$;

-- The turn that a handler holds with p.token, locked as by lock_turn, which says why it may not go on. Whose
-- token is not the turn's own gets no lock and waits for none: it may be a flow that names another tenant's
-- turn.
create or replace function hybridflow.hold_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id constant bigint := (p ->> 'turn_id')::bigint;
    v_hash constant bytea := hybridflow.hash_token((p ->> 'token')::uuid);
    v_session_id bigint;
    v_locked record;
begin
    select t.session_id into v_session_id from public.turns as t where t.id = v_id and t.token_hash = v_hash;
    if found then
        select s.* into session from public.sessions as s where s.id = v_session_id for update;
        if not found then  -- its session was merged away while we waited, or is gone
            v_locked := hybridflow.lock_turn(p);
            turn := v_locked.turn;
            session := v_locked.session;
            refused := v_locked.refused;
            return;
        end if;
        select t.* into turn from public.turns as t where t.id = v_id for update;
        if turn.id is null or turn.state not in ('running', 'sending') or turn.token_hash is distinct from v_hash
            or turn.lease_until <= hybridflow.clock()
        then
            refused := hybridflow.turn_refusal(turn, p);
        end if;
    else
        refused := hybridflow.turn_refusal(turn, p);
    end if;
end
$$;

-- The LLM that a tenant's replies come from, as turns.waits_for names it: the deployment's of a provider, or
-- one with the tenant's own key, which may be the fault.
create or replace function hybridflow.llm_of(p_tenant_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select concat('llm ', t.llm_provider, case when t.llm_api_key is not null then ' ' || t.id end)
    from public.tenants as t
    where t.id = p_tenant_id
$$;

-- A tenant's way to WhatsApp, as turns.waits_for names it: its line, and the Evolution before it.
create or replace function hybridflow.line_of(p_tenant_id bigint)
returns text
language sql
immutable
set search_path = ''
as $$
    select 'line ' || p_tenant_id
$$;

-- Of what waits for p_waits_for, of tenant p_tenant_id or (null) of all, the newest turns; few at a time, so
-- that no call takes long. Two statements, for each has an index of its own.
create or replace function hybridflow.newest_put_off(p_waits_for text, p_tenant_id bigint)
returns bigint[]
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
begin
    if p_tenant_id is null then
        return array(
            select t.id from public.turns as t
            where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            order by t.id desc limit c_few for update skip locked
        );
    end if;
    return array(
        select t.id from public.turns as t
        where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            and t.tenant_id = p_tenant_id
        order by t.tenant_id desc, t.id desc limit c_few for update skip locked
    );
end
$$;

-- When a turn is due that need not wait any more: since its contact last wrote. So of all that are due the
-- newest conversations are claimed first, whenever they were let go; see turns_of_tenant.
create or replace function hybridflow.due_since(p_session_id bigint)
returns timestamptz
language sql
volatile
set search_path = ''
as $$
    select least(s.last_contact_at, hybridflow.clock()) from public.sessions as s where s.id = p_session_id
$$;

-- What turns wait for is back: they are due at once, the newest conversations first; some of them now, and
-- others whenever it works again. Only those of tenant p_tenant_id, where one is given. All routers hear it.
create or replace function hybridflow.is_back(p_waits_for text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_ids bigint[];
begin
    if exists (
        select from public.outages as o
        where o.ended_at is null and o.about is not null and o.about = p_waits_for
    ) then
        perform hybridflow.end_outages(p_waits_for, p_tenant_id);
    end if;
    if exists (select from public.media_jobs as j where j.waits_for is not null and j.waits_for = p_waits_for) then
        perform hybridflow.senses_are_back(p_waits_for);
    end if;
    v_ids := hybridflow.newest_put_off(p_waits_for, p_tenant_id);
    if v_ids = '{}' then
        return;
    end if;
    update public.turns as t
    set waits_for = null,
        run_after = case
            when t.waiting then least(t.run_after, hybridflow.due_since(t.session_id)) else t.run_after
        end,
        lease_until = case
            when t.held and t.worker is null then least(t.lease_until, v_now) else t.lease_until
        end
    where t.id = any(v_ids);
    perform public.call_routers('{}');
end
$$;

-- save_reply({turn_id, token, parts: [part], handler, provider?, model?, tokens_in?, tokens_out?,
-- execution_id?, execution_url?})
-- Writes the reply down before any of it is sent, so that a later attempt goes on with it instead of
-- asking the LLM again; again, or once a part of it has begun, nothing changes. A part is a text, or an
-- object: what else Evolution is asked, or a handoff, with the text that tells of it; what follows that is
-- the rest of the text. A handoff without a text is the last part. The execution is the one that n8n named
-- in its answer to the router, as by begin_flow. Returns {ok} or {refused: reason}: 'has_spoken', its flow
-- has sent something by itself through the gateway, and answers besides.
create or replace function public.save_reply(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_refused jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', nullif(p -> 'parts', 'null'), p ->> 'handler') > 0 then
        perform hybridflow.require_keys('save_reply', p, '{turn_id,token,parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_refused := hybridflow.write_reply(v_held.turn, p);
    perform hybridflow.settle_reply(v_held.turn, p);
    perform hybridflow.reply_was_made(v_held.turn, p)
    from public.turns as t
    where t.id = (v_held.turn).id and t.reply is distinct from (v_held.turn).reply;
    return coalesce(v_refused, '{"ok": true}');
end
$$;

-- The reply p, as save_reply takes it, of the turn p_turn that its handler holds, and what it cost; the day's
-- budget is for the caller to settle (see settle_reply), and behind it what is due to who made it (see
-- reply_was_made). Returns why it is not written down, {refused: reason}; null: it is.
create or replace function hybridflow.write_reply(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    if p_turn.reply = p -> 'parts' or (
        p_turn.reply is not null and exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.part is not null
        )
    ) then
        return null;  -- it may have grown meanwhile: see give_up
    elsif p_turn.reply is null and p ->> 'handler' = 'n8n' and exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.send_state <> 'failed'
    ) then
        return '{"refused": "has_spoken"}';
    end if;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
    end if;
    v_turn := hybridflow.with_cost(p_turn, p);
    update public.turns
    set reserved_tokens = v_turn.reserved_tokens, provider = v_turn.provider, model = v_turn.model,
        tokens_in = v_turn.tokens_in, tokens_out = v_turn.tokens_out,
        reply = p -> 'parts', handler = p ->> 'handler', handler_since = hybridflow.clock(),
        execution_id = coalesce(p ->> 'execution_id', execution_id),
        execution_told_at = case
            when p ->> 'execution_id' is not null then hybridflow.clock() else execution_told_at
        end,
        execution_url = case
            when p ->> 'execution_id' is not null then p ->> 'execution_url' else execution_url
        end,
        updated_at = hybridflow.clock()
    where id = p_turn.id;
    return null;
end
$$;

-- The reply p was made (see write_reply), and what it cost is settled: what it was made by works. It comes
-- behind the day's budget, as the notices of a failure do: who fails has the one, and asks for the others.
create or replace function hybridflow.reply_was_made(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_llm text := hybridflow.llm_of(p_turn.tenant_id);
begin
    if p ->> 'handler' = 'n8n' then
        -- What a flow answers need not come from the LLM: others are not told.
        perform hybridflow.is_back(v_llm, p_turn.tenant_id);
    elsif starts_with(v_llm, 'llm ' || (p ->> 'provider')) then
        perform hybridflow.is_back(v_llm, null);
    end if;
    if p ->> 'handler' = 'n8n' or p ->> 'provider' is not null then
        perform hybridflow.replies_are_made(p_turn.tenant_id);  -- not what needs no model
    end if;
end
$$;

-- How many seconds pass until what failed p_times before is tried again: twice as many each time, up to
-- p_most, with jitter, so that what failed together does not come again together.
create or replace function hybridflow.back_off(p_base numeric, p_times integer, p_most numeric)
returns numeric
language sql
volatile
set search_path = ''
as $$
    select least(p_base * power(2::numeric, least(p_times, 9)), p_most) * (0.75 + random() / 2)::numeric
$$;

-- An attempt at a turn that is held did not work: what becomes of the turn (see fail_turn).
create or replace function hybridflow.after_failure(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_away boolean := p ->> 'kind' = 'away';
    v_spoken boolean := exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'sent'
    );
    v_base numeric := (p ->> 'base_seconds')::numeric;
    v_due timestamptz := hybridflow.clock() + hybridflow.seconds(greatest(
        -- Nobody may tell us when what is away is back: it is never asked late.
        case when v_away then hybridflow.back_off(v_base, p_turn.waits, 30)
            else hybridflow.back_off(v_base, p_turn.attempt - 1, 900)
        end,
        (p ->> 'retry_after')::numeric
    ));
    v_stopped text := hybridflow.stopped_for(p_turn, p_session);
    v_minutes numeric := (p ->> 'answer_within_minutes')::numeric;
    v_began boolean;
begin
    perform hybridflow.settle_budget(p_turn, (p ->> 'tokens')::bigint);
    update public.turns
    set error_kind = p ->> 'kind', error = left(p ->> 'error', 2000),
        reserved_tokens = case when p ->> 'tokens' is null then reserved_tokens end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        waits = case when v_away then waits + 1 else 0 end,
        worker = null,  -- it has ended: see end_attempt, which notes it
        waits_for = case
            when not v_away then null
            when p ->> 'away' is distinct from 'llm' then hybridflow.line_of(p_turn.tenant_id)
            when p ->> 'retry_after' is null then hybridflow.llm_of(p_turn.tenant_id)
        end
    where id = p_turn.id;
    if hybridflow.await_settlement(p_turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('state', 'in_doubt');
    elsif p_turn.reply is null and v_spoken and not (v_away and exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'failed' and part is not null
    )) then
        -- A flow that has said something and then died is not begun again: it would repeat itself.
        perform hybridflow.stop_turn(p_turn.id, 'flow_failed');
        perform hybridflow.note_unanswered(p_turn, 'half_said', p ->> 'error')
        where p ->> 'cause' is not null;
        return jsonb_build_object('state', 'sent');
    elsif v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('state', 'cancelled');
    elsif v_away and not v_spoken and hybridflow.is_too_old(p_turn, v_minutes) then
        perform hybridflow.close_turn(p_turn.id, 'dead', 'too_old');
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif p ->> 'kind' = 'permanent' or (not v_away and p_turn.attempt >= (p ->> 'max_attempts')::integer) then
        perform hybridflow.close_turn(p_turn.id, 'dead', p_turn.reason);
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif v_spoken then
        perform hybridflow.put_aside(p_turn.id, v_due, null);
        update public.turns set state = 'sending' where id = p_turn.id;
    else
        perform hybridflow.requeue_turn(p_turn, v_due, null);
        -- Of a line that is down another notice tells, until an answer is too late for it.
        v_began := v_away and p ->> 'cause' <> 'line_away'
            and hybridflow.note_unanswered(p_turn, p ->> 'cause', p ->> 'error');
    end if;
    return jsonb_build_object('state', 'pending', 'run_after', v_due)
        || case when v_began then jsonb_build_object('outage', p ->> 'cause') else '{}' end;
end
$$;

-- The same, and the attempt is noted.
create or replace function hybridflow.end_attempt(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_result jsonb := hybridflow.after_failure(p_turn, p_session, p);
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn.id;
    perform hybridflow.note_attempt(
        p_turn,
        case
            when v_turn.finished_at is not null then v_turn.state
            when v_result ->> 'state' <> 'pending' then v_result ->> 'state'
            when p ->> 'kind' = 'away' then 'away'
            else 'failed'
        end,
        coalesce(v_turn.finished_at, hybridflow.clock()), v_turn.reason, p ->> 'kind', left(p ->> 'error', 2000)
    );
    return v_result;
end
$$;

-- fail_turn({turn_id, token, kind, error, away?, retry_after?, tokens?, message_id?, check_after?,
-- max_attempts, base_seconds, answer_within_minutes?, cause?, execution_id?, execution_url?})
-- Ends an attempt that did not work. kind 'transient': tried again after an exponential back-off with jitter
-- (not before retry_after seconds), dead when the attempts are used up; 'permanent': dead at once; 'away':
-- the reply certainly did not leave, for Evolution or the line is away, or there is none, for the LLM is
-- (`away` is then 'llm'): tried again soon, and at once when the instance is connected again, or the LLM has
-- made another reply, and no attempt is used up; dead with the reason 'too_old' when what it answers is older
-- than answer_within_minutes. tokens is what it cost, if that is known; message_id a part of its reply that
-- certainly did not leave (as routers of 0.1.0 say it); check_after as of doubt_send; the execution that of
-- n8n which failed, named here and not before: its own crash is reported, too, and would end the attempt
-- otherwise than its answer did. A turn without a saved reply that has said something is closed as sent,
-- incomplete. `cause` says who is told of it (see endings): `outage` names it where an outage begins with
-- this turn; `handoff`: the session is handed to a human. Returns {state, run_after?, outage?, handoff?} or
-- {refused: reason}.
create or replace function public.fail_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('fail_turn', p, '{turn_id,token,kind,error,max_attempts,base_seconds}');
    update public.messages set send_state = 'failed'
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint and send_state = 'sending';
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
        update public.turns
        set execution_id = p ->> 'execution_id', execution_url = p ->> 'execution_url',
            execution_told_at = hybridflow.clock()
        where id = v_turn.id
        returning * into v_turn;
    end if;
    return hybridflow.end_attempt(v_turn, v_held.session, p);
end
$$;

-- begin_anew({turn_id, token})
-- Nothing of the turn is on the phone or in doubt, and its reply is lost or stale: it is pending again, due
-- now, together with what came meanwhile, and its reply is made again. The attempt does not count.
-- Returns {ok} or {refused: reason}; 'has_spoken': something is on the phone, or may be.
create or replace function public.begin_anew(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('begin_anew', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif hybridflow.is_in_doubt((v_held.turn).id) or exists (
        select from public.messages where turn_id = (v_held.turn).id and send_state = 'sent'
    ) then
        return '{"refused": "has_spoken"}';
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
    perform hybridflow.discard_reply((v_held.turn).id);
    perform hybridflow.requeue_turn(v_held.turn, hybridflow.clock(), 'begun_anew');
    return '{"ok": true}';
end
$$;

-- renew_turns({turns: [{turn_id, token}], worker, lease_seconds})
-- The worker lives, and works on these: their leases last for lease_seconds from now. Returns {lost:
-- [turn_id]}: those that are closed, or that another attempt has. Never waits for a lock.
create or replace function public.renew_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_lost bigint[];
begin
    perform hybridflow.require_keys('renew_turns', p, '{turns,worker,lease_seconds}');
    perform hybridflow.require_keys_of_each('renew_turns', p, 'turns', '{turn_id,token}');
    update public.turns set lease_until = greatest(lease_until, v_until)
    where id in (
        select t.id from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
        inner join public.turns as t on t.id = h.turn_id
        where t.state in ('running', 'sending') and t.worker = p ->> 'worker'
            and t.token_hash = hybridflow.hash_token(h.token)
        for update of t skip locked
    );
    select array_agg(h.turn_id) into v_lost
    from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
    left join public.turns as t on t.id = h.turn_id
        and t.state in ('running', 'sending') and t.token_hash = hybridflow.hash_token(h.token)
    where t.id is null;
    return jsonb_build_object('lost', coalesce(to_jsonb(v_lost), '[]'));
end
$$;

-- release_turn({turn_id, token})
-- Gives a turn back unharmed (the router stops): what has said nothing is pending again and the attempt does
-- not count; what is half said can be claimed at once. Returns {ok} or {refused: reason}.
create or replace function public.release_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('release_turn', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if v_turn.state = 'running' then
        perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'released');
    else
        perform hybridflow.put_aside(v_turn.id, hybridflow.clock(), 'released');
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    return jsonb_build_object('ok', true);
end
$$;

-- Whether something was to be said for the turn that certainly did not leave.
create or replace function hybridflow.has_unsent(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.part is not null
    )
$$;

-- Whether the rest of a text that turn p_turn_id said is still to be sent, for the send before it was in
-- doubt (see begin_flow_send). Where that one failed, or it is given up itself, its flow has been told so.
create or replace function hybridflow.is_cut_off(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        inner join public.messages as b on b.turn_id = m.turn_id and b.part = m.part - 1
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.given_up is null and m.sends = 0
            and b.send_state = 'sent'
    )
$$;

-- finish_turn({turn_id, token, reason?, unanswered?, check_after?, provider?, model?, tokens_in?,
-- tokens_out?})
-- Closes a turn with nothing (more) to say, and notes what it cost; again by the same token: the same answer,
-- with `already`. With `unanswered` it is cancelled where nothing was said, and counts as no reply. While a
-- send is in doubt it stays open until that is settled (`in_doubt`), which is looked for in check_after
-- seconds; so it does while the rest of a text is to be sent (see is_cut_off). `silent`: nothing of it is on
-- the phone; `incomplete`: a part of it is not. Returns {ok, already?, in_doubt?, silent?, incomplete?} or
-- {refused: reason}: 'not_sent', there was something to say, and nothing of it has left.
create or replace function public.finish_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_unanswered constant boolean := coalesce((p ->> 'unanswered')::boolean, false);
    v_has_spoken boolean;
    v_told jsonb := '{}';
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token') > 0 then
        perform hybridflow.require_keys('finish_turn', p, '{turn_id,token}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if (v_held.turn).state = 'sent'
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    perform hybridflow.book_cost(v_held.turn, p);
    if hybridflow.await_settlement(v_held.turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    if hybridflow.is_cut_off((v_held.turn).id) then
        perform hybridflow.put_aside((v_held.turn).id, hybridflow.clock(), 'cut_off');
        -- The flow did all that was its own: to send the rest is no further attempt, and the last one's rest
        -- would be buried with it. Told twice, it counts once.
        if (v_held.turn).lease_until > hybridflow.clock() then
            update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
        end if;
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    v_has_spoken := hybridflow.has_spoken((v_held.turn).id);
    if hybridflow.has_unsent((v_held.turn).id) then
        if not v_has_spoken and not v_unanswered then
            return '{"refused": "not_sent"}';
        end if;
        update public.turns set incomplete = true where id = (v_held.turn).id;
        v_told := '{"incomplete": true}';
    end if;
    perform hybridflow.close_turn(
        (v_held.turn).id,
        case when v_unanswered and not v_has_spoken then 'cancelled' else 'sent' end,
        coalesce(hybridflow.ends_as_handoff((v_held.turn).id), p ->> 'reason')
    );
    return v_told || jsonb_build_object('ok', true, 'silent', not v_has_spoken);
end
$$;
