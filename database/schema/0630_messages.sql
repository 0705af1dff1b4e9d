-- HybridFlow: a message from either side: finds its session, and the function that judges it.

-- Whether the event comes from the group in which the tenant's staff get their notices, and quotes something
-- there. Other messages of that group are ignored.
create or replace function hybridflow.answers_a_notice(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event -> 'quoted' ->> 'wa_id' is null then
        return false;
    end if;
    return exists (
        select from jsonb_array_elements_text(p_event -> 'jids') as j
        where j.value = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- Whether the event comes from the chat with the business's own number. WhatsApp may report that chat under
-- the business's own LID (own_lid). An event that reports another chat that way is accepted only if it quotes
-- a message from the chat with the own number.
create or replace function hybridflow.is_to_self(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event ->> 'chat' = 'self' then
        return true;
    elsif not hybridflow.has_staff(p_tenant) or not coalesce((p_event ->> 'own_lid')::boolean, false) then
        return false;
    end if;
    return exists (
        select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
        inner join public.session_identities as i on i.session_id = m.session_id
        where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- The owner, on the business's own phone, quoted a notice in the group or in the chat with the business's own
-- number, or wrote a command in that chat: see note_staff_words. Everything else in that chat is a note to
-- oneself.
create or replace function hybridflow.ingest_note_to_self(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message_id bigint := hybridflow.insert_message(p_session, p_event, 'owner', p_at, null);
    v_relayed boolean := hybridflow.note_staff_words(p_tenant, p_session, p_event, p_at, p_policy);
begin
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', 'staff', 'session_id', p_session.id, 'message_id', v_message_id,
        'relayed', nullif(v_relayed, false)
    ));
end
$$;

-- Takes a message from either side.
create or replace function hybridflow.ingest_message(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_jids text[];
    v_now timestamptz := hybridflow.clock();
    v_at timestamptz := least(coalesce((p_event ->> 'sent_at')::timestamptz, v_now), v_now);
    v_is_self constant boolean := (
        p_event ->> 'chat' = 'self' or coalesce((p_event ->> 'own_lid')::boolean, false)
    ) and hybridflow.is_to_self(p_tenant, p_event);
    v_staff_jid text;
    v_own jsonb;
begin
    if p_event ->> 'chat' = 'group' and not p_tenant.answer_groups
        and not hybridflow.answers_a_notice(p_tenant, p_event)
    then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'group');
    end if;
    if (p_event ->> 'from_me')::boolean then
        v_own := hybridflow.recognise_own(p_tenant, p_event, p_policy);
        if v_own is not null then
            return v_own;
        end if;
    end if;
    if v_is_self then
        v_staff_jid := hybridflow.own_staff_jid(p_tenant, p_event);
        if v_staff_jid is null or (
            p_event -> 'quoted' ->> 'wa_id' is null and not coalesce((p_event ->> 'is_command')::boolean, false)
        ) then
            return jsonb_build_object('outcome', 'ignored', 'decision', 'note_to_self');
        end if;
        v_jids := array[hybridflow.known_as(p_tenant.id, v_staff_jid)];
        p_event := p_event || '{"chat": "contact"}';
    elsif jsonb_array_length(p_event -> 'jids') = 1 then
        v_jids := array[p_event -> 'jids' ->> 0];
    else
        v_jids := array(select jsonb_array_elements_text(p_event -> 'jids'));
    end if;
    v_session := hybridflow.resolve_session(
        p_tenant.id, v_jids, p_event ->> 'chat',
        case when p_event ->> 'chat' = 'contact' and not (p_event ->> 'from_me')::boolean
            then p_event ->> 'author_name' end
    );
    if not v_session.erasure_checked or v_session.erased_before is not null then
        perform hybridflow.refuse_erased(v_session, p_event, v_at);
        if not v_session.erasure_checked then
            v_session := hybridflow.taken_over_meanwhile(p_tenant, v_session, p_event, p_policy);
        end if;
    end if;
    -- As in messages_called, `offset 0` stops the planner from reading all messages of the session instead.
    if exists (
        select from (
            select m.session_id, m.from_me from public.messages as m where m.wa_id = p_event ->> 'wa_id' offset 0
        ) as m
        where m.session_id = v_session.id and m.from_me = (p_event ->> 'from_me')::boolean
    ) then
        return jsonb_build_object('outcome', 'recorded', 'decision', 'known_message', 'session_id', v_session.id);
    elsif v_at <= v_now - interval '1 day' and hybridflow.was_pruned(p_tenant.id, v_at) then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'too_old');  -- store nothing about them
    elsif v_is_self or (
        (p_event ->> 'from_me')::boolean and p_event ->> 'chat' = 'group'
        and hybridflow.answers_a_notice(p_tenant, p_event)
    ) then
        return hybridflow.ingest_note_to_self(p_tenant, v_session, p_event, p_policy, v_at);
    elsif (p_event ->> 'from_me')::boolean then
        return hybridflow.ingest_business_message(p_tenant, v_session, p_event, p_policy, v_at);
    end if;
    if hybridflow.judge_greetings_again(p_tenant, v_session, v_at, p_policy) then
        select * into v_session from public.sessions where id = v_session.id;
    end if;
    return hybridflow.ingest_contact_message(p_tenant, v_session, p_event, p_policy, v_at);
end
$$;
