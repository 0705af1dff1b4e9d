-- HybridFlow: the way in. One call takes many events and decides each.

-- The order in which a delivery state may only advance. WhatsApp tells them in any order; one that says that
-- the message arrived is stronger than 'error', which is stronger than that it was taken.
create or replace function hybridflow.status_rank(p_status text)
returns integer
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_position(
        array['pending', 'server_ack', 'error', 'delivery_ack', 'read', 'played'], lower(p_status)
    ), 0)
$$;

-- The stronger one of two delivery states.
create or replace function hybridflow.later_status(p_one text, p_other text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when hybridflow.status_rank(p_other) > hybridflow.status_rank(p_one) then p_other
        else coalesce(p_one, p_other)
    end
$$;

-- Whether the state says that the message is on the contact's phone.
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

-- Until the transaction ends, nobody else records message p_wa_id or notes a change that waits for it: of two
-- that come at the same moment, the second one sees the first.
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
        return false;  -- nearly always; an update that finds nothing costs more than a look
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

-- A pending turn all of whose messages are deleted has nothing to answer: cancelled.
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

-- Whether the reply under way began anew ten times since what it answers was changed: it is made as it is.
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

-- A message that p_turn_id answers reads otherwise now. While its reply is made, and as long as nothing of it
-- has been sent, the attempt begins anew, after the debounce, or ends where nothing is left to be answered;
-- the attempt did not fail, and does not count. A reply that waits to be tried again is thrown away. After
-- ten such changes the reply is made as it is. Returns in how many seconds the turn is due, null where it
-- goes on as it was.
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
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    select * into v_turn from public.turns where id = p_turn_id;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock() + hybridflow.seconds(v_debounce), 'restarted');
    return v_debounce;
end
$$;

-- The contact changed a message that was answered, or whose turn ended without a word, and the tenant answers
-- that (answer_edits): a turn for it, as for a new message. While its turn is still to speak that reads the
-- new text anyway, but not where it began anew often enough: it goes on, and the message has a turn after it.
-- Returns {turn_id?, due_in?, decision?}. The session is locked.
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
        p_tenant.on_new_message := 'queue';  -- it began anew often enough
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

-- The message that a change is about. Whose it is may be told wrongly: the other's counts, too.
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

