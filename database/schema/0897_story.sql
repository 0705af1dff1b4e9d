-- HybridFlow: the story of a turn, or of a message, as an ordered list of happenings.
--
-- A happening is {at, kind, …}: only facts. The reader puts them into words (router/stories/words.py). It
-- contains no text of a message. The story shows what is stored: events are kept for a week, and turns from
-- before there was a table of attempts have none. The number of happenings of each kind is limited.

-- A turn as its story needs it: without its reply and token.
create or replace function hybridflow.turn_of_story(p_turn public.turns)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(t) from (
        select
            p_turn.id, p_turn.tenant_id, p_turn.session_id, p_turn.state, p_turn.reason, p_turn.stop_reason,
            p_turn.attempt, p_turn.handler, p_turn.incomplete, p_turn.undelivered, p_turn.error_kind,
            p_turn.error, p_turn.waits, p_turn.waits_for, p_turn.run_after, p_turn.due_when_heard,
            p_turn.lease_until, p_turn.worker,
            p_turn.correlation_id, p_turn.execution_id, p_turn.execution_url, p_turn.created_at,
            p_turn.claimed_at, p_turn.finished_at
    ) as t
$$;

-- A message as its story needs it: without its text.
create or replace function hybridflow.message_of_story(p_message public.messages)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(m) from (
        select
            p_message.id, p_message.session_id, p_message.turn_id, p_message.wa_id, p_message.from_me,
            p_message.sender, p_message.kind as message_kind, p_message.expects_reply, p_message.part,
            p_message.send_state, p_message.sends, p_message.status, p_message.error_code, p_message.undelivered_turns,
            p_message.given_up,
            p_message.sent_at, p_message.created_at, p_message.deleted_at
    ) as m
$$;

-- What webhooks brought about messages with the ids p_wa_ids: how a message was judged (judged), that it was
-- recognised as a send of ours (echo), was edited or deleted, or got a new delivery state (tick).
create or replace function hybridflow.events_of_story(p_tenant_id bigint, p_wa_ids text[])
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 20
set search_path = ''
as $$
    select
        e.processed_at, 3,
        case
            when e.event_key like 'messages.update:%' then 'tick'
            when e.event_key like 'edit:%' then 'edited'
            when e.event_key like 'delete:%' then 'deleted'
            when e.decision ->> 'decision' = 'own_message' then 'echo'
            else 'judged'
        end,
        jsonb_build_object(
            'wa_id', w.wa_id, 'event', e.event, 'outcome', e.decision -> 'outcome',
            'decision', e.decision -> 'decision', 'due_in', e.decision -> 'due_in',
            'sender', e.decision -> 'sender', 'turn_id', e.decision -> 'turn_id',
            'status', case when e.event_key like 'messages.update:%' then substring(e.event_key from '[a-z_]+$') end,
            'waits', e.waiting_for is not null
        )
    from unnest(p_wa_ids) as w (wa_id)
    cross join lateral (
        select f.* from hybridflow.events_about_message(p_tenant_id, w.wa_id) as f order by f.id limit 20
    ) as e
$$;

