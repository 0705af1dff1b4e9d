-- HybridFlow: turns whose lease has run out: which of them end, and how many turns are in n8n.

-- Of the locked turns p_ids, those that a claim can end without waiting for anybody: nobody else holds their
-- session, their tenant, or the waiting notice to its people. These are locked here, too. Whoever holds the
-- session may want the turn next. (If one transaction changes a turn twice, its foreign keys lock its session
-- and its tenant.)
create or replace function hybridflow.free_to_end(p_ids bigint[])
returns bigint[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        inner join public.tenants as n on n.id = t.tenant_id
        where t.id = any(p_ids)
        for update of s skip locked for key share of n skip locked
    );
    v_tenants bigint[];
begin
    select array_agg(d.tenant_id) filter (where hybridflow.has_waiting_notices(d.tenant_id)) into v_tenants
    from (select distinct t.tenant_id from public.turns as t where t.id = any(v_ids)) as d;
    return array(
        select t.id from public.turns as t
        where t.id = any(v_ids) and t.tenant_id = any(v_tenants)
    );
end
$$;

-- Turns die here if their attempts are used up and their lease has run out. A turn with a send in doubt does
-- not: the outcome must be found out first. Nor does one whose flow is dead: close_dead_flows closes it, and
-- may have found it locked a moment ago. A turn that cannot end without waiting is left out. Returns their
-- ids.
create or replace function hybridflow.bury_lapsed(p_max_attempts integer, p_minutes numeric)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and t.attempt >= p_max_attempts and hybridflow.is_used_up(t, p_max_attempts)
            and not (t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t))
        for update skip locked
    );
begin
    if v_ids = '{}' then
        return v_ids;
    end if;
    v_ids := hybridflow.free_to_end(v_ids);
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'dead', lease_until = null, error_kind = coalesce(error_kind, 'crashed'),
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.after_unanswered(
        d.turn, d.session, case when (d.turn).handler = 'n8n' then 'flow_failed' else 'crashed' end,
        (d.turn).error, p_minutes
    )
    from (
        select t as turn, s as session from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.id = any(v_ids)
        order by t.tenant_id, t.id  -- the order in which everybody locks notices of several tenants
    ) as d;
    return v_ids;
end
$$;

-- Whether the turn, whose lease has run out, may have no further attempt.
create or replace function hybridflow.is_used_up(p_turn public.turns, p_max_attempts integer)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.attempt >= p_max_attempts and not hybridflow.is_in_doubt(p_turn.id)
$$;

-- Whether the flow of the turn, whose lease has run out, has said something and then fell silent. What it
-- sent has left, for all that is known.
create or replace function hybridflow.is_dead_flow(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.state = 'sending' and p_turn.reply is null and hybridflow.has_spoken(p_turn.id)
        and not exists (
            select from public.messages as m
            where m.turn_id = p_turn.id and (
                m.send_state in ('sending', 'unknown') or (m.send_state = 'failed' and m.part is not null)
            )
        )
$$;

-- A turn whose flow is dead is closed as sent, incomplete: nobody knows what else the flow would have said,
-- and a new run would repeat what was said. What cannot end without waiting is left for the next claim.
create or replace function hybridflow.close_dead_flows()
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t)
        for update skip locked
    );
begin
    if v_ids = '{}' then
        return;
    end if;
    v_ids := hybridflow.free_to_end(v_ids);
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'sent', incomplete = true, reason = 'flow_died', lease_until = null,
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.note_unanswered(d.turn, 'half_said', 'its flow fell silent')
    from (select t as turn from public.turns as t where t.id = any(v_ids) order by t.tenant_id, t.id) as d;
end
$$;

-- The turns that no flow works on, as the claiming router knows (`not_in_n8n`), whatever the state says.
create or replace function hybridflow.not_in_n8n(p jsonb)
returns bigint[]
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_agg(k.id::bigint), '{}')
    from jsonb_array_elements_text(nullif(p -> 'not_in_n8n', 'null')) as k (id)
$$;

-- How many more turns may be given to n8n now; a burst waits here, not in n8n. The turns p_not_there are no
-- longer in n8n, or the caller has counted them. Neither is a turn there whose reply has been made, however
-- long sending takes, nor one that is put aside: nobody works on it until its line is back, or until its
-- doubt is looked up again.
create or replace function hybridflow.free_flows_without(p_max_in_flight integer, p_not_there bigint[])
returns integer
language sql
stable
set search_path = ''
as $$
    select greatest(p_max_in_flight - count(*)::integer, 0) from public.turns
    where held and not waiting and handler = 'n8n' and lease_until > (select hybridflow.clock())
        and worker is not null and reply is null and id <> all(p_not_there)
$$;
