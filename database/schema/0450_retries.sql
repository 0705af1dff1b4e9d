-- HybridFlow: dead turns that a person wants to be tried again, one or many.

-- Whether something of a turn is on the phone, or may be.
create or replace function hybridflow.is_begun(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state in ('sent', 'sending', 'unknown')
    )
$$;

-- Why a turn cannot be retried now; null: it can. The turn and its session are locked.
create or replace function hybridflow.retry_refusal(p_turn public.turns, p_session public.sessions)
returns text
language sql
volatile
set search_path = ''
as $$
    select case
        when p_turn.state <> 'dead'
            then format('turn %s is %s, only a dead turn can be retried', p_turn.id, p_turn.state)
        when p_session.is_paused then format('session %s is paused: resume it first', p_session.id)
        when 'no-ai' = any(p_session.labels)
            then format('session %s has the label no-ai: remove it first', p_session.id)
        when not exists (select from public.messages as m where m.turn_id = p_turn.id and not m.from_me)
            then format('another turn answers the messages of turn %s', p_turn.id)
        when hybridflow.is_begun(p_turn.id)
            and exists (select from public.turns as o where o.session_id = p_session.id and o.held)
            then format(
                'session %s is being answered by another turn: retry when it is done', p_session.id
            )
    end
$$;

-- Gives a turn that may be retried fresh attempts: it is due since p_due_at, or goes on with what it has
-- begun. If it has only parts that were given up, its texts are tried again; if any of these is not a text,
-- the reply is made again, because there may be other media by now.
create or replace function hybridflow.revive_turn(p_turn public.turns, p_due_at timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.turns
    set attempt = 0, waits = 0, waits_for = null, outage_id = null, retried_at = v_now, reason = null, finished_at = null,
        updated_at = v_now
    where id = p_turn.id;
    if hybridflow.is_begun(p_turn.id) then
        update public.turns
        set state = 'sending', token_hash = hybridflow.hash_token(gen_random_uuid()), worker = null,
            lease_until = v_now, stop_reason = null
        where id = p_turn.id;
        perform hybridflow.after_settlement(p_turn.id, null);
        return;
    elsif exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.given_up is not null and m.kind <> 'text'
    ) then
        perform hybridflow.discard_reply(p_turn.id);
    end if;
    update public.messages set given_up = null
    where turn_id = p_turn.id and part is not null and given_up is not null;
    perform hybridflow.requeue_turn(p_turn, p_due_at, null);
end
$$;

-- retry_turn({tenant_id, turn_id})
-- Gives a dead turn a fresh set of attempts, due at once. Returns {turn}. PT404: not this tenant's.
-- PT409: it is not dead, its session is paused or without AI, or its messages were given to another turn.
create or replace function public.retry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_turn public.turns;
    v_refusal text;
begin
    perform hybridflow.require_keys('retry_turn', p, '{tenant_id,turn_id}');
    select s.* into v_session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.id = (p ->> 'turn_id')::bigint and t.tenant_id = (p ->> 'tenant_id')::bigint
    for update of s;
    if not found then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint for update;
    v_refusal := hybridflow.retry_refusal(v_turn, v_session);
    if v_refusal is not null then
        raise exception '%', v_refusal using errcode = 'PT409';
    end if;
    perform hybridflow.revive_turn(v_turn, hybridflow.clock());
    return jsonb_build_object('turn', hybridflow.turn_json(v_turn.id));
end
$$;

create index if not exists turns_dead on public.turns (tenant_id, finished_at desc, id desc)
where state = 'dead';

