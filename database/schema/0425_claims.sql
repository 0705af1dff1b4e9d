-- HybridFlow: a turn is claimed: what is too old ends, and what is due gets a worker, a token and a lease.

-- Whether what a turn answers is too old to be answered at all: it is as old as it was sent, or last changed;
-- one that a person retried is as old as that, and one that answers nothing and only says something as it was
-- made. A time to come says nothing of a change.
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

-- Ends those of the turns, which are locked and about to be claimed, that are too old to be answered: see
-- is_too_old. One that has a part on the phone or in doubt is not, nor one that a person retried. `left_for`:
-- those that are too old and cannot end at this moment (see free_to_end), which is for the next claim.
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
    if v_old = '{}' then  -- as almost always
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
    -- What met an outage before is of that one.
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

-- Whether a router of 0.2.0 can say the turn's reply, which knows texts alone: of a handoff it says the text.
-- What is given up it would send again.
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

-- Turns that ended at a claim, as claim_turns tells of them.
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

-- Turns as claim_turns tells of them, with their replies as texts.
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
-- n8n_max_in_flight?, in_n8n?: {<tenant_id>: turns}, not_in_n8n?, own?: {<tenant_id>: turns}, own_max?,
-- sitting?: {<tenant_id>: turns}, own_times?, answer_within_minutes?, objects?, without_n8n?})
-- Takes due turns for one attempt each: pending ones whose session has no active turn, and active ones whose
-- lease has run out. Each gets a new token (the old one is dead) and a lease; finding out about a send in
-- doubt does not count as an attempt. What is older than answer_within_minutes ends as 'too_old'. The tenants
-- take turns (see claimable_turns), those after after_tenant first; tenant_max is how many of one tenant this
-- worker, or with n8n all of them, may have at once. `own` is how many turns of each tenant the worker is at,
-- whatever became of their leases, and own_max how many it may be at; `sitting` is how many of them have one
-- of the worker's seats, all where it is not given: a tenant gets another while it has less than own_times as
-- many as are free, and so of the places in n8n. Of its own turns the worker knows how many of each tenant
-- are in n8n, or on their way there (in_n8n), and which are not (not_in_n8n: an array of ids). `objects`: the
-- worker says parts of a reply that are no texts; a router of 0.2.0 does not, and is given those that have
-- one as texts, and no others. without_n8n: only turns of tenants that have an LLM key of their own, which no
-- flow makes. What would make the answer large, long prompts, is left to the next call.
-- Never waits for a lock, nor for the disk: a claim that a crash of the database takes back was never made,
-- its token opens nothing, and what is done with it next (reserve_budget, the fence) brings it to the disk
-- before anything follows. Returns {turns: [context], unreadable: [{turn_id, tenant_id, error}], too_old:
-- [{turn_id, tenant_id, session_id}], exhausted?: [{turn_id, tenant_id, session_id}], now, after_tenant,
-- more, taken, left, next_due_at, n8n_full?}: the context (see turn_context) has the reply saved and the
-- parts begun by an earlier attempt; exhausted: those that died here, for their last lease has run out (see
-- bury_lapsed); after_tenant is for the next claim; more: there may be others that can be claimed at once;
-- taken: how many turns were there to be claimed, or ended; left: some are due that were not, such as one
-- whose session has an active turn: its end lets it be claimed; next_due_at is when the next one falls due,
-- now where others hold what could be claimed; n8n_full: with these no place in n8n is free.
create or replace function public.claim_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
-- Its lists of ids are short, and what the planner takes for a longer one it would plan again at each call: a
-- quarter of what a claim costs.
set plan_cache_mode = force_generic_plan
-- What is joined is known by its ids: to merge or hash is to read all there ever were, which looks cheap
-- while a table is small, and goes on for as long as the plan does.
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
    v_without_n8n boolean := coalesce((p ->> 'without_n8n')::boolean, false);
    v_round record;
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
    if not v_lapsed and not hybridflow.is_one_due() then  -- the end of a turn has somebody look: mostly for nothing
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb, 'now', v_now,
            'after_tenant', v_after, 'taken', 0, 'more', false, 'left', false,
            'next_due_at', hybridflow.next_claimable(v_now)
        );
    end if;
    if p ->> 'n8n_max_in_flight' is not null then
        v_flows := hybridflow.free_flows_without(
            (p ->> 'n8n_max_in_flight')::integer, hybridflow.not_in_n8n(p)
        );
        v_limit := least(v_limit, v_flows);
    end if;
    if v_without_n8n then
        v_lapsed := false;  -- those of other tenants
        v_round := hybridflow.next_without_n8n(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500),
            hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows))
        );
    else
        v_round := hybridflow.next_tenants(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500),
            hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows))
        );
    end if;
    if v_round.tenants = '{}' and not v_lapsed and v_buried = '{}' then
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb, 'now', v_now,
            'after_tenant', v_round.last, 'taken', 0,
            'more', v_limit > 0 and not v_round.is_whole and v_round.last <> v_after,
            'left', hybridflow.is_one_due(),
            'next_due_at', hybridflow.next_claimable(v_now),
            'n8n_full', coalesce(v_flows = 0, false)
        );
    end if;
    select coalesce(array_agg(f.turn_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_turns(
        v_round.tenants, v_lapsed, v_now, v_limit, p || jsonb_build_object('n8n_free', v_flows)
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
                )
            order by f.place limit v_limit
            for update of t skip locked
        ) as d
    ) as s;
    -- Who does not say it, a router of 0.1.0, may have been told a longer time than the one that holds else.
    if p ->> 'answer_within_minutes' is not null then
        select e.ended, e.left_for, v_locked - cardinality(e.left_for) into v_old, v_left, v_locked
        from hybridflow.end_those_too_old(v_ids, (p ->> 'answer_within_minutes')::numeric) as e;
    end if;
    if v_lapsed or v_without_n8n then
        perform hybridflow.note_lapsed(array(select i from unnest(v_ids) as i where i <> all(v_old || v_left)));
    end if;
    -- Only where the next look is another one: something was taken, or it begins with another tenant.
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

    -- Who was served comes last the next time; where nobody was, the next look goes on from here.
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
        'more', v_more,
        'taken', v_locked,
        'left', v_lapsed or hybridflow.is_one_due(),
        'n8n_full', coalesce(v_flows <= v_locked, false),
        'next_due_at', case
            when v_locked < least(v_limit, cardinality(v_offered)) then v_now
            when v_for_others > 0 then greatest(hybridflow.next_claimable(v_now), v_now + interval '1 second')
            else hybridflow.next_claimable(v_now)
        end
    );
end
$$;
