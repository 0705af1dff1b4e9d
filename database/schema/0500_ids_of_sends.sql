-- HybridFlow: which of the phone's messages a send of ours is: it has left, and has its id.

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
