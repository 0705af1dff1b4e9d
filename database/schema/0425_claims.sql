-- HybridFlow: a turn is claimed: what is too old ends, and what is due gets a worker, a token and a lease.

-- Whether a turn is too old to be answered at all. Its age counts from the latest of these times: when its
-- messages were sent, when they were last edited (an edit with a time in the future does not count), and when
-- a person retried it. A turn without a customer's message, which only says something, counts from the time
-- when it was made.
create or replace function hybridflow.is_too_old(p_turn public.turns, p_minutes numeric)
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(greatest(
        (
            select max(greatest(m.sent_at, case when m.edited_at <= hybridflow.clock() then m.edited_at end))
            from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ),
        p_turn.retried_at,
        case when not exists (
            select from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ) then p_turn.debounce_until end
    ) < hybridflow.clock() - hybridflow.seconds(60 * coalesce(
        (select t.answer_within_minutes from public.tenants as t where t.id = p_turn.tenant_id), p_minutes, 60
    )), false)
$$;

-- Of these turns, which are locked and about to be claimed, ends those that are too old to be answered (see
-- is_too_old). A turn with a part on the phone or in doubt is not ended, and neither is one that a person
-- retried. `left_for`: those that are too old but cannot end at this moment (see free_to_end); the next claim
-- tries again.
create or replace function hybridflow.end_those_too_old(
    p_ids bigint[], p_minutes numeric, out ended bigint[], out left_for bigint[]
)
language plpgsql
set search_path = ''
as $$
declare
    v_old bigint[] := array(
        select t.id from public.turns as t
        where t.id = any(p_ids) and t.retried_at is null and hybridflow.is_too_old(t, p_minutes)
            and not hybridflow.has_spoken(t.id) and not hybridflow.is_in_doubt(t.id)
    );
begin
    ended := '{}';
    left_for := '{}';
    if v_old = '{}' then  -- almost always
        return;
    end if;
    ended := hybridflow.free_to_end(v_old);
    left_for := array(select i from unnest(v_old) as i where i <> all(ended));
    perform hybridflow.note_lapsed(ended);
    update public.turns
    set state = 'dead', reason = 'too_old', lease_until = null, waits_for = null,
        error_kind = coalesce(error_kind, 'too_old'),
        error = coalesce(error, 'nobody could answer it before it was too old (ANSWER_WITHIN_MINUTES)'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(ended);
    -- A turn that has met an outage belongs to that one already.
    perform hybridflow.note_unanswered(
        d.turn, case when (d.turn).error_kind = 'away' then 'line_away' else 'too_late' end, (d.turn).error
    )
    from (
        select t as turn from public.turns as t
        where t.id = any(ended) and t.outage_id is null
        order by t.tenant_id, t.id
    ) as d;
end
$$;

-- Whether a router of 0.2.0 can send the turn's reply. Such a router knows only texts; of a handoff it sends
-- the text. It must not get a turn with a part that was given up, because it would send that again.
create or replace function hybridflow.is_in_texts(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select not coalesce(p_turn.reply @? '$[*] ? (@.type() == "object" && !exists(@.text))', false)
        and not exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.given_up is not null
        )
$$;

-- Turns that ended at a claim, in the form in which claim_turns returns them.
create or replace function hybridflow.names_of(p_ids bigint[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'turn_id', t.id, 'tenant_id', t.tenant_id, 'session_id', t.session_id
    )), '[]')
    from public.turns as t where t.id = any(p_ids)
$$;

