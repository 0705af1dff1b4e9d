-- HybridFlow: a turn's reply is made, and saved before any of it is sent.

-- save_reply({turn_id, token, parts: [part], handler, provider?, model?, tokens_in?, tokens_out?,
-- execution_id?, execution_url?})
-- Saves the reply before any of it is sent, so that a later attempt goes on with it instead of asking the LLM
-- again. If it is called again, or once a part of the reply has begun, nothing changes. A part is a text or
-- an object: another request to Evolution, or a handoff with the text that tells the customer about it; the
-- parts after that are the rest of the text. A handoff without a text is the last part. The execution is the
-- one that n8n named in its answer to the router, as in begin_flow. Returns {ok} or {refused: reason}:
-- 'has_spoken', its flow has sent something itself through the gateway, and also answers.
create or replace function public.save_reply(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_refused jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', nullif(p -> 'parts', 'null'), p ->> 'handler') > 0 then
        perform hybridflow.require_keys('save_reply', p, '{turn_id,token,parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_refused := hybridflow.write_reply(v_held.turn, p);
    perform hybridflow.settle_reply(v_held.turn, p);
    perform hybridflow.reply_was_made(v_held.turn, p)
    from public.turns as t
    where t.id = (v_held.turn).id and t.reply is distinct from (v_held.turn).reply;
    return coalesce(v_refused, '{"ok": true}');
end
$$;

-- Saves the reply p, as save_reply takes it, of turn p_turn, which its handler holds, and the reply's cost.
-- The caller settles the day's budget (see settle_reply), and then calls reply_was_made. Returns why the
-- reply is not saved, {refused: reason}; null: it is saved.
create or replace function hybridflow.write_reply(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    if p_turn.reply is not null then
        if p_turn.reply = p -> 'parts' or exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.part is not null
        ) then
            return null;  -- the saved reply may have grown meanwhile: see give_up
        end if;
    elsif p ->> 'handler' = 'n8n' then
        if exists (
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part is not null and m.send_state <> 'failed'
        ) then
            return '{"refused": "has_spoken"}';
        end if;
    end if;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
    end if;
    v_turn := hybridflow.with_cost(p_turn, p);
    update public.turns
    set reserved_tokens = v_turn.reserved_tokens, provider = v_turn.provider, model = v_turn.model,
        tokens_in = v_turn.tokens_in, tokens_out = v_turn.tokens_out,
        reply = p -> 'parts', handler = p ->> 'handler', handler_since = hybridflow.clock(),
        execution_id = coalesce(p ->> 'execution_id', execution_id),
        execution_told_at = case
            when p ->> 'execution_id' is not null then hybridflow.clock() else execution_told_at
        end,
        execution_url = case
            when p ->> 'execution_id' is not null then p ->> 'execution_url' else execution_url
        end,
        updated_at = hybridflow.clock()
    where id = p_turn.id;
    return null;
end
$$;

-- The reply p was made (see write_reply): the LLM or flow that made it works, so turns that wait for it are
-- due. The day's budget is settled before this, because an attempt that fails also locks the budget before
-- the notices.
create or replace function hybridflow.reply_was_made(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_llm text := hybridflow.llm_of(p_turn.tenant_id);
begin
    if p ->> 'handler' = 'n8n' then
        -- A flow's answer need not come from the LLM: turns of other tenants are not released.
        perform hybridflow.is_back(v_llm, p_turn.tenant_id);
    elsif starts_with(v_llm, 'llm ' || (p ->> 'provider')) then
        perform hybridflow.is_back(v_llm, null);
    end if;
    if p ->> 'handler' = 'n8n' or p ->> 'provider' is not null then
        perform hybridflow.replies_are_made(p_turn.tenant_id);  -- not after a reply that needs no model
    end if;
end
$$;
