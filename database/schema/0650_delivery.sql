-- HybridFlow: what WhatsApp says of our replies afterwards: delivered, or (status `error`) never.
--
-- Evolution answers that a message was taken before WhatsApp has; a refusal (463 on Baileys, FAILED on the
-- Cloud channel) comes later, as a delivery state, and states come in any order. A reply of which nothing
-- arrived, and nothing can any more, counts as not said: its messages are answered again, a few times.

comment on column public.messages.failed_at is
'When WhatsApp said that it did not deliver this part of a reply; null: it did, or has said nothing yet.';
comment on column public.messages.failed_since is
'The failed_at of the first of the replies that failed in a row with this one, of whichever contacts.';
comment on column public.messages.error_code is 'WhatsApp''s code for that, where Evolution passes it on.';
comment on column public.messages.undelivered_turns is
'A contact''s message: the turns whose reply to it was not delivered, so that another turn answers it.';

create index if not exists messages_failed
on public.messages (tenant_id, failed_at desc, id desc) where failed_at is not null;

create index if not exists notices_undelivered
on public.notices (tenant_id, id desc) where kind = 'undelivered';
create index if not exists notices_flow_failing
on public.notices (tenant_id, id desc) where kind = 'flow_failing';

-- The replies of the tenant, to whichever contacts, that failed in a row up to now: how many, and to how many
-- contacts (of the last 100), since when, and when the last one; none (0) where one that was sent after the
-- last of them was delivered.
create or replace function hybridflow.failed_in_a_row(
    p_tenant_id bigint,
    out replies integer, out contacts integer, out since timestamptz, out last_at timestamptz
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_last public.messages;
begin
    replies := 0;
    contacts := 0;
    select * into v_last from public.messages as m
    where m.tenant_id = p_tenant_id and m.failed_at is not null
    order by m.failed_at desc, m.id desc limit 1;
    if v_last.id is null or exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.created_at >= v_last.created_at and m.id > v_last.id
            and m.from_me and m.turn_id is not null and hybridflow.was_delivered(m.status)
    ) then
        return;
    end if;
    since := v_last.failed_since;
    last_at := v_last.failed_at;
    select count(*), count(distinct f.session_id) into replies, contacts from (
        select m.session_id from public.messages as m
        where m.tenant_id = p_tenant_id and m.failed_at is not null and m.failed_at >= v_last.failed_since
        order by m.failed_at desc, m.id desc limit 100
    ) as f;
end
$$;

-- From how many replies in a row on the line itself is in doubt, not the one contact: somebody is told, and
-- nothing is answered again until a reply arrives. Three: one contact's reply and both of its repetitions.
create or replace function hybridflow.many_in_a_row()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 3
$$;

