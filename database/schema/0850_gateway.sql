-- HybridFlow: what a flow in n8n may do with its turn, by the turn's token.

-- forward_turn({turn_id, token, lease_seconds})
-- The turn is given to n8n; the lease is the time that its flow has. Returns {ok} or {refused: reason}.
create or replace function public.forward_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('forward_turn', p, '{turn_id,token,lease_seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set handler = 'n8n', handler_since = hybridflow.clock(), execution_id = null, execution_told_at = null,
        execution_url = null, error = null, error_kind = null,
        updated_at = hybridflow.clock(),
        lease_until = hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- The tenant that an execution of n8n belongs to, if any: of the turns that name it, the one of which n8n
-- itself has said so last, else the first whose flow claims it. Looked at are turns that are under way, or
-- ended within the days for which n8n keeps executions. Before that it proves nothing: an n8n that lost its
-- database counts from one again. What another tenant's turn claims is left to stand there, and worth
-- nothing: a call that holds a session's lock does not wait for another tenant's rows, or write them.
create or replace function hybridflow.execution_owner(p_execution_id text)
returns bigint
language sql
volatile
set search_path = ''
as $$
    select t.tenant_id from public.turns as t
    where t.execution_id = p_execution_id
        and (t.finished_at is null or t.finished_at > hybridflow.clock() - interval '7 days')
    order by t.execution_told_at desc nulls last, t.id limit 1
$$;

-- Whether this is an execution's id as n8n gives it: a number in one spelling, exact in JavaScript.
create or replace function hybridflow.is_execution_id(p_execution_id text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_execution_id ~ '^[1-9][0-9]{0,14}$', false)
$$;

-- Raises PT422 unless it is an execution's id as n8n gives it.
create or replace function hybridflow.check_execution_id(p_execution_id text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if not hybridflow.is_execution_id(p_execution_id) then
        raise exception 'execution_id must be n8n''s `$execution.id`: a number' using errcode = 'PT422';
    end if;
end
$$;

create or replace function hybridflow.is_anothers_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language sql
volatile
set search_path = ''
as $$
    select coalesce(hybridflow.execution_owner(p_execution_id) <> p_tenant_id, false)
$$;

-- Whether a flow of p_tenant_id may say that it is this execution. Of two tenants that claim one at the same
-- moment one is refused: nobody waits for the other.
create or replace function hybridflow.may_claim_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    return pg_try_advisory_xact_lock(hashtextextended('execution:' || p_execution_id, 0))
        and not hybridflow.is_anothers_execution(p_execution_id, p_tenant_id);
end
$$;

-- begin_flow({turn_id, token, execution_id, by_n8n?, execution_url?})
-- The flow has begun, as the execution that n8n gave it: what is heard of that execution is heard of the
-- turn. `by_n8n`: n8n said so in its answer to the router. That wins over what a flow has claimed (n8n
-- counts, so the next id can be guessed), and counts for a turn that its flow has closed meanwhile, too.
-- Returns {ok} or {refused: reason}: 'execution_taken' where a flow claims what is another tenant's.
-- PT422: the id is none that n8n gives.
create or replace function public.begin_flow(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_is_told boolean;
begin
    perform hybridflow.require_keys('begin_flow', p, '{turn_id,token,execution_id}');
    perform hybridflow.check_execution_id(p ->> 'execution_id');
    v_held := hybridflow.hold_turn(p);
    v_is_told := (p ->> 'by_n8n')::boolean
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid);
    if v_held.refused is not null and v_is_told is not true then
        return v_held.refused;
    elsif v_is_told is not true
        and not hybridflow.may_claim_execution(p ->> 'execution_id', (v_held.session).tenant_id)
    then
        return jsonb_build_object('refused', 'execution_taken');
    end if;
    update public.turns
    set execution_id = p ->> 'execution_id', updated_at = hybridflow.clock(),
        execution_url = case
            when p ->> 'execution_url' is not null then p ->> 'execution_url'
            when execution_id = p ->> 'execution_id' then execution_url
        end,
        execution_told_at = case
            when v_is_told then hybridflow.clock()
            when execution_id = p ->> 'execution_id' then execution_told_at
        end
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- The turn that an execution worked on, locked together with its session (session first); `refused` says why
-- nothing may be done about it: a turn that has its reply is its flow's no more, whatever becomes of that.
-- PT404: no turn was worked on by it.
create or replace function hybridflow.lock_execution(
    p_execution_id text, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_owner bigint := hybridflow.execution_owner(p_execution_id);
begin
    select s.* into session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.execution_id = p_execution_id and t.tenant_id = coalesce(v_owner, t.tenant_id)
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update of s;
    select t.* into turn from public.turns as t
    where t.execution_id = p_execution_id and t.session_id = session.id
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update;
    if turn.id is null then
        raise exception 'no turn was worked on by the execution %', p_execution_id using errcode = 'PT404';
    elsif turn.state not in ('running', 'sending') or turn.reply is not null then
        refused := jsonb_build_object('refused', 'superseded');
    elsif turn.lease_until <= hybridflow.clock() then
        refused := jsonb_build_object('refused', 'stale');
    end if;
end
$$;

-- take_execution({execution_id})
-- n8n says that an execution crashed: who reports it has the attempt that it worked on, to end it as the flow
-- itself would have. The flow's own token opens nothing any more. Returns {turn_id, token} or {refused:
-- 'superseded' | 'stale'}. PT404: no turn was worked on by it.
create or replace function public.take_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_token uuid := gen_random_uuid();
begin
    perform hybridflow.require_keys('take_execution', p, '{execution_id}');
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set token_hash = hybridflow.hash_token(v_token),
        lease_until = greatest(lease_until, hybridflow.clock() + interval '1 minute')
    where id = (v_held.turn).id;
    return jsonb_build_object('turn_id', (v_held.turn).id, 'token', v_token);
end
$$;

-- fail_execution({execution_id, kind, error, away?, retry_after?, tokens?, check_after?, max_attempts,
-- base_seconds, answer_within_minutes?, cause?})
-- As routers of 0.2.0 say that an execution crashed: the attempt that it worked on failed, as by fail_turn.
-- Returns {turn_id, state, run_after?, outage?, handoff?} or {refused: 'superseded' | 'stale'}. PT404: no
-- turn was worked on by it.
create or replace function public.fail_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys(
        'fail_execution', p, '{execution_id,kind,error,max_attempts,base_seconds}'
    );
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    return hybridflow.end_attempt(v_held.turn, v_held.session, p)
        || jsonb_build_object('turn_id', (v_held.turn).id);
end
$$;

-- Every text that the turn's flow has said so far. What began before that was written down counts by its
-- bodies.
create or replace function hybridflow.said_so_far(p_turn public.turns)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(p_turn.said_so_far, (
        select string_agg(m.body, E'\n\n' order by m.part) from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null
    ), '')
$$;

-- The part that the next new send of the turn is. It grows with each, so it tells whether there was one.
create or replace function hybridflow.next_part(p_turn_id bigint)
returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(max(m.part) + 1, 0) from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null
$$;

-- look_at_turn({turn_id, token, closed?})
-- Whose turn this is and where its replies go. Returns {instance_name, evo_server_url, evo_api_key,
-- session_id, tenant_id, jid, jids: [jid], is_paused, correlation_id, system_prompt, facts, notes: [text],
-- contact_wrote, reply_rules, said: [text], sends: [{identity, body, send_state, wa_id}], said_so_far,
-- next_part, fallback_message, handoff_message, handoff_on_promise, wrote: [text], unread: [wa_id],
-- is_closed} or {refused: reason}: `wrote` is what the turn answers, its newest texts; `sends` is what the
-- flow has sent so far, `said` the bodies alone, said_so_far every text of it, and next_part what the fence
-- is asked with after a judgement by that; `unread` is what is to be marked as read before its first send;
-- `notes` as notes_for_llm, and contact_wrote what the turn answers, where the AI is told notes; for reasons
-- see turn_refusal. With `closed` a turn that its token has ended is told of, too. For the router only: it
-- has the key.
create or replace function public.look_at_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_refused jsonb;
    v_is_closed boolean;
    v_result jsonb;
begin
    perform hybridflow.require_keys('look_at_turn', p, '{turn_id,token}');
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    v_is_closed := v_turn.state = 'sent' and coalesce(v_refused ->> 'refused' = 'superseded', false);
    if v_refused is not null and not (v_is_closed and coalesce((p ->> 'closed')::boolean, false)) then
        return v_refused;
    end if;
    select jsonb_build_object(
        'is_closed', v_is_closed, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key,
        'tenant_id', t.id, 'session_id', s.id, 'jid', coalesce(s.phone_jid, s.lid),
        'jids', (select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = s.id),
        'is_paused', hybridflow.stopped_for(v_turn, s) is not null,
        'correlation_id', v_turn.correlation_id,
        'system_prompt', t.system_prompt, 'facts', t.facts, 'notes', hybridflow.notes_for_llm(t, s.id),
        'contact_wrote', case when t.notes_to_llm then (
            select hybridflow.cut(string_agg(m.body, E'\n' order by m.id)) from public.messages as m
            where m.turn_id = v_turn.id and not m.from_me
        ) end,
        'reply_rules', hybridflow.reply_rules(t),
        'said', (
            select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'sends', (
            select coalesce(jsonb_agg(
                jsonb_build_object(
                    'identity', m.identity, 'body', m.body, 'send_state', m.send_state, 'wa_id', m.wa_id
                )
                order by m.part
            ), '[]')
            from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'said_so_far', hybridflow.said_so_far(v_turn), 'next_part', hybridflow.next_part(v_turn.id),
        'fallback_message', t.fallback_message, 'handoff_message', t.handoff_message,
        'handoff_on_promise', t.handoff_on_promise, 'wrote', (
            select coalesce(jsonb_agg(hybridflow.cut(l.body, 1000)), '[]') from (
                select m.body from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.kind = 'text'
                order by m.id desc limit 3
            ) as l
        ),
        'unread', case
            when t.mark_as_read and s.chat = 'contact' and hybridflow.next_part(v_turn.id) = 0 then (
                select coalesce(jsonb_agg(m.wa_id order by m.id), '[]') from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.wa_id is not null
            )
            else '[]'
        end
    )
    into v_result
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = v_turn.session_id;
    return v_result;
end
$$;

-- Writes down what a flow's send has besides its first message (see begin_flow_send), which is not begun yet:
-- where the turn ends otherwise, it is among what did not leave.
create or replace function hybridflow.keep_rest(
    p_turn public.turns, p_session public.sessions, p_rest jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, sent_at, send_state,
        send_began_at, sends
    )
    select
        p_session.tenant_id, p_session.id, p_turn.id,
        hybridflow.next_part(p_turn.id) + (row_number() over (order by r.place))::integer - 1,
        true, 'ai', r.kind, hybridflow.cut(r.body), r.identity, date_trunc('second', hybridflow.clock()),
        'failed', hybridflow.clock(), 0
    from (
        select distinct on (o.identity) o.*
        from (
            select row_number() over () as place, e.*
            from jsonb_to_recordset(p_rest) as e (body text, kind text, identity text)
        ) as o
        order by o.identity, o.place
    ) as r
    where not exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.identity = r.identity
    );
end
$$;

-- begin_flow_send({turn_id, token, kind, body, identity?, told_as?: [hash], refers_to?, upload_seconds?,
-- text?, next_part?, rest?: [{body, kind, identity}], promise?, lease_seconds})
-- The fence for a flow, which knows no parts: what it sends is a new part, unless it has sent the same
-- (`identity`; without one, as routers of 0.1.0 ask, the same kind and body) before: then it is the same
-- request again, and refused as 'already_sent', with the first message's wa_id, jid, kind, body and sent_at,
-- or 'in_doubt'. A send that certainly failed may be begun again. 'elsewhere': it quotes or reacts to a
-- message (`refers_to`, its id) that is not of this session: Evolution would look it up in all its chats.
-- 'has_answered': the turn has a reply, and that is being said. `rest` is what belongs to it and comes after
-- it: it counts as what did not leave, until it is begun, so that it is not lost where this one is in doubt.
-- 'judge_again': `text`, all that will be read of it, was judged when next_part was next, and more was said
-- since. 'too_many_sends': it has sent 500 already, and each more would make all that is asked of the turn
-- dearer. Else as begin_send, with the `part`. `promise` says why a human is called, where it
-- promises one: the conversation is handed off in the same step. Returns {ok, message_id, chosen_id, jid,
-- part} or {refused: reason, part?, message_id?, wa_id?, jid?, kind?, body?, sent_at?}.
create or replace function public.begin_flow_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_part integer;
    v_new jsonb := '{}';
    v_answer jsonb;
    v_message public.messages;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'kind', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_flow_send', p, '{turn_id,token,kind,body,lease_seconds}');
    end if;
    if p ->> 'rest' is not null then
        perform hybridflow.require_keys_of_each('begin_flow_send', p, 'rest', '{body,kind,identity}');
    end if;
    -- The lock of the session keeps two requests of one flow from taking the same part.
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif (v_held.turn).reply is not null then
        return '{"refused": "has_answered"}';
    elsif p ->> 'refers_to' is not null and not exists (
        select from hybridflow.messages_called(p ->> 'refers_to') as m
        where m.session_id = (v_held.session).id
    ) then
        return '{"refused": "elsewhere"}';
    end if;
    select m.part into v_part from public.messages as m
    where m.turn_id = (p ->> 'turn_id')::bigint and m.part is not null and case
        when p ->> 'identity' is not null then m.identity = p ->> 'identity'
        else m.body = p ->> 'body' and m.kind = p ->> 'kind'  -- as routers of 0.1.0 ask
    end
    order by m.part limit 1;
    if v_part is null then
        v_part := hybridflow.next_part((p ->> 'turn_id')::bigint);
        if v_part >= 500 then
            return '{"refused": "too_many_sends"}';
        end if;
        if (p ->> 'next_part')::integer <> v_part
            and hybridflow.stopped_for(v_held.turn, v_held.session) is null
        then
            return '{"refused": "judge_again"}';
        end if;
        v_new := jsonb_build_object('said_so_far', concat_ws(
            E'\n\n', nullif(hybridflow.said_so_far(v_held.turn), ''),
            nullif(coalesce(p ->> 'text', p ->> 'body'), '')
        ));
    end if;
    v_answer := public.begin_send(
        p - '{reply,said_so_far}'::text[] || v_new || jsonb_build_object('part', v_part)
    );
    if v_answer ? 'message_id' and jsonb_typeof(p -> 'rest') = 'array' then
        perform hybridflow.keep_rest(v_held.turn, v_held.session, p -> 'rest');
    end if;
    if p ->> 'promise' is not null and coalesce((v_answer ->> 'ok')::boolean, false) then
        perform hybridflow.hand_off_by_promise(
            v_held.session, (v_held.turn).id,
            jsonb_build_object(
                'reason', 'other', 'why', p -> 'promise', 'said', coalesce(p ->> 'text', p ->> 'body'),
                'part', v_part
            )
        );
    end if;
    if v_part = 0 and v_answer ? 'message_id' then
        -- What a flow says need not come from the LLM: others are not told.
        perform hybridflow.is_back(hybridflow.llm_of((v_held.turn).tenant_id), (v_held.turn).tenant_id);
        perform hybridflow.replies_are_made((v_held.turn).tenant_id);
    end if;
    if v_answer ->> 'refused' = 'already_sent' then
        select * into v_message from public.messages where id = (v_answer ->> 'message_id')::bigint;
        v_answer := v_answer || jsonb_build_object(
            'kind', v_message.kind, 'body', v_message.body, 'sent_at', v_message.sent_at,
            'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
        );
    end if;
    return v_answer || jsonb_build_object('part', v_part);
end
$$;

-- find_media({turn_id, token, wa_id})
-- Whether a flow may be given the media of a message: one of its turn's own session that nobody has deleted.
-- That it was asked for is audited, once where it is asked for again and again. Returns {ok, bytes, stored?:
-- {store, name, bytes, media_type, kind}} or {refused: reason}: 'elsewhere', there is no such message in this
-- conversation; 'no_media'; for others see turn_refusal. `bytes` is how large WhatsApp says it is, null where
-- it says nothing; `stored`, where it is kept as a file.
create or replace function public.find_media(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_turn public.turns;
    v_refused jsonb;
    v_message public.messages;
    v_last public.audit_log;
begin
    perform hybridflow.require_keys('find_media', p, '{turn_id,token,wa_id}');
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    if v_refused is not null then
        return v_refused;
    end if;
    select * into v_message from public.messages as m
    where m.wa_id = p ->> 'wa_id' and m.tenant_id = v_turn.tenant_id and m.session_id = v_turn.session_id
        and m.deleted_at is null
    order by m.id limit 1;
    if v_message.id is null then
        return '{"refused": "elsewhere"}';
    elsif jsonb_typeof(v_message.media) is distinct from 'object' then
        return '{"refused": "no_media"}';
    end if;
    select * into v_last from public.audit_log as a
    where a.tenant_id = v_turn.tenant_id
    order by a.id desc limit 1;
    if v_last.action is distinct from 'find_media' or v_last.turn_id is distinct from v_turn.id
        or v_last.detail ->> 'message_id' is distinct from v_message.id::text
    then
        perform hybridflow.record_audit(
            '{"kind": "ai", "name": "n8n"}', 'find_media', v_turn.tenant_id,
            jsonb_build_object('session_id', v_turn.session_id, 'turn_id', v_turn.id),
            jsonb_build_object('message_id', v_message.id)
        );
    end if;
    return jsonb_build_object('ok', true, 'bytes', case
        when v_message.media ->> 'bytes' ~ '^[0-9]{1,15}$' then (v_message.media ->> 'bytes')::bigint
    end) || jsonb_strip_nulls(jsonb_build_object('stored', (
        select jsonb_build_object(
            'store', f.store, 'name', f.name, 'bytes', f.bytes, 'media_type', f.media_type,
            'kind', v_message.kind
        )
        from public.kept_files as f
        where f.message_id = v_message.id and f.state = 'kept' and f.expires_at > hybridflow.clock()
    )));
end
$$;

-- extend_turn({turn_id, token, seconds})
-- A slow flow asks for more time. Returns {ok, lease_until} or {refused: reason}.
create or replace function public.extend_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'seconds')::numeric);
begin
    perform hybridflow.require_keys('extend_turn', p, '{turn_id,token,seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set lease_until = greatest(lease_until, v_until), updated_at = hybridflow.clock()
    where id = (v_held.turn).id
    returning lease_until into v_until;
    return jsonb_build_object('ok', true, 'lease_until', v_until);
end
$$;

-- hand_off({turn_id, token, reason, summary?, say?: [text]})
-- The AI itself asks for a human: the session is paused with source 'ai', the turn is closed, and the people
-- of the business are told by a notice. With `say`, what the customer is told of it, all that happens as the
-- first of these texts begins to be said, by whoever claims the turn next; it is the flow's no more (see
-- say_handoff). Where a human is there already nothing is said, and nothing handed off: 'paused'. `replied`:
-- what it had to say before that is on the phone, all of it. Returns {ok, session_id, already?, replied?} or
-- {refused: reason}; 'has_answered': the turn has a reply, which says what is to be said. Again by the same
-- token: the same answer, with `already`.
create or replace function public.hand_off(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_replied boolean := false;
    v_by text := encode(hybridflow.hash_token((p ->> 'token')::uuid), 'hex');
    v_session_id bigint;
    v_is_known boolean;
    v_stopped text;
begin
    perform hybridflow.require_keys('hand_off', p, '{turn_id,token,reason}');
    select t.session_id into v_session_id from public.turns as t
    where t.id = (p ->> 'turn_id')::bigint
        and t.reply @> jsonb_build_array(jsonb_build_object('handoff', jsonb_build_object('by', v_by)));
    if found then  -- what it is to say is on its way, and the turn another's by now
        return jsonb_build_object('ok', true, 'session_id', v_session_id, 'already', true);
    end if;
    v_held := hybridflow.hold_turn(p);
    if 'handoff' in ((v_held.turn).reason, (v_held.turn).stop_reason)
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    if p ->> 'say' is not null then
        v_stopped := hybridflow.stopped_for(v_held.turn, v_held.session);
        if v_stopped is not null then
            perform hybridflow.stop_turn((v_held.turn).id, v_stopped);
            return '{"refused": "paused"}';
        elsif (v_held.turn).reply is not null then
            return '{"refused": "has_answered"}';
        end if;
    end if;
    v_is_known := hybridflow.know_more_of_handoff((v_held.turn).id, p);
    if p ->> 'say' is not null then
        perform hybridflow.say_handoff(
            v_held.turn,
            jsonb_build_object('reason', p -> 'reason', 'summary', p -> 'summary', 'by', v_by), p -> 'say',
            'cut_off'
        );
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id);
    elsif hybridflow.await_settlement(v_held.turn, null) then
        update public.turns set stop_reason = 'handoff' where id = (v_held.turn).id;
    else
        v_replied := hybridflow.has_spoken((v_held.turn).id) and not hybridflow.has_unsent((v_held.turn).id);
        update public.turns set incomplete = true
        where id = (v_held.turn).id and hybridflow.has_unsent((v_held.turn).id);
        perform hybridflow.close_turn((v_held.turn).id, 'sent', 'handoff');
    end if;
    perform hybridflow.cancel_turns((v_held.session).id, 'paused');
    if not v_is_known then
        perform hybridflow.begin_handoff(
            v_held.session, (v_held.turn).id,
            jsonb_build_object('reason', p ->> 'reason', 'summary', p ->> 'summary')
        );
    end if;
    return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'replied', v_replied);
end
$$;