-- What stays of a change that no longer counts: whose it is, so that it is found with all else of theirs.
create or replace function hybridflow.whose_change(p_change jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object('jids', coalesce(p_change -> 'jids', '[]'))
$$;

-- What becomes of a change whose message is not recorded yet: the decision, with the `change` that is to be
-- kept for the message. Of each kind only the one that counts then is kept, the newest edit, the first
-- deletion, the strongest delivery state: however many come, no more is stored of them and applied. The
-- message is locked.
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

-- An edit, deletion or delivery state: to the message if it is known, else kept until it is. The id
-- alone names the message: Evolution mislabels a contact's edit as ours. For the same reason nobody
-- may edit what our side said: the sender could be the contact, rewriting what the LLM will read.
-- Returns the decision; what is to be kept, with the event, is its `change`.
create or replace function hybridflow.ingest_change(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.message_meant(p_tenant, p_event);
    v_turn_id bigint;
    v_due_in numeric;
    v_answer jsonb := '{}';
begin
    if v_message.id is null then
        -- The session comes first, as in finish_send, which learns a send's id.
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
    -- As it is now: whoever had the lock may have changed it, or moved it to a session that is not locked.
    select * into v_message from public.messages where id = v_message.id and session_id = v_message.session_id;
    if not found then
        return hybridflow.ingest_change(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    perform hybridflow.change_message(v_message.id, p_event);
    if p_event ->> 'type' in ('edit', 'delete') and not v_message.from_me and exists (
        select from public.messages as m
        where m.id = v_message.id
            and (m.body, m.deleted_at) is distinct from (v_message.body, v_message.deleted_at)
            and v_message.deleted_at is null  -- what is gone is read by nobody, whatever it says now
    ) then
        select m.turn_id into v_turn_id from public.messages as m where m.id = v_message.id;
        v_due_in := hybridflow.reread_turn(v_turn_id, p_tenant, p_policy);
        if v_message.media is not null and v_due_in is null and p_event ->> 'type' = 'delete' then
            v_due_in := hybridflow.heard(v_turn_id);  -- which waited for what is gone
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

-- The tenant's line is up: what waits for it is due at once, of turns the newest (see is_back; with each send
-- that works there are more).
create or replace function hybridflow.hasten(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    perform hybridflow.is_back(hybridflow.line_of(p_tenant_id), p_tenant_id);
    update public.turns set lease_until = v_now
    where id = any(array(
        select t.id from public.turns as t
        where t.tenant_id = p_tenant_id and t.held and t.lease_until > v_now
            and t.state = 'sending' and t.worker is null
        order by t.lease_until limit 100 for update skip locked
    ));
    update public.notices set next_at = v_now
    where id = any(array(
        select n.id from public.notices as n
        where n.tenant_id = p_tenant_id and n.waiting and n.kind = 'handoff' and n.next_at > v_now
            and (n.lease_until is null or n.lease_until <= v_now)
        order by n.next_at limit 100 for update skip locked
    ));
    update public.relays set next_at = v_now
    where id = any(array(
        select r.id from public.relays as r
        where r.tenant_id = p_tenant_id and r.waiting and r.next_at > v_now
            and (r.lease_until is null or r.lease_until <= v_now)
        order by r.next_at limit 100 for update skip locked
    ));
end
$$;

-- The state of the instance's connection, for the operator, who is told when it is lost or waits for its
-- QR code to be scanned; says when it has just come (back) up.
create or replace function hybridflow.ingest_connection(p_tenant public.tenants, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_state text := case p_event ->> 'type'
        when 'logout' then 'logged_out' when 'removed' then 'removed' else p_event ->> 'state'
    end;
    -- Evolution says `close` after a logout, and both after a removal: the strongest word stays.
    v_weaker boolean := (p_tenant.connection_state = 'removed' and v_state in ('logged_out', 'close'))
        or (p_tenant.connection_state = 'logged_out' and v_state = 'close');
    v_lost boolean := v_state in ('close', 'refused', 'logged_out', 'removed');
begin
    if p_event ->> 'type' = 'qrcode' then
        perform hybridflow.notice_qr(p_tenant, p_event);
        update public.tenants
        set qr_code = p_event ->> 'code', pairing_code = p_event ->> 'pairing_code',
            qr_updated_at = hybridflow.clock(), updated_at = hybridflow.clock()
        where id = p_tenant.id;
        return jsonb_build_object('outcome', 'recorded', 'decision', 'qrcode_updated');
    end if;
    if v_weaker then
        return jsonb_build_object('outcome', 'recorded', 'decision', 'connection_unchanged');
    end if;
    update public.tenants
    set connection_state = v_state,
        connection_reason = (p_event ->> 'reason')::integer,
        connection_changed_at = case
            when connection_state is distinct from v_state then hybridflow.clock() else connection_changed_at
        end,
        connection_lost_at = case
            when v_lost then coalesce(connection_lost_at, hybridflow.clock()) when v_state <> 'open' then connection_lost_at
        end,
        owner_jid = coalesce(p_event ->> 'owner_jid', owner_jid),
        qr_code = case when v_state = 'open' then null else qr_code end,
        pairing_code = case when v_state = 'open' then null else pairing_code end,
        updated_at = hybridflow.clock()
    where id = p_tenant.id;
    perform hybridflow.notice_connection(p_tenant, v_state, p_event ->> 'reason');
    if v_state = 'open' then
        perform hybridflow.hasten(p_tenant.id);
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'connection_changed', 'state', v_state,
        'reconnected', v_state = 'open' and p_tenant.connection_state is distinct from 'open'
    );
end
$$;

-- The JIDs that plain_number takes for the same: the JID itself and, of a number that has one, its other
-- spelling.
create or replace function hybridflow.spellings(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, nullif(hybridflow.plain_number(p_jid), p_jid), case
        when p_jid ~ '^55(3[1-9]|[4-9][0-9])[789][0-9]{7}@s[.]whatsapp[.]net$'
            then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- The JIDs under which WhatsApp may know the number that a person typed as p_jid, as typed first: people
-- leave digits out, or put them in, where WhatsApp does neither. router/whatsapp/numbers.py does the same,
-- as a test shows.
create or replace function hybridflow.spellings_typed(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, case
        when p_jid ~ '^55[1-9]{2}9[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || substr(p_jid, 6)
        when p_jid ~ '^55[1-9]{2}[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^(521|549)[0-9]{10}@s[.]whatsapp[.]net$' then left(p_jid, 2) || substr(p_jid, 4)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- How the tenant knows whom p_jid names, which somebody typed: as it is, or by its other spelling.
create or replace function hybridflow.known_as(p_tenant_id bigint, p_jid text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select i.jid from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = any(hybridflow.spellings_typed(p_jid))
            order by i.jid <> p_jid limit 1
        ),
        p_jid
    )
$$;

create index if not exists messages_not_known_of_session
on public.messages (session_id, send_began_at)
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- The tenant's sends of about p_at whose id is not known and that say what the event says: as its telling has
-- it, or, where either has none, in the same words. Words are compared by their hash, which an index has. By
-- its telling a send is looked for in the sessions that the event names, and, where it names none that is
-- known, for a LID may be anybody's, in all. However many there are, at most a thousand are read: the newest
-- of a session and of all; of those that have the words any thousand, for their index has no order.
create or replace function hybridflow.sends_that_say(p_tenant_id bigint, p_event jsonb, p_at timestamptz)
returns setof public.messages
language plpgsql
stable
rows 1
set search_path = ''
set enable_seqscan = off
set enable_sort = off
as $$
declare
    v_telling text := p_event ->> 'telling';
    v_jids text[] := array(select jsonb_array_elements_text(p_event -> 'jids'));
    v_sessions bigint[];
    v_words text;
begin
    if not exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
            and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
    ) then
        return;  -- nearly always
    end if;
    if v_telling is not null then
        v_sessions := array(
            select i.session_id
            from unnest(v_jids) as j
            cross join lateral unnest(hybridflow.spellings(j)) as k (jid)
            inner join public.session_identities as i on i.tenant_id = p_tenant_id and i.jid = k.jid
        );
        return query select n.* from (select distinct unnest(v_sessions) as id) as s
        cross join lateral (
            select m.* from public.messages as m
            where m.session_id = s.id and m.wa_id is null
                and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
            order by m.send_began_at desc limit 1000
        ) as n
        where v_telling = any(n.told_as);
        if v_sessions = '{}' and not exists (select from unnest(v_jids) as j where j not like '%@lid') then
            return query select n.* from (
                select m.* from public.messages as m
                where m.tenant_id = p_tenant_id and m.wa_id is null
                    and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                    and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
                order by m.send_began_at desc limit 1000
            ) as n
            where v_telling = any(n.told_as);
        end if;
    end if;
    v_words := md5(hybridflow.folded(p_event ->> 'text'));
    return query select n.* from (
        select m.* from public.messages as m
        where m.tenant_id = p_tenant_id and md5(hybridflow.folded(m.body)) = v_words and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
        limit 1000
    ) as n
    where v_telling is null or n.told_as is null;
end
$$;

-- The send of ours that the event shows: by its id; by the id that we asked for; or, while its id is not
-- known, by what it says. A send that Evolution refused is none. One that was judged not to have left,
-- after a doubt, is one if another API client's event shows it (who but us begins our own?), but if it
-- looks like the owner's, only as long as it can still be late. What was typed in WhatsApp's own apps on a
-- phone or a computer is none, whatever it says.
create or replace function hybridflow.find_own(p_tenant public.tenants, p_event jsonb)
returns public.messages
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
    v_at timestamptz := coalesce((p_event ->> 'sent_at')::timestamptz, hybridflow.clock());
    v_is_send boolean := p_event ->> 'origin' = 'send';
begin
    select * into v_message from hybridflow.messages_called(p_event ->> 'wa_id')
    where tenant_id = p_tenant.id and from_me limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select * into v_message from public.messages
    where chosen_id = p_event ->> 'wa_id' and wa_id is null and tenant_id = p_tenant.id limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select m.* into v_message
    from hybridflow.sends_that_say(p_tenant.id, p_event, v_at) as m
    inner join public.sessions as s on s.id = m.session_id
    where m.send_began_at between v_at - interval '1 day' and v_at + interval '1 minute'
        and (
            (m.send_state in ('sending', 'unknown') and m.send_began_at >= v_at - interval '15 minutes')
            or (m.late_until is not null and (v_is_send or v_at <= m.late_until))
        )
        and exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where exists (
                    select from public.session_identities as i
                    where i.tenant_id = p_tenant.id and i.jid = j and i.session_id = s.id
                )
                or hybridflow.plain_number(j) = hybridflow.plain_number(s.phone_jid)
                -- A LID that is nobody's yet may be this contact's; one that comes with a phone is that phone's.
                or (
                    j like '%@lid' and s.lid is null
                    and not exists (
                        select from jsonb_array_elements_text(p_event -> 'jids') as o where o not like '%@lid'
                    )
                    and not exists (
                        select from public.session_identities as i where i.tenant_id = p_tenant.id and i.jid = j
                    )
                )
        )
        and p_event ->> 'wa_id' !~ hybridflow.typed_by_hand()
    order by m.late_until is not null, m.send_began_at, m.id limit 1;
    return v_message;
end
$$;

-- A message that our side sent, already known (see find_own), which is recorded as such. Returns the
-- decision, or null: it is somebody else's.
create or replace function hybridflow.recognise_own(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.find_own(p_tenant, p_event);
begin
    if v_message.id is null then
        return null;
    end if;
    perform from public.sessions where id = v_message.session_id for update;
    if not found then
        return hybridflow.recognise_own(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    v_message := hybridflow.find_own(p_tenant, p_event);  -- known meanwhile
    if v_message.id is null then
        return null;
    elsif v_message.wa_id is not null then
        return hybridflow.known_own(p_tenant, v_message, p_event, p_policy);
    end if;
    perform hybridflow.mark_sent(v_message.id, p_event ->> 'wa_id', lower(p_event ->> 'status'), p_policy);
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', v_message.session_id,
        'message_id', v_message.id, 'turn_id', v_message.turn_id
    );
end
$$;

-- A message of our side that is recorded already. Whom gap repair took for the owner or a greeting, since it
-- sees no more than the message, another API client's own event shows to be that client: a takeover is
-- undone where that is none, and made up for where it is one.
create or replace function hybridflow.known_own(
    p_tenant public.tenants, p_message public.messages, p_event jsonb, p_policy jsonb
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn_id bigint := p_message.turn_id;
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_message.session_id;
    if p_event ->> 'origin' = 'send' and p_message.sender in ('owner', 'auto')
        and not hybridflow.is_greeting(p_tenant, v_session, p_message.sent_at)
    then
        update public.messages set sender = 'client' where id = p_message.id;
        if p_message.sender = 'auto' and p_tenant.other_client_takeover
            and p_message.kind not in ('reaction', 'poll_vote')
        then
            perform hybridflow.take_over(
                s, p_tenant, p_policy, p_message.sent_at, p_message.id, 'another client of Evolution wrote'
            )
            from public.sessions as s where s.id = p_message.session_id;
        elsif not p_tenant.other_client_takeover and hybridflow.withdraw_pause(p_message.session_id, p_message.id) then
            v_turn_id := hybridflow.undo_takeover(p_message.session_id, p_message.created_at, p_policy);
        end if;
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', p_message.session_id,
        'message_id', p_message.id, 'turn_id', v_turn_id
    );
end
$$;

-- Records a message of the event in its (locked) session, as one that p_turn_id answers, if any.
create or replace function hybridflow.insert_message(
    p_session public.sessions, p_event jsonb, p_sender text, p_at timestamptz, p_turn_id bigint
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, media, quoted, author_name,
        expects_reply, status, sent_at, transcript
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_event ->> 'wa_id', (p_event ->> 'from_me')::boolean,
        p_sender, p_event ->> 'kind', coalesce(p_event ->> 'text', ''),
        nullif(p_event -> 'media', 'null'), nullif(p_event -> 'quoted', 'null'),
        coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'),
        coalesce((p_event ->> 'expects_reply')::boolean, false), lower(p_event ->> 'status'), p_at,
        p_event ->> 'transcript'
    )
    returning id into v_id;
    -- That it changed is told here, in one statement with another, and by no trigger, which would cost each
    -- webhook twice as much.
    with told as (
        insert into public.changes (tenant_id, session_id, turn_id, kind)
        values (p_session.tenant_id, p_session.id, p_turn_id, 'message')
    )

    update public.sessions
    set last_message_at = greatest(last_message_at, p_at),
        last_contact_at = case when p_sender = 'contact' then greatest(last_contact_at, p_at) else last_contact_at end
    where id = p_session.id;
    if hybridflow.apply_waiting(p_session.tenant_id, v_id, p_event ->> 'wa_id') and p_turn_id is not null then
        perform hybridflow.cancel_deleted_turn(p_turn_id);
    end if;
    return v_id;
end
$$;

-- Whether a message of the business's side at p_at may be a greeting or away message of WhatsApp Business (or
-- of another client of Evolution's API): it comes no later than auto_reply_seconds after a message of the
-- contact, any of them, or after our own first send into the chat, which sets it off as well. WhatsApp tells
-- times in whole seconds; it greets again after 14 days of silence. No more than the newest hundred messages
-- of those seconds are looked at.
create or replace function hybridflow.is_greeting(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz
)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    v_from timestamptz := p_at - hybridflow.seconds(p_tenant.auto_reply_seconds);
    v_ours timestamptz;
    v_any boolean;
begin
    if p_tenant.auto_reply_seconds = 0 then
        return false;
    elsif p_session.last_contact_at between v_from and p_at then
        return true;
    end if;
    select bool_or(w.sender = 'contact'), min(w.sent_at) filter (where w.sender in ('ai', 'operator'))
    into v_any, v_ours
    from (
        select m.sender, m.sent_at from public.messages as m
        where m.session_id = p_session.id
            and m.sent_at >= date_trunc('second', v_from) and m.sent_at < date_trunc('second', p_at) + interval '1 second'
        order by m.sent_at desc, m.id desc limit 100
    ) as w
    where w.sender <> 'contact' or w.sent_at between v_from and p_at;
    if p_tenant.pruned_before > v_ours - interval '14 days' and p_session.created_at < p_tenant.pruned_before then
        v_ours := null;  -- what was said before may have been pruned: nobody knows whether it was the first
    end if;
    return coalesce(v_any, false) or (v_ours is not null and not exists (
        select from (
            select m.from_me from public.messages as m
            where m.session_id = p_session.id
                and m.sent_at < v_ours and m.sent_at > v_ours - interval '14 days'
            order by m.sent_at desc, m.id desc limit 100
        ) as b
        where b.from_me
    ));
end
$$;

-- A message of the contact of p_at is recorded late: what was taken for a human's takeover, and came within
-- auto_reply_seconds after it, was a greeting. Its takeover is undone.
create or replace function hybridflow.judge_greetings_again(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_greeting record;
    v_since timestamptz;
begin
    if p_tenant.auto_reply_seconds = 0 or p_session.last_human_at is null or p_session.last_human_at < p_at then
        return false;
    end if;
    for v_greeting in
        update public.messages set sender = 'auto'
        where id = any(array(
            select m.id from public.messages as m
            where m.session_id = p_session.id and m.from_me and m.sender in ('owner', 'operator', 'client')
                and m.sent_at between p_at and p_at + hybridflow.seconds(p_tenant.auto_reply_seconds)
            order by m.sent_at desc, m.id desc limit 100
        )) and sender <> 'operator' and kind not in ('reaction', 'poll_vote')
        returning id, created_at
    loop
        if hybridflow.withdraw_pause(p_session.id, v_greeting.id) then
            v_since := v_greeting.created_at;
        end if;
    end loop;
    if v_since is null then
        return false;
    end if;
    perform hybridflow.undo_takeover(p_session.id, v_since, p_policy);
    return true;
end
$$;

-- Who on the business's side wrote this, and whether it takes the conversation over. Returns the
-- sender; p_takeover is true for a human.
create or replace function hybridflow.judge_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_at timestamptz,
    out sender text, out takeover boolean
)
language plpgsql
stable
set search_path = ''
as $$
begin
    takeover := p_event ->> 'kind' not in ('reaction', 'poll_vote');
    if p_event ->> 'origin' <> 'send' and p_event ->> 'status' = 'PENDING' then
        sender := 'auto';  -- Evolution's own, such as its reply to a call
        takeover := false;
    elsif hybridflow.is_greeting(p_tenant, p_session, p_at) then
        sender := 'auto';
        takeover := false;
    elsif p_event ->> 'origin' = 'send' then
        sender := 'client';
        takeover := takeover and p_tenant.other_client_takeover;
    else
        sender := 'owner';
    end if;
end
$$;

-- A message from the business's side that is not a send of ours.
create or replace function hybridflow.ingest_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_judged record;
    v_message_id bigint;
    v_decision text := 'recorded';
begin
    v_judged := hybridflow.judge_business_message(p_tenant, p_session, p_event, p_at);
    v_message_id := hybridflow.insert_message(p_session, p_event, v_judged.sender, p_at, null);
    if v_judged.takeover then
        v_decision := hybridflow.take_over(
            p_session, p_tenant, p_policy, p_at, v_message_id,
            case v_judged.sender when 'client' then 'another client of Evolution wrote' else 'the owner wrote' end
        );
    elsif v_judged.sender = 'auto' then
        v_decision := 'automatic_reply';
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', v_decision, 'sender', v_judged.sender,
        'session_id', p_session.id, 'message_id', v_message_id
    ) || case
        when v_decision = 'takeover' and p_session.phone_jid is null and p_session.last_contact_at is null
            and p_session.lid is not null then '{"stranger": true}'
        else '{}'
    end::jsonb;
end
$$;

-- A message of the contact: recorded always; answered by a turn unless the contact is the tenant's own
-- staff, the session is paused, the message is hours old, it is of a kind that needs no answer, the router
-- calls it part of a flood, or it shows that two bots talk to each other: that pauses the session.
create or replace function hybridflow.ingest_contact_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_paused boolean := p_session.is_paused
        and not hybridflow.end_expired_pause(p_session, p_tenant.resume_after_hours, p_policy);
    -- What somebody does to a message of ours may be an answer to it.
    v_expects_reply boolean := coalesce(
        (p_event ->> 'expects_reply')::boolean
        or ((p_event ->> 'about_ours')::boolean and p_event ->> 'kind' = any(p_tenant.answered_kinds)),
        false
    );
    v_decision text := case
        when hybridflow.has_staff(p_tenant) and hybridflow.is_staff(p_tenant, p_session.id) then 'staff'
        when not p_tenant.is_active then 'tenant_inactive'
        when v_paused then 'paused'
        when 'no-ai' = any(p_session.labels) then 'no_ai'
        when not v_expects_reply or p_event ->> 'kind' = any(p_tenant.unanswered_kinds) then 'no_reply_needed'
        when p_at < v_now - make_interval(secs => 60 * coalesce(
            p_tenant.answer_within_minutes, (p_policy ->> 'answer_within_minutes')::numeric, 60
        )::double precision) then 'too_old'
        when (p_event ->> 'flood')::boolean then 'flood'
        when hybridflow.is_loop(p_tenant, p_session, p_event, p_policy) then 'loop'
        else 'turn_pending'
    end;
    v_debounce numeric := coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2);
    v_cap numeric := coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10);
    v_wait numeric;
    v_turn record;
    v_turn_id bigint;
    v_due_in numeric;
    v_message_id bigint;
    v_relayed boolean;
