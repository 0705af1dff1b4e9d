-- HybridFlow: carries a relay out: the message to the contact, the word back to the staff, the relay's end.

-- Begins a relay's send again, in the same row. If that send was in doubt and was judged as not sent, a new
-- row is made, so that the old row can still recognise a late echo. The caller has locked the session.
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

-- Returns the last message about the session that one of the staff got before they wrote p_relay: the notice
-- that they quote, a later notice, or the word back for an earlier relay.
create or replace function hybridflow.seen_by_staff(p_relay public.relays)
returns bigint
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select greatest(max(m.id), (p_relay.said ->> 'quoted_id')::bigint, 0)
    from (
        select n.message_id as id from public.notices as n where n.session_id = p_relay.session_id
        union all
        select r.word_message_id from public.relays as r where r.session_id = p_relay.session_id
    ) as t
    inner join public.messages as m on m.id = t.id
    where m.session_id = p_relay.staff_session_id and m.sent_at < (p_relay.said ->> 'sent_at')::timestamptz
$$;

-- begin_relay_send({relay_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence before a relay's message to the contact. If one of the staff writes it, they take the session
-- over, as by begin_human_send. If another human has written there since the staff were last told, nothing is
-- sent, and the relay's outcome says so: see seen_by_staff. Returns {ok, message_id, chosen_id, jid,
-- tenant_id, instance_name, evo_server_url, evo_api_key} or {refused: reason, message_id?, wa_id?, jid?,
-- body?}. The first is only for the router. Reasons: see relay_refusal, and 'erased' (the session was
-- erased), 'answered', 'already_sent', or 'in_doubt' (it has begun, and nobody knows how it ended).
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
    v_human public.messages;
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
        v_human := hybridflow.unseen_human(
            v_session, hybridflow.seen_by_staff(v_relay), v_relay.said ->> 'author', v_relay.staff_session_id
        );
        if v_human.id is not null then
            update public.relays
            set outcome = 'answered', said = null, updated_at = hybridflow.clock(),
                facts = facts || jsonb_strip_nulls(jsonb_build_object(
                    'answered_by', v_human.author_name,
                    'answer', coalesce(nullif(left(v_human.body, 300), ''), format('[%s]', v_human.kind))
                ))
            where id = v_relay.id;
            return '{"refused": "answered"}';
        end if;
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
-- The fence before the one word back to the staff. It is sent at most once: a send in doubt counts as told.
-- Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name, evo_server_url, evo_api_key} or
-- {refused: reason, message_id?}: as begin_relay_send.
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
-- Does what the staff asked for by quoting a notice: `take` (they have the conversation), `resume` (the AI
-- has it again), `until` (the AI has it again at that time, whatever else paused it). Returns {outcome,
-- facts, turn_id?, was_paused} or {refused: reason}. Outcomes: 'taken', 'resumed', 'until', 'switched_off'
-- (it was done, but the AI answers nobody there for another reason), or, if nothing was done, 'past' or
-- 'too_far' (more than 30 days). Reasons: see relay_refusal, and 'erased'.
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
                -- `until` means exactly that time: earlier reasons must not make the pause longer.
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
-- Reports the result for a relay: its outcome, which does not change any more; and whether it is `over`, or
-- tried again in again_in seconds. If the relay failed or is too old, and its send has not begun, its message
-- has failed. Returns {ok} or {refused: reason}: see relay_refusal.
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
    -- Lock the session first, as everywhere: a call that erases or merges it holds its messages, and then
    -- asks for its relays.
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
