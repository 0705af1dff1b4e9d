-- HybridFlow: the way in. One call takes many events and decides about each of them once.

-- Takes an event that was already recorded. If it is a message that came under a LID first and now comes
-- under a phone number (or the other way round), both belong to one person. They are not joined if the other
-- identity already belongs to somebody, because the sender chooses a message's id, so the id proves nothing
-- about two people. Returns the stored decision, or null if the event was pruned or erased while we waited
-- for the lock.
create or replace function hybridflow.ingest_again(p_tenant public.tenants, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_decision jsonb;
    v_session public.sessions;
    v_jid text := p_event -> 'jids' ->> 0;
begin
    select decision into v_decision from public.processed_events
    where tenant_id = p_tenant.id and event_key = p_event ->> 'key' for key share;
    if not found then
        return null;
    end if;
    select * into v_session from public.sessions where id = (v_decision ->> 'session_id')::bigint;
    if p_event ->> 'type' = 'message' and v_session.id is not null
        and (
            (v_jid like '%@lid' and v_session.lid is null)
            or (v_jid like '%@s.whatsapp.net' and v_session.phone_jid is null)
        )
    then
        perform hybridflow.learn_other(p_tenant.id, v_session.id, v_jid);
    end if;
    return coalesce(v_decision, '{"outcome": "recorded"}') || '{"duplicate": true}';
end
$$;

-- Whether an event is older than the events that processed_events remembers (7 days), so that it cannot be
-- told from a repetition. A message has its own time (sent_at), which is used instead.
create or replace function hybridflow.is_forgotten(p_event jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_event ->> 'sent_at' is null
        and coalesce((p_event ->> 'made_at')::timestamptz < hybridflow.clock() - interval '6 days', false)
$$;

-- Raises PT422 and names what the event lacks: a key that every event needs, or one that its type needs.
-- Called only if something is missing.
create or replace function hybridflow.refuse_event(p_event jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('an event', p_event, '{instance,event,type,key}');
    perform hybridflow.require_keys(format('an event of the type %s', p_event ->> 'type'), p_event, case
        p_event ->> 'type'
        when 'message' then array['wa_id', 'from_me', 'chat', 'jids', 'kind']
        when 'edit' then array['wa_id', 'text']
        when 'delete' then array['wa_id']
        when 'status' then array['wa_id', 'status']
        when 'connection' then array['state']
        else '{}'
    end);
    raise exception 'an event needs "jids": it must name somebody' using errcode = 'PT422';
end
$$;

-- Takes one event: makes the decision, and stores it with the event in one write at the end. If two calls
-- take the same event at the same moment, the second one waits at that write for the first one, and then
-- raises PT412: ingest_events undoes its work and takes the event again.
create or replace function hybridflow.ingest_event(p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_known record;
    v_decision jsonb;
    v_change jsonb;
begin
    if num_nulls(p_event ->> 'instance', p_event ->> 'event', p_event ->> 'type', p_event ->> 'key') > 0
        or (case p_event ->> 'type'
            when 'message' then num_nulls(
                p_event ->> 'wa_id', p_event ->> 'from_me', p_event ->> 'chat', p_event -> 'jids' ->> 0,
                p_event ->> 'kind'
            )
            when 'edit' then num_nulls(p_event ->> 'wa_id', p_event ->> 'text')
            when 'delete' then num_nulls(p_event ->> 'wa_id')
            when 'status' then num_nulls(p_event ->> 'wa_id', p_event ->> 'status')
            when 'connection' then num_nulls(p_event ->> 'state')
            else 0
        end) > 0
    then
        perform hybridflow.refuse_event(p_event);
    end if;
    if pg_column_size(p_event) > 1000 then
        p_event := hybridflow.cut_fields(p_event);
    end if;
    select
        t as tenant,
        exists (
            select from public.processed_events as e where e.tenant_id = t.id and e.event_key = p_event ->> 'key'
        ) as event
    into v_known from public.tenants as t where t.instance_name = p_event ->> 'instance';
    if not found then
        return '{"outcome": "unknown_instance"}';
    elsif p_event ->> 'sent_at' is null and hybridflow.is_forgotten(p_event) then
        return '{"outcome": "ignored", "decision": "too_old"}';
    elsif v_known.event then
        v_decision := hybridflow.ingest_again(v_known.tenant, p_event);
        if v_decision is not null then
            return v_decision;
        end if;
    end if;

    v_decision := case p_event ->> 'type'
        when 'message' then hybridflow.ingest_message(v_known.tenant, p_event, p_policy)
        when 'edit' then hybridflow.ingest_change(v_known.tenant, p_event, p_policy)
        when 'delete' then hybridflow.ingest_change(v_known.tenant, p_event, p_policy)
        when 'status' then hybridflow.ingest_status(v_known.tenant, p_event, p_policy)
        when 'probe' then '{"outcome": "ignored", "decision": "probe"}'
        else hybridflow.ingest_connection(v_known.tenant, p_event)
    end || jsonb_build_object('tenant_id', (v_known.tenant).id);
    if v_decision ? 'change' then
        v_change := v_decision -> 'change';
        v_decision := v_decision - 'change';
    end if;
    insert into public.processed_events (tenant_id, event_key, event, decision, waiting_for, change)
    values (
        (v_known.tenant).id, p_event ->> 'key',
        -- An event that gap repair fetched did not come by a webhook.
        case when p_event ? 'fetched' then 'gap_repair' else p_event ->> 'event' end,
        v_decision, case when v_change ? 'type' then p_event ->> 'wa_id' end, v_change
    )
    on conflict do nothing;
    if not found then
        raise exception 'the same event was taken at the same moment' using errcode = 'PT412';
    end if;
    return v_decision;
end
$$;

-- ingest_events({events: [{instance, event, type, key, wa_id?, from_me?, chat?, jids?: [jid], kind?, text?,
-- expects_reply?, about_ours?, pictures?, is_command?, own_lid?, media?, transcript?, carried?, quoted?,
-- origin?, status?, telling?, author_name?, participant_name?, sent_at?, edited_at?, made_at?, code?,
-- pairing_code?, state?, reason?, owner_jid?, correlation_id?, hashes?: [hash], flood?, fetched?}], policy,
-- patience_ms?, at_most_ms?})
-- Takes any number of webhook events of any tenants in one transaction. For each event it recognises
-- duplicates, finds the session, records the message, judges takeover, and makes or moves the turn. Returns
-- {decisions: [{outcome, decision?, tenant_id?, session_id?, message_id?, turn_id?, due_in?, sender?, state?,
-- reconnected?, stranger?, relayed?, duplicate?, code?, constraint?, detail?, error?}]} in the order of the
-- events. `stranger`: a human wrote to a LID that nobody knows. `relayed`: one of the staff quoted a notice,
-- see note_staff_words.
-- A bad event does not affect the others: {outcome: 'failed', code, constraint}, without the database's error
-- text. An event that lacks a key that its type needs (see refuse_event) has the code PT422 and an `error`
-- that names the key. The decision is stored: the same event again gets the same answer with `duplicate`. If
-- no tenant has the instance, the answer is {outcome: 'unknown_instance'}, and nothing is stored. `hashes` of
-- an event stand for its contact. What an erased contact wrote before the erasure is {outcome: 'ignored',
-- decision: 'erased'}, and nothing of it is stored.
--
-- A caller with many events also gives patience_ms: the longest wait for a lock. After the first wait that
-- fails, later waits are only 1 ms. An event that got no lock is {outcome: 'busy'}: nothing was done for it,
-- nor for later events of the same contact, and the caller sends them again. So a call that holds the locks
-- of some contacts never keeps waiting for another lock: two calls cannot block each other (PostgreSQL would
-- look for a deadlock only after a second), and a contact whose session is locked does not delay the messages
-- of others. Such a call also ends after at_most_ms (3 seconds by default). Events that are not decided by
-- then are busy, too, except the first one, so that each call makes progress. Decisions that were made are
-- kept, because the call ends long before its caller gives up.
create or replace function public.ingest_events(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_events jsonb := p -> 'events';
    v_places integer[] := '{1}';
    v_place integer;
    v_event jsonb;
    v_busy text;
    v_constraint text;
    v_ends timestamptz;
    v_decided integer := 0;
    v_is_erased boolean;
    v_decisions jsonb[];
begin
    if jsonb_typeof(p -> 'events') is distinct from 'array'
        or jsonb_typeof(p -> 'policy') is distinct from 'object'
    then
        perform hybridflow.require_keys('ingest_events', p, '{events,policy}');
        raise exception 'ingest_events needs "events", a list, and "policy", an object'
            using errcode = 'PT422';
    end if;
    v_decisions := array_fill(null::jsonb, array[jsonb_array_length(v_events)]);
    if p ->> 'patience_ms' is not null then
        perform set_config('lock_timeout', p ->> 'patience_ms', true);
        v_ends := clock_timestamp() + coalesce((p ->> 'at_most_ms')::integer, 3000) * interval '1 ms';
    end if;
    if jsonb_array_length(v_events) <> 1 then
        v_places := array(
            select c.place
            from (
                select
                    e.place, e.event ->> 'instance' as instance, e.event -> 'jids' ->> 0 as jid,
                    -- A caller that waits for no lock needs no order of locks. Sorted by name, the contacts
                    -- late in the alphabet would always be the ones left over when time runs out.
                    case when v_ends is not null then min(e.place) over (
                        partition by e.event ->> 'instance', e.event -> 'jids' ->> 0
                    ) end as first_place
                from jsonb_array_elements(v_events) with ordinality as e (event, place)
            ) as c
            order by c.first_place, c.instance, c.jid, c.place
        );
    end if;
    foreach v_place in array v_places loop
        v_event := v_events -> (v_place - 1);
        if v_busy = concat(v_event ->> 'instance', '/', v_event -> 'jids' ->> 0)
            or (v_decided > 0 and clock_timestamp() >= v_ends)
        then
            v_decisions[v_place] := '{"outcome": "busy"}';
            continue;
        end if;
        v_decided := v_decided + 1;
        v_is_erased := false;
        loop
            begin
                v_decisions[v_place] := case
                    when v_is_erased then hybridflow.note_who_wrote_meanwhile(v_event, p -> 'policy')
                    else hybridflow.ingest_event(v_event, p -> 'policy')
                end;
                exit;
            exception
                when sqlstate 'PT412' then
                    continue;
                when deadlock_detected then
                    raise;
                when lock_not_available then
                    v_decisions[v_place] := '{"outcome": "busy"}';
                    v_busy := concat(v_event ->> 'instance', '/', v_event -> 'jids' ->> 0);
                    perform set_config('lock_timeout', '1', true);
                when sqlstate 'PT410' then
                    v_is_erased := true;
                    continue;
                when sqlstate 'PT422' then  -- its error text is our own
                    v_decisions[v_place] := jsonb_build_object(
                        'outcome', 'failed', 'code', sqlstate, 'constraint', '', 'detail', '',
                        'error', sqlerrm
                    );
                when others then
                    get stacked diagnostics v_constraint = constraint_name;
                    v_decisions[v_place] := jsonb_build_object(
                        'outcome', 'failed', 'code', sqlstate, 'constraint', v_constraint,
                        'detail', ''  -- routers of 0.1.0 read it
                    );
            end;
            exit;
        end loop;
    end loop;
    return jsonb_build_object('decisions', to_jsonb(v_decisions));
end
$$;
