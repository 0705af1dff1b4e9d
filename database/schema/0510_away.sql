-- HybridFlow: the message that the business is closed.

-- begin_away_send({turn_id, token, opens_at, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence for the message that the business is closed until opens_at. An attempt at a turn sends it before
-- the reply is made. It is not a part of the turn: it answers nothing, and a doubt about it does not delay
-- the reply. Returns {ok, message_id, chosen_id, jid} or {refused: reason}: as begin_send, or 'told': the
-- contact was already told about this closed period, or about one that has not ended yet.
create or replace function public.begin_away_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_opens_at timestamptz;
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_told timestamptz;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_away_send', p, '{turn_id,token,opens_at,body,lease_seconds}');
    v_opens_at := (p ->> 'opens_at')::timestamptz;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
    if v_stopped is not null then
        perform hybridflow.stop_turn(v_turn.id, v_stopped);
        return jsonb_build_object('refused', 'paused');
    elsif hybridflow.waits_for_stranger(v_turn, v_held.session) then
        return jsonb_build_object('refused', 'stale');
    end if;
    v_told := hybridflow.told_away_until(v_held.session);
    if v_told = v_opens_at or v_told > hybridflow.clock() then
        return jsonb_build_object('refused', 'told');
    end if;

    v_message := hybridflow.begin_message(v_held.session, null, null, 'ai', p);
    update public.sessions set away_until = v_opens_at, away_message_id = v_message.id
    where id = v_turn.session_id;
    update public.turns
    set lease_until = greatest(
        lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    )
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;
