-- HybridFlow: messages of a contact that nobody answered, and the one turn that answers all of them.

-- Whether a human of the business wrote the message (a reaction or a vote does not count as writing).
create or replace function hybridflow.is_by_human(p_message public.messages, p_tenant public.tenants)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select p_message.from_me and p_message.kind not in ('reaction', 'poll_vote')
        and (
            p_message.sender in ('owner', 'operator')
            or (p_message.sender = 'client' and p_tenant.other_client_takeover)
        )
        and p_message.send_state is distinct from 'failed'
$$;

-- Whether something that turn p_turn_id said is on the phone.
create or replace function hybridflow.has_spoken(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent' and m.status is distinct from 'error'
    )
$$;

-- Whether a send of turn p_turn_id is under way, or nobody knows how it ended. One plan serves all turns;
-- without the setting, the planner would make a new plan at each call.
create or replace function hybridflow.is_in_doubt(p_turn_id bigint)
returns boolean
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state in ('sending', 'unknown')
    );
end
$$;

-- The contact's messages since p_since that their own turn does not answer: it is not active, and nothing of
-- it is on the phone or may be. `answered_by` is the first later turn that had the message in its history and
-- spoke, or may have spoken: a turn begins when the one before has ended, so its history contains the
-- messages that the one before left without an answer.
-- Deleted messages are left out. Only the session's newest 2,000 messages and their turns are read: no reply
-- reads more, and a contact who has written many more makes nobody wait.
create or replace function hybridflow.left_unanswered(p_session_id bigint, p_since timestamptz)
returns table (message_id bigint, kind text, sent_at timestamptz, answered_by bigint)
language sql
stable
rows 10
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with lately as materialized (
        select
            m.id, m.turn_id, m.kind, m.sent_at, m.created_at,
            not m.from_me and m.expects_reply and m.deleted_at is null and m.sent_at >= p_since as asks,
            m.from_me and (
                m.send_state in ('sending', 'unknown')
                or (m.send_state = 'sent' and m.status is distinct from 'error')
            ) as speaks
        from public.messages as m
        -- The sent_at of a send is in whole seconds.
        where m.session_id = p_session_id and m.sent_at >= p_since - interval '1 minute'
        order by m.sent_at desc, m.id desc limit 2000
    ),

    spoke as materialized (
        select t.id, t.seen_at
        from (select distinct l.turn_id from lately as l where l.speaks and l.turn_id is not null) as d
        inner join public.turns as t on t.id = d.turn_id
        inner join public.sessions as s on s.id = p_session_id
        where t.session_id = p_session_id and t.seen_at > coalesce(s.merged_at, '-infinity')
            -- The message that nobody has come yet is not an answer.
            and not exists (select from public.handoffs as h where h.line_turn_id = t.id)
    ),

    answering as materialized (
        select t.id
        from (select distinct l.turn_id from lately as l where l.asks and l.turn_id is not null) as d
        inner join public.turns as t on t.id = d.turn_id
        where t.state in ('pending', 'running', 'sending') or exists (
            select from public.messages as m
            where m.turn_id = t.id and m.from_me and (
                m.send_state in ('sending', 'unknown')
                or (m.send_state = 'sent' and m.status is distinct from 'error')
            )
        )
    )

    select l.id, l.kind, l.sent_at, (
        select min(s.id) from spoke as s where s.id > coalesce(l.turn_id, 0) and s.seen_at >= l.created_at
    )
    from lately as l
    where l.asks and not exists (select from answering as a where a.id = l.turn_id)
$$;

-- Session p_session_id is about to be merged. Messages that a later turn with them in its history answered
-- become that turn's own, and no current turn counts as having seen the messages that the other session
-- brings.
create or replace function hybridflow.close_sight(p_session_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.messages as m set turn_id = u.answered_by
    from hybridflow.left_unanswered(p_session_id, hybridflow.clock() - interval '7 days') as u
    where m.id = u.message_id and u.answered_by is not null;
    update public.sessions set merged_at = clock_timestamp() where id = p_session_id;
$$;

-- Gives the customer's recent messages that nobody answered to one turn, which is due at once. A human's
-- message answers all messages before it; a reply of the AI answers only the messages that it was made for.
-- Returns the turn's id; null: there is nothing to answer. The session is locked.
create or replace function hybridflow.answer_unanswered(p_session_id bigint, p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_since timestamptz;
    v_human record;
    v_ids bigint[];
    v_turn_id bigint;
begin
    select t.* into v_tenant from public.tenants as t
    inner join public.sessions as s on s.tenant_id = t.id
    where s.id = p_session_id;
    if not v_tenant.is_active or hybridflow.is_without_ai(p_session_id) then
        return null;
    end if;
    v_since := hybridflow.clock() - hybridflow.seconds(
        60 * hybridflow.rule(v_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
    );
    select m.sent_at, m.id into v_human from public.messages as m
    where m.session_id = p_session_id and m.sent_at >= v_since
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    select array_agg(u.message_id) into v_ids from hybridflow.left_unanswered(p_session_id, v_since) as u
    where u.answered_by is null and u.kind <> all(v_tenant.unanswered_kinds)
        and (v_human.id is null or (u.sent_at, u.message_id) > (v_human.sent_at, v_human.id));
    if v_ids is null then
        return null;
    end if;
    v_turn_id := (hybridflow.join_turn(v_tenant, p_session_id, 0, 0, null, hybridflow.clock())).turn_id;
    update public.messages set turn_id = v_turn_id where id = any(v_ids);
    return v_turn_id;
end
$$;
