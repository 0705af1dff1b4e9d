-- HybridFlow: a takeover is undone, because its message was not a human's.

-- Whether a human of the business has written to the session since the turn was made.
create or replace function hybridflow.human_wrote_since(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        inner join public.tenants as t on t.id = m.tenant_id
        where m.session_id = p_turn.session_id and m.sent_at >= p_turn.created_at - interval '10 seconds'
            and m.created_at >= p_turn.created_at
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
    )
$$;

-- A message was taken for a human's and is not: what it stopped goes on. A turn that had begun to speak and
-- was stopped since p_since says the rest, unless a human has also written since the turn was made. The
-- customer's messages that nobody answered get a turn, whose id is returned. In a session without AI
-- everything stays stopped. The session is locked.
create or replace function hybridflow.undo_takeover(p_session_id bigint, p_since timestamptz, p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_without_ai constant boolean := hybridflow.is_without_ai(p_session_id);
begin
    update public.turns as t
    set stop_reason = case when v_without_ai then 'no_ai' end, updated_at = hybridflow.clock()
    where t.id in (select h.id from hybridflow.held_turns(p_session_id) as h)
        and t.state = 'sending' and t.stop_reason = 'takeover' and not hybridflow.human_wrote_since(t);
    if v_without_ai then
        return null;
    end if;
    perform hybridflow.take_up(t)
    from public.turns as t
    where t.id = (
        select s.id
        from (
            select l.* from public.turns as l
            where l.session_id = p_session_id and l.state = 'sent'
            order by l.id desc limit 100
        ) as s
        where s.incomplete and s.reason = 'takeover' and s.reply is not null and s.finished_at >= p_since
        order by s.id desc limit 1
    ) and not hybridflow.human_wrote_since(t);
    return hybridflow.answer_unanswered(p_session_id, p_policy);
end
$$;

-- Message p_message_id was taken for a human's and is not: the pause that it caused is withdrawn, unless the
-- pause has another reason (a human also wrote, or somebody paused). Returns whether the session goes on now.
-- The session is locked.
create or replace function hybridflow.withdraw_pause(p_session_id bigint, p_message_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_tenant public.tenants;
    v_false public.messages;
    v_human public.messages;
    v_goes_on boolean;
begin
    select * into v_session from public.sessions where id = p_session_id;
    select * into v_tenant from public.tenants where id = v_session.tenant_id;
    select * into v_false from public.messages where id = p_message_id;
    select m.* into v_human from public.messages as m
    where m.session_id = p_session_id and m.id <> p_message_id
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    v_goes_on := v_session.is_paused and v_session.pause_message_id is not distinct from p_message_id
    and not v_session.pause_indefinite and v_session.paused_until is null and v_session.pause_asked_at is null
    and not exists (
        select from public.messages as m
        where m.session_id = p_session_id and m.id <> p_message_id and m.created_at >= v_false.created_at
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    );
    update public.sessions as s
    set last_human_at = case
            when s.pause_message_id is null and s.is_paused then greatest(s.paused_at, v_human.sent_at)
            else v_human.sent_at
        end,
        is_paused = s.is_paused and not v_goes_on,
        pause_message_id = case
            when v_goes_on then null
            when s.pause_message_id = p_message_id then v_human.id
            else s.pause_message_id
        end,
        -- If the false message seemed to prolong a pause of an operator or the AI, the pause is theirs again.
        pause_source = case
            when v_goes_on then null
            when s.pause_source = 'owner' and s.pause_message_id is null
                and coalesce(v_human.created_at < s.paused_at, true)
                then case when exists (
                    select from public.handoffs as h where h.taken_message_id = p_message_id
                ) then 'ai' else 'operator' end
            else s.pause_source
        end,
        pause_reason = case when v_goes_on then null else s.pause_reason end,
        paused_at = case when v_goes_on then null else s.paused_at end,
        pause_written_at = case
            when v_goes_on then null
            when v_human.id is not null then least(s.pause_written_at, v_human.sent_at)
            -- If the pause has another known reason, only that counts; if none is known, the message still
            -- counts.
            when s.pause_indefinite or s.paused_until is not null or s.pause_asked_at is not null then null
            else s.pause_written_at
        end,
        updated_at = hybridflow.clock()
    where s.id = p_session_id;
    perform hybridflow.untake_handoff(p_message_id);
    return v_goes_on;
end
$$;
