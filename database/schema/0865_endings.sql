-- HybridFlow: what happens after a turn that gets no answer, and who is told.

alter table public.turns add column if not exists outage_id bigint;
comment on column public.turns.outage_id is 'The last outage that the turn met; null: none.';
create index if not exists turns_of_outage on public.turns (outage_id) where outage_id is not null;

-- Every cause for which a customer gets no answer although one was wanted, and who is told of it.
-- about: what does not work. There is one notice to the business while that does not work, and one when it
-- works again. If it is null, there is one notice for each period of `lasts`.
-- tells_after: how long it must last before anybody is told.
-- is_told: a notice of outages tells it; otherwise another kind of notice does (a handoff, undelivered).
-- says_fallback: the contact gets the tenant's fallback message, once in an outage.
-- hands_off: the session is handed to a human.
-- told_deployment: whether the people who run HybridFlow are told (log, /health): always; never; own_key: if
-- it concerns the deployment's own key.
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

-- The turn has met p_cause (see endings). If people are told of this cause, the outage is recorded, so that a
-- notice tells it. Returns whether the outage began with this turn. The caller has locked the turn.
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

-- The turn has ended without an answer, for p_cause (null: from a router of 0.2.0, which does not report it).
-- The people concerned are told, and if a human can help, the session is handed off. The contact gets the
-- fallback message, unless p_minutes says that it is too late for that (see is_too_old). Returns {outage?,
-- handoff?}. The caller has locked the session.
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
