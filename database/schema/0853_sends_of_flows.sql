-- HybridFlow: the fence for what a flow sends, by its turn's token.

-- Writes down what a flow's send has besides its first message (see begin_flow_send), which is not begun yet:
-- where the turn ends otherwise, it is among what did not leave.
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
-- The fence for a flow, which knows no parts: what it sends is a new part, unless it has sent the same
-- (`identity`; without one, as routers of 0.1.0 ask, the same kind and body) before: then it is the same
-- request again, and refused as 'already_sent', with the first message's wa_id, jid, kind, body and sent_at,
-- or 'in_doubt'. A send that certainly failed may be begun again. 'elsewhere': it quotes or reacts to a
-- message (`refers_to`, its id) that is not of this session: Evolution would look it up in all its chats.
-- 'has_answered': the turn has a reply, and that is being said. `rest` is what belongs to it and comes after
-- it: it counts as what did not leave, until it is begun, so that it is not lost where this one is in doubt.
-- 'judge_again': `text`, all that will be read of it, was judged when next_part was next, and more was said
-- since. 'too_many_sends': it has sent 500 already, and each more would make all that is asked of the turn
-- dearer. Else as begin_send, with the `part`. `promise` says why a human is called, where it
-- promises one: the conversation is handed off in the same step. Returns {ok, message_id, chosen_id, jid,
-- part} or {refused: reason, part?, message_id?, wa_id?, jid?, kind?, body?, sent_at?}.
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
    -- The lock of the session keeps two requests of one flow from taking the same part.
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
        else m.body = p ->> 'body' and m.kind = p ->> 'kind'  -- as routers of 0.1.0 ask
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
        -- What a flow says need not come from the LLM: others are not told.
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
