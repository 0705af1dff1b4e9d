-- HybridFlow: a turn's steps from one state to the next, from pending to sent, cancelled or dead.
--
-- The functions on the hot path have `enable_seqscan = off`: a connection keeps a plan for as long as it
-- lives, and a plan made while a table was small would go on reading the whole table.

-- Gives one more message to the session's pending turn: moves the turn (debounce, up to a cap counted from
-- its first message) or creates it. If the tenant prefers that, a running turn that has said nothing yet
-- starts again with the message instead. The session is locked. Returns which turn it is, and when it is due.
create or replace function hybridflow.join_turn(
    p_tenant public.tenants, p_session_id bigint, p_debounce numeric, p_cap numeric, p_correlation_id text,
    p_now timestamptz, out turn_id bigint, out due timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    v_due timestamptz := p_now + make_interval(secs => p_debounce::double precision);
    v_running public.turns;
    v_claimed_at timestamptz;
begin
    if p_tenant.on_new_message = 'restart' then
        select * into v_running from public.turns
        where session_id = p_session_id and held and not beside and state = 'running' for update;
        if found then
            -- The attempt did not fail: it does not count.
            update public.turns set attempt = greatest(attempt - 1, 0) where id = v_running.id;
            perform hybridflow.requeue_turn(v_running, v_due, 'restarted');
        end if;
    end if;

    update public.turns
    set run_after = case
            when claimed_at is not null then greatest(run_after, v_due)
            else greatest(run_after, least(v_due, debounce_until))
        end,
        due_when_heard = case
            when due_when_heard is not null then greatest(due_when_heard, least(v_due, debounce_until))
        end,
        updated_at = p_now
    where session_id = p_session_id and waiting
    returning id, run_after, claimed_at into turn_id, due, v_claimed_at;
    if not found then
        insert into public.turns (tenant_id, session_id, run_after, debounce_until, correlation_id)
        values (
            p_tenant.id, p_session_id, v_due,
            greatest(v_due, p_now + hybridflow.seconds(p_cap)), p_correlation_id
        )
        returning id, run_after into turn_id, due;
    elsif v_claimed_at is not null then
        perform hybridflow.widen_turn(turn_id);
    end if;
end
$$;

-- A pending turn has one more message to answer. Its reply, and every send that had begun for it, was made
-- without that message. If such a send shows up late it is ours, but answers nothing of the turn.
create or replace function hybridflow.widen_turn(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.discard_reply(p_turn_id);
    update public.messages set turn_id = null where turn_id = p_turn_id and from_me;
end
$$;

-- Throws away the reply of a turn that has nothing on the phone or in doubt: it is made again for everything
-- that the turn answers now. Sends that had begun keep their rows, so that a late echo is recognised as ours.
create or replace function hybridflow.discard_reply(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns set reply = null, updated_at = hybridflow.clock()
    where id = p_turn_id and reply is not null;
    update public.messages set part = null where turn_id = p_turn_id and part is not null;
end
$$;

-- Puts a turn that has nothing on the phone or in doubt back to pending, due at p_run_after, and folds into
-- it the turn that has become pending meanwhile. Its reply is kept only if there is nothing new to answer.
-- The session is locked. p_turn is the turn as it was during the attempt, and p_outcome is how the attempt
-- ended; null: there was no attempt, or the caller records its end.
create or replace function hybridflow.requeue_turn(
    p_turn public.turns, p_run_after timestamptz, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_newer bigint;
    v_retried_at timestamptz;
    v_heard_by timestamptz;
begin
    select t.id, t.retried_at, case when t.due_when_heard is not null then t.run_after end
    into v_newer, v_retried_at, v_heard_by
    from public.turns as t
    where t.session_id = p_turn.session_id and t.waiting for update;
    if v_newer is not null then
        perform hybridflow.close_turn(v_newer, 'cancelled', 'merged');
        update public.messages set turn_id = p_turn.id where turn_id = v_newer and not from_me;
        perform hybridflow.widen_turn(p_turn.id);
    elsif p_turn.reply is null then
        perform hybridflow.discard_reply(p_turn.id);
    end if;
    update public.turns
    set state = 'pending', token_hash = null, lease_until = null, worker = null, beside = false,
        stop_reason = null, run_after = greatest(p_run_after, v_heard_by),
        due_when_heard = case when v_heard_by is not null then p_run_after end, retried_at = greatest(retried_at, v_retried_at),
        updated_at = v_now
    where id = p_turn.id;
    if p_outcome in ('refused', 'budget') then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, p_turn.error_kind, p_turn.error);
    elsif p_outcome is not null then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, null, null);
    end if;
end
$$;

-- Closes a turn for good, and with it the attempt that is under way. Only this function cancels turns. The
-- token's hash stays: the token allows nothing any more, but shows that a repeated callback is the same one.
create or replace function hybridflow.close_turn(p_turn_id bigint, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean := p_state = 'dead' or coalesce(p_reason in ('budget', 'reply_refused'), false);
begin
    update public.turns
    set state = p_state, reason = p_reason, lease_until = null, finished_at = v_now, updated_at = v_now
    where id = p_turn_id
    returning * into v_turn;
    -- If nobody was working on the turn, it has no worker, and nothing is recorded.
    perform hybridflow.note_attempt(
        v_turn, p_state, v_now, p_reason,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- If a send of the turn is in doubt, puts the turn aside until that send is looked up. Returns whether it
-- did.
create or replace function hybridflow.await_settlement(p_turn public.turns, p_check_after numeric)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if not hybridflow.is_in_doubt(p_turn.id) then
        return false;
    end if;
    perform hybridflow.put_aside(
        p_turn.id, hybridflow.clock() + hybridflow.seconds(coalesce(p_check_after, 3)), 'in_doubt'
    );
    return true;
end
$$;

-- Nobody works on the active turn until p_until, when it can be claimed again (earlier after a reconnect).
-- The attempt that was under way, if there was one, has ended with p_outcome.
create or replace function hybridflow.put_aside(p_turn_id bigint, p_until timestamptz, p_outcome text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    v_failed := coalesce(v_turn.error_kind = p_outcome, false);  -- else the error is an earlier attempt's
    update public.turns set lease_until = p_until, worker = null, updated_at = v_now
    where id = p_turn_id;
    perform hybridflow.note_attempt(
        v_turn, p_outcome, v_now, null,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- The turn may say no more. It is closed as sent (incomplete) if it has said something, otherwise as
-- cancelled. While a part of it is leaving it stays open: the fence refuses the next part, and the turn is
-- closed when that part is settled.
create or replace function hybridflow.stop_turn(p_turn_id bigint, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if hybridflow.is_in_doubt(p_turn_id) then
        update public.turns set stop_reason = coalesce(stop_reason, p_reason), updated_at = hybridflow.clock()
        where id = p_turn_id;
    elsif exists (select from public.messages where turn_id = p_turn_id and send_state = 'sent') then
        update public.turns set incomplete = true where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', p_reason);
    else
        perform hybridflow.close_turn(p_turn_id, 'cancelled', p_reason);
    end if;
end
$$;

-- The turn goes on at once, with the next claim; beside another active turn, if the session has one.
create or replace function hybridflow.take_up(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns
    set state = 'sending', incomplete = false, reason = null, finished_at = null, worker = null,
        token_hash = hybridflow.hash_token(gen_random_uuid()), lease_until = hybridflow.clock(),
        attempt = greatest(attempt - 1, 0),
        beside = exists (
            select from hybridflow.held_turns(p_turn.session_id) as a where a.id <> p_turn.id
        ),
        updated_at = hybridflow.clock()
    where id = p_turn.id;
end
$$;

-- Which parts of turn p_turn_id were given up, and why (see give_up_part); null: none.
create or replace function hybridflow.given_up_of(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select left(string_agg(
        format('part %s (%s) is given up: %s', m.part + 1, m.kind, m.given_up), '; ' order by m.part
    ), 2000)
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null and m.send_state = 'failed' and m.given_up is not null
$$;

-- A send of turn p_turn_id has been settled or given up. The turn is closed when all of its reply is on the
-- phone, except for parts that were given up, or when it may say no more. It is dead if every part was given
-- up. If a turn that may say no more has said nothing, and the session goes on, another turn answers its
-- messages. A send may prove late to have left: then its turn, which waits to be made again, goes on with the
-- rest, or is done. The session is locked.
create or replace function hybridflow.after_settlement(p_turn_id bigint, p_policy jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_sent integer;
    v_given_up integer;
    v_is_over boolean;
begin
    select * into v_turn from public.turns
    where id = p_turn_id and state in ('pending', 'running', 'sending') for update;
    if v_turn.id is null or hybridflow.is_in_doubt(p_turn_id) then
        return;
    end if;
    select
        count(*) filter (where m.send_state = 'sent'),
        count(*) filter (where m.send_state = 'failed' and m.given_up is not null)
    into v_sent, v_given_up
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null;
    v_is_over := coalesce(jsonb_array_length(v_turn.reply) <= v_sent + v_given_up, false);
    if v_is_over and v_given_up = 0 then
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_is_over and v_sent > 0 then
        update public.turns
        set incomplete = true, error_kind = 'given_up', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_turn.stop_reason is not null then
        perform hybridflow.stop_turn(p_turn_id, v_turn.stop_reason);
        if not (select s.is_paused from public.sessions as s where s.id = v_turn.session_id) then
            perform hybridflow.answer_unanswered(v_turn.session_id, p_policy);
        end if;
    elsif v_is_over then
        update public.turns
        set error_kind = 'permanent', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'dead', v_turn.reason);
    elsif v_turn.state = 'pending' and v_turn.reply is not null and v_sent > 0 then
        perform hybridflow.take_up(v_turn);
    elsif v_turn.state <> 'sending' and v_sent = 0 and exists (
        -- An earlier reply to the same messages was sent (see widen_turn): the new one is not.
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent'
    ) then
        perform hybridflow.stop_turn(p_turn_id, 'late');
    end if;
end
$$;
