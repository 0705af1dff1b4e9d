-- HybridFlow: the fence for what a flow sends. The flow proves itself with its turn's token.

-- Stores the further messages of a flow's send (see begin_flow_send), which have not begun yet. If the turn
-- ends before they begin, they count as not sent.
create or replace function hybridflow.keep_rest(
    p_turn public.turns, p_session public.sessions, p_rest jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, sent_at, send_state,
        send_began_at, sends
    )
    select
        p_session.tenant_id, p_session.id, p_turn.id,
        hybridflow.next_part(p_turn.id) + (row_number() over (order by r.place))::integer - 1,
        true, 'ai', r.kind, hybridflow.cut(r.body), r.identity, date_trunc('second', hybridflow.clock()),
        'failed', hybridflow.clock(), 0
    from (
        select distinct on (o.identity) o.*
        from (
            select row_number() over () as place, e.*
            from jsonb_to_recordset(p_rest) as e (body text, kind text, identity text)
        ) as o
        order by o.identity, o.place
    ) as r
    where not exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.identity = r.identity
    );
end
$$;

-- begin_flow_send({turn_id, token, kind, body, identity?, told_as?: [hash], refers_to?, upload_seconds?,
-- text?, next_part?, rest?: [{body, kind, identity}], promise?, lease_seconds})
-- The fence for a flow, which does not know parts. What it sends is a new part, unless the flow has sent the
-- same before: the same `identity`, or, from routers of 0.1.0, which give none, the same kind and body. Then
-- it is a repeated request, and refused as 'already_sent', with the first message's wa_id, jid, kind, body
-- and sent_at, or as 'in_doubt'. A send that certainly failed may begin again. `refers_to`: the id of the
-- message that it quotes or reacts to. 'elsewhere': that message is not in this session, and Evolution would
-- look it up in all its chats. 'has_answered': the turn already has a reply, which is being sent. `rest`: the
-- messages that belong to this one and come after it. They count as not sent until they begin, so that they
-- are not lost if this one is in doubt. `text`: all that people will read of it; next_part: the next part
-- when `text` was checked. 'judge_again': more was said since that check. 'too_many_sends': the flow has sent
-- 500 already; each further one would make every query about the turn slower. Otherwise as begin_send, with
-- the `part`. `promise`: why a human is called, if the message promises one; the conversation is handed off
-- in the same step. Returns {ok, message_id, chosen_id, jid, part} or {refused: reason, part?, message_id?,
-- wa_id?, jid?, kind?, body?, sent_at?}.
create or replace function public.begin_flow_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_part integer;
    v_new jsonb := '{}';
    v_answer jsonb;
    v_message public.messages;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'kind', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_flow_send', p, '{turn_id,token,kind,body,lease_seconds}');
    end if;
    if p ->> 'rest' is not null then
        perform hybridflow.require_keys_of_each('begin_flow_send', p, 'rest', '{body,kind,identity}');
    end if;
    -- The session's lock keeps two requests of one flow from taking the same part.
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif (v_held.turn).reply is not null then
        return '{"refused": "has_answered"}';
    elsif p ->> 'refers_to' is not null and not exists (
        select from hybridflow.messages_called(p ->> 'refers_to') as m
        where m.session_id = (v_held.session).id
    ) then
        return '{"refused": "elsewhere"}';
    end if;
    select m.part into v_part from public.messages as m
    where m.turn_id = (p ->> 'turn_id')::bigint and m.part is not null and case
        when p ->> 'identity' is not null then m.identity = p ->> 'identity'
        else m.body = p ->> 'body' and m.kind = p ->> 'kind'  -- for routers of 0.1.0
    end
    order by m.part limit 1;
    if v_part is null then
        v_part := hybridflow.next_part((p ->> 'turn_id')::bigint);
        if v_part >= 500 then
            return '{"refused": "too_many_sends"}';
        end if;
        if (p ->> 'next_part')::integer <> v_part
            and hybridflow.stopped_for(v_held.turn, v_held.session) is null
        then
            return '{"refused": "judge_again"}';
        end if;
        v_new := jsonb_build_object('said_so_far', concat_ws(
            E'\n\n', nullif(hybridflow.said_so_far(v_held.turn), ''),
            nullif(coalesce(p ->> 'text', p ->> 'body'), '')
        ));
    end if;
    v_answer := public.begin_send(
        p - '{reply,said_so_far}'::text[] || v_new || jsonb_build_object('part', v_part)
    );
    if v_answer ? 'message_id' and jsonb_typeof(p -> 'rest') = 'array' then
        perform hybridflow.keep_rest(v_held.turn, v_held.session, p -> 'rest');
    end if;
    if p ->> 'promise' is not null and coalesce((v_answer ->> 'ok')::boolean, false) then
        perform hybridflow.hand_off_by_promise(
            v_held.session, (v_held.turn).id,
            jsonb_build_object(
                'reason', 'other', 'why', p -> 'promise', 'said', coalesce(p ->> 'text', p ->> 'body'),
                'part', v_part
            )
        );
    end if;
    if v_part = 0 and v_answer ? 'message_id' then
        -- A flow's text need not come from the LLM, so turns of other tenants that wait for the LLM are not
        -- released.
        perform hybridflow.is_back(hybridflow.llm_of((v_held.turn).tenant_id), (v_held.turn).tenant_id);
        perform hybridflow.replies_are_made((v_held.turn).tenant_id);
    end if;
    if v_answer ->> 'refused' = 'already_sent' then
        select * into v_message from public.messages where id = (v_answer ->> 'message_id')::bigint;
        v_answer := v_answer || jsonb_build_object(
            'kind', v_message.kind, 'body', v_message.body, 'sent_at', v_message.sent_at,
            'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
        );
    end if;
    return v_answer || jsonb_build_object('part', v_part);
end
$$;
