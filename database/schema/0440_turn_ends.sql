-- HybridFlow: how an attempt goes on and ends: failed, begun again, renewed, given back or done.

-- How many seconds to wait until something that failed p_times before is tried again: twice as long each
-- time, up to p_most, with jitter, so that what failed together is not tried again together.
create or replace function hybridflow.back_off(p_base numeric, p_times integer, p_most numeric)
returns numeric
language sql
volatile
set search_path = ''
as $$
    select least(p_base * power(2::numeric, least(p_times, 9)), p_most) * (0.75 + random() / 2)::numeric
$$;

-- An attempt at a held turn has failed: decides what becomes of the turn (see fail_turn).
create or replace function hybridflow.after_failure(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_away boolean := p ->> 'kind' = 'away';
    v_spoken boolean := exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'sent'
    );
    v_base numeric := (p ->> 'base_seconds')::numeric;
    v_due timestamptz := hybridflow.clock() + hybridflow.seconds(greatest(
        -- Perhaps nobody tells us when what is away is back, so it is tried at least every 30 seconds or so.
        case when v_away then hybridflow.back_off(v_base, p_turn.waits, 30)
            else hybridflow.back_off(v_base, p_turn.attempt - 1, 900)
        end,
        (p ->> 'retry_after')::numeric
    ));
    v_stopped text := hybridflow.stopped_for(p_turn, p_session);
    v_minutes numeric := (p ->> 'answer_within_minutes')::numeric;
    v_began boolean;
begin
    perform hybridflow.settle_budget(p_turn, (p ->> 'tokens')::bigint);
    update public.turns
    set error_kind = p ->> 'kind', error = left(p ->> 'error', 2000),
        reserved_tokens = case when p ->> 'tokens' is null then reserved_tokens end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        waits = case when v_away then waits + 1 else 0 end,
        worker = null,  -- the attempt has ended; end_attempt records it
        waits_for = case
            when not v_away then null
            when p ->> 'away' is distinct from 'llm' then hybridflow.line_of(p_turn.tenant_id)
            when p ->> 'retry_after' is null then hybridflow.llm_of(p_turn.tenant_id)
        end
    where id = p_turn.id;
    if hybridflow.await_settlement(p_turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('state', 'in_doubt');
    elsif p_turn.reply is null and v_spoken and not (v_away and exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'failed' and part is not null
    )) then
        -- A flow that has said something and then failed is not started again: it would repeat itself.
        perform hybridflow.stop_turn(p_turn.id, 'flow_failed');
        perform hybridflow.note_unanswered(p_turn, 'half_said', p ->> 'error')
        where p ->> 'cause' is not null;
        return jsonb_build_object('state', 'sent');
    elsif v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('state', 'cancelled');
    elsif v_away and not v_spoken and hybridflow.is_too_old(p_turn, v_minutes) then
        perform hybridflow.close_turn(p_turn.id, 'dead', 'too_old');
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif p ->> 'kind' = 'permanent' or (not v_away and p_turn.attempt >= (p ->> 'max_attempts')::integer) then
        perform hybridflow.close_turn(p_turn.id, 'dead', p_turn.reason);
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif v_spoken then
        perform hybridflow.put_aside(p_turn.id, v_due, null);
        update public.turns set state = 'sending' where id = p_turn.id;
    else
        perform hybridflow.requeue_turn(p_turn, v_due, null);
        -- If the line is down, another notice tells people, until it is too late for an answer.
        v_began := v_away and p ->> 'cause' <> 'line_away'
            and hybridflow.note_unanswered(p_turn, p ->> 'cause', p ->> 'error');
    end if;
    return jsonb_build_object('state', 'pending', 'run_after', v_due)
        || case when v_began then jsonb_build_object('outage', p ->> 'cause') else '{}' end;
end
$$;

