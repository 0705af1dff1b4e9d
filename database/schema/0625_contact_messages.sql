-- HybridFlow: a message of a contact: always recorded, and answered by a turn if it should be.

-- Takes a message of a contact. It is always recorded. A turn answers it, except if the contact belongs to
-- the tenant's staff, the session is paused, the message is hours old, its kind needs no answer, the router
-- marked it as part of a flood, or it shows that two bots talk to each other. In the last case the session is
-- paused.
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
    -- A reaction or vote on a message of ours may be an answer to it.
    v_expects_reply boolean := coalesce(
        (p_event ->> 'expects_reply')::boolean
        or ((p_event ->> 'about_ours')::boolean and p_event ->> 'kind' = any(p_tenant.answered_kinds)),
        false
    );
    v_decision text := case
        when (p_tenant.notify_number is not null or p_tenant.notify_number_next is not null)
            and hybridflow.is_staff(p_tenant, p_session.id) then 'staff'
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
        -- No other code path answers what was written during the pause.
        perform hybridflow.answer_unanswered(p_session.id, p_policy);
    end if;
    if v_decision = 'staff' then
        v_expects_reply := false;  -- so it is not answered after a pause either
    end if;
    if v_expects_reply is distinct from (p_event ->> 'expects_reply')::boolean then  -- rebuilding it is slow
        p_event := p_event || jsonb_build_object('expects_reply', v_expects_reply);
    end if;
    v_message_id := hybridflow.insert_message(p_session, p_event, 'contact', p_at, v_turn_id);
    if p_policy ? 'senses' and v_decision <> 'staff' and coalesce(p_event -> 'media', 'null') <> 'null'
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
