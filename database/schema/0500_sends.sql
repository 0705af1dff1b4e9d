-- HybridFlow: the fence, and what became of each send.

-- Text as it is compared when a send of ours comes back: white space folded.
create or replace function hybridflow.folded(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
    select btrim(regexp_replace(p_text, '\s+', ' ', 'g'))
$$;

-- A send by its words, while its id is not known: the hash is made once, as it begins.
create index if not exists messages_by_words
on public.messages (tenant_id, md5(hybridflow.folded(body)))
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- The one spelling of a phone's JID by which its others are known; null for what is no phone. sendText
-- rewrites the ninth digit of Brazil's mobiles, from area code 31 on and where a 7, 8 or 9 follows, and the
-- prefixes of Mexico and Argentina, and nothing else: any other difference is another person's number, such
-- as a landline's that has a mobile's digits but the ninth.
create or replace function hybridflow.plain_number(p_jid text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_jid not like '%@s.whatsapp.net' then null
        when p_jid ~ '^55(3[1-9]|[4-9][0-9])9[789][0-9]{7}@' then left(p_jid, 4) || substr(p_jid, 6)
        when p_jid ~ '^(521|549)[0-9]{10}@' then left(p_jid, 2) || substr(p_jid, 4)
        else p_jid
    end
$$;

-- A send of ours was known by its words, which another one says as well, whose id that was. Its own id was
-- recorded besides, or it is in doubt until that is told. The session is locked.
create or replace function hybridflow.give_up_id(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_own text;
begin
    delete from public.messages where id = (
        select m.id from public.messages as m
        where m.session_id = p_message.session_id and m.turn_id is not distinct from p_message.turn_id
            and m.from_me and m.send_state = 'sent' and m.send_began_at is null
            and m.sender = p_message.sender and m.identity is not distinct from p_message.identity and m.body = p_message.body
        limit 1
    )
    returning wa_id into v_own;
    update public.messages
    set wa_id = v_own, send_state = case when v_own is null then 'unknown' else 'sent' end
    where id = p_message.id;
end
$$;

-- A part that was begun again left with its first try after all, and the next one certainly did not: the
-- first is the part again.
create or replace function hybridflow.take_part_back(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_part integer;
begin
    if p_message.turn_id is null or p_message.part is not null or p_message.send_state <> 'failed' then
        return;
    end if;
    select m.part into v_part from public.messages as m
    where m.turn_id = p_message.turn_id and m.part is not null and m.send_state = 'failed'
        and m.identity is not distinct from p_message.identity and m.body = p_message.body
    order by m.part limit 1;
    update public.messages set part = null where turn_id = p_message.turn_id and part = v_part;
    update public.messages set part = v_part where id = p_message.id;
end
$$;

-- What p_message says is on the phone a second time, as p_wa_id: by the send of it that was judged not to
-- have left, if there is one, else nobody knows by which. The same words of another speaker are another's.
create or replace function hybridflow.record_twin(p_message public.messages, p_wa_id text, p_status text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    update public.messages
    set wa_id = p_wa_id, send_state = 'sent', status = hybridflow.later_status(status, p_status),
        told_as = null, late_until = null, check_at = null
    where id = (
        select m.id from public.messages as m
        where m.session_id = p_message.session_id and m.from_me and m.sender = p_message.sender
            and m.wa_id is null and m.send_state = 'failed' and m.late_until is not null
            and m.identity is not distinct from p_message.identity and m.body = p_message.body
            and m.send_began_at >= hybridflow.clock() - interval '1 day'
        order by m.turn_id is distinct from p_message.turn_id, m.send_began_at, m.id limit 1
    )
    returning id into v_id;
    if v_id is null then
        insert into public.messages (
            tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, status, sent_at, send_state,
            identity
        )
        values (
            p_message.tenant_id, p_message.session_id, p_message.turn_id, p_wa_id, true, p_message.sender,
            p_message.kind, p_message.body, p_status, p_message.sent_at, 'sent', p_message.identity
        )
        returning id into v_id;
        perform hybridflow.tell_change('message', p_message.tenant_id, p_message.session_id);
    end if;
    perform hybridflow.apply_waiting(p_message.tenant_id, v_id, p_wa_id);
end
$$;

-- What the ids of messages look like that were typed in WhatsApp's own apps on a phone or a computer; a send
-- by Evolution's has never one like these.
create or replace function hybridflow.typed_by_hand()
returns text
language sql
immutable
set search_path = ''
as $$
    select '^(AC[0-9A-F]{30}|3[AF][0-9A-F]{18})$'
$$;

-- Whether p_other can be the same as our send p_message, though it was recorded as another: of the same
-- session, recorded after the send began, of that time, not typed by hand (see typed_by_hand); and, where it
-- is a send of ours, with the same words.
create or replace function hybridflow.can_be(p_other public.messages, p_message public.messages)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select p_other.session_id = p_message.session_id and p_other.from_me and p_other.id <> p_message.id
        and case
            when p_other.send_state is not null then
                p_other.identity = p_message.identity or coalesce(p_other.told_as && p_message.told_as, false)
                or hybridflow.folded(p_other.body) = hybridflow.folded(p_message.body)
            else
                p_other.id > p_message.id
                and p_other.sent_at >= p_message.send_began_at - interval '5 minutes'
                and p_other.wa_id !~ hybridflow.typed_by_hand()
        end
$$;

-- Whether p_wa_id is another message's, which our send p_message cannot be. A server that a tenant named may
-- answer anything, another conversation's ids included.
create or replace function hybridflow.id_is_taken(p_message public.messages, p_wa_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_message.wa_id is distinct from p_wa_id and exists (
        select from hybridflow.messages_called(p_wa_id) as m
        where m.tenant_id = p_message.tenant_id and m.id <> p_message.id
            and not coalesce(hybridflow.can_be(m, p_message), false)
    )
$$;

-- Our send left, and the id that it was told to have is another's (see id_is_taken): it is recorded without
-- one, until an echo of it brings its own. One that has an id already keeps that.
create or replace function hybridflow.mark_sent_without_id(
    p_message public.messages, p_status text, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.messages
    set send_state = 'sent', status = hybridflow.later_status(status, p_status), check_at = null,
        late_until = p_message.send_began_at + interval '15 minutes'
    where id = p_message.id and wa_id is null;
    update public.sessions set last_message_at = greatest(last_message_at, p_message.sent_at)
    where id = p_message.session_id;
    perform hybridflow.after_settlement(p_message.turn_id, p_policy);
end
$$;

-- Records that message p_message_id left as p_wa_id. If that id had been taken for somebody else's
-- message of the same conversation, that record goes, and the pause that it caused is taken back; no other
-- conversation is touched. If the message had left already under another id, the second one is recorded as
-- well: the phone has both. Then see after_settlement. The session is locked.
create or replace function hybridflow.mark_sent(
    p_message_id bigint, p_wa_id text, p_status text, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_twin public.messages;
    v_goes_on boolean := false;
begin
    select * into v_message from public.messages where id = p_message_id for update;
    if hybridflow.id_is_taken(v_message, p_wa_id) then
        perform hybridflow.take_part_back(v_message);
        perform hybridflow.mark_sent_without_id(v_message, p_status, p_policy);
        return;
    end if;
    select m.* into v_twin from hybridflow.messages_called(p_wa_id) as m
    where m.tenant_id = v_message.tenant_id and hybridflow.can_be(m, v_message)
    limit 1;
    if v_twin.send_state is not null then
        perform hybridflow.give_up_id(v_twin);
    elsif v_twin.id is not null then
        v_goes_on := hybridflow.withdraw_pause(v_twin.session_id, v_twin.id);
        delete from public.messages where id = v_twin.id;
    end if;
    perform hybridflow.take_part_back(v_message);

    if v_message.wa_id is not null and v_message.wa_id <> p_wa_id then
        perform hybridflow.record_twin(v_message, p_wa_id, p_status);
    else
        update public.messages
        set wa_id = p_wa_id, send_state = 'sent',
            status = hybridflow.later_status(hybridflow.later_status(status, v_twin.status), p_status),
            told_as = null, late_until = null, check_at = null
        where id = p_message_id;
        if v_twin.status = 'error' then
            perform hybridflow.note_failure(p_message_id, '{}');
        end if;
        perform hybridflow.apply_waiting(v_message.tenant_id, p_message_id, p_wa_id);
    end if;

    update public.sessions set last_message_at = greatest(last_message_at, v_message.sent_at)
    where id = v_message.session_id;
    if v_goes_on then
        perform hybridflow.undo_takeover(v_twin.session_id, v_twin.created_at, p_policy);
    end if;
    perform hybridflow.after_settlement(v_message.turn_id, p_policy);
end
$$;

-- Writes down a send that is about to begin: p has what it says {kind?, body, identity?, told_as?}, and
-- upload_seconds?, how much longer than another it may take. A part
-- that was begun before and certainly did not leave begins again in its own row; one that was judged not to
-- have left, after a doubt, keeps its row for its late echo.
create or replace function hybridflow.begin_message(
    p_session public.sessions, p_turn_id bigint, p_part integer, p_sender text, p jsonb
)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
begin
    update public.messages set part = null
    where turn_id = p_turn_id and part = p_part and late_until is not null;
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, told_as, chosen_id,
        sent_at, send_state, send_began_at, sends, upload_seconds
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_part, true, p_sender,
        coalesce(p ->> 'kind', 'text'), hybridflow.cut(p ->> 'body'), p ->> 'identity',
        case when p -> 'told_as' <> 'null' then array(select jsonb_array_elements_text(p -> 'told_as')) end,
        '3EB0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 18)),
        date_trunc('second', v_now), 'sending', v_now, 1, (p ->> 'upload_seconds')::numeric
    )
    on conflict (turn_id, part) where part is not null do update
        set body = excluded.body, kind = excluded.kind, identity = excluded.identity,
            told_as = excluded.told_as, chosen_id = excluded.chosen_id, sent_at = excluded.sent_at,
            send_state = 'sending', send_began_at = excluded.send_began_at, sends = messages.sends + 1,
            upload_seconds = excluded.upload_seconds, given_up = null
    returning * into v_message;
    return v_message;
end
$$;

-- What begin_send answers, of the turn and the session that it holds.
create or replace function hybridflow.pass_fence(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_stopped text;
    v_message public.messages;
begin
    v_stopped := coalesce(
        hybridflow.stopped_for(p_turn, p_session), hybridflow.stopped_by_newer(p_turn)
    );
    if v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('refused', case when v_stopped = 'new_message' then v_stopped else 'paused' end);
    elsif hybridflow.waits_for_stranger(p_turn, p_session) then
        return jsonb_build_object('refused', 'stale');
    end if;

    select * into v_message from public.messages
    where turn_id = p_turn.id and part = (p ->> 'part')::integer;
    if v_message.send_state = 'sent' then
        return jsonb_build_object('refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id);
    elsif v_message.send_state in ('sending', 'unknown') then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;

    v_message := hybridflow.begin_message(p_session, p_turn.id, (p ->> 'part')::integer, 'ai', p);
    if p_turn.reply -> (p ->> 'part')::integer -> 'handoff' is not null then
        perform hybridflow.hand_off_with(p_session, p_turn, (p ->> 'part')::integer);
    end if;
    update public.turns
    set state = 'sending', updated_at = v_message.send_began_at,
        said_so_far = coalesce(p ->> 'said_so_far', said_so_far),
        lease_until = greatest(
            lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        )
    where id = p_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid)
    );
end
$$;

-- begin_send({turn_id, token, part, body, kind?, identity?, told_as?: [hash], upload_seconds?, said_so_far?,
-- lease_seconds, reply?: {parts: [part], handler, provider?, model?, tokens_in?, tokens_out?, execution_id?,
-- execution_url?}})
-- The fence, to be passed before every part of a reply, right before it is sent; where nobody renews the
-- turn's lease meanwhile, lease_seconds outlast the send. Records the message as `sending`. Returns {ok,
-- message_id, chosen_id, jid} or {refused: reason, message_id?, wa_id?}: 'stale', 'superseded' (see
-- turn_refusal), 'paused' (the turn is closed), 'new_message' (the same, see stopped_by_newer),
-- 'already_sent' (with message_id and wa_id), 'in_doubt' (with message_id: this part has begun and nobody
-- knows how it ended). said_so_far: see turns. reply is the whole reply, as save_reply takes it, where it is
-- not written down yet: that is done first, whatever the fence says then. With a part that
-- hands off the conversation is handed off, in the same step.
create or replace function public.begin_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_refused jsonb;
    v_held record;
    v_turn public.turns;
    v_answer jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'part', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_send', p, '{turn_id,token,part,body,lease_seconds}');
    end if;
    if coalesce(p -> 'reply', 'null') <> 'null'
        and num_nulls(nullif(p -> 'reply' -> 'parts', 'null'), p -> 'reply' ->> 'handler') > 0
    then
        perform hybridflow.require_keys('save_reply', p -> 'reply', '{parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if coalesce(p -> 'reply', 'null') <> 'null' then
        v_refused := hybridflow.write_reply(v_turn, p -> 'reply');
        if v_refused is not null then
            return v_refused;
        end if;
        select * into v_turn from public.turns where id = v_turn.id;
    end if;
    v_answer := hybridflow.pass_fence(v_turn, v_held.session, p);
    if coalesce(p -> 'reply', 'null') <> 'null' then
        perform hybridflow.settle_reply(v_held.turn, p -> 'reply');
        if v_turn.reply is distinct from (v_held.turn).reply then
            perform hybridflow.reply_was_made(v_held.turn, p -> 'reply');
        end if;
    end if;
    return v_answer;
end
$$;

-- What the router needs to carry out the send p_message, which has begun, to the contact of p_session.
create or replace function hybridflow.begun_send(p_message public.messages, p_session public.sessions)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'ok', true, 'message_id', p_message.id, 'chosen_id', p_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid), 'tenant_id', t.id,
        'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key
    )
    from public.tenants as t
    where t.id = p_session.tenant_id
$$;

-- begin_human_send({tenant_id, session_id, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- seen_message_id?, knowingly?, author?, reason?})
-- The fence for a human of the business who writes through HybridFlow: a pause is no obstacle, and the
-- message takes the session over. Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name,
-- evo_server_url, evo_api_key} or {refused: 'human_wrote', message_id, by, at}. The former is for the router
-- only; the latter: another human wrote after seen_message_id, the last that this one has seen; again with
-- `knowingly`, it passes. PT404: the session was erased or merged, or is not this tenant's.
create or replace function public.begin_human_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_tenant public.tenants;
    v_human public.messages;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_human_send', p, '{tenant_id,session_id,body}');
    v_session := hybridflow.session_of(p);
    select * into v_tenant from public.tenants where id = v_session.tenant_id;
    if not coalesce((p ->> 'knowingly')::boolean, false) then
        select m.* into v_human from public.messages as m
        where m.session_id = v_session.id and m.id > (p ->> 'seen_message_id')::bigint
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
        order by m.id desc limit 1;
    end if;
    if v_human.id is not null then
        return jsonb_build_object(
            'refused', 'human_wrote', 'message_id', v_human.id, 'by', v_human.sender, 'at', v_human.sent_at
        );
    end if;
    v_message := hybridflow.begin_message(v_session, null, null, 'operator', p);
    update public.messages set author_name = p ->> 'author' where id = v_message.id;
    update public.sessions as s
    set is_paused = true, pause_source = 'operator', pause_message_id = null,
        pause_reason = coalesce(p ->> 'reason', 'an operator wrote'),
        paused_at = case when is_paused then paused_at else v_message.send_began_at end,
        paused_until = case when is_paused then paused_until end,
        pause_indefinite = is_paused and pause_indefinite,
        pause_asked_at = hybridflow.asked_at(s),
        pause_written_at = v_message.send_began_at, last_human_at = v_message.send_began_at,
        updated_at = v_message.send_began_at
    where id = v_session.id;
    perform hybridflow.take_handoff(
        v_session.id, 'operator', p ->> 'author', v_message.id, v_message.send_began_at
    );
    perform hybridflow.cancel_turns(v_session.id, 'takeover');
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- Whether p names the message by its tenant; routers of 0.1.0 do so by its turn.
create or replace function hybridflow.is_named(p_message public.messages, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'tenant_id' is null then p_message.turn_id = (p ->> 'turn_id')::bigint
        else p_message.tenant_id = (p ->> 'tenant_id')::bigint
    end
$$;

-- The send that p names (see is_named), with its session locked; null where it was erased.
create or replace function hybridflow.send_of(p jsonb)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    loop
        perform from public.sessions as s
        where s.id = (
            select m.session_id from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        )
        for update;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found or not exists (
            select from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        );
    end loop;
    select * into v_message from public.messages as m
    where m.id = (p ->> 'message_id')::bigint and m.from_me and m.send_state is not null and hybridflow.is_named(m, p);
    return v_message;
end
$$;

-- The session, if it is still there, is also known under p_jid. What was recorded under p_jid before is
-- merged.
create or replace function hybridflow.learn_identity(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_known text;
begin
    perform from public.sessions where id = p_session_id for update;
    if not found then
        return;
    end if;
    -- One of those that it has says which session it is.
    select i.jid into v_known from public.session_identities as i
    inner join public.sessions as s on s.id = i.session_id
    where i.session_id = p_session_id and i.jid <> p_jid
    order by i.jid = s.phone_jid desc nulls last, i.jid = s.lid desc nulls last, i.created_at, i.jid limit 1;
    perform hybridflow.resolve_session(p_tenant_id, array_remove(array[v_known, p_jid], null), 'contact', null);
end
$$;

-- The session, if it is still there, is also known under p_jid, if nobody is yet: this never merges.
create or replace function hybridflow.learn_other(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    -- Who makes a session under this JID holds this lock, and may wait for the session that we hold.
    if pg_try_advisory_xact_lock(hashtextextended(p_tenant_id || ':' || p_jid, 0)) and not exists (
        select from public.session_identities as i where i.tenant_id = p_tenant_id and i.jid = p_jid
    ) then
        perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- Evolution's answer named p_jid for a send to a session. A server that a tenant names may answer anything,
-- so that makes nobody another person: learnt are another spelling of the contact's own number, and, where
-- the contact is known by its phone or by its LID alone, the other one if it is nobody's yet.
create or replace function hybridflow.learn_answer(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_session_id and chat = 'contact';
    if v_session.id is null or p_jid is null then
        return;
    elsif hybridflow.plain_number(p_jid) = hybridflow.plain_number(v_session.phone_jid) then
        if not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = p_jid and i.session_id = p_session_id
        ) then
            perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
        end if;
    elsif (p_jid ~ '^[1-9][0-9]{4,19}@lid$' and v_session.lid is null)
        or (p_jid ~ '^[1-9][0-9]{4,19}@s[.]whatsapp[.]net$' and v_session.phone_jid is null)
    then
        perform hybridflow.learn_other(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- What is told besides where an id was another's; nothing where it was not.
create or replace function hybridflow.told_taken(p_is_taken boolean)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when p_is_taken then '{"id_taken": true}' else '{}' end::jsonb
$$;

-- finish_send({tenant_id | turn_id, message_id, wa_id, jid?, status?, policy?})
-- Evolution has taken a message of ours, of any sender: records its id, whatever has become of its turn
-- meanwhile (failing to record is not failing to send). The tenant's line works: see is_back. The JID that
-- Evolution says it sent to is learnt as far as learn_answer allows. The send is named by its tenant, or, as
-- routers of 0.1.0 do, by its turn. Returns {turn_state, id_taken?, leaves_due?}: turn_state is null where it
-- has no turn, or the contact was erased while it was sent: then nothing is recorded. id_taken: the id is
-- another message's, so it was recorded without it. leaves_due, of a turn that is closed, says whether one is
-- due that nobody has: where none is, whoever worked on it need not look for more.
create or replace function public.finish_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
    v_taken boolean;
    v_state text;
begin
    if num_nulls(coalesce(p ->> 'tenant_id', p ->> 'turn_id'), p ->> 'message_id', p ->> 'wa_id') > 0 then
        perform hybridflow.require_keys('finish_send', p, '{tenant_id|turn_id,message_id,wa_id}');
    end if;
    v_message := hybridflow.send_of(p);
    v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
    if v_message.id is null then
        perform hybridflow.bury_message(t.id, p ->> 'wa_id')
        from public.tenants as t
        where t.id = (p ->> 'tenant_id')::bigint and not exists (
            select from hybridflow.messages_called(p ->> 'wa_id') as m where m.tenant_id = t.id
        );
        return '{"turn_state": null}';
    end if;
    perform hybridflow.mark_sent(
        v_message.id, p ->> 'wa_id',
        case when hybridflow.status_rank(p ->> 'status') > 0 then p ->> 'status' end, p -> 'policy'
    );
    if not v_taken then
        perform hybridflow.learn_answer(v_message.tenant_id, v_message.session_id, p ->> 'jid');
    end if;
    perform hybridflow.is_back(hybridflow.line_of(v_message.tenant_id), v_message.tenant_id);
    select t.state into v_state from public.turns as t where t.id = v_message.turn_id;
    return jsonb_build_object('turn_state', v_state) || hybridflow.told_taken(v_taken) || case
        when v_state in ('sent', 'cancelled', 'dead')
            then jsonb_build_object('leaves_due', hybridflow.is_one_due())
        else '{}'
    end;
end
$$;

-- A message that has no wa_id certainly did not leave; a notice that it was of may be told again.
-- p_late_until: until when an echo of it would still be ours after all; null: Evolution refused it, there
-- is none to come.
create or replace function hybridflow.mark_not_sent(
    p_message_id bigint, p_late_until timestamptz, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_notice_id bigint;
begin
    update public.messages set send_state = 'failed', late_until = p_late_until, check_at = null
    where id = p_message_id and wa_id is null and send_state in ('sending', 'unknown')
    returning * into v_message;
    if v_message.id is null then
        return;
    end if;
    update public.notices
    set number_told_at = null, message_id = null, updated_at = hybridflow.clock()
    where message_id = p_message_id
    returning id into v_notice_id;
    if p_late_until is not null then
        update public.notices as n set state = 'pending', finished_at = null, next_at = hybridflow.clock()
        where n.id = v_notice_id and not exists (
            select from public.notices as o  -- of its kind, and newer: that is told instead
            where o.tenant_id = n.tenant_id and o.kind = n.kind and o.waiting and o.kind <> 'handoff'
        );
    end if;
    perform hybridflow.after_settlement(v_message.turn_id, p_policy);
end
$$;

-- fail_send({tenant_id | turn_id, message_id, chosen_id?, given_up?, policy?})
-- Evolution certainly did not take a message of ours: it may be begun again. A part of a turn is `given_up`,
-- and why, where it would never take it: see give_up_part. Returns {ok}; again: the same, also where it has
-- begun again meanwhile, with another chosen_id.
create or replace function public.fail_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
begin
    perform hybridflow.require_keys('fail_send', p, '{tenant_id|turn_id,message_id}');
    v_message := hybridflow.send_of(p);
    if coalesce(p ->> 'chosen_id' <> v_message.chosen_id, false) then
        return '{"ok": true}';
    end if;
    if p ->> 'given_up' is not null and v_message.part is not null and v_message.wa_id is null
        and v_message.send_state in ('sending', 'unknown')
    then
        perform hybridflow.give_up(v_message, p ->> 'given_up');
    end if;
    perform hybridflow.mark_not_sent(v_message.id, null, p -> 'policy');
    return '{"ok": true}';
end
$$;

-- doubt_send({tenant_id | turn_id, message_id, token?, error, check_after})
-- A send has begun and nobody knows how it ended (time-out, lost answer). The message is `unknown` until
-- evidence settles it; that is looked for in check_after seconds, with its turn, if it has one: who works on
-- that gives turn_id and token. Returns {ok} or {refused: reason}, see turn_refusal; the message is `unknown`
-- all the same.
create or replace function public.doubt_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_check_at timestamptz := v_now + hybridflow.seconds((p ->> 'check_after')::numeric);
    v_held record;
begin
    perform hybridflow.require_keys('doubt_send', p, '{tenant_id|turn_id,message_id,error,check_after}');
    v_held := hybridflow.lock_turn(p);
    update public.messages as m
    set send_state = 'unknown', check_at = case when m.turn_id is null then v_check_at end
    where m.id = (p ->> 'message_id')::bigint and m.send_state = 'sending' and hybridflow.is_named(m, p);
    if p ->> 'turn_id' is null then
        return '{"ok": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
    where id = (v_held.turn).id;
    perform hybridflow.put_aside((v_held.turn).id, v_check_at, 'in_doubt');
    return '{"ok": true}';
end
$$;

-- When a send in doubt may no longer come late: late_seconds after it began, and as much later as it may
-- take longer than another.
create or replace function hybridflow.late_until(p_message public.messages, p jsonb)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select p_message.send_began_at + hybridflow.seconds(
        coalesce((p ->> 'late_seconds')::numeric, 120) + coalesce(p_message.upload_seconds, 0)
    )
$$;

-- Whether this part of a reply has been sent so often, each time into a doubt after which it was not there,
-- that it is given up: what stands behind it, and who writes meanwhile, would wait for ever.
create or replace function hybridflow.doubted_too_often(p_message public.messages)
returns boolean
language sql
stable
set search_path = ''
as $$
    select count(*) >= 4
    from public.messages as m
    where m.turn_id = p_message.turn_id and m.part is null and m.late_until is not null
        and m.send_state = 'failed' and m.kind = p_message.kind
        and m.identity is not distinct from p_message.identity and m.body is not distinct from p_message.body
$$;

-- settle_send({turn_id, token, message_id, outcome, wa_id?, error?, check_after, give_up_hours,
-- late_seconds?, policy?})
-- What was found out about a send in doubt. 'sent': it is on the phone as wa_id. 'not_sent': it never left,
-- and may be begun again; late_seconds (120) after it began it can no longer come late. 'unknown': look again
-- in check_after seconds; after give_up_hours the turn is dead, never sent again by itself. What was not
-- there five times is given up, and another attempt goes on. Returns {turn_state, id_taken?, given_up?} or
-- {refused: reason}.
create or replace function public.settle_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_message public.messages;
    v_taken boolean := false;
    v_given_up boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_send', p, '{turn_id,token,message_id,outcome,check_after,give_up_hours}'
    );
    v_held := hybridflow.lock_turn(p);
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint;
    if p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_send', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif v_held.refused is not null then
        return v_held.refused;
    elsif v_message.send_state = 'sent' then
        null;  -- a webhook has settled it meanwhile
    elsif p ->> 'outcome' = 'not_sent' and hybridflow.doubted_too_often(v_message) then
        perform hybridflow.give_up(v_message, 'five times nobody knew how it ended, and it was not there');
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
        v_given_up := true;
        if exists (select from public.turns as t where t.id = v_message.turn_id and t.held) then
            -- Whoever holds it does not know what is next: a caption may be.
            perform hybridflow.put_aside(v_message.turn_id, v_now, 'in_doubt');
        end if;
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.close_turn((v_held.turn).id, 'dead', 'in_doubt');
        perform hybridflow.note_unanswered(v_held.turn, 'in_doubt', p ->> 'error');
    else
        update public.messages set send_state = 'unknown' where id = v_message.id;
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.put_aside(
            (v_held.turn).id, v_now + hybridflow.seconds((p ->> 'check_after')::numeric), 'in_doubt'
        );
    end if;
    return jsonb_build_object(
        'turn_state', (select t.state from public.turns as t where t.id = (p ->> 'turn_id')::bigint)
    ) || hybridflow.told_taken(v_taken) || case when v_given_up then '{"given_up": true}' else '{}' end::jsonb;
end
$$;

-- A send in doubt, with what is needed to look it up.
create or replace function hybridflow.doubt_context(p_send public.messages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'message_id', p_send.id, 'tenant_id', t.id, 'instance_name', t.instance_name,
        'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key, 'session_id', p_send.session_id,
        'jids', (
            select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = p_send.session_id
        ),
        'kind', p_send.kind, 'body', hybridflow.cut(p_send.body), 'told_as', p_send.told_as,
        'chosen_id', p_send.chosen_id, 'identity', p_send.identity, 'send_began_at', p_send.send_began_at,
        'upload_seconds', p_send.upload_seconds,
        'ours', hybridflow.recent_wa_ids(p_send, true), 'theirs', hybridflow.recent_wa_ids(p_send, false)
    )
    from public.tenants as t
    where t.id = p_send.tenant_id
$$;

-- The contexts of these sends. All at once; where that fails, each by itself: one that fails is left out.
create or replace function hybridflow.doubt_contexts(p_ids bigint[])
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_send public.messages;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.doubt_context(m) order by m.id) into v_contexts
        from public.messages as m where m.id = any(p_ids);
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_send in select m.* from public.messages as m where m.id = any(p_ids) order by m.id loop
        begin
            v_contexts := v_contexts || hybridflow.doubt_context(v_send);
        exception
            when others then
                null;  -- it is looked for again when its lease is over, and settled by its echo
        end;
    end loop;
    return v_contexts;
end
$$;

-- claim_doubts({limit, lease_seconds, after_seconds})
-- Sends in doubt that no turn looks up (of a notice, of a human), those included that began more than
-- after_seconds ago and of which nobody said how they ended. Each is due again after lease_seconds. Never
-- waits. Returns {sends: [{message_id, tenant_id, instance_name, evo_server_url, evo_api_key, session_id,
-- jids, kind, body, told_as, chosen_id, identity, send_began_at, upload_seconds, ours, theirs}], now,
-- next_due_at}, for the router only: `ours` are the ids of sends accounted for, `theirs` those of the
-- contact's messages.
create or replace function public.claim_doubts(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_before timestamptz := v_now - hybridflow.seconds((p ->> 'after_seconds')::numeric);
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
begin
    perform hybridflow.require_keys('claim_doubts', p, '{limit,lease_seconds,after_seconds}');
    with due as (
        select m.id from public.messages as m
        where m.turn_id is null and m.send_state in ('sending', 'unknown')
            and coalesce(m.check_at, m.send_began_at) <= v_now
            and (m.send_state = 'unknown' or m.send_began_at <= v_before)
        order by coalesce(m.check_at, m.send_began_at) limit (p ->> 'limit')::integer
        for update skip locked
    ),

    claimed as (
        update public.messages as m set check_at = v_until from due where m.id = due.id returning m.id
    )

    select array_agg(c.id) into v_ids from claimed as c;
    return jsonb_build_object(
        'sends', hybridflow.doubt_contexts(v_ids), 'now', v_now, 'next_due_at', (
            select nullif(min(coalesce(m.check_at, m.send_began_at)), 'infinity') from public.messages as m
            where m.turn_id is null and m.send_state in ('sending', 'unknown')
        )
    );
end
$$;

-- settle_doubt({tenant_id, message_id, outcome, wa_id?, check_after, give_up_hours, late_seconds, policy?})
-- What was found out about a send that belongs to no turn, as settle_send. 'not_sent': a notice is told
-- again; a human's message stays failed, for its writer to see. After give_up_hours nobody looks any more.
-- Returns {ok, id_taken?}.
create or replace function public.settle_doubt(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_taken boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_doubt', p, '{tenant_id,message_id,outcome,check_after,give_up_hours,late_seconds}'
    );
    v_message := hybridflow.send_of(p - 'turn_id');
    if v_message.id is null or v_message.send_state not in ('sending', 'unknown') then
        return '{"ok": true}';  -- erased, or settled by a webhook meanwhile
    elsif p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_doubt', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.messages set send_state = 'unknown', check_at = 'infinity' where id = v_message.id;
    else
        update public.messages
        set send_state = 'unknown', check_at = v_now + hybridflow.seconds((p ->> 'check_after')::numeric)
        where id = v_message.id;
    end if;
    return '{"ok": true}'::jsonb || hybridflow.told_taken(v_taken);
end
$$;