-- Like after_failure; also records the attempt.
create or replace function hybridflow.end_attempt(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_result jsonb := hybridflow.after_failure(p_turn, p_session, p);
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn.id;
    perform hybridflow.note_attempt(
        p_turn,
        case
            when v_turn.finished_at is not null then v_turn.state
            when v_result ->> 'state' <> 'pending' then v_result ->> 'state'
            when p ->> 'kind' = 'away' then 'away'
            else 'failed'
        end,
        coalesce(v_turn.finished_at, hybridflow.clock()), v_turn.reason, p ->> 'kind', left(p ->> 'error', 2000)
    );
    return v_result;
end
$$;

-- fail_turn({turn_id, token, kind, error, away?, retry_after?, tokens?, message_id?, check_after?,
-- max_attempts, base_seconds, answer_within_minutes?, cause?, execution_id?, execution_url?})
-- Ends an attempt that failed. `kind` decides what follows. 'transient': the turn is tried again after an
-- exponential back-off with jitter (not before retry_after seconds), and is dead when the attempts are used
-- up. 'permanent': it is dead at once. 'away': the reply certainly did not leave, because Evolution or the
-- line is away, or there is no reply, because the LLM is away (`away` is then 'llm'). The turn is tried again
-- soon, and at once when the instance is connected again or the LLM has made another reply. No attempt is
-- used up. The turn is dead with the reason 'too_old' when its messages are older than answer_within_minutes.
-- tokens: what the attempt cost, if known. message_id: a part of the reply that certainly did not leave
-- (routers of 0.1.0 say it here). check_after: as in doubt_send. execution_id, execution_url: n8n's execution
-- that failed. It is named here and not earlier, because its crash is also reported, and would end the
-- attempt in another way than its answer did. A turn without a saved reply that has said something is closed
-- as sent, incomplete. `cause` decides who is told (see endings): `outage` names it if an outage begins with
-- this turn; `handoff`: the session is handed to a human. Returns {state, run_after?, outage?, handoff?} or
-- {refused: reason}.
create or replace function public.fail_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('fail_turn', p, '{turn_id,token,kind,error,max_attempts,base_seconds}');
    update public.messages set send_state = 'failed'
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint and send_state = 'sending';
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
        update public.turns
        set execution_id = p ->> 'execution_id', execution_url = p ->> 'execution_url',
            execution_told_at = hybridflow.clock()
        where id = v_turn.id
        returning * into v_turn;
    end if;
    return hybridflow.end_attempt(v_turn, v_held.session, p);
end
$$;

-- begin_anew({turn_id, token})
-- Nothing of the turn is on the phone or in doubt, and its reply is lost or outdated: the turn is pending
-- again, due now, together with the messages that came meanwhile, and its reply is made again. The attempt
-- does not count. Returns {ok} or {refused: reason}; 'has_spoken': something is on the phone, or may be.
create or replace function public.begin_anew(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('begin_anew', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif hybridflow.is_in_doubt((v_held.turn).id) or exists (
        select from public.messages where turn_id = (v_held.turn).id and send_state = 'sent'
    ) then
        return '{"refused": "has_spoken"}';
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
    perform hybridflow.discard_reply((v_held.turn).id);
    perform hybridflow.requeue_turn(v_held.turn, hybridflow.clock(), 'begun_anew');
    return '{"ok": true}';
end
$$;

-- renew_turns({turns: [{turn_id, token}], worker, lease_seconds})
-- The worker lives and works on these turns: their leases last for lease_seconds from now. Returns {lost:
-- [turn_id]}: those that are closed, or that another attempt has. Never waits for a lock.
create or replace function public.renew_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_lost bigint[];
begin
    perform hybridflow.require_keys('renew_turns', p, '{turns,worker,lease_seconds}');
    perform hybridflow.require_keys_of_each('renew_turns', p, 'turns', '{turn_id,token}');
    update public.turns set lease_until = greatest(lease_until, v_until)
    where id in (
        select t.id from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
        inner join public.turns as t on t.id = h.turn_id
        where t.state in ('running', 'sending') and t.worker = p ->> 'worker'
            and t.token_hash = hybridflow.hash_token(h.token)
        for update of t skip locked
    );
    select array_agg(h.turn_id) into v_lost
    from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
    left join public.turns as t on t.id = h.turn_id
        and t.state in ('running', 'sending') and t.token_hash = hybridflow.hash_token(h.token)
    where t.id is null;
    return jsonb_build_object('lost', coalesce(to_jsonb(v_lost), '[]'));
end
$$;

-- release_turn({turn_id, token})
-- Gives a turn back unharmed (the router stops). A turn that has said nothing is pending again; one that has
-- said a part of its reply can be claimed at once. The attempt does not count. Returns {ok} or {refused:
-- reason}.
create or replace function public.release_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('release_turn', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if v_turn.state = 'running' then
        perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'released');
    else
        perform hybridflow.put_aside(v_turn.id, hybridflow.clock(), 'released');
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    return jsonb_build_object('ok', true);
end
$$;

-- Whether a part of the turn certainly did not leave.
create or replace function hybridflow.has_unsent(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.part is not null
    )
$$;

-- Whether the rest of a text of turn p_turn_id must still be sent, because the send before it was in doubt
-- (see begin_flow_send). If that send failed, or if the rest was given up, the flow has been told so.
create or replace function hybridflow.is_cut_off(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        inner join public.messages as b on b.turn_id = m.turn_id and b.part = m.part - 1
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.given_up is null and m.sends = 0
            and b.send_state = 'sent'
    )
$$;

-- finish_turn({turn_id, token, reason?, unanswered?, check_after?, provider?, model?, tokens_in?,
-- tokens_out?})
-- Closes a turn that has nothing (more) to say, and records its cost. Called again with the same token it
-- gives the same answer, with `already`. With `unanswered`, a turn that has said nothing is cancelled, and
-- counts as no reply. While a send is in doubt, the turn stays open until that is settled (`in_doubt`); it is
-- looked up after check_after seconds. The turn also stays open while the rest of a text must be sent (see
-- is_cut_off). `silent`: nothing of it is on the phone; `incomplete`: a part of it is not. Returns {ok,
-- already?, in_doubt?, silent?, incomplete?} or {refused: reason}: 'not_sent', there was something to say,
-- and nothing of it has left.
create or replace function public.finish_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_unanswered constant boolean := coalesce((p ->> 'unanswered')::boolean, false);
    v_has_spoken boolean;
    v_told jsonb := '{}';
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token') > 0 then
        perform hybridflow.require_keys('finish_turn', p, '{turn_id,token}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if (v_held.turn).state = 'sent'
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    perform hybridflow.book_cost(v_held.turn, p);
    if hybridflow.await_settlement(v_held.turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    if hybridflow.is_cut_off((v_held.turn).id) then
        perform hybridflow.put_aside((v_held.turn).id, hybridflow.clock(), 'cut_off');
        -- The flow has done its work: sending the rest is not another attempt, and without this the rest of
        -- the last attempt would never be sent. If it is reported twice, it counts once.
        if (v_held.turn).lease_until > hybridflow.clock() then
            update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
        end if;
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    v_has_spoken := hybridflow.has_spoken((v_held.turn).id);
    if hybridflow.has_unsent((v_held.turn).id) then
        if not v_has_spoken and not v_unanswered then
            return '{"refused": "not_sent"}';
        end if;
        update public.turns set incomplete = true where id = (v_held.turn).id;
        v_told := '{"incomplete": true}';
    end if;
    perform hybridflow.close_turn(
        (v_held.turn).id,
        case when v_unanswered and not v_has_spoken then 'cancelled' else 'sent' end,
        coalesce(hybridflow.ends_as_handoff((v_held.turn).id), p ->> 'reason')
    );
    return v_told || jsonb_build_object('ok', true, 'silent', not v_has_spoken);
end
$$;
