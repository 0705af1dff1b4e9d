-- HybridFlow: the attempts at turns, each written down once, when it has ended.
--
-- An attempt is under way while its turn is held and has a worker: until then the turn's own columns tell of
-- it (attempt, worker, claimed_at, handler, handler_since), and there can be no second one. So an attempt
-- costs its turn one insert.

create table if not exists public.turn_attempts (
    id bigint generated always as identity,
    turn_id bigint not null,
    tenant_id bigint not null,
    attempt integer not null,
    worker text not null,
    handler hybridflow.handler,
    handler_since timestamptz,
    began timestamptz not null,
    ended timestamptz not null,
    outcome hybridflow.attempt_end not null,
    reason text,
    error_kind text,
    error text,
    provider text,
    model text,
    tokens_in integer,
    tokens_out integer,
    primary key (turn_id, id)
);

comment on table public.turn_attempts is
'The attempts at turns that have ended. They go with their turn: see forget_attempts.';
comment on column public.turn_attempts.attempt is
'Which try it was (1: the first), as its turn counted it then: one that counts as none shares its number.';
comment on column public.turn_attempts.handler is
'Who made the reply, or had it to make; null: the attempt did not come so far, or went on with a reply.';
comment on column public.turn_attempts.outcome is
'sent, cancelled, dead: so the turn was closed. failed: it is tried again. away: it waits, and no attempt'
' counts; nor do released, begun_anew, restarted, merged. lapsed: nobody said how it ended.';
comment on column public.turn_attempts.tokens_in is 'Of this attempt alone.';

alter table public.turns add column if not exists handler_since timestamptz;
comment on column public.turns.handler_since is
'When `handler` got the turn (n8n), or had its reply made (fallback).';

alter table public.turns
add column if not exists undelivered integer not null default 0,
add column if not exists execution_url text;
comment on column public.turns.undelivered is 'How many parts of its reply WhatsApp did not deliver.';
comment on column public.turns.execution_url is
'Where people see the execution in n8n''s editor; null where its workflow is not known.';
alter table public.turn_attempts
add column if not exists execution_id text,
add column if not exists execution_url text;
comment on column public.turn_attempts.execution_id is
'The execution in n8n that worked on it; its turn names the last one alone.';

alter table public.turn_attempts enable row level security;

-- Attempts go with their turn, however that is deleted. Not by a foreign key: it would look the turn up and
-- lock it again at each attempt's end, though only note_attempt writes here, of a turn that it has locked.
create or replace function hybridflow.forget_attempts()
returns trigger
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
    if tg_op = 'TRUNCATE' then
        truncate public.turn_attempts;
        return null;
    end if;
    delete from public.turn_attempts as a using gone as g where a.turn_id = g.id;
    return null;
end
$$;

create or replace trigger forget_attempts
after delete on public.turns
referencing old table as gone
for each statement
execute function hybridflow.forget_attempts();

create or replace trigger forget_all_attempts
after truncate on public.turns
for each statement
execute function hybridflow.forget_attempts();

-- In 0.1.0 a turn that was given back kept the name of who had it.
update public.turns set worker = null
where waiting and worker is not null;

-- Notes that the attempt at p_turn, as that was during the attempt, has ended. Without a worker there was
-- none. What the attempt used is what the turn has used since the attempts before.
create or replace function hybridflow.note_attempt(
    p_turn public.turns, p_outcome text, p_ended timestamptz, p_reason text, p_error_kind text, p_error text
)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_handled boolean := coalesce(p_turn.handler_since >= p_turn.claimed_at, false);
    v_in integer := p_turn.tokens_in;
    v_out integer := p_turn.tokens_out;
begin
    if p_turn.worker is null then
        return;
    end if;
    if v_in > 0 or v_out > 0 then
        select nullif(v_in - coalesce(sum(a.tokens_in), 0), 0), nullif(v_out - coalesce(sum(a.tokens_out), 0), 0)
        into v_in, v_out
        from public.turn_attempts as a where a.turn_id = p_turn.id;
    end if;
    insert into public.turn_attempts (
        turn_id, tenant_id, attempt, worker, handler, handler_since, began, ended, outcome, reason, error_kind,
        error, provider, model, tokens_in, tokens_out, execution_id, execution_url
    )
    values (
        p_turn.id, p_turn.tenant_id, p_turn.attempt, p_turn.worker, case when v_handled then p_turn.handler end,
        case when v_handled then p_turn.handler_since end, p_turn.claimed_at, p_ended, p_outcome, p_reason,
        p_error_kind, p_error,
        case when v_handled or v_in is not null or v_out is not null then p_turn.provider end,
        case when v_handled or v_in is not null or v_out is not null then p_turn.model end,
        v_in, v_out,
        case when v_handled then p_turn.execution_id end, case when v_handled then p_turn.execution_url end
    );
    if p_turn.waits >= 100 then
        -- Through a long outage a turn is tried every half minute: of the tries that came to nothing, the newest stay.
        delete from public.turn_attempts
        where turn_id = p_turn.id and id = (
            select min(a.id) from public.turn_attempts as a
            where a.turn_id = p_turn.id and a.outcome = 'away' and a.tokens_in is null and a.tokens_out is null
        );
    end if;
end
$$;

-- Notes the attempts at these turns of which nobody said how they ended: their lease ran out.
create or replace function hybridflow.note_lapsed(p_turn_ids bigint[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
    perform hybridflow.note_attempt(t, 'lapsed', t.lease_until, null, null, null)
    from public.turns as t
    where t.id = any(p_turn_ids) and t.held and t.worker is not null;
end
$$;
