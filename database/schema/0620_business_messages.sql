-- HybridFlow: records a message, and decides whether a message of the business is a takeover or automatic.

-- Records the event's message in its session, which the caller has locked. p_turn_id is the turn that answers
-- it, or null.
create or replace function hybridflow.insert_message(
    p_session public.sessions, p_event jsonb, p_sender text, p_at timestamptz, p_turn_id bigint
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, media, quoted, author_name,
        expects_reply, status, sent_at, transcript
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_event ->> 'wa_id', (p_event ->> 'from_me')::boolean,
        p_sender, p_event ->> 'kind', coalesce(p_event ->> 'text', ''),
        nullif(p_event -> 'media', 'null'), nullif(p_event -> 'quoted', 'null'),
        coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'),
        coalesce((p_event ->> 'expects_reply')::boolean, false), lower(p_event ->> 'status'), p_at,
        p_event ->> 'transcript'
    )
    returning id into v_id;
    -- Report the change in one statement with the update, and not by a trigger, because a trigger would
    -- double the cost for each webhook.
    with told as (
        insert into public.changes (tenant_id, session_id, turn_id, kind)
        values (p_session.tenant_id, p_session.id, p_turn_id, 'message')
    )

    update public.sessions
    set last_message_at = greatest(last_message_at, p_at),
        last_contact_at = case when p_sender = 'contact' then greatest(last_contact_at, p_at) else last_contact_at end
    where id = p_session.id;
    if hybridflow.apply_waiting(p_session.tenant_id, v_id, p_event ->> 'wa_id') and p_turn_id is not null then
        perform hybridflow.cancel_deleted_turn(p_turn_id);
    end if;
    return v_id;
end
$$;

-- Whether a message of the business at p_at may be a greeting or away message of WhatsApp Business, or of
-- another client of Evolution's API. It may be one if it came within auto_reply_seconds after any message of
-- the contact, or after our first send into the chat, which also triggers greetings. WhatsApp reports times
-- in whole seconds. It greets again after 14 days of silence. At most the newest hundred messages of that
-- time are read.
create or replace function hybridflow.is_greeting(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz
)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    v_from timestamptz := p_at - hybridflow.seconds(p_tenant.auto_reply_seconds);
    v_ours timestamptz;
    v_any boolean;
begin
    if p_tenant.auto_reply_seconds = 0 then
        return false;
    elsif p_session.last_contact_at between v_from and p_at then
        return true;
    end if;
    select bool_or(w.sender = 'contact'), min(w.sent_at) filter (where w.sender in ('ai', 'operator'))
    into v_any, v_ours
    from (
        select m.sender, m.sent_at from public.messages as m
        where m.session_id = p_session.id
            and m.sent_at >= date_trunc('second', v_from) and m.sent_at < date_trunc('second', p_at) + interval '1 second'
        order by m.sent_at desc, m.id desc limit 100
    ) as w
    where w.sender <> 'contact' or w.sent_at between v_from and p_at;
    if p_tenant.pruned_before > v_ours - interval '14 days' and p_session.created_at < p_tenant.pruned_before then
        v_ours := null;  -- earlier messages may be pruned: nobody knows whether this was the first
    end if;
    return coalesce(v_any, false) or (v_ours is not null and not exists (
        select from (
            select m.from_me from public.messages as m
            where m.session_id = p_session.id
                and m.sent_at < v_ours and m.sent_at > v_ours - interval '14 days'
            order by m.sent_at desc, m.id desc limit 100
        ) as b
        where b.from_me
    ));
end
$$;

-- A message of the contact, written at p_at, is recorded late. If a message within auto_reply_seconds after
-- it was taken for a human's takeover, it was a greeting: its takeover is undone.
create or replace function hybridflow.judge_greetings_again(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_greeting record;
    v_since timestamptz;
begin
    if p_tenant.auto_reply_seconds = 0 or p_session.last_human_at is null or p_session.last_human_at < p_at then
        return false;
    end if;
    for v_greeting in
        update public.messages set sender = 'auto'
        where id = any(array(
            select m.id from public.messages as m
            where m.session_id = p_session.id and m.from_me and m.sender in ('owner', 'operator', 'client')
                and m.sent_at between p_at and p_at + hybridflow.seconds(p_tenant.auto_reply_seconds)
            order by m.sent_at desc, m.id desc limit 100
        )) and sender <> 'operator' and kind not in ('reaction', 'poll_vote')
        returning id, created_at
    loop
        if hybridflow.withdraw_pause(p_session.id, v_greeting.id) then
            v_since := v_greeting.created_at;
        end if;
    end loop;
    if v_since is null then
        return false;
    end if;
    perform hybridflow.undo_takeover(p_session.id, v_since, p_policy);
    return true;
end
$$;

-- Decides who on the business's side wrote this, and whether that is a takeover. Returns `sender`, and
-- `takeover`, which is true for a human.
create or replace function hybridflow.judge_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_at timestamptz,
    out sender text, out takeover boolean
)
language plpgsql
stable
set search_path = ''
as $$
begin
    takeover := p_event ->> 'kind' not in ('reaction', 'poll_vote');
    if p_event ->> 'origin' <> 'send' and p_event ->> 'status' = 'PENDING' then
        sender := 'auto';  -- Evolution's own message, such as its reply to a call
        takeover := false;
    elsif hybridflow.is_greeting(p_tenant, p_session, p_at) then
        sender := 'auto';
        takeover := false;
    elsif p_event ->> 'origin' = 'send' then
        sender := 'client';
        takeover := takeover and p_tenant.other_client_takeover;
    else
        sender := 'owner';
    end if;
end
$$;

-- Takes a message from the business's side that is not a send of ours.
create or replace function hybridflow.ingest_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_judged record;
    v_message_id bigint;
    v_decision text := 'recorded';
begin
    v_judged := hybridflow.judge_business_message(p_tenant, p_session, p_event, p_at);
    v_message_id := hybridflow.insert_message(p_session, p_event, v_judged.sender, p_at, null);
    if v_judged.takeover then
        v_decision := hybridflow.take_over(
            p_session, p_tenant, p_policy, p_at, v_message_id,
            case v_judged.sender when 'client' then 'another client of Evolution wrote' else 'the owner wrote' end
        );
    elsif v_judged.sender = 'auto' then
        v_decision := 'automatic_reply';
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', v_decision, 'sender', v_judged.sender,
        'session_id', p_session.id, 'message_id', v_message_id
    ) || case
        when v_decision = 'takeover' and p_session.phone_jid is null and p_session.last_contact_at is null
            and p_session.lid is not null then '{"stranger": true}'
        else '{}'
    end::jsonb;
end
$$;