-- Whether it may arrive when it is sent again. Of the Cloud API's codes (five digits and more) only those say
-- so that name a passing trouble (its own, or a rate); 131026 and 131047, say, are final. WhatsApp's own
-- (463) may be: it asks for a token that comes with the contact's next sign of life.
create or replace function hybridflow.may_pass(p_error_code text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(
        length(p_error_code) < 5
        or p_error_code in ('80007', '130429', '131000', '131016', '131056', '131057'), true
    )
$$;

-- Whether anything of the turn's reply is on the contact's phone, or may be on its way there: it left, and
-- WhatsApp has not said that it failed; or nobody knows yet how its send ended.
create or replace function hybridflow.may_have_arrived(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and (
            m.send_state in ('sending', 'unknown')
            or (m.send_state = 'sent' and m.status is distinct from 'error')
        )
    )
$$;

-- The contact's messages of the turn that are worth answering again: sent since p_since, with nobody of the
-- business having written after them, and answered in vain less than two times more. Twice: what a passing
-- trouble refused gets through then; a restricted number is restricted for longer the more it tries.
create or replace function hybridflow.messages_to_answer_again(p_turn public.turns, p_since timestamptz)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    with last_human as materialized (
        select h.sent_at, h.id
        from public.messages as h
        inner join public.tenants as t on t.id = h.tenant_id
        where h.session_id = p_turn.session_id and h.from_me and h.sender in ('owner', 'operator', 'client')
            and (h.sender <> 'client' or t.other_client_takeover) and h.kind <> 'reaction'
        order by h.sent_at desc, h.id desc limit 1
    )

    select array_agg(m.id)
    from public.messages as m
    where m.turn_id = p_turn.id and not m.from_me and m.expects_reply and m.deleted_at is null
        and m.sent_at >= p_since and cardinality(m.undelivered_turns) < 2
        and not exists (select from last_human as h where (h.sent_at, h.id) > (m.sent_at, m.id))
$$;

-- The turn is over and nothing of its reply arrived: its messages are given to another turn, due in five
-- seconds, so that a state that comes late can still call it off. The session is locked. Does nothing where
-- answering again cannot help, or is not ours to do.
create or replace function hybridflow.answer_undelivered(p_turn_id bigint, p_since timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_wait constant numeric := 5;
    v_turn public.turns;
    v_tenant public.tenants;
    v_ids bigint[];
    v_next_id bigint;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    if v_turn.state <> 'sent' or v_turn.undelivered = 0 or hybridflow.may_have_arrived(v_turn.id)
        or exists (
            select from public.messages as m
            where m.turn_id = v_turn.id and m.from_me and not hybridflow.may_pass(m.error_code)
        )
        or (select s.is_paused from public.sessions as s where s.id = v_turn.session_id)
        or (select f.replies from hybridflow.failed_in_a_row(v_turn.tenant_id) as f)
            >= hybridflow.many_in_a_row()
    then
        return;
    end if;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    v_ids := hybridflow.messages_to_answer_again(v_turn, p_since);
    if v_ids is null or not v_tenant.is_active or hybridflow.is_without_ai(v_turn.session_id) then
        return;
    end if;
    v_next_id := (hybridflow.join_turn(
        v_tenant, v_turn.session_id, v_wait, v_wait, v_turn.correlation_id, hybridflow.clock()
    )).turn_id;
    update public.messages
    set turn_id = v_next_id, undelivered_turns = undelivered_turns || v_turn.id
    where id = any(v_ids);
end
$$;

-- Something of the turn's reply arrived after all: what was to answer its messages again does not, as long as
-- it has said nothing. The session is locked.
create or replace function hybridflow.call_off_answer(p_turn_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_next public.turns;
begin
    for v_next in
        select * from public.turns
        where id in (
            select w.id from public.turns as w where w.session_id = p_session_id and w.waiting
            union all
            select h.id from hybridflow.held_turns(p_session_id) as h where h.state = 'running'
        ) and state in ('pending', 'running')
        order by id for update
    loop
        update public.messages
        set turn_id = p_turn_id, undelivered_turns = array_remove(undelivered_turns, p_turn_id)
        where turn_id = v_next.id and not from_me and p_turn_id = any(undelivered_turns);
        if found and not exists (
            select from public.messages
            where turn_id = v_next.id and not from_me and deleted_at is null
        ) then
            perform hybridflow.close_turn(v_next.id, 'cancelled', 'delivered');
        end if;
    end loop;
end
$$;

-- Says in the turn itself how many parts of its reply were not delivered.
create or replace function hybridflow.count_failed_parts(p_turn_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.turns as t
    set undelivered = c.failed,
        error_kind = case
            when c.failed > 0 then 'undelivered' when t.error_kind <> 'undelivered' then t.error_kind
        end,
        error = case
            when c.failed > 0 then
                format('WhatsApp did not deliver %s of %s messages of the reply', c.failed, c.parts)
                || coalesce(' (' || c.codes || ')', '')
            when t.error_kind <> 'undelivered' then t.error
        end,
        updated_at = hybridflow.clock()
    from (
        select count(*) filter (where m.failed_at is not null) as failed, count(*) as parts,
            string_agg(distinct m.error_code, ', ') filter (where m.failed_at is not null) as codes
        from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent'
    ) as c
    where t.id = p_turn_id
$$;

-- Tells the people of the business, once, when so many replies have failed in a row; after twenty seconds, in
-- which it may turn out to be nothing.
create or replace function hybridflow.notice_undelivered(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_row record;
begin
    select * into v_row from hybridflow.failed_in_a_row(p_tenant_id);
    if v_row.replies < hybridflow.many_in_a_row()
        or v_row.since = (
            select (n.facts ->> 'since')::timestamptz from public.notices as n
            where n.tenant_id = p_tenant_id and n.kind = 'undelivered' and n.reason is distinct from 'recovered'
                and n.facts ? 'since'  -- else it tells of a part that was given up
            order by n.id desc limit 1
        )
        or not pg_try_advisory_xact_lock(hashtextextended('undelivered:' || p_tenant_id, 0))
    then
        return;  -- not so many, told already, or being told at this moment by somebody else
    end if;
    perform hybridflow.make_notice(
        p_tenant_id, 'undelivered', null, jsonb_build_object(
            'replies', v_row.replies, 'contacts', v_row.contacts, 'since', v_row.since
        ),
        hybridflow.clock() + interval '20 seconds'
    );
end
$$;

-- WhatsApp said that it did not deliver this part of a reply. The session is locked. `answer_since` in
-- p_change: what the contact wrote before that is too old to be answered again.
create or replace function hybridflow.note_failure(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_since timestamptz;
begin
    select * into v_message from public.messages where id = p_message_id;
    if not v_message.from_me or v_message.turn_id is null then
        return;
    end if;
    select f.since into v_since from hybridflow.failed_in_a_row(v_message.tenant_id) as f;
    update public.messages
    set failed_at = v_now, failed_since = coalesce(v_since, v_now), error_code = left(p_change ->> 'code', 20)
    where id = v_message.id;
    perform hybridflow.count_failed_parts(v_message.turn_id);
    perform hybridflow.notice_undelivered(v_message.tenant_id);
    perform hybridflow.answer_undelivered(
        v_message.turn_id, coalesce((p_change ->> 'answer_since')::timestamptz, '-infinity')
    );
end
$$;

-- A part of a reply arrived although WhatsApp had said that it did not. The session is locked.
create or replace function hybridflow.take_back_failure(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.messages set failed_at = null, failed_since = null, error_code = null
    where id = p_message.id;
    perform hybridflow.count_failed_parts(p_message.turn_id);
    perform hybridflow.call_off_answer(p_message.turn_id, p_message.session_id);
    if (select f.replies from hybridflow.failed_in_a_row(p_message.tenant_id) as f)
        < hybridflow.many_in_a_row()
    then
        perform hybridflow.drop_notices(p_message.tenant_id, array['undelivered'], 'recovered');
    end if;
end
$$;

-- Applies a delivery state to a message. The session is locked.
create or replace function hybridflow.change_status(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before public.messages;
    v_status text := lower(p_change ->> 'status');
begin
    select * into v_before from public.messages where id = p_message_id for update;
    if v_status is not distinct from v_before.status
        or hybridflow.later_status(v_before.status, v_status) is distinct from v_status
    then
        return;
    end if;
    update public.messages set status = v_status where id = p_message_id;
    if v_status = 'error' then
        perform hybridflow.note_failure(p_message_id, p_change);
    elsif v_before.failed_at is not null then
        perform hybridflow.take_back_failure(v_before);
    end if;
end
$$;

-- The delivery state of an event. What would be too old for an answer now is not answered again either.
create or replace function hybridflow.ingest_status(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language sql
set search_path = ''
as $$
    select hybridflow.ingest_change(p_tenant, p_event || jsonb_build_object(
        'answer_since', hybridflow.clock() - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
    ), p_policy)
$$;

-- A turn has ended of whose reply something had failed before (a flow in n8n says later that it is done). One
-- that ends without its session's lock (its flow died) is left alone if somebody else has that.
create or replace function hybridflow.look_at_ended_turn()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.state <> 'sent' or old.state = 'sent' or new.reason is not distinct from 'handoff' then
        return null;
    end if;
    perform from public.sessions where id = new.session_id for update skip locked;
    if found then
        perform hybridflow.answer_undelivered(new.id, '-infinity');
    end if;
    return null;
end
$$;

create or replace trigger turns_undelivered
after update of state on public.turns
for each row
when (new.undelivered > 0)
execute function hybridflow.look_at_ended_turn();

-- What failed in a row, as the API and notices show it; null where nothing did.
create or replace function hybridflow.failures_json(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(f) from hybridflow.failed_in_a_row(p_tenant_id) as f where f.replies > 0
$$;

-- count_undelivered({})
-- For the health check: how many tenants have so many replies that failed in a row (many_in_a_row), the last
-- one within a day. Returns {tenants}.
create or replace function public.count_undelivered(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_after timestamptz := hybridflow.clock() - interval '1 day';
    v_ids bigint[] := array(
        select l.tenant_id from public.tenants as t
        cross join lateral (
            select m.tenant_id from public.messages as m
            where m.tenant_id = t.id and m.failed_at is not null and m.failed_at > v_after
            limit 1
        ) as l
    );
begin
    return jsonb_build_object('tenants', (
        select count(*) from unnest(v_ids) as i
        cross join lateral hybridflow.failed_in_a_row(i) as f
        where f.replies >= hybridflow.many_in_a_row()
    ));
end
$$;
