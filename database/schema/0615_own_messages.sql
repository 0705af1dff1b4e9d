-- HybridFlow: recognises our own sends when they come back as messages from the phone.

create index if not exists messages_not_known_of_session
on public.messages (session_id, send_began_at)
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- Returns the tenant's sends around p_at whose id is unknown and that say the same as the event: they have
-- the same telling, or the same words if one of the two has no telling. Words are compared by their hash,
-- which has an index. A telling is searched in the sessions that the event names. If the event names only
-- LIDs and none of them is known, all sessions are searched, because an unknown LID may belong to any of
-- them. At most a thousand sends are read: the newest ones for a telling, any of them for words, because the
-- index of words has no order.
create or replace function hybridflow.sends_that_say(p_tenant_id bigint, p_event jsonb, p_at timestamptz)
returns setof public.messages
language plpgsql
stable
rows 1
set search_path = ''
set enable_seqscan = off
set enable_sort = off
as $$
declare
    v_telling text := p_event ->> 'telling';
    v_jids text[] := array(select jsonb_array_elements_text(p_event -> 'jids'));
    v_sessions bigint[];
    v_words text;
begin
    if not exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
            and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
    ) then
        return;  -- nearly always
    end if;
    if v_telling is not null then
        v_sessions := array(
            select i.session_id
            from unnest(v_jids) as j
            cross join lateral unnest(hybridflow.spellings(j)) as k (jid)
            inner join public.session_identities as i on i.tenant_id = p_tenant_id and i.jid = k.jid
        );
        return query select n.* from (select distinct unnest(v_sessions) as id) as s
        cross join lateral (
            select m.* from public.messages as m
            where m.session_id = s.id and m.wa_id is null
                and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
            order by m.send_began_at desc limit 1000
        ) as n
        where v_telling = any(n.told_as);
        if v_sessions = '{}' and not exists (select from unnest(v_jids) as j where j not like '%@lid') then
            return query select n.* from (
                select m.* from public.messages as m
                where m.tenant_id = p_tenant_id and m.wa_id is null
                    and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                    and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
                order by m.send_began_at desc limit 1000
            ) as n
            where v_telling = any(n.told_as);
        end if;
    end if;
    v_words := md5(hybridflow.folded(p_event ->> 'text'));
    return query select n.* from (
        select m.* from public.messages as m
        where m.tenant_id = p_tenant_id and md5(hybridflow.folded(m.body)) = v_words and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
        limit 1000
    ) as n
    where v_telling is null or n.told_as is null;
end
$$;

-- Returns the send of ours that the event shows. It is found by its id, by the id that we asked for, or,
-- while its id is unknown, by what it says. A send that Evolution refused never matches. A send that was in
-- doubt and was judged as not sent matches an event that comes from an API client (most likely ourselves); it
-- matches an event that looks like the owner's only as long as it can still be late. What a person typed in
-- WhatsApp's own apps never matches, whatever it says.
create or replace function hybridflow.find_own(p_tenant public.tenants, p_event jsonb)
returns public.messages
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
    v_at timestamptz := coalesce((p_event ->> 'sent_at')::timestamptz, hybridflow.clock());
    v_is_send boolean := p_event ->> 'origin' = 'send';
begin
    select * into v_message from hybridflow.messages_called(p_event ->> 'wa_id')
    where tenant_id = p_tenant.id and from_me limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select * into v_message from public.messages
    where chosen_id = p_event ->> 'wa_id' and wa_id is null and tenant_id = p_tenant.id limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select m.* into v_message
    from hybridflow.sends_that_say(p_tenant.id, p_event, v_at) as m
    inner join public.sessions as s on s.id = m.session_id
    where m.send_began_at between v_at - interval '1 day' and v_at + interval '1 minute'
        and (
            (m.send_state in ('sending', 'unknown') and m.send_began_at >= v_at - interval '15 minutes')
            or (m.late_until is not null and (v_is_send or v_at <= m.late_until))
        )
        and exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where exists (
                    select from public.session_identities as i
                    where i.tenant_id = p_tenant.id and i.jid = j and i.session_id = s.id
                )
                or hybridflow.plain_number(j) = hybridflow.plain_number(s.phone_jid)
                -- A LID that nobody has yet may be this contact's. A LID that comes with a phone number
                -- belongs to that number.
                or (
                    j like '%@lid' and s.lid is null
                    and not exists (
                        select from jsonb_array_elements_text(p_event -> 'jids') as o where o not like '%@lid'
                    )
                    and not exists (
                        select from public.session_identities as i where i.tenant_id = p_tenant.id and i.jid = j
                    )
                )
        )
        and p_event ->> 'wa_id' !~ hybridflow.typed_by_hand()
    order by m.late_until is not null, m.send_began_at, m.id limit 1;
    return v_message;
end
$$;

-- If the event shows one of our own sends (see find_own), records that. Returns the decision, or null if
-- somebody else wrote the message.
create or replace function hybridflow.recognise_own(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.find_own(p_tenant, p_event);
begin
    if v_message.id is null then
        return null;
    end if;
    perform from public.sessions where id = v_message.session_id for update;
    if not found then
        return hybridflow.recognise_own(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    v_message := hybridflow.find_own(p_tenant, p_event);  -- its id may have become known while we waited
    if v_message.id is null then
        return null;
    elsif v_message.wa_id is not null then
        return hybridflow.known_own(p_tenant, v_message, p_event, p_policy);
    end if;
    perform hybridflow.mark_sent(v_message.id, p_event ->> 'wa_id', lower(p_event ->> 'status'), p_policy);
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', v_message.session_id,
        'message_id', v_message.id, 'turn_id', v_message.turn_id
    );
end
$$;

-- Takes an event about a message of our side that is already recorded. Gap repair sees only the message, so
-- it may have recorded an API client's message as the owner's or as a greeting. The client's own event
-- corrects that: the takeover is undone if the client's messages are no takeover, or made now if they are.
create or replace function hybridflow.known_own(
    p_tenant public.tenants, p_message public.messages, p_event jsonb, p_policy jsonb
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn_id bigint := p_message.turn_id;
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_message.session_id;
    if p_event ->> 'origin' = 'send' and p_message.sender in ('owner', 'auto')
        and not hybridflow.is_greeting(p_tenant, v_session, p_message.sent_at)
    then
        update public.messages set sender = 'client' where id = p_message.id;
        if p_message.sender = 'auto' and p_tenant.other_client_takeover
            and p_message.kind not in ('reaction', 'poll_vote')
        then
            perform hybridflow.take_over(
                s, p_tenant, p_policy, p_message.sent_at, p_message.id, 'another client of Evolution wrote'
            )
            from public.sessions as s where s.id = p_message.session_id;
        elsif not p_tenant.other_client_takeover and hybridflow.withdraw_pause(p_message.session_id, p_message.id) then
            v_turn_id := hybridflow.undo_takeover(p_message.session_id, p_message.created_at, p_policy);
        end if;
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', p_message.session_id,
        'message_id', p_message.id, 'turn_id', v_turn_id
    );
end
$$;
