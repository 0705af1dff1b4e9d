-- HybridFlow: what the customer is told about a handoff, as the turn's last words, and whether it arrived.

-- Ends turn p_turn, which a flow has, with a handoff (p_handoff). p_say, a list of texts, tells the customer
-- about it. The turn's reply is now what the flow has sent, followed by p_say. The next claim goes on with
-- that, and the session is handed off when p_say begins to be sent (see begin_send). Parts of the flow that
-- did not leave are given up, because the human answers now. A part in doubt is also given up, if it is found
-- not to have left: for a file, the reply has only the text that stands for it. p_outcome: how the flow's
-- attempt ended. The session is locked.
create or replace function hybridflow.say_handoff(
    p_turn public.turns, p_handoff jsonb, p_say jsonb, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_in_doubt boolean := hybridflow.is_in_doubt(p_turn.id);
    v_told jsonb := jsonb_build_array(jsonb_build_object('handoff', p_handoff, 'text', p_say -> 0))
        || (p_say - 0);
begin
    if v_in_doubt or exists (
        select from public.messages as m where m.turn_id = p_turn.id and m.from_me and m.send_state = 'sent'
    ) then
        update public.messages set given_up = 'its flow has called a human'
        where turn_id = p_turn.id and part is not null and send_state in ('failed', 'sending', 'unknown')
            and given_up is null;
        update public.turns
        set state = 'sending', reply = (
                select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
                where m.turn_id = p_turn.id and m.part is not null
            ) || v_told
        where id = p_turn.id;
        perform hybridflow.put_aside(
            p_turn.id, v_now + case when v_in_doubt then interval '3 seconds' else interval '0' end, p_outcome
        );
    else
        perform hybridflow.reply_instead(p_turn.id, v_told, p_outcome);
    end if;
    -- Sending the rest does not count as another attempt.
    update public.turns set handler = p_turn.handler, attempt = greatest(attempt - 1, 0)
    where id = p_turn.id;
end
$$;

-- The reason with which a turn that has said all it can is closed: 'handoff' if it handed off, else null.
create or replace function hybridflow.ends_as_handoff(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select 'handoff' where exists (select from public.handoffs as h where h.turn_id = p_turn_id)
$$;

-- A turn that told the customer about a handoff has ended: records whether all of that is on the phone. The
-- handoff is valid either way; if the customer was not told, the people of the business are told so.
create or replace function hybridflow.words_end(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs as h
    set words = case when h.part is not null then case when exists (
            -- A part that a flow sent itself promised a human: how the flow's other parts ended does not
            -- matter here.
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part = h.part and m.send_state = 'sent'
        ) then 'said' else 'not_said' end when p_turn.state = 'sent' and not exists (
            select from jsonb_array_elements(p_turn.reply) with ordinality as w (part, number)
            where w.number >= (
                select min(f.number)
                from jsonb_array_elements(p_turn.reply) with ordinality as f (part, number)
                where f.part -> 'handoff' is not null
            ) and not exists (
                select from public.messages as m
                where m.turn_id = p_turn.id and m.part = w.number - 1 and m.send_state = 'sent'
            )
        ) then 'said' else 'not_said' end
    where h.turn_id = p_turn.id and h.words = 'saying'
    returning * into v_handoff;
    if v_handoff.id is null then
        return;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_handoff.words = 'not_said' and v_handoff.state = 'waiting' then
        perform hybridflow.notice_words_lost(v_handoff);
    end if;
end
$$;
