-- HybridFlow: turns that a flow in n8n makes. The flow proves itself with the turn's token; it may ask for
-- more time, or for a human.

-- forward_turn({turn_id, token, lease_seconds})
-- The turn goes to n8n. The lease is the time that its flow has. Returns {ok} or {refused: reason}.
create or replace function public.forward_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('forward_turn', p, '{turn_id,token,lease_seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set handler = 'n8n', handler_since = hybridflow.clock(), execution_id = null, execution_told_at = null,
        execution_url = null, error = null, error_kind = null,
        updated_at = hybridflow.clock(),
        lease_until = hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- extend_turn({turn_id, token, seconds})
-- A slow flow asks for more time. Returns {ok, lease_until} or {refused: reason}.
create or replace function public.extend_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'seconds')::numeric);
begin
    perform hybridflow.require_keys('extend_turn', p, '{turn_id,token,seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set lease_until = greatest(lease_until, v_until), updated_at = hybridflow.clock()
    where id = (v_held.turn).id
    returning lease_until into v_until;
    return jsonb_build_object('ok', true, 'lease_until', v_until);
end
$$;

-- hand_off({turn_id, token, reason, summary?, say?: [text]})
-- The AI itself asks for a human: the session is paused with source 'ai', the turn is closed, and a notice
-- tells the people of the business. `say` contains texts for the customer. With them, all this happens when
-- the first of them begins to be sent, by the worker that claims the turn next; the turn does not belong to
-- the flow any more (see say_handoff). If a human has taken over already, nothing is said or handed off:
-- 'paused'. `replied`: everything that the AI had to say before is on the phone. Returns {ok, session_id,
-- already?, replied?} or {refused: reason}; 'has_answered': the turn already has a reply, which is being
-- sent. A second call with the same token gets the same answer, with `already`.
create or replace function public.hand_off(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_replied boolean := false;
    v_by text := encode(hybridflow.hash_token((p ->> 'token')::uuid), 'hex');
    v_session_id bigint;
    v_is_known boolean;
    v_stopped text;
begin
    perform hybridflow.require_keys('hand_off', p, '{turn_id,token,reason}');
    select t.session_id into v_session_id from public.turns as t
    where t.id = (p ->> 'turn_id')::bigint
        and t.reply @> jsonb_build_array(jsonb_build_object('handoff', jsonb_build_object('by', v_by)));
    if found then  -- its texts are on their way, and another worker has the turn
        return jsonb_build_object('ok', true, 'session_id', v_session_id, 'already', true);
    end if;
    v_held := hybridflow.hold_turn(p);
    if 'handoff' in ((v_held.turn).reason, (v_held.turn).stop_reason)
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    if p ->> 'say' is not null then
        v_stopped := hybridflow.stopped_for(v_held.turn, v_held.session);
        if v_stopped is not null then
            perform hybridflow.stop_turn((v_held.turn).id, v_stopped);
            return '{"refused": "paused"}';
        elsif (v_held.turn).reply is not null then
            return '{"refused": "has_answered"}';
        end if;
    end if;
    v_is_known := hybridflow.know_more_of_handoff((v_held.turn).id, p);
    if p ->> 'say' is not null then
        perform hybridflow.say_handoff(
            v_held.turn,
            jsonb_build_object('reason', p -> 'reason', 'summary', p -> 'summary', 'by', v_by), p -> 'say',
            'cut_off'
        );
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id);
    elsif hybridflow.await_settlement(v_held.turn, null) then
        update public.turns set stop_reason = 'handoff' where id = (v_held.turn).id;
    else
        v_replied := hybridflow.has_spoken((v_held.turn).id) and not hybridflow.has_unsent((v_held.turn).id);
        update public.turns set incomplete = true
        where id = (v_held.turn).id and hybridflow.has_unsent((v_held.turn).id);
        perform hybridflow.close_turn((v_held.turn).id, 'sent', 'handoff');
    end if;
    perform hybridflow.cancel_turns((v_held.session).id, 'paused');
    if not v_is_known then
        perform hybridflow.begin_handoff(
            v_held.session, (v_held.turn).id,
            jsonb_build_object('reason', p ->> 'reason', 'summary', p ->> 'summary')
        );
    end if;
    return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'replied', v_replied);
end
$$;
