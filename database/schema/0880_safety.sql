-- HybridFlow: replies that may not be sent, and budgets.
--
-- A budget limits the turns and tokens of a day (UTC), for a tenant and for each of its contacts. The most
-- that a turn may cost is reserved before the LLM is asked, and counts as spent until the real cost is known.
-- So turns that are made at the same time cannot exceed the budget together. If the cost never becomes known
-- (a process died), the reservation stays counted.

-- The session needs a human: it is paused with source 'ai', for at least as long as before, and a notice
-- tells the people of the business. Its turns are cancelled. The caller has locked the session.
create or replace function hybridflow.pause_for_human(
    p_session public.sessions, p_reason text, p_summary text
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.cancel_turns(p_session.id, 'paused');
    perform hybridflow.begin_handoff(
        p_session, null, jsonb_build_object('reason', 'other', 'why', p_reason, 'summary', p_summary)
    );
end
$$;

-- Gives the turn, which has said nothing, p_reply as its reply, due at once, whichever attempt has the turn.
-- p_outcome is how that attempt ended. The caller has locked the session.
create or replace function hybridflow.reply_instead(p_turn_id bigint, p_reply jsonb, p_outcome text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    perform hybridflow.discard_reply(p_turn_id);
    select * into v_turn from public.turns where id = p_turn_id;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), p_outcome);
    update public.turns
    set reply = p_reply, handler = 'fallback', debounce_until = hybridflow.clock()
    where id = p_turn_id;
end
$$;

-- Like reply_instead, with one text, such as the tenant's fallback message.
create or replace function hybridflow.answer_instead(p_turn_id bigint, p_message text, p_outcome text)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.reply_instead(p_turn_id, jsonb_build_array(p_message), p_outcome)
$$;

-- Returns the day's row of the tenant (p_session_id null) or of a session, locked. It is made if it does not
-- exist.
create or replace function hybridflow.spending_of(p_tenant_id bigint, p_session_id bigint, p_day date)
returns public.spending
language plpgsql
set search_path = ''
as $$
declare
    v_row public.spending;
begin
    -- Look for the row first: an insert with a conflict would rewrite the row only to lock it.
    if p_session_id is null then
        select * into v_row from public.spending
        where tenant_id = p_tenant_id and day = p_day and session_id is null for update;
    else
        select * into v_row from public.spending
        where tenant_id = p_tenant_id and day = p_day and session_id = p_session_id for update;
    end if;
    if not found then
        insert into public.spending (tenant_id, session_id, day) values (p_tenant_id, p_session_id, p_day)
        on conflict (tenant_id, day, session_id) do update set turns = spending.turns
        returning * into v_row;
    end if;
    return v_row;
end
$$;

