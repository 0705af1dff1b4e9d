-- HybridFlow: what becomes of a turn that gets no answer: who is told what.

alter table public.turns add column if not exists outage_id bigint;
comment on column public.turns.outage_id is 'The outage that it met last; null: none.';
create index if not exists turns_of_outage on public.turns (outage_id) where outage_id is not null;

-- Every way in which a customer gets no answer although one was wanted, and who is told of it. `about`: there
-- is one notice to the business for as long as that does not work, and one of its end; where it is null, one
-- for as long as `lasts`. tells_after: so long it has to last before anybody is told. is_told: by a notice of
-- outages; where not, by another (a handoff, undelivered). says_fallback: the contact is sent the tenant's
-- fallback message, once an outage. hands_off: the session is handed to a human. told_deployment: who runs
-- HybridFlow is told (log, /health): always; never; own_key: where it is the deployment's key.
create or replace function hybridflow.endings()
returns table (
    cause text, about text, lasts interval, tells_after interval, is_told boolean, says_fallback boolean,
    hands_off boolean, told_deployment text
)
language sql
immutable
set search_path = ''
as $$
    values
    ('account_empty', 'llm', null::interval, interval '0', true, true, false, 'own_key'),
    ('account_refused', 'llm', null, interval '0', true, true, false, 'own_key'),
    ('llm_away', 'llm', null, interval '5 minutes', true, true, false, 'own_key'),
    ('n8n_away', 'tenant', null, interval '5 minutes', true, true, false, 'always'),
    ('misconfigured', 'tenant', null, interval '0', true, true, false, 'always'),
    ('flow_failed', 'tenant', null, interval '0', true, true, false, 'always'),
    ('crashed', 'tenant', null, interval '0', true, true, false, 'always'),
    ('too_late', 'tenant', null, interval '0', true, false, false, 'always'),
    ('line_away', 'line', null, interval '0', true, false, false, 'always'),
    ('budget', 'tenant', null, interval '0', true, false, false, 'never'),
    ('contact_budget', null, interval '1 day', interval '0', true, false, false, 'never'),
    ('send_failed', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('in_doubt', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('half_said', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('given_up', null, interval '1 hour', interval '0', false, false, false, 'never'),
    ('model_refused', null, interval '1 hour', interval '0', false, false, true, 'never'),
    ('failed', null, interval '1 hour', interval '0', false, true, true, 'never'),
    ('reply_refused', null, interval '1 hour', interval '0', false, false, true, 'never')
$$;

-- The outages that a waiting notice of p_kind of the tenant tells of, and the notice.
create or replace function hybridflow.waiting_notice(
    p_tenant_id bigint, p_kind text, out notice public.notices, out ids bigint[]
)
language plpgsql
stable
set search_path = ''
as $$
begin
    select * into notice from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff';
    ids := array(select o.id::bigint from jsonb_array_elements_text(notice.facts -> 'outages') as o (id));
end
$$;

-- Locks the tenant's waiting notices of outages, without waiting: whether nobody else has one. Who ends
-- outages of many tenants is to wait for none of them, and meets who begins one, which locks them in another
-- order.
create or replace function hybridflow.has_waiting_notices(p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    c_kinds constant text[] := '{answered_again,unanswered}';
    v_ids bigint[] := array(
        select n.id from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
        for update skip locked
    );
begin
    return not exists (
        select from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
            and n.id <> all(v_ids)
    );
end
$$;

-- Waits until nobody else changes what the tenant's waiting notice of p_kind tells: two outages may begin or
-- end at the same moment, and neither's is to be lost.
create or replace function hybridflow.lock_waiting_notice(p_tenant_id bigint, p_kind text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff'
    for update;
end
$$;

-- The tenant's notice of p_kind tells of outage p_id as well, at p_at the latest. Returns the notice's id.
create or replace function hybridflow.tell_outage(
    p_tenant_id bigint, p_kind text, p_id bigint, p_at timestamptz
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
    v_facts jsonb;
begin
    loop
        perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        v_facts := jsonb_build_object('outages', to_jsonb(
            array(select distinct i from unnest(v_waiting.ids || p_id) as i order by i)
        ));
        if (v_waiting.notice).attempt = 0 then
            update public.notices
            set facts = v_facts, next_at = least(next_at, p_at), updated_at = hybridflow.clock()
            where id = (v_waiting.notice).id;
            return (v_waiting.notice).id;
        end if;
        perform hybridflow.make_notice(p_tenant_id, p_kind, null, v_facts, p_at);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        if p_id = any(v_waiting.ids) then
            return (v_waiting.notice).id;
        end if;
        -- Another call has made one at this moment, which tells of another outage: of this one as well.
    end loop;
end
$$;

-- The tenant's notice of p_kind, which nobody has been given yet, does not tell of outage p_id; without
-- another it is not told. Returns whether there was such a notice.
create or replace function hybridflow.untell_outage(p_tenant_id bigint, p_kind text, p_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
begin
    perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
    v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
    if (v_waiting.notice).id is null or (v_waiting.notice).attempt > 0 or p_id <> all(v_waiting.ids) then
        return false;
    elsif cardinality(v_waiting.ids) = 1 then
        perform hybridflow.drop_notices(p_tenant_id, array[p_kind], 'recovered');
    else
        update public.notices
        set facts = jsonb_build_object('outages', to_jsonb(array_remove(v_waiting.ids, p_id)))
        where id = (v_waiting.notice).id and waiting;
    end if;
    return true;
end
$$;

-- The tenant's outage for p_cause, begun if there is none: one that ended a moment ago, of which nobody has
-- been told yet that it ended, goes on. Null: another call begins it at this moment. Waits for nobody.
create or replace function hybridflow.begin_outage(p_tenant_id bigint, p_cause text, p_error text)
returns public.outages
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_how record;
    v_outage public.outages;
begin
    select * into v_how from hybridflow.endings() as e where e.cause = p_cause;
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.id is not null and v_outage.notice_id is not null
        and (v_how.lasts is null or v_outage.began_at > v_now - v_how.lasts)
    then
        update public.outages set last_at = v_now where id = (
            select o.id from public.outages as o
            where o.id = v_outage.id and o.last_at < v_now - interval '1 minute' for update skip locked
        );
        return v_outage;
    elsif not pg_try_advisory_xact_lock(hashtextextended(format('outage:%s:%s', p_tenant_id, p_cause), 0)) then
        return null;
    end if;
    -- Another call may have begun it since we looked.
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.began_at <= v_now - v_how.lasts then
        update public.outages set ended_at = v_now where id = v_outage.id and ended_at is null;
        v_outage := null;
    end if;
    if v_outage.id is null then
        update public.outages as o set ended_at = null, last_at = v_now
        where o.cause = p_cause and o.id = any((hybridflow.waiting_notice(p_tenant_id, 'answered_again')).ids)
            and hybridflow.untell_outage(p_tenant_id, 'answered_again', o.id)
        returning * into v_outage;
    end if;
    if v_outage.id is null then
        insert into public.outages (tenant_id, cause, about, began_at, last_at, error)
        values (
            p_tenant_id, p_cause,
            case v_how.about
                when 'llm' then hybridflow.llm_of(p_tenant_id)
                when 'line' then hybridflow.line_of(p_tenant_id)
                when 'tenant' then 'tenant ' || p_tenant_id
            end,
            v_now, v_now, left(p_error, 500)
        )
        returning * into v_outage;
    end if;
    if v_outage.notice_id is null then
        update public.outages
        set notice_id = hybridflow.tell_outage(
            p_tenant_id, 'unanswered', v_outage.id, v_outage.began_at + v_how.tells_after
        )
        where id = v_outage.id
        returning * into v_outage;
    end if;
    return v_outage;
end
$$;

-- The turn, which is locked, has met p_cause (see endings): who is to be told of an outage is. Returns
-- whether it began with this turn.
create or replace function hybridflow.note_unanswered(p_turn public.turns, p_cause text, p_error text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.clock();
    v_outage public.outages;
begin
    if not exists (select from hybridflow.endings() as e where e.cause = p_cause and e.is_told) then
        return false;
    end if;
    v_outage := hybridflow.begin_outage(p_turn.tenant_id, p_cause, p_error);
    update public.turns set outage_id = v_outage.id
    where id = p_turn.id and v_outage.id is not null and outage_id is distinct from v_outage.id;
    return coalesce(v_outage.began_at >= v_before, false);
end
$$;

-- Since when a contact who was sent the fallback message need not be sent it again, as p_cause is met: since
-- the outage began, or an earlier one that goes on; where it is none, for an hour.
create or replace function hybridflow.fallback_since(p_tenant_id bigint, p_cause text)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select min(o.began_at) from public.outages as o
            inner join hybridflow.endings() as e on e.cause = o.cause and e.says_fallback
            where o.tenant_id = p_tenant_id and o.ended_at is null
                and exists (select from hybridflow.endings() as c where c.cause = p_cause and c.is_told)
        ),
        hybridflow.clock() - interval '1 hour'
    )
$$;

-- The turn has ended, and nobody held it who could have sent the fallback message: it is sent where it is to
-- be, and was not yet, by a turn of its own that has it as its reply. The session is locked.
create or replace function hybridflow.say_fallback(
    p_turn public.turns, p_session public.sessions, p_cause text, p_minutes numeric
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message text;
begin
    select t.fallback_message into v_message from public.tenants as t where t.id = p_turn.tenant_id;
    if v_message is null or p_session.is_paused or hybridflow.is_without_ai(p_session.id)
        or not exists (select from hybridflow.endings() as e where e.cause = p_cause and e.says_fallback)
        or hybridflow.has_spoken(p_turn.id) or hybridflow.is_in_doubt(p_turn.id)
        or hybridflow.is_too_old(p_turn, p_minutes)
        or hybridflow.told_fallback_at(p_session) >= hybridflow.fallback_since(p_turn.tenant_id, p_cause)
        -- The contact has written again: that is answered, or ends as this did.
        or exists (select from public.turns as t where t.session_id = p_session.id and t.waiting)
        or exists (select from hybridflow.held_turns(p_session.id) as h where h.id <> p_turn.id)
    then
        return;
    end if;
    insert into public.turns (tenant_id, session_id, run_after, debounce_until, reply, handler)
    values (p_turn.tenant_id, p_session.id, v_now, v_now, jsonb_build_array(v_message), 'fallback');
    update public.sessions set fallback_told_at = v_now, fallback_message_id = null where id = p_session.id;
end
$$;

-- The turn has ended without an answer, of p_cause (null: a router of 0.2.0, which does not say it): who is
-- to be told is, and where a human can help the session, which is locked, is handed off. The contact is sent
-- the fallback message, unless that comes too late by p_minutes (see is_too_old). Returns {outage?,
-- handoff?}.
create or replace function hybridflow.after_unanswered(
    p_turn public.turns, p_session public.sessions, p_cause text, p_error text, p_minutes numeric
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_told jsonb := '{}';
begin
    if exists (select from hybridflow.endings() as e where e.cause = p_cause and e.hands_off) then
        perform hybridflow.cancel_turns(p_session.id, 'paused');
        perform hybridflow.begin_handoff(p_session, p_turn.id, jsonb_build_object(
            'reason', 'other', 'why', 'the AI could not answer: ' || p_error
        ));
        return '{"handoff": true}';
    elsif hybridflow.note_unanswered(p_turn, p_cause, p_error) then
        v_told := jsonb_build_object('outage', p_cause);
    end if;
    perform hybridflow.say_fallback(p_turn, p_session, p_cause, p_minutes);
    return v_told;
end
$$;

-- Whether the people of the business know that its customers get no answer for what makes a flow fail, too:
-- that it fails is told when that is over (see tell_flow_failing).
create or replace function hybridflow.know_why_flows_fail(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null and o.notice_id is not null
            and o.cause in ('account_empty', 'account_refused', 'misconfigured', 'flow_failed')
    )
$$;

-- What an outage was about works again (see outages.about): of all tenants, or of p_tenant_id; of many some
-- now, and others whenever it works again, as those are whose notice somebody has at this moment. Their
-- people are told, two minutes later, in which it may prove not to last, or half an hour where the same, of
-- which they were told, was over within the hour: what comes and goes is one. Not where they have not been
-- told that it began. That a flow fails is told then as well, if it still does (see claim_notices), once
-- nothing is left that its notice waited for (see know_why_flows_fail).
create or replace function hybridflow.end_outages(p_about text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_few constant integer := 100;
    v_now timestamptz := hybridflow.clock();
    v_outage public.outages;
begin
    for v_outage in
        select o.* from public.outages as o
        where o.ended_at is null and o.about is not null and o.about = p_about
            and (p_tenant_id is null or o.tenant_id = p_tenant_id)
        order by o.about, o.tenant_id limit c_few for update skip locked
    loop
        continue when not hybridflow.has_waiting_notices(v_outage.tenant_id);
        update public.outages set ended_at = v_now where id = v_outage.id;
        update public.notices set next_at = least(next_at, v_now + interval '2 minutes')
        where id = any(array(
            select n.id from public.notices as n
            where n.tenant_id = v_outage.tenant_id and n.kind = 'flow_failing' and n.waiting and n.attempt = 0
            for update skip locked
        )) and not hybridflow.know_why_flows_fail(v_outage.tenant_id);
        if hybridflow.untell_outage(v_outage.tenant_id, 'unanswered', v_outage.id) then
            update public.outages set notice_id = null where id = v_outage.id;
        elsif exists (
            select from public.notices as n
            where n.id = v_outage.notice_id and n.reason is distinct from 'nobody'
        ) then
            perform hybridflow.tell_outage(
                v_outage.tenant_id, 'answered_again', v_outage.id, v_now + case when exists (
                    select from public.outages as o
                    inner join public.notices as n
                        on n.id = o.notice_id and n.reason is distinct from 'nobody'
                    where o.tenant_id = v_outage.tenant_id and o.cause = v_outage.cause and o.id <> v_outage.id
                        and o.ended_at > v_now - interval '1 hour'
                ) then interval '30 minutes' else interval '2 minutes' end
            );
        end if;
    end loop;
end
$$;

-- A model or a flow has made a reply for the tenant: what was about the tenant is over, and what was about
-- its LLM, also where the tenant has had another one, or another key, since that began.
create or replace function hybridflow.replies_are_made(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_outages(d.about, p_tenant_id)
    from (
        select distinct o.about from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null
            and (o.about = 'tenant ' || p_tenant_id or starts_with(o.about, 'llm '))
    ) as d;
end
$$;

-- An outage as its notice tells of it: how many turns it concerns (1000: or more), and how many of them ended
-- without an answer; where it is about single conversations, whose: up to five, the newest first, and whether
-- there are `others` among its newest hundred turns.
create or replace function hybridflow.outage_json(p_outage public.outages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'cause', p_outage.cause, 'began_at', p_outage.began_at, 'ended_at', p_outage.ended_at,
        'turns', c.turns, 'unanswered', c.unanswered, 'has_own_key', t.llm_api_key is not null,
        'provider', t.llm_provider, 'flow', t.n8n_flow
    ) || case when p_outage.about is null then jsonb_build_object('who', w.who, 'others', w.others) else '{}' end
    from public.tenants as t
    cross join lateral (
        select count(*) as turns, count(*) filter (where o.state in ('dead', 'cancelled')) as unanswered
        from (select u.state from public.turns as u where u.outage_id = p_outage.id limit 1000) as o
    ) as c
    left join lateral (
        select
            coalesce(jsonb_agg(jsonb_build_object(
                'name', s.contact_name, 'jid', coalesce(s.phone_jid, s.lid)
            ) order by d.newest desc) filter (where d.place <= 5), '[]') as who,
            count(*) > 5 as others
        from (
            select u.session_id, max(u.id) as newest, row_number() over (order by max(u.id) desc) as place
            from (
                select n.id, n.session_id from public.turns as n
                where n.outage_id = p_outage.id order by n.id desc limit 100
            ) as u
            group by u.session_id
        ) as d
        inner join public.sessions as s on s.id = d.session_id
    ) as w on p_outage.about is null
    where t.id = p_outage.tenant_id
$$;

-- What happened, as a notice tells it: outages by what is known of them now.
create or replace function hybridflow.notice_facts(p_notice public.notices)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case
        when p_notice.kind not in ('unanswered', 'answered_again') then p_notice.facts
        else jsonb_build_object('outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from jsonb_array_elements_text(p_notice.facts -> 'outages') as f (id)
            inner join public.outages as o on o.id = f.id::bigint
        ))
    end
$$;

-- begin_fallback_send({turn_id, token, cause, error, kind_of_failure, max_attempts, body, kind?, identity?,
-- told_as?: [hash], upload_seconds?, lease_seconds})
-- The fence for the tenant's fallback message, which an attempt sends before it fails of `cause`, where that
-- does not mean to try again. It is no
-- part of the turn: it answers nothing, and a doubt about it keeps no reply back. Returns {ok, message_id,
-- chosen_id, jid} or {refused: reason}: as begin_send, or 'told': the contact was told in this outage (where
-- it is none: within an hour); 'not_now': nothing is said of this cause, or not yet; 'has_spoken': something
-- of the reply is on the phone, or may be.
create or replace function public.begin_fallback_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_how record;
    v_outage public.outages;
    v_message public.messages;
begin
    perform hybridflow.require_keys(
        'begin_fallback_send', p,
        '{turn_id,token,cause,error,kind_of_failure,max_attempts,body,lease_seconds}'
    );
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
    if v_stopped is not null then
        perform hybridflow.stop_turn(v_turn.id, v_stopped);
        return '{"refused": "paused"}';
    elsif hybridflow.waits_for_stranger(v_turn, v_held.session) then
        return '{"refused": "stale"}';
    elsif hybridflow.has_spoken(v_turn.id) or hybridflow.is_in_doubt(v_turn.id) then
        return '{"refused": "has_spoken"}';
    end if;
    select * into v_how from hybridflow.endings() as e where e.cause = p ->> 'cause' and e.says_fallback;
    if v_how.cause is null or (
        p ->> 'kind_of_failure' = 'transient' and v_turn.attempt < (p ->> 'max_attempts')::integer
    ) then
        return '{"refused": "not_now"}';
    elsif v_how.is_told then
        v_outage := hybridflow.begin_outage(v_turn.tenant_id, v_how.cause, p ->> 'error');
        if v_outage.id is null or v_outage.began_at + v_how.tells_after > hybridflow.clock() then
            return '{"refused": "not_now"}';
        end if;
    end if;
    if hybridflow.told_fallback_at(v_held.session) >= hybridflow.fallback_since(v_turn.tenant_id, v_how.cause) then
        return '{"refused": "told"}';
    end if;
    v_message := hybridflow.begin_message(v_held.session, null, null, 'ai', p);
    update public.sessions set fallback_told_at = hybridflow.clock(), fallback_message_id = v_message.id
    where id = v_turn.session_id;
    update public.turns
    set lease_until = greatest(
        lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    )
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;

-- count_outages({})
-- For the health check: the causes for which customers get no answer now, of how many tenants each, and of
-- how many of them it is the deployment's to cure. Last met within a day. Returns {causes: [{cause, tenants,
-- deployments}]}.
create or replace function public.count_outages(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return jsonb_build_object('causes', (
        select coalesce(jsonb_agg(to_jsonb(c) order by c.cause), '[]')
        from (
            select
                o.cause, count(*) as tenants, count(*) filter (
                    where e.told_deployment = 'always'
                        or (e.told_deployment = 'own_key' and t.llm_api_key is null)
                ) as deployments
            from (
                select u.* from public.outages as u
                where u.ended_at is null and u.about is not null and u.last_at > v_now - interval '1 day'
                limit 1000
            ) as o
            inner join hybridflow.endings() as e on e.cause = o.cause
            inner join public.tenants as t on t.id = o.tenant_id and t.is_active
            where o.began_at + e.tells_after <= v_now
            group by o.cause
        ) as c
    ));
end
$$;
