-- HybridFlow: what an answer waits for, besides the end of a burst: the rest of an album, and whether this
-- contact is the one whom a human wrote to. Each wait has an end.

create index if not exists sessions_known_by_lid_alone
on public.sessions (tenant_id, last_human_at)
where phone_jid is null and lid is not null and last_human_at is not null;

-- Until when an answer to the session waits, p_since being when it was asked for; null: it need not. A human
-- of the business wrote to a chat of which nobody knows more than a LID, and nobody ever wrote there: it may
-- be this contact's, whose LID is not known and who was written with in the half hour before. Counted from
-- whichever came first, the answer's being asked for or that message, but not from before the message: so it
-- waits for unknown_lid_minutes at most, however much the human goes on writing.
create or replace function hybridflow.stranger_waits_until(
    p_tenant public.tenants, p_session public.sessions, p_since timestamptz
)
returns timestamptz
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_wait interval := hybridflow.seconds(60 * p_tenant.unknown_lid_minutes);
    v_at timestamptz;
begin
    if p_session.lid is not null or p_session.chat <> 'contact' or p_tenant.unknown_lid_minutes = 0 then
        return null;
    end if;
    select s.last_human_at into v_at
    from (
        select l.last_human_at, l.last_contact_at from public.sessions as l
        where l.tenant_id = p_tenant.id and l.phone_jid is null and l.lid is not null
            and l.last_human_at > hybridflow.clock() - v_wait
        order by l.last_human_at desc limit 100
    ) as s
    where s.last_contact_at is null
    order by s.last_human_at desc limit 1;
    if v_at is null or not exists (
        select from public.messages as m
        where m.session_id = p_session.id and m.sent_at between v_at - interval '30 minutes' and v_at
    ) then
        return null;
    end if;
    return least(v_at, p_since) + v_wait;
end
$$;

-- The fence's part in that: a turn that has said nothing, and whose contact may be whom a human wrote to,
-- goes back to be due when the wait is over; a reply that is made is kept, and the attempt does not count.
-- Returns whether it waits. Turn and session are locked.
create or replace function hybridflow.waits_for_stranger(p_turn public.turns, p_session public.sessions)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz;
begin
    if p_turn.state <> 'running' or p_session.lid is not null then
        return false;
    end if;
    v_until := hybridflow.stranger_waits_until(
        (select t from public.tenants as t where t.id = p_session.tenant_id), p_session, p_turn.created_at
    );
    if v_until is null or v_until <= hybridflow.clock() then
        return false;
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = p_turn.id;
    perform hybridflow.requeue_turn(p_turn, v_until, 'begun_anew');
    return true;
end
$$;

-- The contact announced an album of so many pictures: an answer waits for those that are not there yet, a
-- minute at most. WhatsApp tells of it before its pictures or among them. Returns when the turn that waits
-- already is due, null where there is none. The session is locked.
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

-- One more message of the contact came while pictures are awaited. Returns how many seconds its answer waits
-- for the next one: p_cap at most, and not beyond awaited_until; null: no longer than for any message. With
-- the last picture the turn that waits is due again as after any message. The session is locked.
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
