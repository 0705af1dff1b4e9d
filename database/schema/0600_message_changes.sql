-- HybridFlow: what happens to a message after it was recorded: an edit, a deletion, a delivery state.

-- The rank of a delivery state. A message's state only moves to a higher rank, because WhatsApp reports
-- states in any order. A state that means the message arrived ranks above 'error', and 'error' ranks above
-- the state that WhatsApp has accepted the message.
create or replace function hybridflow.status_rank(p_status text)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(array_position(
        array['pending', 'server_ack', 'error', 'delivery_ack', 'read', 'played'], lower(p_status)
    ), 0);
end
$$;

-- Returns the delivery state with the higher rank.
create or replace function hybridflow.later_status(p_one text, p_other text)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case
        when hybridflow.status_rank(p_other) > hybridflow.status_rank(p_one) then p_other
        else coalesce(p_one, p_other)
    end;
end
$$;

-- Whether this delivery state means that the message is on the contact's phone.
create or replace function hybridflow.was_delivered(p_status text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select hybridflow.status_rank(p_status) > hybridflow.status_rank('error')
$$;

-- Applies one change (edit, delete or delivery state) to a message.
create or replace function hybridflow.change_message(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    case p_change ->> 'type'
        when 'edit' then
            update public.messages
            set body = p_change ->> 'text',
                edited_at = coalesce((p_change ->> 'edited_at')::timestamptz, hybridflow.clock())
            where id = p_message_id and not from_me
                and (edited_at is null or edited_at <= coalesce((p_change ->> 'edited_at')::timestamptz, edited_at));
        when 'delete' then
            update public.messages set deleted_at = hybridflow.clock()
            where id = p_message_id and deleted_at is null;
            update public.kept_files
            set state = 'deleted', content = null, next_at = hybridflow.clock(), updated_at = hybridflow.clock()
            where message_id = p_message_id and state in ('waiting', 'kept');
            perform hybridflow.forget_media(p_message_id);
        else
            perform hybridflow.change_status(p_message_id, p_change);
    end case;
end
$$;

-- Until the transaction ends, no other transaction can record message p_wa_id, or store a change that waits
-- for it. If two calls come at the same moment, the second one sees what the first one did.
create or replace function hybridflow.lock_message(p_tenant_id bigint, p_wa_id text)
returns void
language sql
set search_path = ''
as $$
    select pg_advisory_xact_lock(hashtextextended('message:' || p_tenant_id || ':' || p_wa_id, 0))
$$;

-- Applies the changes that arrived before the message itself. Returns whether there were any.
create or replace function hybridflow.apply_waiting(p_tenant_id bigint, p_message_id bigint, p_wa_id text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_event record;
    v_any boolean := false;
begin
    perform hybridflow.lock_message(p_tenant_id, p_wa_id);
    if not exists (
        select from public.processed_events where tenant_id = p_tenant_id and waiting_for = p_wa_id
    ) then
        return false;  -- nearly always; an update that finds nothing costs more than this check
    end if;
    for v_event in
        update public.processed_events set waiting_for = null
        where tenant_id = p_tenant_id and waiting_for = p_wa_id
        returning change
    loop
        perform hybridflow.change_message(p_message_id, v_event.change);
        v_any := true;
    end loop;
    return v_any;
end
$$;

-- Cancels a pending turn if all its messages are deleted: it has nothing to answer.
create or replace function hybridflow.cancel_deleted_turn(p_turn_id bigint)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.close_turn(t.id, 'cancelled', 'deleted') from public.turns as t
    where t.id = p_turn_id and t.state = 'pending' and not exists (
        select from public.messages as m
        where m.turn_id = t.id and not m.from_me and m.deleted_at is null
    )
$$;

-- Whether the running reply was already restarted ten times because its messages changed. If so, it is not
-- restarted again.
create or replace function hybridflow.began_anew_enough(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.state = 'running' and 10 <= (
        select count(*) from (
            select a.id from public.turn_attempts as a
            where a.turn_id = p_turn.id and a.outcome = 'restarted' limit 10
        ) as r
    )
$$;

-- A message that p_turn_id answers was edited or deleted. If its reply is being made and nothing of it has
-- been sent, the attempt starts again after the debounce, and does not count: it did not fail. If no message
-- is left to answer, the turn is cancelled. The reply of a pending turn, which waits to be tried again, is
-- thrown away. After ten restarts the reply is finished as it is. Returns the seconds until the turn is due,
-- or null if it was not restarted.
create or replace function hybridflow.reread_turn(
    p_turn_id bigint, p_tenant public.tenants, p_policy jsonb
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_debounce numeric := coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2);
begin
    select * into v_turn from public.turns where id = p_turn_id and state in ('pending', 'running') for update;
    if v_turn.id is null or hybridflow.has_spoken(v_turn.id) or hybridflow.is_in_doubt(v_turn.id) then
        return null;
    elsif not exists (
        select from public.messages as m where m.turn_id = v_turn.id and not m.from_me and m.deleted_at is null
    ) then
        perform hybridflow.close_turn(v_turn.id, 'cancelled', 'deleted');
        return null;
    end if;
    if hybridflow.began_anew_enough(v_turn) then
        return null;
    end if;
    if v_turn.claimed_at is not null then
        perform hybridflow.widen_turn(v_turn.id);
    end if;
    if v_turn.state = 'pending' then
        return null;
    end if;
    select * into v_turn from public.turns where id = p_turn_id;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock() + hybridflow.seconds(v_debounce), 'restarted');
    -- The attempt did not fail, so it does not count.
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    return v_debounce;
end
$$;

-- The contact edited a message that was already answered, or whose turn ended without a reply. If the tenant
-- answers edits (answer_edits), the message gets a turn, like a new message. If its turn has not replied yet,
-- no new turn is needed, because that turn reads the new text; but if that turn was already restarted too
-- often, it goes on as it is, and the message gets the turn after it. Returns {turn_id?, due_in?, decision?}.
-- The caller has locked the session.
create or replace function hybridflow.answer_edit(
    p_tenant public.tenants, p_message_id bigint, p_event jsonb, p_policy jsonb
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_session public.sessions;
    v_turn record;
begin
    select * into v_message from public.messages where id = p_message_id;
    select * into v_session from public.sessions where id = v_message.session_id;
    if not p_tenant.is_active or v_session.is_paused or 'no-ai' = any(v_session.labels)
        or v_message.deleted_at is not null or not v_message.expects_reply
        or v_message.kind = any(p_tenant.unanswered_kinds)
        or v_message.edited_at < v_now - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
        or (hybridflow.has_staff(p_tenant) and hybridflow.is_staff(p_tenant, v_session.id))
        or not exists (
            select from public.turns as t
            where t.id = v_message.turn_id
                and (t.state not in ('pending', 'running') or hybridflow.began_anew_enough(t))
        )
    then
        return '{}';
    elsif hybridflow.is_loop(
        p_tenant, v_session, jsonb_build_object('kind', v_message.kind, 'text', v_message.body), p_policy
    ) then
        perform hybridflow.pause_for_loop(v_session);
        return '{"decision": "loop"}';
    end if;
    if exists (select from public.turns as t where t.id = v_message.turn_id and t.state = 'running') then
        p_tenant.on_new_message := 'queue';  -- its turn was restarted often enough
    end if;
    v_turn := hybridflow.join_turn(
        p_tenant, v_session.id,
        coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2),
        coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10), p_event ->> 'correlation_id', v_now
    );
    update public.messages set turn_id = v_turn.turn_id where id = p_message_id;
    return jsonb_build_object(
        'turn_id', v_turn.turn_id, 'due_in', extract(epoch from v_turn.due - v_now)
    );
end
$$;

-- Returns the message that a change is about. A change may report the wrong side as the sender, so a message
-- of the other side is taken if there is no better one.
create or replace function hybridflow.message_meant(p_tenant public.tenants, p_event jsonb)
returns public.messages
language sql
stable
set search_path = ''
as $$
    select m.* from hybridflow.messages_called(p_event ->> 'wa_id') as m
    where m.tenant_id = p_tenant.id
    order by m.from_me = coalesce((p_event ->> 'from_me')::boolean, m.from_me) desc, m.id limit 1
$$;

-- What is kept of a change that no longer counts: only the JIDs, so that it can be found with the other data
-- of that person.
create or replace function hybridflow.whose_change(p_change jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object('jids', coalesce(p_change -> 'jids', '[]'))
$$;

-- Decides about a change whose message is not recorded yet. Returns the decision with the `change` to store
-- for that message. Only one change of each type is kept: the newest edit, the first deletion, the delivery
-- state with the highest rank. So what is stored and applied stays small, however many changes come. The
-- caller has locked the message.
create or replace function hybridflow.await_message(p_tenant_id bigint, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_decision jsonb := '{"outcome": "recorded", "decision": "waiting_for_message"}';
    v_kept public.processed_events;
    v_counts boolean;
begin
    select * into v_kept from public.processed_events as e
    where e.tenant_id = p_tenant_id and e.waiting_for = p_event ->> 'wa_id'
        and e.change ->> 'type' = p_event ->> 'type'
    order by e.id desc limit 1;
    v_counts := v_kept.id is null or case p_event ->> 'type'
        when 'edit' then coalesce(
            (p_event ->> 'edited_at')::timestamptz >= (v_kept.change ->> 'edited_at')::timestamptz, true
        )
        when 'delete' then false
        else hybridflow.status_rank(p_event ->> 'status') > hybridflow.status_rank(v_kept.change ->> 'status')
    end;
    if not v_counts then
        return v_decision || jsonb_build_object('change', hybridflow.whose_change(p_event));
    end if;
    update public.processed_events set waiting_for = null, change = hybridflow.whose_change(v_kept.change)
    where id = v_kept.id;
    return v_decision || jsonb_build_object('change', p_event - 'hashes');
end
$$;

-- Takes an edit, a deletion or a delivery state. It is applied if the message is known; otherwise it is
-- stored until the message arrives. Only the id identifies the message, because Evolution reports a contact's
-- edit as ours. For the same reason edits of our own messages are not applied: the sender could be the
-- contact, who would change what the LLM reads. Returns the decision; its `change` is stored with the event.
create or replace function hybridflow.ingest_change(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.message_meant(p_tenant, p_event);
    v_reads_otherwise boolean := false;
    v_turn_id bigint;
    v_due_in numeric;
    v_answer jsonb := '{}';
begin
    if v_message.id is null then
        -- Lock the session first, as finish_send does when it learns the id of a send.
        perform from public.sessions where id in (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant.id
                and i.jid in (select jsonb_array_elements_text(coalesce(p_event -> 'jids', '[]')))
        ) order by id for update;
        perform hybridflow.lock_message(p_tenant.id, p_event ->> 'wa_id');
        v_message := hybridflow.message_meant(p_tenant, p_event);
    end if;
    if v_message.id is null then
        perform hybridflow.refuse_erased_change(p_tenant.id, p_event);
        return hybridflow.await_message(p_tenant.id, p_event);
    end if;
    perform from public.sessions where id = v_message.session_id for update;
    -- Read the message again: while we waited for the lock, another transaction may have changed it, or moved
    -- it to a session that is not locked.
    select * into v_message from public.messages where id = v_message.id and session_id = v_message.session_id;
    if not found then
        return hybridflow.ingest_change(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    perform hybridflow.change_message(v_message.id, p_event);
    if p_event ->> 'type' in ('edit', 'delete') and not v_message.from_me then
        v_reads_otherwise := exists (
            select from public.messages as m
            where m.id = v_message.id
                and (m.body, m.deleted_at) is distinct from (v_message.body, v_message.deleted_at)
                and v_message.deleted_at is null  -- nobody reads a deleted message, edited or not
        );
    end if;
    if v_reads_otherwise then
        select m.turn_id into v_turn_id from public.messages as m where m.id = v_message.id;
        v_due_in := hybridflow.reread_turn(v_turn_id, p_tenant, p_policy);
        if v_message.media is not null and v_due_in is null and p_event ->> 'type' = 'delete' then
            v_due_in := hybridflow.heard(v_turn_id);  -- the turn waited for the media of the deleted message
        end if;
        if p_tenant.answer_edits and p_event ->> 'type' = 'edit' and v_due_in is null then
            v_answer := hybridflow.answer_edit(p_tenant, v_message.id, p_event, p_policy);
        end if;
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', p_event ->> 'type' || '_applied',
        'session_id', v_message.session_id, 'message_id', v_message.id, 'due_in', v_due_in
    )) || v_answer;
end
$$;