-- Whether a dead turn matches the filters of retry_turns, except for the time.
create or replace function hybridflow.is_to_be_retried(p_turn public.turns, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce((p ->> 'reason' = 'too_old') = (p_turn.reason is not distinct from 'too_old'), true)
        and (p ->> 'error_kind' is null or p_turn.error_kind is not distinct from p ->> 'error_kind')
$$;

-- Whether a message of the turn still waits for an answer: no later turn has answered it, and no human has
-- written since.
create or replace function hybridflow.is_still_wanted(p_turn public.turns)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_since timestamptz;
    v_human record;
begin
    select * into v_tenant from public.tenants where id = p_turn.tenant_id;
    select min(m.sent_at) into v_since from public.messages as m where m.turn_id = p_turn.id and not m.from_me;
    select m.sent_at, m.id into v_human from public.messages as m
    where m.session_id = p_turn.session_id and m.sent_at >= v_since
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    return exists (
        select from hybridflow.left_unanswered(p_turn.session_id, v_since) as u
        inner join public.messages as m on m.id = u.message_id
        where m.turn_id = p_turn.id and u.answered_by is null
            and (v_human.id is null or (u.sent_at, u.message_id) > (v_human.sent_at, v_human.id))
    );
end
$$;

-- Retries one turn for retry_turns. Returns whether it did: not if the turn cannot be retried, if its
-- messages have been answered since, or if somebody else holds it or its session. A call that retries many
-- turns holds many sessions, and so waits for none.
create or replace function hybridflow.retry_one_of_many(p_turn_id bigint)
returns boolean
language plpgsql
set search_path = ''
set lock_timeout = '50ms'
as $$
declare
    v_session public.sessions;
    v_turn public.turns;
begin
    select s.* into v_session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.id = p_turn_id
    for update of s skip locked;
    if not found then
        return false;
    end if;
    select * into v_turn from public.turns where id = p_turn_id for update;
    if hybridflow.retry_refusal(v_turn, v_session) is not null
        or not (hybridflow.is_begun(v_turn.id) or hybridflow.is_still_wanted(v_turn))
    then
        return false;
    end if;
    perform hybridflow.revive_turn(v_turn, hybridflow.due_since(v_session.id));
    return true;
exception
    when lock_not_available then
        return false;
end
$$;

-- retry_turns({tenant_id, reason?, error_kind?, since?, until?, limit?, cursor?})
-- Gives many dead turns fresh attempts, as retry_turn does; the newest conversations are answered first. It
-- takes those of the tenant's turns that died in [since, until), the last one first, with this error_kind,
-- and with this `reason`: 'too_old', or 'failed' (any other reason). One call looks at 1000 turns, and
-- retries at most limit (1 to 200; 50) of those that match; next_cursor is for the call that goes on from
-- there, and null if there are no more. Returns {retried, left, next_cursor, audit}: left is how many matched
-- and could not be retried (see retry_refusal; or somebody else holds them). PT404: there is no such tenant.
create or replace function public.retry_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_limit integer := hybridflow.page_size(p);
    v_look integer := hybridflow.rows_to_look_at(v_limit, true);
    v_after jsonb := hybridflow.from_cursor('dead_turns', p);
    v_at timestamptz := coalesce((v_after ->> 0)::timestamptz, 'infinity');
    v_id bigint := coalesce((v_after ->> 1)::bigint, 9223372036854775807);
    v_since timestamptz := coalesce((p ->> 'since')::timestamptz, '-infinity');
    v_until timestamptz := coalesce((p ->> 'until')::timestamptz, 'infinity');
    v_turns jsonb[];
    v_last jsonb;
    v_retried integer;
begin
    perform hybridflow.require_keys('retry_turns', p, '{tenant_id}');
    perform hybridflow.require_own(jsonb_build_object('tenant_id', v_tenant_id));
    select
        array_agg(l.place order by l.finished_at desc, l.id desc) filter (where l.is_wanted),
        case when count(*) = v_look then (array_agg(l.place order by l.finished_at, l.id))[1] end
    into v_turns, v_last
    from (
        select
            t.id, t.finished_at, jsonb_build_array(t.finished_at, t.id) as place,
            hybridflow.is_to_be_retried(t, p) as is_wanted
        from public.turns as t
        where t.tenant_id = v_tenant_id and t.state = 'dead' and (t.finished_at, t.id) < (v_at, v_id)
            and t.finished_at >= v_since and t.finished_at < v_until
        order by t.finished_at desc, t.id desc limit v_look
    ) as l;
    if cardinality(v_turns) > v_limit then
        v_turns := v_turns[:v_limit];
        v_last := v_turns[v_limit];
    end if;
    select count(*) filter (where hybridflow.retry_one_of_many((w.place ->> 1)::bigint)) into v_retried
    from unnest(v_turns) as w (place);
    if v_retried > 0 then
        perform public.call_routers('{}');
    end if;
    return jsonb_build_object(
        'retried', v_retried,
        'left', coalesce(cardinality(v_turns), 0) - v_retried,
        'next_cursor', case when v_last is not null then hybridflow.to_cursor('dead_turns', v_last) end,
        'audit', jsonb_build_object('retried', v_retried) || jsonb_build_object(
            'reason', p -> 'reason', 'error_kind', p -> 'error_kind', 'since', p -> 'since', 'until', p -> 'until'
        )
    );
end
$$;
