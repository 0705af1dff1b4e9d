-- HybridFlow: relays from WhatsApp: the staff quote what they were told, or write a command.

-- Returns our message that the staff quote in p_event. It is found by its id, by the id that we asked for,
-- or, while its own id is unknown, by its words in their session. The caller has locked the session.
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

-- Returns the session that a notice is about, even if it was merged into another. Null: none.
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

-- The staff wrote p_event in their session p_session, which the caller has locked. If it quotes a notice, it
-- is for that conversation, and is relayed; if too many relays are waiting, the staff are told that it was
-- not. A command that quotes nothing gets an explanation, once an hour. So does, in the staff's group, a
-- quote of a message that we do not know. Everything else is ignored. Returns whether a relay is on its way.
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
        -- Each of the staff is told this only once in ten minutes, so that the number of waiting relays does
        -- not grow.
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
        if v_message.id is not null and (not v_message.from_me or v_message.sender = 'owner') then
            return false;  -- the staff quote themselves, or the owner on the business's own phone
        elsif exists (
            select from public.relays as r
            where r.word_message_id = v_message.id and r.outcome in ('no_notice', 'unquoted')
        ) then
            return false;  -- may be a bot that quotes everything: stop after one explanation
        elsif v_message.id is null and p_event ->> 'chat' = 'group' and exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'no_notice'
                and r.created_at > v_now - interval '1 hour'
        ) then
            return false;  -- colleagues quote each other: what they write is not kept
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
            'author', coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'), 'sent_at', p_at,
            'quoted_id', v_message.id
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