begin
    if v_decision = 'turn_pending' then
        if p_session.awaited_pictures > 0 then
            v_wait := hybridflow.await_next_picture(p_session, p_event ->> 'kind', v_debounce, v_cap);
        end if;
        if p_session.lid is null then
            v_wait := greatest(v_wait, hybridflow.stranger_wait(p_tenant, p_session, p_at, p_policy));
        end if;
        v_turn := hybridflow.join_turn(
            p_tenant, p_session.id, greatest(v_debounce, v_wait), v_cap, p_event ->> 'correlation_id', v_now
        );
        v_turn_id := v_turn.turn_id;
        v_due_in := extract(epoch from v_turn.due - v_now);
    elsif p_event ->> 'pictures' is not null then
        v_due_in := extract(epoch from hybridflow.await_album(
            p_session, (p_event ->> 'pictures')::integer, p_at, greatest(v_debounce, v_cap)
        ) - v_now);
    end if;
    if p_session.is_paused and not v_paused then
        -- Nobody else looks any more at what was written in the pause.
        perform hybridflow.answer_unanswered(p_session.id, p_policy);
    end if;
    if v_decision = 'staff' then
        v_expects_reply := false;  -- nor is it answered after a pause
    end if;
    p_event := p_event || jsonb_build_object('expects_reply', v_expects_reply);
    v_message_id := hybridflow.insert_message(p_session, p_event, 'contact', p_at, v_turn_id);
    if p_policy ? 'senses' and v_decision <> 'staff'
        and (v_decision in ('turn_pending', 'paused') or p_tenant.keep_media_days > 0)
    then
        v_due_in := coalesce(extract(epoch from hybridflow.await_media(
            p_tenant, v_message_id, v_turn_id, p_event || jsonb_build_object('decision', v_decision), p_policy
        ) - v_now), v_due_in);
    end if;
    if v_decision = 'loop' then
        perform hybridflow.pause_for_loop(p_session);
    elsif v_decision = 'staff' then
        v_relayed := nullif(hybridflow.note_staff_words(p_tenant, p_session, p_event, p_at, p_policy), false);
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', v_decision, 'session_id', p_session.id,
        'message_id', v_message_id, 'turn_id', v_turn_id, 'due_in', v_due_in, 'relayed', v_relayed
    ));
