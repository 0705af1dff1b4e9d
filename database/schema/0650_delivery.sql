-- HybridFlow: what WhatsApp reports about our replies later: delivered, or (status `error`) never.
--
-- Evolution answers that it accepted a message before WhatsApp has accepted it. A refusal (463 on Baileys,
-- FAILED on the Cloud channel) comes later, as a delivery state. States come in any order.

comment on column public.messages.failed_at is
'When WhatsApp reported that it did not deliver this part of a reply; null: it delivered it, or has'
' reported nothing yet.';
comment on column public.messages.failed_since is
'The failed_at of the first of the replies, to any contacts, that failed in a row with this one.';
comment on column public.messages.error_code is
'WhatsApp''s error code for a failed delivery, if Evolution passes it on.';
comment on column public.messages.undelivered_turns is
'On a contact''s message: the turns whose reply to it was not delivered, so that another turn answers it.';

create index if not exists messages_failed
on public.messages (tenant_id, failed_at desc, id desc) where failed_at is not null;

-- Stores in the turn how many parts of its reply were not delivered.
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

-- WhatsApp reported that it did not deliver this part of a reply. The caller has locked the session.
-- `answer_since` in p_change: messages of the contact from before that time are too old to be answered again.
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

-- A part of a reply arrived although WhatsApp had reported that it did not. The caller has locked the
-- session.
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

-- Applies a delivery state to a message. The caller has locked the session.
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

-- Takes an event with a delivery state. A message that is now too old to be answered is not answered again
-- either.
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
