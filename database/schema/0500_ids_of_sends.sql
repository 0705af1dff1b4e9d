-- HybridFlow: which message on the phone is a send of ours: that send has left, and gets its id.

-- A text with its white space folded, as texts are compared when a send of ours comes back.
create or replace function hybridflow.folded(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
    select btrim(regexp_replace(p_text, '\s+', ' ', 'g'))
$$;

-- Finds a send by its words while its id is not known; the hash is made once, when the send begins.
create index if not exists messages_by_words
on public.messages (tenant_id, md5(hybridflow.folded(body)))
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- One common spelling for all spellings of a phone's JID; null: it is not a phone. sendText rewrites only the
-- ninth digit of Brazil's mobile numbers (area codes from 31 on, followed by a 7, 8 or 9), and the prefixes
-- of Mexico and Argentina. Any other difference makes it another person's number, for example a landline with
-- the digits of a mobile number without the ninth.
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

-- A send of ours was identified by its words, but another send with the same words turned out to own the id.
-- The first one gets its own id, if that was also recorded; otherwise it is in doubt until its id is
-- reported. The session is locked.
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

-- A part was begun again, then its first try proved to have left, and the second certainly did not leave: the
-- first try is the part again.
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

-- The words of p_message are on the phone a second time, as p_wa_id. If the same send was judged as not sent,
-- that is the one; otherwise nobody knows which send it was, and it gets a row of its own. The same words
-- from another sender are another send.
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

-- The pattern of the ids of messages that were typed in WhatsApp's own apps on a phone or a computer. A send
-- by Evolution never has such an id.
create or replace function hybridflow.typed_by_hand()
returns text
language sql
immutable
set search_path = ''
as $$
    select '^(AC[0-9A-F]{30}|3[AF][0-9A-F]{18})$'
$$;

-- Whether p_other, recorded as another message of the same session, can be our send p_message. If p_other is
-- a send of ours, it must be the same request or have the same words. Otherwise it must be recorded after the
-- send, be of that time, and not be typed by hand (see typed_by_hand).
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

-- Whether p_wa_id belongs to another message, which cannot be our send p_message. A server that a tenant
-- named may answer anything, including ids of other conversations.
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

-- Our send left, but the id that was reported for it belongs to another message (see id_is_taken): it is
-- recorded without an id, until its echo brings its own. A send that already has an id keeps it.
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

-- Records that message p_message_id left as p_wa_id. If somebody else's message of the same conversation was
-- recorded with that id, that record is deleted, and the pause that it caused is withdrawn; no other
-- conversation is touched. If the message had already left with another id, the second one is recorded as
-- well: the phone has both. Then calls after_settlement. The session is locked.
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