-- The attempts at a turn: the newest 100 that have ended, and the current one.
create or replace function hybridflow.attempts_of_story(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with attempts as materialized (
        (
            select to_jsonb(a) as facts, a.began, a.handler_since, a.ended from public.turn_attempts as a
            where a.turn_id = p_turn.id
            order by a.id desc limit 100
        )
        union all
        select
            jsonb_build_object(
                'attempt', p_turn.attempt, 'worker', p_turn.worker,
                'handler', case when p_turn.handler_since >= p_turn.claimed_at then p_turn.handler end,
                'execution_id', p_turn.execution_id, 'execution_url', p_turn.execution_url
            ),
            p_turn.claimed_at,
            case when p_turn.handler_since >= p_turn.claimed_at then p_turn.handler_since end,
            null
        where p_turn.held and p_turn.worker is not null
    )

    select a.began, 4, 'claimed',
        jsonb_build_object('attempt', a.facts -> 'attempt', 'worker', a.facts -> 'worker')
    from attempts as a
    union all
    select a.handler_since, 5, 'handled',
        a.facts - '{id,turn_id,tenant_id,worker,began,ended,handler_since,outcome,reason,error_kind,error}'::text[]
    from attempts as a where a.handler_since is not null
    union all
    select a.ended, 8, 'attempt_ended',
        a.facts - '{id,turn_id,tenant_id,worker,began,ended,handler_since}'::text[]
    from attempts as a where a.ended is not null
$$;

-- The sends of a turn: parts of its reply, and sends that began for an earlier reply of the turn.
create or replace function hybridflow.sends_of_story(p_turn_id bigint)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with sends as materialized (
        select m as send from public.messages as m
        where m.turn_id = p_turn_id and m.from_me
        order by m.created_at desc, m.id desc limit 100
    )

    select
        coalesce((s.send).send_began_at, (s.send).sent_at), 6, 'send',
        hybridflow.message_of_story(s.send)
        || jsonb_build_object('was_doubted', (s.send).late_until is not null)
    from sends as s
    union all
    select (s.send).failed_at, 9, 'undelivered', hybridflow.message_of_story(s.send)
    from sends as s where (s.send).failed_at is not null
$$;

-- What happened in the session, and what people did, until the turn ended.
create or replace function hybridflow.session_of_story(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with life as materialized (
        select p_turn.created_at as began, coalesce(p_turn.finished_at, 'infinity') + interval '1 second' as ended
    )

    (
        select m.created_at, 7, 'human_wrote', hybridflow.message_of_story(m)
        from public.messages as m
        inner join public.tenants as t on t.id = m.tenant_id
        cross join life as l
        where m.session_id = p_turn.session_id and m.sent_at >= l.began - interval '1 minute'
            and m.created_at between l.began and l.ended
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
        order by m.sent_at desc, m.id desc limit 20
    )
    union all
    (
        -- What the contact was sent besides the reply: the fallback message or the away message.
        select m.created_at, 7, 'told_besides', hybridflow.message_of_story(m)
            || jsonb_build_object('says', case m.id
                when s.fallback_message_id then 'fallback_message'
                when s.away_message_id then 'away_message'
            end)
        from public.messages as m
        inner join public.sessions as s on s.id = m.session_id
        cross join life as l
        where m.session_id = p_turn.session_id and m.sent_at >= l.began - interval '1 minute'
            and m.created_at between l.began and l.ended
            and m.from_me and m.sender = 'ai' and m.turn_id is null
        order by m.sent_at desc, m.id desc limit 20
    )
    union all
    select s.paused_at, 7, 'paused', jsonb_build_object(
        'source', s.pause_source, 'reason', hybridflow.pause_reason_told(s)
    )
    from public.sessions as s
    cross join life as l
    where s.id = p_turn.session_id and s.paused_at between l.began and l.ended
    union all
    select s.resumed_at, 7, 'resumed', jsonb_build_object('source', s.resume_source)
    from public.sessions as s
    cross join life as l
    where s.id = p_turn.session_id and s.resumed_at between l.began and l.ended
$$;

-- The turns that answered the messages of this turn again, because its reply was not delivered.
create or replace function hybridflow.answered_again(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 1
set search_path = ''
as $$
    select t.created_at, 9, 'answered_again', jsonb_build_object('turn_id', t.id)
    from public.turns as t
    where p_turn.undelivered > 0 and t.id in (
        select m.turn_id
        from (
            select l.turn_id, l.undelivered_turns from public.messages as l
            where l.session_id = p_turn.session_id and l.sent_at <= p_turn.created_at
            order by l.sent_at desc, l.id desc limit 500
        ) as m
        where p_turn.id = any(m.undelivered_turns)
    )
$$;

-- Everything that is known about a turn.
create or replace function hybridflow.happenings_of_turn(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 50
set search_path = ''
as $$
    with asked as materialized (
        select m as message from public.messages as m
        where m.turn_id = p_turn.id and not m.from_me
        order by m.created_at desc, m.id desc limit 100
    )

    select (a.message).created_at, 1, 'message', hybridflow.message_of_story(a.message) from asked as a
    union all
    select e.* from hybridflow.events_of_story(p_turn.tenant_id, array(
        select (a.message).wa_id from asked as a where (a.message).wa_id is not null
        union
        select s.wa_id from (
            select m.wa_id from public.messages as m
            where m.turn_id = p_turn.id and m.from_me and m.wa_id is not null
            order by m.created_at desc, m.id desc limit 100
        ) as s
    )) as e
    union all
    select p_turn.created_at, 2, 'turn_made', jsonb_build_object('turn_id', p_turn.id)
    union all
    select h.* from hybridflow.attempts_of_story(p_turn) as h
    union all
    select h.* from hybridflow.sends_of_story(p_turn.id) as h
    union all
    select h.* from hybridflow.session_of_story(p_turn) as h
    union all
    select h.* from hybridflow.answered_again(p_turn) as h
    union all
    select p_turn.retried_at, 3, 'retried', '{}' where p_turn.retried_at is not null
    union all
    select p_turn.finished_at, 10, 'closed',
        hybridflow.turn_of_story(p_turn) || jsonb_build_object('unsaid', hybridflow.left_unsaid(p_turn))
    where p_turn.finished_at is not null
$$;

-- The message with which a message's story begins. If the contact and we both have a message with this id, it
-- is the contact's.
create or replace function hybridflow.message_told(p_tenant_id bigint, p_wa_id text)
returns public.messages
language sql
stable
set search_path = ''
as $$
    select m.* from hybridflow.messages_called(p_wa_id) as m
    where m.tenant_id = p_tenant_id
    order by m.from_me, m.id limit 1
$$;

-- What is known of a tenant that shows whether its messages arrive and are answered.
create or replace function hybridflow.tenant_of_story(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'instance_name', t.instance_name, 'is_active', t.is_active, 'connection_state', t.connection_state,
        'connection_changed_at', t.connection_changed_at, 'connection_lost_at', t.connection_lost_at,
        'caught_up_at', t.caught_up_at, 'pruned_before', t.pruned_before, 'last_event_at', (
            select e.processed_at from public.processed_events as e
            where e.tenant_id = t.id and e.event not in ('hybridflow.test', 'gap_repair')
            order by e.processed_at desc limit 1
        )
    )
    from public.tenants as t
    where t.id = p_tenant_id
$$;

-- tell_turn({tenant_id, turn_id | wa_id})
-- The story of a turn, or of the message with the id wa_id, together with the story of its turn, if it has
-- one. Returns {now, is_known, was_erased, turn, message, session, tenant, happenings: [{at, kind, …}]}: a
-- key is null if there is no such thing, and the happenings are in their order. is_known is false if the
-- tenant knows no such message. PT404: the tenant has no such turn. PT422: neither or both are given.
create or replace function public.tell_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_wa_id text := p ->> 'wa_id';
    v_turn public.turns;
    v_message public.messages;
    v_happenings jsonb;
begin
    perform hybridflow.require_keys('tell_turn', p, '{tenant_id,turn_id|wa_id}');
    perform hybridflow.require_own(p - 'session_id');
    if (p ->> 'turn_id' is null) = (v_wa_id is null) then
        raise exception 'name a turn (turn_id) or a message (wa_id)' using errcode = 'PT422';
    end if;
    if v_wa_id is not null then
        v_message := hybridflow.message_told(v_tenant_id, v_wa_id);
    end if;
    select * into v_turn from public.turns
    where id = coalesce((p ->> 'turn_id')::bigint, v_message.turn_id) and tenant_id = v_tenant_id;
    if v_wa_id is null and v_turn.id is null then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    select coalesce(jsonb_agg(
        jsonb_strip_nulls(h.facts) || jsonb_build_object('at', h.at, 'kind', h.kind)
        order by h.at, h.rank, h.facts
    ), '[]')
    into v_happenings
    from (
        select t.* from hybridflow.happenings_of_turn(v_turn) as t where v_turn.id is not null
        union
        select v_message.created_at, 1, 'message', hybridflow.message_of_story(v_message)
        where v_message.id is not null and (v_turn.id is null or not v_message.from_me)
        union
        select e.* from hybridflow.events_of_story(v_tenant_id, array_remove(array[v_wa_id], null)) as e
    ) as h;
    return jsonb_build_object(
        'now', hybridflow.clock(),
        'is_known', v_turn.id is not null or v_message.id is not null or v_happenings <> '[]',
        'was_erased', v_wa_id is not null and hybridflow.was_erased(v_tenant_id, v_wa_id),
        'turn', case when v_turn.id is not null then hybridflow.turn_of_story(v_turn) end,
        'message', case when v_message.id is not null then hybridflow.message_of_story(v_message) end,
        'session', (
            select jsonb_build_object(
                'id', s.id, 'tenant_id', s.tenant_id, 'is_paused', s.is_paused, 'pause_source', s.pause_source,
                'pause_reason', hybridflow.pause_reason_told(s), 'paused_at', s.paused_at, 'turn_under_way', (
                    select min(t.id) from public.turns as t
                    where t.session_id = s.id and t.held and t.id <> v_turn.id
                ),
                'stranger_wrote_at', case when v_turn.state = 'pending' then (
                    select hybridflow.stranger_wrote_at(t, s) from public.tenants as t where t.id = s.tenant_id
                ) end
            )
            from public.sessions as s where s.id = coalesce(v_turn.session_id, v_message.session_id)
        ),
        'tenant', hybridflow.tenant_of_story(v_tenant_id),
        'happenings', v_happenings
    );
end
$$;

-- find_turn({turn_id | wa_id, instance_name?})
-- Returns {found: [{tenant_id, instance_name}]}: the tenant of a turn, or the tenants that know such a
-- message. With instance_name, only that tenant, even if it knows no such message. For callers who may see
-- every tenant.
create or replace function public.find_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('find_turn', p, '{turn_id|wa_id}');
    if p ->> 'instance_name' is not null then
        v_ids := array(select t.id from public.tenants as t where t.instance_name = p ->> 'instance_name');
    elsif p ->> 'turn_id' is not null then
        v_ids := array(select t.tenant_id from public.turns as t where t.id = (p ->> 'turn_id')::bigint);
    else
        v_ids := array(
            select m.tenant_id from hybridflow.messages_called(p ->> 'wa_id') as m
            union
            select e.tenant_id from public.tenants as t
            cross join lateral (
                select f.tenant_id from hybridflow.events_about_message(t.id, p ->> 'wa_id') as f limit 1
            ) as e
        );
    end if;
    return jsonb_build_object('found', (
        select coalesce(jsonb_agg(
            jsonb_build_object('tenant_id', t.id, 'instance_name', t.instance_name) order by t.id
        ), '[]')
        from public.tenants as t where t.id = any(v_ids)
    ));
end
$$;
