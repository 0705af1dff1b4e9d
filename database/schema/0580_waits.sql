-- HybridFlow: what an answer waits for, besides the end of a burst: the rest of an album, and whether a human
-- wrote to this contact under a LID. Each wait has an end.

create index if not exists sessions_known_by_lid_alone
on public.sessions (tenant_id, last_human_at)
where phone_jid is null and lid is not null and last_human_at is not null;

-- When a human of the business last wrote to a stranger who may be the session's contact; null: to none. A
-- chat of which only the LID is known, and in which the other side never wrote, may belong to a contact whose
-- LID is not known, if the contact's own conversation has a message in the half hour before. If several may,
-- the newest counts.
create or replace function hybridflow.stranger_wrote_at(p_tenant public.tenants, p_session public.sessions)
returns timestamptz
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    if p_session.lid is not null or p_session.chat <> 'contact' or p_tenant.unknown_lid_minutes = 0 then
        return null;
    end if;
    return (
        select s.last_human_at
        from (
            select l.last_human_at, l.last_contact_at from public.sessions as l
            where l.tenant_id = p_tenant.id and l.phone_jid is null and l.lid is not null
                and l.last_human_at > hybridflow.clock() - hybridflow.seconds(60 * p_tenant.unknown_lid_minutes)
            order by l.last_human_at desc limit 100
        ) as s
        where s.last_contact_at is null and exists (
            select from public.messages as m
            where m.session_id = p_session.id
                and m.sent_at between s.last_human_at - interval '30 minutes' and s.last_human_at
        )
        order by s.last_human_at desc limit 1
    );
end
$$;

-- Until when an answer waits, if a human wrote at p_wrote_at to a stranger who may be its contact: counted
-- from p_wrote_at or p_since, whichever is earlier. The wait ends before the newest message to be answered,
-- of p_newest, is too old for an answer.
create or replace function hybridflow.stranger_waits_until(
    p_tenant public.tenants, p_wrote_at timestamptz, p_since timestamptz, p_newest timestamptz, p_policy jsonb
)
returns timestamptz
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_within interval := hybridflow.seconds(
        60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
    );
begin
    return least(
        least(p_wrote_at, p_since) + hybridflow.seconds(60 * p_tenant.unknown_lid_minutes),
        p_newest + v_within - least(v_within / 2, interval '1 minute')
    );
end
$$;

-- How many seconds the answer to one more message, of p_at, waits; null: it need not wait. If a turn waits
-- already, or begins again with the message, the wait counts from when that turn was made. So it waits for
-- unknown_lid_minutes at most, however many messages join it and however much the human goes on writing. The
-- session is locked.
create or replace function hybridflow.stranger_wait(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz, p_policy jsonb
)
returns numeric
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_wrote_at timestamptz := hybridflow.stranger_wrote_at(p_tenant, p_session);
    v_since timestamptz := v_now;
begin
    if v_wrote_at is null then
        return null;
    end if;
    select least(v_now, min(t.created_at)) into v_since
    from (
        select w.created_at from public.turns as w where w.session_id = p_session.id and w.waiting
        union all
        select h.created_at from public.turns as h
        where h.session_id = p_session.id and h.held and not h.beside and h.state = 'running'
            and p_tenant.on_new_message = 'restart'
    ) as t;
    return extract(
        epoch from hybridflow.stranger_waits_until(p_tenant, v_wrote_at, v_since, p_at, p_policy) - v_now
    );
end
$$;

-- The wait at the fence: a turn that has said nothing, and whose contact may be the stranger that a human
-- wrote to, is pending again until the wait is over. Its reply is kept, and the attempt does not count. The
-- human may write long after the message, so the wait is counted from the claim, but only once: a turn that
-- has already waited, here or from its beginning (debounce_until shows it), has waited since it was made.
-- Returns whether it waits. Turn and session are locked.
create or replace function hybridflow.waits_for_stranger(p_turn public.turns, p_session public.sessions)
returns boolean
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant public.tenants;
    v_wrote_at timestamptz;
    v_until timestamptz;
    v_has_waited boolean;
begin
    if p_turn.state <> 'running' or p_session.lid is not null then
        return false;
    end if;
    select * into v_tenant from public.tenants where id = p_session.tenant_id;
    v_wrote_at := hybridflow.stranger_wrote_at(v_tenant, p_session);
    if v_wrote_at is null then
        return false;
    end if;
    v_has_waited := p_turn.debounce_until >= p_turn.created_at + hybridflow.seconds(30 * v_tenant.unknown_lid_minutes)
    or exists (
        select from public.turn_attempts as a where a.turn_id = p_turn.id and a.outcome = 'begun_anew'
    );
    v_until := hybridflow.stranger_waits_until(
        v_tenant, v_wrote_at, case when v_has_waited then p_turn.created_at else p_turn.claimed_at end,
        (
            select max(greatest(m.sent_at, case when m.edited_at <= hybridflow.clock() then m.edited_at end))
            from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ), null
    );
    if v_until is null or v_until <= hybridflow.clock() then
        return false;
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = p_turn.id;
    perform hybridflow.requeue_turn(p_turn, v_until, 'begun_anew');
    return true;
end
$$;

-- The contact announced an album of p_pictures pictures: an answer waits for those that have not arrived, for
-- a minute at most. WhatsApp announces an album before its pictures or among them. Returns when the turn that
-- already waits is due; null: there is none. The session is locked.
create or replace function hybridflow.await_album(
    p_session public.sessions, p_pictures integer, p_at timestamptz, p_cap numeric
)
returns timestamptz
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + interval '1 minute';
    v_left integer := least(p_pictures, 100) - (
        select count(*) from (
            select m.kind, m.from_me from public.messages as m
            where m.session_id = p_session.id and m.sent_at >= p_at - interval '2 seconds'
            order by m.sent_at desc, m.id desc limit 100
        ) as l
        where l.kind in ('image', 'video') and not l.from_me
    );
    v_due timestamptz;
begin
    if p_at < v_now - interval '1 minute' or v_left <= 0 then
        return null;
    end if;
    update public.sessions set awaited_pictures = v_left, awaited_until = v_until where id = p_session.id;
    update public.turns
    set debounce_until = greatest(debounce_until, v_until),
        run_after = greatest(run_after, v_now + hybridflow.seconds(p_cap))
    where session_id = p_session.id and waiting and claimed_at is null
    returning run_after into v_due;
    return v_due;
end
$$;

-- One more message of the contact came while pictures are awaited. Returns for how many seconds its answer
-- waits for the next one: p_cap at most, and not beyond awaited_until; null: no longer than for any message.
-- With the last picture, the turn that waits is due as after any other message. The session is locked.
create or replace function hybridflow.await_next_picture(
    p_session public.sessions, p_kind text, p_debounce numeric, p_cap numeric
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_left integer := p_session.awaited_pictures - (p_kind in ('image', 'video'))::integer;
begin
    if coalesce(p_session.awaited_pictures, 0) = 0 or p_session.awaited_until <= v_now then
        return null;
    end if;
    update public.sessions set awaited_pictures = v_left where id = p_session.id and awaited_pictures <> v_left;
    if v_left = 0 then
        update public.turns set run_after = least(run_after, v_now + hybridflow.seconds(p_debounce))
        where session_id = p_session.id and waiting and claimed_at is null;
        return null;
    end if;
    update public.turns set debounce_until = greatest(debounce_until, p_session.awaited_until)
    where session_id = p_session.id and waiting and claimed_at is null;
    return greatest(p_debounce, least(p_cap, extract(epoch from p_session.awaited_until - v_now)));
end
$$;
