-- HybridFlow: what a worker is given with a turn: the conversation, and what of the reply is already sent.

-- The parts of a turn that have begun, in order, for the handler that goes on with it.
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

-- The conversation up to now, oldest first. The messages that turn p_turn answers come last, even if an
-- earlier reply left after they were written. Left out are sends that certainly failed, sends that WhatsApp
-- did not deliver, messages that wait for a later turn, and everything beyond the newest 200,000 characters,
-- which begin with the turn's own messages. The result is json, and becomes jsonb once, together with the
-- object that it is a part of: jsonb would be read and written again for each object around it, a quarter of
-- the cost of a claim.
create or replace function hybridflow.told_history(p_turn public.turns, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(told), '[]') from (
        select
            h.id as message_id, h.wa_id, h.from_me, h.sender, h.kind,
            case
                when h.deleted_at is not null then '[deleted message]'
                when octet_length(h.body) > 65536 then hybridflow.cut(h.body)
                else h.body
            end as body,
            hybridflow.cut_fields(h.quoted) as quoted,
            case
                when octet_length(h.author_name) > 256 then hybridflow.cut(h.author_name, 256) else h.author_name
            end as author_name,
            h.sent_at,
            case when h.deleted_at is null then hybridflow.cut_fields(h.media) end as media,
            case
                when h.transcript is not null and h.deleted_at is null then hybridflow.cut(h.transcript)
            end as transcript,
            case
                when h.description is not null and h.deleted_at is null then hybridflow.cut(h.description)
            end as description,
            h.media is not null and h.deleted_at is null and h.transcript is null
            and h.description is null and exists (
                select from public.media_jobs as j
                where j.message_id = h.id and j.state <> 'done' and not j.keep_only
            ) as unheard,
            h.media is not null and h.deleted_at is null and not h.from_me and exists (
                select from public.media_jobs as j where j.message_id = h.id and j.pictures_until is not null
            ) as pictured,
            h.in_turn
        from (
            select w.*, sum(w.characters) over (
                order by w.in_turn desc, w.sent_at desc, w.id desc rows between unbounded preceding and 1 preceding
            ) as characters_after
            from (
                select
                    m.id, m.wa_id, m.from_me, m.sender, m.kind, m.body, m.quoted, m.author_name, m.sent_at,
                    m.media, m.transcript, m.description, m.deleted_at,
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
                    -- One lookup for all messages: a session has at most one pending turn.
                    and (m.turn_id is null or m.turn_id is distinct from (
                        select o.id from public.turns as o
                        where o.session_id = p_turn.session_id and o.waiting and o.id <> p_turn.id
                    ))
                order by m.sent_at desc, m.id desc
                limit p_limit
            ) as w
        ) as h
        where coalesce(h.characters_after, 0) < 200000
        order by h.in_turn, h.sent_at, h.id
    ) as told
$$;

-- How a token is stored: as a hash, so that somebody who reads the table cannot act for a handler.
create or replace function hybridflow.hash_token(p_token uuid)
returns bytea
language plpgsql
immutable
set search_path = ''
as $$
begin
    return sha256(convert_to(p_token::text, 'UTF8'));
end
$$;

-- The ids of recent messages in the conversation of a send: ours (p_ours), or the contact's. Only the newest
-- 2,000 messages are read.
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

-- Everything that a handler needs for one attempt at a turn, including the token.
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
        'ours', (  -- to look up a send in doubt: the history leaves out what was not delivered
            select hybridflow.recent_wa_ids(m, true) from public.messages as m
            where m.turn_id = p_turn.id and m.send_state in ('sending', 'unknown') limit 1
        ),
        'history', hybridflow.told_history(p_turn, p_history_limit)
    )
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_turn.session_id
$$;

-- A turn that was just claimed cannot be worked on, because of p_error: it waits for a minute, and when its
-- attempts are used up it dies with this error.
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

-- The contexts of turns that were just claimed. Each is read by itself, so that only a turn that fails is put
-- off: {turns, unreadable: [{turn_id, tenant_id, error}]}.
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