end
$$;

-- Whether the event is of the group in which the tenant's people are told their notices, whose messages are
-- nobody's otherwise, and quotes something there.
create or replace function hybridflow.answers_a_notice(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event -> 'quoted' ->> 'wa_id' is null then
        return false;
    end if;
    return exists (
        select from jsonb_array_elements_text(p_event -> 'jids') as j
        where j.value = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- Whether the event is of the chat with the business's own number. WhatsApp may tell that under the
-- business's own LID (own_lid); what tells so of another's chat is believed only where it quotes what was
-- told in the chat with the own number.
create or replace function hybridflow.is_to_self(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event ->> 'chat' = 'self' then
        return true;
    elsif not hybridflow.has_staff(p_tenant) or not coalesce((p_event ->> 'own_lid')::boolean, false) then
        return false;
    end if;
    return exists (
        select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
        inner join public.session_identities as i on i.session_id = m.session_id
        where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- The owner, on the business's own phone, quoted a notice in the group or the chat with the business's own
-- number, where its people are told, or wrote a command in that chat: see note_staff_words. All else there
-- are notes to oneself.
create or replace function hybridflow.ingest_note_to_self(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message_id bigint := hybridflow.insert_message(p_session, p_event, 'owner', p_at, null);
    v_relayed boolean := hybridflow.note_staff_words(p_tenant, p_session, p_event, p_at, p_policy);
begin
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', 'staff', 'session_id', p_session.id, 'message_id', v_message_id,
        'relayed', nullif(v_relayed, false)
    ));
end
$$;

-- A message, from either side.
create or replace function hybridflow.ingest_message(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_jids text[];
    v_now timestamptz := hybridflow.clock();
    v_at timestamptz := least(coalesce((p_event ->> 'sent_at')::timestamptz, v_now), v_now);
    v_is_self constant boolean := hybridflow.is_to_self(p_tenant, p_event);
    v_staff_jid text;
    v_own jsonb;
begin
    if p_event ->> 'chat' = 'group' and not p_tenant.answer_groups
        and not hybridflow.answers_a_notice(p_tenant, p_event)
    then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'group');
    end if;
    if (p_event ->> 'from_me')::boolean then
        v_own := hybridflow.recognise_own(p_tenant, p_event, p_policy);
        if v_own is not null then
            return v_own;
        end if;
    end if;
    if v_is_self then
        v_staff_jid := hybridflow.own_staff_jid(p_tenant, p_event);
        if v_staff_jid is null or (
            p_event -> 'quoted' ->> 'wa_id' is null and not coalesce((p_event ->> 'is_command')::boolean, false)
        ) then
            return jsonb_build_object('outcome', 'ignored', 'decision', 'note_to_self');
        end if;
        v_jids := array[hybridflow.known_as(p_tenant.id, v_staff_jid)];
        p_event := p_event || '{"chat": "contact"}';
    elsif jsonb_array_length(p_event -> 'jids') = 1 then
        v_jids := array[p_event -> 'jids' ->> 0];
    else
        v_jids := array(select jsonb_array_elements_text(p_event -> 'jids'));
    end if;
    v_session := hybridflow.resolve_session(
        p_tenant.id, v_jids, p_event ->> 'chat',
        case when p_event ->> 'chat' = 'contact' and not (p_event ->> 'from_me')::boolean
            then p_event ->> 'author_name' end
    );
    if not v_session.erasure_checked or v_session.erased_before is not null then
        perform hybridflow.refuse_erased(v_session, p_event, v_at);
    end if;
    -- As messages_called does: `offset 0` keeps a plan from reading the session's messages instead.
    if exists (
        select from (
            select m.session_id, m.from_me from public.messages as m where m.wa_id = p_event ->> 'wa_id' offset 0
        ) as m
        where m.session_id = v_session.id and m.from_me = (p_event ->> 'from_me')::boolean
    ) then
        return jsonb_build_object('outcome', 'recorded', 'decision', 'known_message', 'session_id', v_session.id);
    elsif v_at <= v_now - interval '1 day' and hybridflow.was_pruned(p_tenant.id, v_at) then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'too_old');  -- nothing that leads to whom
    elsif v_is_self or (
        (p_event ->> 'from_me')::boolean and p_event ->> 'chat' = 'group'
        and hybridflow.answers_a_notice(p_tenant, p_event)
    ) then
        return hybridflow.ingest_note_to_self(p_tenant, v_session, p_event, p_policy, v_at);
    elsif (p_event ->> 'from_me')::boolean then
        return hybridflow.ingest_business_message(p_tenant, v_session, p_event, p_policy, v_at);
    end if;
    if hybridflow.judge_greetings_again(p_tenant, v_session, v_at, p_policy) then
        select * into v_session from public.sessions where id = v_session.id;
    end if;
    return hybridflow.ingest_contact_message(p_tenant, v_session, p_event, p_policy, v_at);
end
$$;

-- One event came again. If it is a message that came first under a LID and now under a phone number
-- (or the other way round), these are one person, unless the other identity is known as somebody's already: a
-- message's id is its sender's choice, and proves nothing of two people. The stored decision is the answer;
-- null: the event was pruned or erased while we waited for who does that, and is known no more.
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

-- Whether an event is older than processed_events remembers (7 days) and cannot be told from one that
-- is shown again. A message says itself when it was sent, and is judged by that.
create or replace function hybridflow.is_forgotten(p_event jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_event ->> 'sent_at' is null
        and coalesce((p_event ->> 'made_at')::timestamptz < hybridflow.clock() - interval '6 days', false)
$$;

-- Raises PT422 for what an event lacks: of what every one has, or of what those of its type have. Called
-- only where something is missing.
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

-- Takes one event: decides, and remembers it with the decision, in one write at the end. Of two calls that
-- take the same event at the same moment the second waits there for the first, and raises PT412; then
-- ingest_events undoes what it has done, and asks again.
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
        -- What gap repair fetched came by no webhook.
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
-- Takes webhook events, any number, of any tenants, in one transaction: dedupes, finds the session, records,
-- judges takeover, and makes or moves the turn. Returns {decisions: [{outcome, decision?, tenant_id?,
-- session_id?, message_id?, turn_id?, due_in?, sender?, state?, reconnected?, stranger?, relayed?,
-- duplicate?, code?, constraint?, detail?, error?}]} in the order given. `stranger`: a human wrote to a LID
-- that nobody knows; `relayed`: one of the staff quoted a notice, see note_staff_words.
-- A bad event fails alone: {outcome: 'failed', code, constraint}, without what the database says of it; one
-- that lacks what its type needs (see refuse_event) has the code PT422 and an `error` that names the key. The
-- decision is stored: the same event again gets the same answer with `duplicate`. An instance that no tenant
-- has: {outcome: 'unknown_instance'}, and nothing is stored. `hashes` of an event stand for its contact; what
-- an erased contact wrote before its erasure is {outcome: 'ignored', decision: 'erased'}, and leaves no
-- trace.
--
-- A caller with many events gives patience_ms, too. Then nothing is waited for longer than that, and after
-- the first wait without success only for a moment: {outcome: 'busy'}, nothing was done about the
-- event nor about the contact's later ones, and the caller asks again. So a call that holds the locks of some
-- contacts never stays waiting for another's: no two calls stop each other (PostgreSQL looks for a deadlock
-- after a second), and a contact whose session is held keeps nobody else's messages back. Nor does it go on
-- for longer than at_most_ms (3 seconds): what is not decided by then is busy, too, except the first event,
-- so that each call brings something about, and what was decided stands, long before the call is given up.
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
                    -- Who waits for no lock needs no order of locks; and where there is no time for all, those
                    -- whose names come late in the alphabet would be the ones that are left.
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
        loop
            begin
                v_decisions[v_place] := hybridflow.ingest_event(v_event, p -> 'policy');
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
                    v_decisions[v_place] := '{"outcome": "ignored", "decision": "erased"}';
                when sqlstate 'PT422' then  -- in words of ours
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