-- Turns in the form in which claim_turns returns them, with all parts of their replies as texts.
create or replace function hybridflow.in_texts(p_turns jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_agg(
        case
            when jsonb_typeof(c.turn -> 'reply') <> 'array' then c.turn
            else jsonb_set(c.turn, '{reply}', (
                select coalesce(jsonb_agg(coalesce(r.part ->> 'text', r.part #>> '{}') order by r.nth), '[]')
                from jsonb_array_elements(c.turn -> 'reply') with ordinality as r (part, nth)
            ))
        end order by c.nth
    ), '[]')
    from jsonb_array_elements(p_turns) with ordinality as c (turn, nth)
$$;

-- claim_turns({limit, lease_seconds, max_attempts, history_limit, worker, after_tenant?, tenant_max?,
-- n8n_max_in_flight?, in_n8n?: {<tenant_id>: turns}, ids_in_n8n?, not_in_n8n?, own?: {<tenant_id>: turns},
-- own_max?, sitting?: {<tenant_id>: turns}, own_times?, answer_within_minutes?, objects?, without_n8n?})
-- Takes due turns for one attempt each: pending ones whose session has no active turn, and active ones whose
-- lease has run out. Each gets a new token (the old one is dead) and a lease; finding out about a send in
-- doubt does not count as an attempt. Turns that are older than answer_within_minutes end as 'too_old'. The
-- tenants are served in turns (see claimable_turns), those after after_tenant first.
-- The shares: tenant_max is how many turns of one tenant this worker, or with n8n all workers together, may
-- have at once. `own` is how many turns of each tenant the worker is working on, even if their leases have
-- run out, and own_max is how many that may be. `sitting` is how many of them have one of the worker's seats;
-- if it is not given, all have one. A tenant gets another seat while it has fewer than own_times as many as
-- are free; the same rule is used for the places in n8n. Of its own turns, the worker says how many of each
-- tenant are in n8n or on their way there (in_n8n), which these are (ids_in_n8n: an array), and which are not
-- (not_in_n8n: an array of ids).
-- `objects`: the worker can send parts of a reply that are not texts. A router of 0.2.0 cannot: it gets only
-- turns whose parts all have a text, as texts (see is_in_texts). without_n8n: only turns that need no flow:
-- those of tenants with an LLM key of their own, and those whose reply is made, or has begun to be sent. If
-- long prompts would make the answer large, the rest of the turns are left to the next call.
-- Never waits for a lock, nor for the disk. If a crash of the database takes a claim back, it is as if it had
-- never been made, and its token opens nothing. The next step with the token (reserve_budget, the fence)
-- brings the claim to the disk before anything else happens.
-- Returns {turns: [context], unreadable: [{turn_id, tenant_id, error}], too_old:
-- [{turn_id, tenant_id, session_id}], exhausted?: [{turn_id, tenant_id, session_id}], now, after_tenant,
-- more, taken, left, next_due_at, n8n_full?}. The context (see turn_context) has the saved reply and the
-- parts that an earlier attempt began. exhausted: turns that died here, because their last lease has run out
-- (see bury_lapsed). after_tenant is for the next claim. more: there may be other turns that can be claimed
-- right now. taken: how many turns were available, to be claimed or ended. left: some turns are due but were
-- not claimed, such as one whose session has an active turn (it can be claimed when that ends). next_due_at:
-- when the next turn is due; now, if other processes hold those that could be claimed. n8n_full: with these
-- turns, no place in n8n is free.
create or replace function public.claim_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
-- Its lists of ids are short. The planner expects longer ones, so it would plan the queries again at each
-- call, which is a quarter of the cost of a claim.
set plan_cache_mode = force_generic_plan
-- Joined rows are found by their ids. A merge or hash join would read the whole table, which looks cheap
-- while the table is small, and would stay in use as long as the plan does.
set enable_mergejoin = off
set enable_hashjoin = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_lapsed boolean := exists (
        select from public.turns as t where t.held and not t.waiting and t.lease_until <= v_now
    );
    v_flows integer;
    v_there bigint[];
    v_without_n8n boolean := coalesce((p ->> 'without_n8n')::boolean, false);
    v_full bigint[];
    v_round record;
    v_made bigint[] := '{}';
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_locked integer;
    v_for_others integer := 0;
    v_old bigint[] := '{}';
    v_left bigint[] := '{}';
    v_buried bigint[] := '{}';
    v_claimed bigint[];
    v_tokens uuid[];
    v_for_flows integer;
    v_last bigint;
    v_turns jsonb[];
    v_unreadable jsonb := '[]';
    v_contexts jsonb;
begin
    if num_nulls(
        p ->> 'limit', p ->> 'lease_seconds', p ->> 'max_attempts', p ->> 'history_limit', p ->> 'worker'
    ) > 0 then
        perform hybridflow.require_keys(
            'claim_turns', p, '{limit,lease_seconds,max_attempts,history_limit,worker}'
        );
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if v_lapsed then
        perform hybridflow.close_dead_flows();
        v_buried := hybridflow.bury_lapsed(
            (p ->> 'max_attempts')::integer, (p ->> 'answer_within_minutes')::numeric
        );
    end if;
    if not v_lapsed and not hybridflow.is_one_due() then  -- the usual case of a look after a turn has ended
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb, 'now', v_now,
            'after_tenant', v_after, 'taken', 0, 'more', false, 'left', false,
            'next_due_at', hybridflow.next_claimable(v_now)
        );
    end if;
    if p ->> 'n8n_max_in_flight' is not null then
        -- Those on their way there have their places, although the state does not count them yet.
        v_there := array(
            select k.id::bigint from jsonb_array_elements_text(nullif(p -> 'ids_in_n8n', 'null')) as k (id)
        );
        v_flows := hybridflow.free_flows_without(
            (p ->> 'n8n_max_in_flight')::integer - cardinality(v_there), hybridflow.not_in_n8n(p) || v_there
        );
        v_limit := least(v_limit, v_flows);
    end if;
    if v_limit > 0 and v_without_n8n then
        v_full := hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows));
        v_round := hybridflow.next_without_n8n(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500), v_full
        );
        v_made := hybridflow.next_made(v_now, 2 * v_limit, v_full);
    elsif v_limit > 0 then
        v_round := hybridflow.next_tenants(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500),
            hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows))
        );
    else  -- the round stays where it is: nobody would be served
        select '{}'::bigint[] as tenants, v_after as last, true as is_whole into v_round;
    end if;
    if v_limit <= 0 or (v_round.tenants || v_made = '{}' and (v_without_n8n or not v_lapsed)) then
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb,
            'exhausted', case when v_buried = '{}' then '[]' else hybridflow.names_of(v_buried) end,
            'now', v_now, 'after_tenant', v_round.last, 'taken', 0,
            'more', not v_round.is_whole and v_round.last <> v_after,
            'left', v_lapsed or hybridflow.is_one_due(),
            'next_due_at', hybridflow.next_claimable(v_now),
            'n8n_full', coalesce(v_flows = 0, false)
        );
    end if;
    select coalesce(array_agg(f.turn_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_turns(
        v_round.tenants || v_made, v_lapsed and not v_without_n8n, v_now, v_limit,
        p || jsonb_build_object('n8n_free', v_flows)
    ) as f;
    if p ->> 'objects' is null then
        select
            coalesce(array_agg(f.id order by f.place) filter (where r.readable), '{}'),
            count(*) filter (where not r.readable)
        into v_offered, v_for_others
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.turns as t on t.id = f.id
        cross join lateral (select hybridflow.is_in_texts(t) as readable) as r;
    end if;
    select coalesce(array_agg(s.id order by s.place) filter (where s.fits), '{}'), count(*)
    into v_ids, v_locked
    from (
        select d.id, d.place, coalesce(sum(d.size) over (
            order by d.place rows between unbounded preceding and 1 preceding
        ), 0) < 16000000 as fits
        from (
            select t.id, f.place, (
                select coalesce(octet_length(n.system_prompt), 0)::bigint + coalesce(octet_length(n.facts), 0)
                from public.tenants as n where n.id = t.tenant_id
            ) as size
            from unnest(v_offered) with ordinality as f (id, place)
            inner join public.turns as t on t.id = f.id
            where (t.state = 'pending' and t.run_after <= v_now)
                or (
                    t.state in ('running', 'sending') and t.lease_until <= v_now
                    and not hybridflow.is_used_up(t, (p ->> 'max_attempts')::integer)
                    and not (t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t))
                )
            order by f.place limit v_limit
            for update of t skip locked
        ) as d
    ) as s;
    -- A router of 0.1.0 does not give it: it may be configured with a longer time than the default here.
    if p ->> 'answer_within_minutes' is not null then
        select e.ended, e.left_for, v_locked - cardinality(e.left_for) into v_old, v_left, v_locked
        from hybridflow.end_those_too_old(v_ids, (p ->> 'answer_within_minutes')::numeric) as e;
    end if;
    if v_lapsed or v_without_n8n then
        perform hybridflow.note_lapsed(array(select i from unnest(v_ids) as i where i <> all(v_old || v_left)));
    end if;
    -- Only if the next look differs from this one: something was taken, or it begins after another tenant.
    v_more := cardinality(v_ids) - cardinality(v_old) - cardinality(v_left) < v_locked or (v_locked < v_limit and (
        (v_more and v_locked > 0) or (not v_round.is_whole and (v_locked > 0 or v_round.last <> v_after))
    ));

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
        where f.id <> all(v_old || v_left)
    ),

    claimed as (
        update public.turns as t
        set state = case when t.state = 'pending' then 'running' else t.state end,
            attempt = t.attempt + case when hybridflow.is_in_doubt(t.id) then 0 else 1 end,
            seen_at = case when t.reply is null then clock_timestamp() else t.seen_at end,
            token_hash = hybridflow.hash_token(f.token),
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            worker = p ->> 'worker', waits_for = null, due_when_heard = null, claimed_at = v_now,
            updated_at = v_now
        from fresh as f
        where t.id = f.id
        returning t.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;

    if v_flows <= v_locked then
        select count(*) into v_for_flows
        from public.turns as t
        inner join public.tenants as n on n.id = t.tenant_id and n.llm_api_key is null
        where t.id = any(v_claimed) and t.state = 'running' and t.reply is null;
        -- What needs no place there has left some to others. A router of 0.2.0 does not say which turns are
        -- on their way there: it would get their places again at once.
        v_more := v_more or (v_for_flows < v_flows and p ->> 'ids_in_n8n' is not null);
    end if;

    -- Tenants that were served come last the next time; if none was, the next look goes on from here.
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select t.tenant_id from public.turns as t where t.id = any(v_ids))
    order by n.nth desc limit 1;
    begin
        select array_agg(
            hybridflow.turn_context(t, c.token, (p ->> 'history_limit')::integer) order by t.id
        ) into v_turns
        from unnest(v_claimed, v_tokens) as c (id, token)
        inner join public.turns as t on t.id = c.id;
    exception
        when others then
            v_contexts := hybridflow.turn_contexts(v_claimed, v_tokens, (p ->> 'history_limit')::integer);
            v_turns := array(select jsonb_array_elements(v_contexts -> 'turns'));
            v_unreadable := v_contexts -> 'unreadable';
    end;
    if p ->> 'objects' is null then
        v_turns := array(select jsonb_array_elements(hybridflow.in_texts(to_jsonb(v_turns))));
    end if;
    return jsonb_build_object(
        'turns', coalesce(v_turns, '{}'),
        'unreadable', v_unreadable,
        'too_old', case when v_old = '{}' then '[]' else hybridflow.names_of(v_old) end,
        'exhausted', case when v_buried = '{}' then '[]' else hybridflow.names_of(v_buried) end,
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', v_more or v_unreadable <> '[]',  -- those hold no place
        'taken', v_locked,
        'left', v_lapsed or hybridflow.is_one_due(),
        'n8n_full', coalesce(v_flows <= v_for_flows, false),
        'next_due_at', case
            when v_locked < least(v_limit, cardinality(v_offered)) then v_now
            when v_for_others > 0 then greatest(hybridflow.next_claimable(v_now), v_now + interval '1 second')
            else hybridflow.next_claimable(v_now)
        end
    );
end
$$;
