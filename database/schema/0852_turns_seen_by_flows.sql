-- HybridFlow: reads a turn for its flow: who it belongs to, where its replies go, what was said.

-- Every text that the turn's flow has said so far. A send that began before these texts were stored counts
-- with its body.
create or replace function hybridflow.said_so_far(p_turn public.turns)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(p_turn.said_so_far, (
        select string_agg(m.body, E'\n\n' order by m.part) from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null
    ), '')
$$;

-- The number of the part that the turn's next new send will be. It grows with each new send, so it shows
-- whether there was one.
create or replace function hybridflow.next_part(p_turn_id bigint)
returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(max(m.part) + 1, 0) from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null
$$;

-- look_at_turn({turn_id, token, closed?})
-- Whose turn this is, and where its replies go. Returns {instance_name, evo_server_url, evo_api_key,
-- session_id, tenant_id, jid, jids: [jid], is_paused, correlation_id, system_prompt, facts, notes: [text],
-- contact_wrote, reply_rules, said: [text], sends: [{identity, body, send_state, wa_id}], said_so_far,
-- next_part, fallback_message, handoff_message, handoff_on_promise, wrote: [text], unread: [wa_id],
-- is_closed} or {refused: reason}. `wrote`: the newest texts that the turn answers. `sends`: what the flow
-- has sent so far. `said`: only the bodies of those. `said_so_far`: every text of them; after a check of that
-- text, the fence is asked with `next_part`. `unread`: the messages to mark as read when a send gets through,
-- or may have; none, if an earlier one did.
-- `notes`: see notes_for_llm. `contact_wrote`: what the turn answers, given if the AI gets notes. For reasons
-- see turn_refusal. With `closed`, a turn that this token has ended is shown, too. Only for the router,
-- because the answer contains the key.
create or replace function public.look_at_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_refused jsonb;
    v_is_closed boolean;
    v_result jsonb;
begin
    perform hybridflow.require_keys('look_at_turn', p, '{turn_id,token}');
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    v_is_closed := v_turn.state = 'sent' and coalesce(v_refused ->> 'refused' = 'superseded', false);
    if v_refused is not null and not (v_is_closed and coalesce((p ->> 'closed')::boolean, false)) then
        return v_refused;
    end if;
    select jsonb_build_object(
        'is_closed', v_is_closed, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key,
        'tenant_id', t.id, 'session_id', s.id, 'jid', coalesce(s.phone_jid, s.lid),
        'jids', (select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = s.id),
        'is_paused', hybridflow.stopped_for(v_turn, s) is not null,
        'correlation_id', v_turn.correlation_id,
        'system_prompt', t.system_prompt, 'facts', t.facts, 'notes', hybridflow.notes_for_llm(t, s.id),
        'contact_wrote', case when t.notes_to_llm then (
            select hybridflow.cut(string_agg(m.body, E'\n' order by m.id)) from public.messages as m
            where m.turn_id = v_turn.id and not m.from_me
        ) end,
        'reply_rules', hybridflow.reply_rules(t),
        'said', (
            select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'sends', (
            select coalesce(jsonb_agg(
                jsonb_build_object(
                    'identity', m.identity, 'body', m.body, 'send_state', m.send_state, 'wa_id', m.wa_id
                )
                order by m.part
            ), '[]')
            from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'said_so_far', hybridflow.said_so_far(v_turn), 'next_part', hybridflow.next_part(v_turn.id),
        'fallback_message', t.fallback_message, 'handoff_message', t.handoff_message,
        'handoff_on_promise', t.handoff_on_promise, 'wrote', (
            select coalesce(jsonb_agg(hybridflow.cut(l.body, 1000)), '[]') from (
                select m.body from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.kind = 'text'
                order by m.id desc limit 3
            ) as l
        ),
        'unread', case
            when t.mark_as_read and s.chat = 'contact' and not exists (
                select from public.messages as m
                where m.turn_id = v_turn.id and m.send_state in ('sent', 'unknown')
            ) then (
                select coalesce(jsonb_agg(m.wa_id order by m.id), '[]') from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.wa_id is not null
            )
            else '[]'
        end
    )
    into v_result
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = v_turn.session_id;
    return v_result;
end
$$;
