-- HybridFlow: two sessions turn out to be with one person, and become one.

-- Moves everything of session p_from into session p_into and deletes p_from. The caller has locked both rows,
-- lower id first. The pause of either session holds for both, and each reason lasts as long as it would have.
-- If a message turns out to be ours, a pause that also had another reason is not withdrawn. A turn that has
-- sent nothing is folded into the other session's turn; one that is sending is finished beside it.
create or replace function hybridflow.merge_sessions(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_from public.sessions;
    v_into public.sessions;
    v_is_reason boolean;
    v_is_resume boolean;
    v_pending bigint;
    v_from_told timestamptz;
    v_into_told timestamptz;
    v_from_fallback timestamptz;
    v_into_fallback timestamptz;
begin
    select * into v_from from public.sessions where id = p_from;
    select * into v_into from public.sessions where id = p_into;
    -- A message that did not arrive told the contact nothing: of the two, only one that arrived counts.
    v_from_told := hybridflow.told_away_until(v_from);
    v_into_told := hybridflow.told_away_until(v_into);
    v_from_fallback := hybridflow.told_fallback_at(v_from);
    v_into_fallback := hybridflow.told_fallback_at(v_into);
    -- Which session's words explain the pause, and which session was resumed last.
    v_is_reason := v_from.is_paused
    and (not v_into.is_paused or (v_from.pause_indefinite and not v_into.pause_indefinite));
    v_is_resume := v_from.resumed_at is not null and coalesce(v_from.resumed_at > v_into.resumed_at, true);
    perform hybridflow.close_sight(i) from unnest(array[p_into, p_from]) as i;
    perform hybridflow.make_way(t.id)
    from hybridflow.held_turns(p_from) as t
    where exists (select from hybridflow.held_turns(p_into));
    select id into v_pending from public.turns where session_id = p_into and waiting;
    if v_pending is not null then
        update public.messages as m set turn_id = v_pending
        from public.turns as t
        where t.session_id = p_from and t.waiting and m.turn_id = t.id and not m.from_me;
        update public.turns as t
        set retried_at = greatest(t.retried_at, f.retried_at),
            -- It waits for the media of both.
            run_after = case
                when f.due_when_heard is not null then greatest(t.run_after, f.run_after) else t.run_after
            end,
            due_when_heard = case
                when f.due_when_heard is null then t.due_when_heard
                else greatest(coalesce(t.due_when_heard, t.run_after), f.due_when_heard)
            end
        from public.turns as f
        where t.id = v_pending and f.session_id = p_from and f.waiting;
        perform hybridflow.close_turn(t.id, 'cancelled', 'merged')
        from public.turns as t where t.session_id = p_from and t.waiting;
        perform hybridflow.widen_turn(v_pending);
    end if;
    update public.turns set session_id = p_into where session_id = p_from;
    delete from public.messages as m
    where m.session_id = p_from and exists (
        select from hybridflow.messages_called(m.wa_id) as twin
        where twin.session_id = p_into and twin.tenant_id = m.tenant_id and twin.from_me = m.from_me
    );
    update public.messages set session_id = p_into where session_id = p_from;
    update public.messages_archive set session_id = p_into where session_id = p_from;
    update public.session_identities set session_id = p_into where session_id = p_from;
    update public.notices set session_id = p_into where session_id = p_from;
    update public.session_notes set session_id = p_into where session_id = p_from;
    update public.relays set session_id = p_into where session_id = p_from;
    update public.relays set staff_session_id = p_into where staff_session_id = p_from;
    perform hybridflow.merge_handoffs(p_into, p_from);
    -- A session has one owner: a note keeps the name of the other one.
    insert into public.session_notes (tenant_id, session_id, body, author, created_at)
    select
        v_from.tenant_id, p_into,
        left(v_from.owner, 100) || ' looked after one of the two conversations that became this one.',
        'HybridFlow', hybridflow.clock()
    where v_from.owner <> v_into.owner;
    update public.sessions as s
    set phone_jid = coalesce(s.phone_jid, v_from.phone_jid),
        lid = coalesce(s.lid, v_from.lid),
        contact_name = coalesce(s.contact_name, v_from.contact_name),
        is_paused = s.is_paused or v_from.is_paused,
        pause_source = case when v_is_reason then v_from.pause_source else s.pause_source end,
        pause_reason = case when v_is_reason then v_from.pause_reason else s.pause_reason end,
        pause_message_id = case
            when s.is_paused and v_from.is_paused then null
            when v_from.is_paused then v_from.pause_message_id
            else s.pause_message_id
        end,
        paused_at = case
            when s.is_paused and v_from.is_paused then least(s.paused_at, v_from.paused_at)
            when v_is_reason then v_from.paused_at
            else s.paused_at
        end,
        paused_until = greatest(
            case when s.is_paused then s.paused_until end, case when v_from.is_paused then v_from.paused_until end
        ),
        pause_indefinite = (s.is_paused and s.pause_indefinite) or (v_from.is_paused and v_from.pause_indefinite),
        pause_asked_at = greatest(hybridflow.asked_at(s), hybridflow.asked_at(v_from)),
        pause_written_at = greatest(
            case when s.is_paused then s.pause_written_at end,
            case when v_from.is_paused then v_from.pause_written_at end,
            -- If the AI asked for one of the pauses, what a human asked for in the other counts as a message
            -- written then.
            case when v_from.is_paused and v_from.pause_source = 'ai' then hybridflow.asked_by_human(s) end,
            case when s.is_paused and s.pause_source = 'ai' then hybridflow.asked_by_human(v_from) end
        ),
        resumed_at = case when v_is_resume then v_from.resumed_at else s.resumed_at end,
        resume_source = case when v_is_resume then v_from.resume_source else s.resume_source end,
        last_human_at = greatest(s.last_human_at, v_from.last_human_at),
        last_message_at = greatest(s.last_message_at, v_from.last_message_at),
        last_contact_at = greatest(s.last_contact_at, v_from.last_contact_at),
        awaited_pictures = case
            when s.awaited_until >= v_from.awaited_until or v_from.awaited_until is null then s.awaited_pictures
            else v_from.awaited_pictures
        end,
        awaited_until = greatest(s.awaited_until, v_from.awaited_until),
        erased_before = greatest(s.erased_before, v_from.erased_before),
        labels = array(select distinct l from unnest(s.labels || v_from.labels) as l order by l),
        owner = coalesce(s.owner, v_from.owner),
        away_until = greatest(v_into_told, v_from_told),
        away_message_id = case
            when v_from_told > coalesce(v_into_told, '-infinity') then v_from.away_message_id
            else s.away_message_id
        end,
        fallback_told_at = greatest(v_into_fallback, v_from_fallback),
        fallback_message_id = case
            when v_from_fallback > coalesce(v_into_fallback, '-infinity') then v_from.fallback_message_id
            else s.fallback_message_id
        end,
        created_at = least(s.created_at, v_from.created_at),
        updated_at = hybridflow.clock()
    where s.id = p_into;
    insert into public.spending (tenant_id, session_id, day, turns, tokens, told_at)
    select b.tenant_id, p_into, b.day, b.turns, b.tokens, b.told_at from public.spending as b
    where b.session_id = p_from
    on conflict (tenant_id, day, session_id) do update
        set turns = spending.turns + excluded.turns, tokens = spending.tokens + excluded.tokens,
            told_at = coalesce(spending.told_at, excluded.told_at);
    delete from public.sessions where id = p_from;
    if (select is_paused from public.sessions where id = p_into) then
        perform hybridflow.cancel_turns(p_into, 'paused');
    elsif hybridflow.is_without_ai(p_into) then
        perform hybridflow.cancel_turns(p_into, 'no_ai');
    end if;
end
$$;

-- An active turn makes way for the active turn of the session that its own is merged into. A turn that is
-- sending goes on beside the other, because nobody knows yet what of it is on the phone. Any other goes back
-- to pending, and the caller folds it into the other.
create or replace function hybridflow.make_way(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn_id for update;
    if v_turn.state = 'sending' then
        update public.turns set beside = true, updated_at = hybridflow.clock() where id = p_turn_id;
        return;
    end if;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'merged');
end
$$;