-- Replaces what was reserved for the attempt by p_tokens, if p_tokens is known. The caller clears the turn's
-- reservation.
create or replace function hybridflow.settle_budget(p_turn public.turns, p_tokens bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.reserved_tokens is not null and p_tokens is not null then
        -- In the order of spending_of. Each row is found at once, however many contacts wrote that day.
        update public.spending
        set tokens = greatest(tokens + p_tokens - p_turn.reserved_tokens, 0)
        where tenant_id = p_turn.tenant_id and day = p_turn.reserved_on and session_id is null;
        update public.spending
        set tokens = greatest(tokens + p_tokens - p_turn.reserved_tokens, 0)
        where tenant_id = p_turn.tenant_id and day = p_turn.reserved_on and session_id = p_turn.session_id;
    end if;
end
$$;

-- Returns the tokens that p reports: {tokens_in?, tokens_out?}; null if it reports none.
create or replace function hybridflow.tokens_told(p jsonb)
returns bigint
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(
        (p ->> 'tokens_in')::bigint + (p ->> 'tokens_out')::bigint,
        (p ->> 'tokens_in')::bigint, (p ->> 'tokens_out')::bigint
    );
end
$$;

-- The reply p was stored (see write_reply); p_turn is the turn as it was before. The real cost replaces the
-- reservation. Call this last in a transaction, because every call that reserves for the tenant waits until
-- it ends.
create or replace function hybridflow.settle_reply(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.reserved_tokens is not null and exists (
        select from public.turns as t where t.id = p_turn.id and t.reserved_tokens is null
    ) then
        perform hybridflow.settle_budget(p_turn, hybridflow.tokens_told(p));
    end if;
end
$$;

-- Returns p_turn with what an attempt cost, as far as p reports it: {provider?, model?, tokens_in?,
-- tokens_out?}. The cost replaces the reservation, and is added to the earlier cost of the turn. The caller
-- stores the row: alone (book_cost), or in one update with the reply (write_reply).
create or replace function hybridflow.with_cost(p_turn public.turns, p jsonb)
returns public.turns
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_in constant integer := (p ->> 'tokens_in')::integer;
    v_out constant integer := (p ->> 'tokens_out')::integer;
begin
    if v_in is not null or v_out is not null then
        p_turn.reserved_tokens := null;
    end if;
    p_turn.provider := coalesce(p ->> 'provider', p_turn.provider);
    p_turn.model := coalesce(p ->> 'model', p_turn.model);
    p_turn.tokens_in := coalesce(p_turn.tokens_in + v_in, p_turn.tokens_in, v_in);
    p_turn.tokens_out := coalesce(p_turn.tokens_out + v_out, p_turn.tokens_out, v_out);
    return p_turn;
end
$$;

-- Stores what the attempt cost (see with_cost), and settles the day's budget.
create or replace function hybridflow.book_cost(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_spent constant bigint := hybridflow.tokens_told(p);
    v_turn public.turns;
begin
    if v_spent is null and p ->> 'provider' is null and p ->> 'model' is null then
        return;
    end if;
    perform hybridflow.settle_budget(p_turn, v_spent);
    v_turn := hybridflow.with_cost(p_turn, p);
    update public.turns
    set reserved_tokens = v_turn.reserved_tokens, provider = v_turn.provider, model = v_turn.model,
        tokens_in = v_turn.tokens_in, tokens_out = v_turn.tokens_out
    where id = p_turn.id;
end
$$;

-- A tenant's own limit, at most the deployment's limit of the same name; null: no limit.
create or replace function hybridflow.ceiled(p_own numeric, p_policy jsonb, p_name text)
returns numeric
language plpgsql
immutable
set search_path = ''
as $$
begin
    return least(p_own, (p_policy ->> p_name)::numeric);
end
$$;

-- Returns the first budget that p_turns more turns or p_tokens more tokens would exceed; null: none.
create or replace function hybridflow.used_up(
    p_tenant public.tenants, p_all public.spending, p_own public.spending, p_policy jsonb,
    p_turns integer, p_tokens bigint
)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when coalesce(p_all.turns, 0) + p_turns > hybridflow.ceiled(p_tenant.daily_turns, p_policy, 'daily_turns')
            then 'daily_turns'
        when coalesce(p_all.tokens, 0) + p_tokens > hybridflow.ceiled(p_tenant.daily_tokens, p_policy, 'daily_tokens')
            then 'daily_tokens'
        when coalesce(p_own.turns, 0) + p_turns
            > hybridflow.ceiled(p_tenant.contact_daily_turns, p_policy, 'contact_daily_turns')
            then 'contact_daily_turns'
        when coalesce(p_own.tokens, 0) + p_tokens
            > hybridflow.ceiled(p_tenant.contact_daily_tokens, p_policy, 'contact_daily_tokens')
            then 'contact_daily_tokens'
    end
$$;

-- reserve_budget({turn_id, token, tokens, policy})
-- Reserves the most that the attempt may cost, before the LLM is asked. A turn that is put off and tried
-- again reserves only once. Returns {ok} or {refused: reason, budget?}. 'paused': the tenant was switched
-- off, so the turn is cancelled and the LLM is not asked. 'budget': `budget` names the one that would be
-- exceeded. The turn is then cancelled with the reason 'budget', or, once a day for each contact, answered
-- with the tenant's fallback_message.
create or replace function public.reserve_budget(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_tenant public.tenants;
    v_tokens bigint := (p ->> 'tokens')::bigint;
    v_more bigint := v_tokens;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_new integer;
    v_all public.spending;
    v_own public.spending;
    v_budget text;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'tokens', p ->> 'policy') > 0 then
        perform hybridflow.require_keys('reserve_budget', p, '{turn_id,token,tokens,policy}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_new := (v_turn.reserved_on is null)::integer;
    if v_turn.waits > 0 and v_turn.reserved_on = v_day then
        v_more := v_tokens - coalesce(v_turn.reserved_tokens, 0);
    end if;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    if not v_tenant.is_active then
        perform hybridflow.stop_turn(v_turn.id, 'tenant_inactive');
        return '{"refused": "paused"}';
    end if;
    v_all := hybridflow.spending_of(v_turn.tenant_id, null, v_day);
    v_own := hybridflow.spending_of(v_turn.tenant_id, v_turn.session_id, v_day);
    v_budget := hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', v_new, v_more);
    if v_budget is null then
        update public.spending set turns = turns + v_new, tokens = tokens + v_more
        where id in (v_all.id, v_own.id);
        update public.turns set reserved_tokens = v_tokens, reserved_on = v_day where id = v_turn.id;
        return jsonb_build_object('ok', true);
    end if;

    update public.turns set error_kind = 'budget', error = 'the budget is used up: ' || v_budget
    where id = v_turn.id;
    perform hybridflow.note_unanswered(
        v_turn, case when v_budget like 'contact%' then 'contact_budget' else 'budget' end, v_budget
    );
    if v_tenant.fallback_message is null or v_own.told_at is not null then
        perform hybridflow.close_turn(v_turn.id, 'cancelled', 'budget');
    else
        update public.spending set told_at = hybridflow.clock() where id = v_own.id;
        perform hybridflow.answer_instead(v_turn.id, v_tenant.fallback_message, 'budget');
    end if;
    return jsonb_build_object('refused', 'budget', 'budget', v_budget);
end
$$;

-- get_spending({tenant_id, session_id?, policy?})
-- What the tenant, or one of its sessions, has spent today, what the limits are, and which budget is used up
-- (null: none). Returns {day, turns, tokens, daily_turns, daily_tokens, used_up}. PT404: no such tenant, or
-- the session is not the tenant's.
create or replace function public.get_spending(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_all public.spending;
    v_own public.spending;
    v_one text := case when p ->> 'session_id' is null then '' else 'contact_' end;
    v_limits jsonb;
begin
    perform hybridflow.require_keys('get_spending', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    select * into v_all from public.spending where tenant_id = v_tenant.id and day = v_day and session_id is null;
    select * into v_own from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id = (p ->> 'session_id')::bigint;
    v_limits := jsonb_build_object(
        'daily_turns', hybridflow.ceiled(v_tenant.daily_turns, p -> 'policy', 'daily_turns'),
        'daily_tokens', hybridflow.ceiled(v_tenant.daily_tokens, p -> 'policy', 'daily_tokens'),
        'contact_daily_turns', hybridflow.ceiled(v_tenant.contact_daily_turns, p -> 'policy', 'contact_daily_turns'),
        'contact_daily_tokens', hybridflow.ceiled(v_tenant.contact_daily_tokens, p -> 'policy', 'contact_daily_tokens')
    );
    return jsonb_build_object(
        'day', v_day,
        'turns', coalesce(case v_one when '' then v_all.turns else v_own.turns end, 0),
        'tokens', coalesce(case v_one when '' then v_all.tokens else v_own.tokens end, 0),
        'daily_turns', v_limits -> (v_one || 'daily_turns'),
        'daily_tokens', v_limits -> (v_one || 'daily_tokens'),
        'used_up', hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', 1, 1)
    );
end
$$;

-- refuse_reply({turn_id, token, rule, detail?, say?, provider?, model?, tokens_in?, tokens_out?})
-- The guard refused the reply; `rule` names the rule. The session is handed off. If the tenant prefers it,
-- and nothing has been said yet, the tenant's fallback message is sent instead. `say` tells the customer of
-- the handoff. It is sent after what a flow has said already, and the handoff begins with it; without `say`
-- the handoff begins at once. Returns {ok, outcome: 'handoff' | 'fallback_message', session_id} or {refused:
-- reason}.
create or replace function public.refuse_reply(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_tenant public.tenants;
    v_said boolean;
    v_handoff jsonb := jsonb_build_object(
        'reason', 'not_allowed',
        'why', case
            when p ->> 'rule' = 'model_refused' then 'the AI declines to answer'
            else concat_ws(': ', 'the AI''s reply was not sent', p ->> 'rule', p ->> 'detail')
        end
    );
begin
    perform hybridflow.require_keys('refuse_reply', p, '{turn_id,token,rule}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    perform hybridflow.book_cost(v_turn, p);
    update public.turns
    set error_kind = 'reply_refused', error = left(concat_ws(': ', p ->> 'rule', p ->> 'detail'), 2000)
    where id = v_turn.id;
    v_said := exists (
        select from public.messages where turn_id = v_turn.id and send_state in ('sent', 'sending', 'unknown')
    );
    if v_tenant.on_refused_reply = 'fallback_message' and v_tenant.fallback_message is not null and not v_said then
        perform hybridflow.answer_instead(v_turn.id, v_tenant.fallback_message, 'refused');
        return jsonb_build_object(
            'ok', true, 'outcome', 'fallback_message', 'session_id', v_turn.session_id
        );
    end if;
    if p ->> 'say' is not null and not v_said then
        perform hybridflow.reply_instead(
            v_turn.id, jsonb_build_array(jsonb_build_object('handoff', v_handoff, 'text', p ->> 'say')), 'refused'
        );
    elsif p ->> 'say' is not null and v_turn.reply is null then
        -- A flow has already said something: the customer is told after that.
        perform hybridflow.say_handoff(v_turn, v_handoff, jsonb_build_array(p -> 'say'), 'refused');
    else
        perform hybridflow.stop_turn(v_turn.id, 'reply_refused');
        perform hybridflow.cancel_turns(v_turn.session_id, 'paused');
        perform hybridflow.begin_handoff(v_held.session, v_turn.id, v_handoff);
    end if;
    return jsonb_build_object('ok', true, 'outcome', 'handoff', 'session_id', v_turn.session_id);
end
$$;
