-- HybridFlow: takeover, pause and resume.

-- The pause_asked_at of p_session, if it is paused; a pause that began under 0.1.0 knows no more than when a
-- human last wrote or paused.
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

-- Whether the AI wants a human in the session, and none has come.
create or replace function hybridflow.has_waiting_handoff(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (select from public.handoffs as h where h.session_id = p_session_id and h.state = 'waiting')
$$;

-- When a human last asked for p_session's pause without saying until when; null: none did, or the AI has
-- asked since, which keeps that as pause_written_at.
create or replace function hybridflow.asked_by_human(p_session public.sessions)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select case when p_session.pause_source <> 'ai' then hybridflow.asked_at(p_session) end
$$;

-- Until when people want p_session paused, whatever the AI wants; null: they do not, or without an end.
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

-- When the pause of p_session ends by itself; null while it does not (not paused, indefinite, or a handoff
-- waits: see press_handoff). No reason for it shortens what another one asks for.
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

-- Cancels what the session was about to say: its pending turn, and the running one, whose token dies
-- with it. A turn that is sending says no more either, also if the pause ends before it hears of it: it
-- is closed here, or, while a part is leaving, when that is settled (see stop_turn). The turn p_but goes on.
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
-- Returns 'takeover'; 'takeover_over' when the pause that it asks for has run out already or an
-- operator resumed after it (10 s of tolerance: WhatsApp's clock is not ours and counts in seconds).
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

-- Ends the pause of the locked session, for any caller. The columns that say why it was paused stay,
-- for the operator to read.
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

-- Whether a message was written by a human of the business (one who reacts or votes writes nothing).
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

-- Whether part of what turn p_turn_id said is on the phone.
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

-- Whether a send of turn p_turn_id is under way, or nobody knows how it ended.
create or replace function hybridflow.is_in_doubt(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state in ('sending', 'unknown')
    )
$$;

-- What the contact wrote since p_since and its own turn does not answer (it is not under way, and nothing of
-- it is on the phone or may be), with the first later turn that was made in sight of it and spoke, or may
-- have: a turn begins when the one before it has ended, so its history has what that one ended without a word
-- for.
-- What was deleted is left out. Looked at are the session's newest 2,000 messages and the turns that they
-- belong to: no reply reads more, and who has written many more makes nobody wait.
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
        -- A send is dated in whole seconds.
        where m.session_id = p_session_id and m.sent_at >= p_since - interval '1 minute'
        order by m.sent_at desc, m.id desc limit 2000
    ),

    spoke as materialized (
        select t.id, t.seen_at
        from (select distinct l.turn_id from lately as l where l.speaks and l.turn_id is not null) as d
        inner join public.turns as t on t.id = d.turn_id
        inner join public.sessions as s on s.id = p_session_id
        where t.session_id = p_session_id and t.seen_at > coalesce(s.merged_at, '-infinity')
            -- That nobody has come yet is no answer.
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

-- Session p_session_id is about to be merged: what a later turn answered in sight of it becomes that turn's
-- own, and no current turn counts as having seen what the other session brings.
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

-- Gives the customer's recent messages that nobody answered to one turn, due at once. A human's message
-- answers all that was written before it; a reply of the AI only what it was made for. Returns the turn's
-- id, or null when there is nothing to answer. The session is locked.
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

-- Whether a human of the business wrote to the session since the turn was made.
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

-- What a human's message stopped goes on, for the message was none: turns that had begun to speak and were
-- stopped since p_since say the rest, unless a human wrote besides since they were made; and what the
-- customer wrote and nobody answered gets a turn (its id). In a session without AI all of it stays stopped.
-- The session is locked.
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

-- Message p_message_id was taken for a human's and is none: the pause that it caused is taken back, unless it
-- has another reason: a human wrote besides, or somebody paused. Returns whether the session goes on now. It
-- is locked.
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
        -- An operator's pause, or the AI's, that the false message seemed to prolong is theirs again.
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
            -- What else paused it counts on; where nothing is known of that, the message goes on counting.
            when s.pause_indefinite or s.paused_until is not null or s.pause_asked_at is not null then null
            else s.pause_written_at
        end,
        updated_at = hybridflow.clock()
    where s.id = p_session_id;
    perform hybridflow.untake_handoff(p_message_id);
    return v_goes_on;
end
$$;

-- Ends the pause of the locked session if it has run out. Returns whether it did.
create or replace function hybridflow.end_expired_pause(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if coalesce(hybridflow.pause_ends_at(p_session, p_resume_after, p_policy) <= hybridflow.clock(), false) then
        perform hybridflow.end_pause(p_session.id, 'cron');
        return true;
    end if;
    return false;
end
$$;

-- The locked session that a request of an operator means. Raises PT404 where it is not the tenant's own.
create or replace function hybridflow.session_of(p jsonb)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session public.sessions;
begin
    select * into v_session from public.sessions
    where id = (p ->> 'session_id')::bigint and tenant_id = v_tenant_id
    for update;
    if not found then
        raise exception 'tenant % has no session %', v_tenant_id, p ->> 'session_id' using errcode = 'PT404';
    end if;
    return v_session;
end
$$;

-- pause_session({caller?, tenant_id, session_id, source, reason?, until?, indefinite?, policy?})
-- Pauses a session, until `until`, for ever (`indefinite`), or, with neither, until RESUME_AFTER_HOURS have
-- passed, as after a human's message. Cancels what it was about to say. `until` takes the place of what was
-- asked before, and with neither it stays beside; what a human's message asks for stays always, and
-- `pause_ends_at` says which end is the last: resume_session ends all. Returns {session, cancelled_turns}:
-- how many those were. PT404: not this tenant's. PT422: `until` is not in the future.
create or replace function public.pause_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_until timestamptz := (p ->> 'until')::timestamptz;
    v_for_ever boolean := coalesce((p ->> 'indefinite')::boolean, false);
    v_cancelled integer;
begin
    perform hybridflow.require_keys('pause_session', p, '{tenant_id,session_id,source}');
    v_session := hybridflow.session_of(p);
    if v_until <= hybridflow.clock() then
        raise exception 'until must be in the future, not %', p ->> 'until' using errcode = 'PT422';
    end if;
    update public.sessions
    set is_paused = true,
        pause_source = p ->> 'source',
        pause_reason = p ->> 'reason',
        pause_message_id = null,
        paused_at = hybridflow.clock(),
        paused_until = case when v_until is not null or not is_paused then v_until else paused_until end,
        pause_indefinite = v_for_ever or (v_until is null and is_paused and pause_indefinite),
        pause_asked_at = case when v_until is null and not v_for_ever then hybridflow.clock() end,
        pause_written_at = case
            when is_paused  -- one of before 0.2.0 does not say when the owner wrote
                then coalesce(pause_written_at, case when pause_source = 'owner' then last_human_at end)
        end,
        last_human_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where id = v_session.id;
    if p ->> 'source' in ('owner', 'operator') then
        perform hybridflow.take_handoff(
            v_session.id, p ->> 'source', p -> 'caller' ->> 'name', null, hybridflow.clock()
        );
    end if;
    v_cancelled := hybridflow.cancel_turns(v_session.id, 'paused');
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'), 'cancelled_turns', v_cancelled
    );
end
$$;

-- resume_session({tenant_id, session_id, source, policy})
-- Ends a pause; does nothing to a session that is not paused. What the customer wrote meanwhile and nobody
-- answered gets a turn if it is recent. Returns {session, resumed, turn_id}: whether it was paused, and that
-- turn (null: none). PT404 as above.
create or replace function public.resume_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_session public.sessions;
    v_turn_id bigint;
begin
    perform hybridflow.require_keys('resume_session', p, '{tenant_id,session_id,source,policy}');
    v_session := hybridflow.session_of(p);
    if v_session.is_paused then
        perform hybridflow.end_pause(v_session.id, p ->> 'source');
        v_turn_id := hybridflow.answer_unanswered(v_session.id, p -> 'policy');
    end if;
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'),
        'resumed', v_session.is_paused,
        'turn_id', v_turn_id
    );
end
$$;

-- Paused sessions among which are all whose pause has run out (pause_ends_at says which): by index, so that
-- those that are to last cost nothing.
create or replace function hybridflow.pauses_to_look_at(p_policy jsonb)
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return array(
        select without_end.id from public.tenants as t
        cross join lateral (
            select s.id from public.sessions as s
            where s.tenant_id = t.id and s.is_paused and not s.pause_indefinite and s.paused_until is null
                and not hybridflow.has_waiting_handoff(s.id)
                and coalesce(s.last_human_at, s.paused_at, s.updated_at) <= v_now - hybridflow.seconds(
                    3600 * hybridflow.rule(t.resume_after_hours, p_policy, 'resume_after_hours', 2)
                )
            offset 0  -- one search of the index for each tenant, not one look at every pause
        ) as without_end
        union all
        select s.id from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.is_paused and s.paused_until <= v_now
            and hybridflow.pause_ends_at(s, t.resume_after_hours, p_policy) <= v_now
    );
end
$$;

-- Ends the pauses of the (locked) sessions p_ids. Returns how many turns they got.
create or replace function hybridflow.end_pauses(p_ids bigint[], p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
    update public.sessions
    set is_paused = false, paused_until = null, pause_indefinite = false, pause_message_id = null,
        pause_asked_at = null, pause_written_at = null,
        resumed_at = hybridflow.clock(), resume_source = 'cron', updated_at = hybridflow.clock()
    where id = any(p_ids);
    return (select count(hybridflow.answer_unanswered(i, p_policy)) from unnest(p_ids) as i);
end
$$;

-- pauses_over({policy})
-- Paused sessions whose pause has probably run out, at most 10,000, in no order. Returns {session_ids, more}.
create or replace function public.pauses_over(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    c_most constant integer := 10000;
    v_due bigint[] := hybridflow.pauses_to_look_at(p -> 'policy');
begin
    perform hybridflow.require_keys('pauses_over', p, '{policy}');
    return jsonb_build_object(
        'session_ids', (
            select coalesce(jsonb_agg(o.id), '[]') from (
                select d.id from unnest(v_due) as d (id) order by random() limit c_most
            ) as o
        ),
        'more', cardinality(v_due) > c_most
    );
end
$$;

-- auto_resume({policy, session_ids?: [id]})
-- Ends the pauses of these sessions (see pauses_over) that have run out; without session_ids, of 100 whose
-- pause has, whichever: so those that cannot be gone on with never come before the same others. Sessions that
-- someone is changing at this moment are left to the next run, and so is one that cannot be gone on with,
-- which keeps no other back. Returns {resumed, sessions: [{session_id, tenant_id}], turns, failed:
-- [session_id], more}: how many, which, how many turns they got, which could not be gone on with, and,
-- without session_ids, whether there were more.
create or replace function public.auto_resume(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_most constant integer := 100;
    v_named constant boolean := coalesce(p -> 'session_ids', 'null') <> 'null';
    v_due bigint[] := case
        when v_named
            then array(select i::bigint from jsonb_array_elements_text(p -> 'session_ids') as i)
        else hybridflow.pauses_to_look_at(p -> 'policy')
    end;
    v_more boolean := not v_named and cardinality(v_due) > c_most;
    v_ids bigint[];
    v_id bigint;
    v_done bigint[] := '{}';
    v_turns bigint := 0;
begin
    perform hybridflow.require_keys('auto_resume', p, '{policy}');
    if v_more then
        v_due := array(select d.id from unnest(v_due) as d (id) order by random() limit c_most);
    end if;
    v_ids := array(
        select s.id from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.id = any(v_due) and s.is_paused
            and hybridflow.pause_ends_at(s, t.resume_after_hours, p -> 'policy') <= hybridflow.clock()
        order by s.id
        for update of s skip locked
    );
    begin
        v_turns := hybridflow.end_pauses(v_ids, p -> 'policy');
        v_done := v_ids;
    exception
        when others then
            foreach v_id in array v_ids loop
                begin
                    v_turns := v_turns + hybridflow.end_pauses(array[v_id], p -> 'policy');
                    v_done := v_done || v_id;
                exception
                    when others then
                        null;
                end;
            end loop;
    end;
    return jsonb_build_object(
        'resumed', cardinality(v_done),
        'sessions', (
            select coalesce(jsonb_agg(jsonb_build_object('session_id', s.id, 'tenant_id', s.tenant_id)), '[]')
            from public.sessions as s where s.id = any(v_done)
        ),
        'turns', v_turns,
        'failed', (select coalesce(jsonb_agg(i), '[]') from unnest(v_ids) as i where i <> all(v_done)),
        'more', v_more
    );
end
$$;
