-- HybridFlow: pauses: how long one lasts, the takeover that begins it, what it cancels, and how it ends.

-- pause_asked_at of p_session, if it is paused. For a pause that began under 0.1.0 only the time is known at
-- which a human last wrote or paused.
create or replace function hybridflow.asked_at(p_session public.sessions)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select case
        when not p_session.is_paused then null
        when coalesce(p_session.pause_asked_at, p_session.pause_written_at) is not null
            then p_session.pause_asked_at
        when p_session.paused_until is null or p_session.pause_source = 'owner'
            then coalesce(p_session.last_human_at, p_session.paused_at, p_session.updated_at)
    end
$$;

-- Whether the AI has called a human to the session, and none has come.
create or replace function hybridflow.has_waiting_handoff(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (select from public.handoffs as h where h.session_id = p_session_id and h.state = 'waiting')
$$;

-- When a human last asked for the pause of p_session without an end time; null: no human did, or the AI asked
-- later, and the human's time was kept as pause_written_at.
create or replace function hybridflow.asked_by_human(p_session public.sessions)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select case when p_session.pause_source <> 'ai' then hybridflow.asked_at(p_session) end
$$;

-- Until when people want p_session paused, whatever the AI wants; null: they do not, or they want it without
-- an end.
create or replace function hybridflow.human_pause_ends_at(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select case when p_session.is_paused and not p_session.pause_indefinite then greatest(
        p_session.paused_until,
        greatest(p_session.pause_written_at, hybridflow.asked_by_human(p_session))
        + hybridflow.seconds(3600 * hybridflow.rule(p_resume_after, p_policy, 'resume_after_hours', 2))
    ) end
$$;

-- When the pause of p_session ends by itself; null: it does not (not paused, indefinite, or a handoff waits:
-- see press_handoff). No reason for the pause shortens what another reason asks for.
create or replace function hybridflow.pause_ends_at(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select case
        when not p_session.is_paused or p_session.pause_indefinite then null
        when hybridflow.has_waiting_handoff(p_session.id) then null
        else greatest(
            p_session.paused_until,
            greatest(hybridflow.asked_at(p_session), p_session.pause_written_at)
            + hybridflow.seconds(3600 * hybridflow.rule(p_resume_after, p_policy, 'resume_after_hours', 2))
        )
    end
$$;

-- Cancels what the session was about to say: its pending turn, and the running one, whose token becomes
-- invalid. A turn that is sending says no more either, even if the pause ends before its worker hears of it:
-- it is closed here or, while a part is leaving, when that part is settled (see stop_turn). The turn p_but
-- goes on.
create or replace function hybridflow.cancel_other_turns(
    p_session_id bigint, p_but bigint, p_reason text
)
returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_cancelled integer;
begin
    perform hybridflow.close_turn(t.id, 'cancelled', p_reason)
    from (
        select c.id from public.turns as c
        where c.id in (
            select w.id from public.turns as w where w.session_id = p_session_id and w.waiting
            union all
            select h.id from hybridflow.held_turns(p_session_id) as h where h.state = 'running'
        ) and c.state in ('pending', 'running') and c.id is distinct from p_but
        for update
    ) as t;
    get diagnostics v_cancelled = row_count;
    perform hybridflow.stop_turn(t.id, p_reason)
    from hybridflow.held_turns(p_session_id) as t
    where t.state = 'sending' and t.id is distinct from p_but;
    return v_cancelled;
end
$$;

create or replace function hybridflow.cancel_turns(p_session_id bigint, p_reason text)
returns integer
language sql
set search_path = ''
as $$
    select hybridflow.cancel_other_turns(p_session_id, null, p_reason)
$$;

-- A human of the business wrote at p_at: pauses the locked session and cancels its turns.
-- Returns 'takeover', or 'takeover_over' if the pause that this asks for has already run out, or if an
-- operator resumed after the message (10 s of tolerance: WhatsApp's clock is not ours, and counts in
-- seconds).
create or replace function hybridflow.take_over(
    p_session public.sessions, p_tenant public.tenants, p_policy jsonb,
    p_at timestamptz, p_message_id bigint, p_reason text
)
returns text
language plpgsql
set search_path = ''
as $$
declare
    v_ends timestamptz := p_at + hybridflow.seconds(
        3600 * hybridflow.rule(p_tenant.resume_after_hours, p_policy, 'resume_after_hours', 2)
    );
    v_over boolean := v_ends <= hybridflow.clock()
        or coalesce(
            p_session.resume_source = 'operator' and p_at < p_session.resumed_at - interval '10 seconds', false
        );
begin
    update public.sessions as s
    set last_human_at = greatest(s.last_human_at, p_at),
        is_paused = s.is_paused or not v_over,
        pause_source = case when v_over or (s.is_paused and s.pause_indefinite) then s.pause_source else 'owner' end,
        pause_reason = case when v_over or (s.is_paused and s.pause_indefinite) then s.pause_reason else p_reason end,
        pause_message_id = case when v_over or s.is_paused then s.pause_message_id else p_message_id end,
        paused_at = case when v_over or s.is_paused then s.paused_at else hybridflow.clock() end,
        paused_until = case when s.is_paused then s.paused_until end,
        pause_indefinite = s.is_paused and s.pause_indefinite,
        pause_asked_at = hybridflow.asked_at(s),
        pause_written_at = greatest(
            case when s.is_paused then s.pause_written_at end, case when not v_over then p_at end
        ),
        updated_at = hybridflow.clock()
    where s.id = p_session.id;
    if v_over then
        return 'takeover_over';
    end if;
    perform hybridflow.take_handoff(p_session.id, 'owner', null, p_message_id, p_at);
    perform hybridflow.cancel_turns(p_session.id, 'takeover');
    return 'takeover';
end
$$;

-- Ends the pause of the locked session, for any caller. The columns that say why it was paused keep their
-- values, for operators to read.
create or replace function hybridflow.end_pause(p_session_id bigint, p_source text)
returns void
language sql
set search_path = ''
as $$
    update public.sessions
    set is_paused = false, paused_until = null, pause_indefinite = false, pause_message_id = null,
        pause_asked_at = null, pause_written_at = null,
        resumed_at = hybridflow.clock(), resume_source = p_source, updated_at = hybridflow.clock()
    where id = p_session_id
$$;
