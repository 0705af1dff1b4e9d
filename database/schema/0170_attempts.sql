-- HybridFlow: the attempts at turns, each recorded once, when it has ended.
--
-- An attempt is under way while its turn is held and has a worker. Until it ends, the turn's own columns
-- describe it (attempt, worker, claimed_at, handler, handler_since), and there can be no second one. So an
-- attempt costs one insert.

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
'Attempts at turns, once they have ended. They are deleted with their turn: see forget_attempts.';
comment on column public.turn_attempts.attempt is
'Its number (1 = first), as its turn counted then. An attempt that does not count shares its number with'
' another.';
comment on column public.turn_attempts.handler is
'Who made the reply, or had to make it; null: the attempt did not get that far, or went on with a saved'
' reply.';
comment on column public.turn_attempts.outcome is
'sent, cancelled, dead: the turn was closed like that. failed: it is tried again. away: it waits, and the'
' attempt does not count; neither do released, begun_anew, restarted, merged. lapsed: nobody reported how it'
' ended.';
comment on column public.turn_attempts.tokens_in is 'Tokens of this attempt alone.';

alter table public.turns add column if not exists handler_since timestamptz;
comment on column public.turns.handler_since is
'When `handler` got the turn, or when the reply that it made was saved.';

alter table public.turns
add column if not exists undelivered integer not null default 0,
add column if not exists execution_url text;
comment on column public.turns.undelivered is 'How many parts of its reply WhatsApp did not deliver.';
comment on column public.turns.execution_url is
'The link to the execution in n8n''s editor; null: its workflow is not known.';
alter table public.turn_attempts
add column if not exists execution_id text,
add column if not exists execution_url text;
comment on column public.turn_attempts.execution_id is
'n8n''s execution that worked on it; the turn itself names only the last one.';

alter table public.turn_attempts enable row level security;

-- Attempts are deleted with their turn, however that is deleted. This is not a foreign key, because a foreign
-- key would look the turn up and lock it again at the end of each attempt, although only note_attempt writes
-- here, for a turn that it has already locked.
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

-- In 0.1.0 a turn that was given back kept the name of its worker.
update public.turns set worker = null
where waiting and worker is not null;

-- Records that the attempt at p_turn has ended. p_turn is the turn as it was during the attempt; without a
-- worker there was no attempt. The attempt's tokens are the turn's tokens minus those of its earlier
-- attempts.
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
        -- During a long outage a turn is tried every half minute: of the attempts that did nothing, only the
        -- newest are kept.
        delete from public.turn_attempts
        where turn_id = p_turn.id and id = (
            select min(a.id) from public.turn_attempts as a
            where a.turn_id = p_turn.id and a.outcome = 'away' and a.tokens_in is null and a.tokens_out is null
        );
    end if;
end
$$;

-- Records the attempts at these turns whose lease ran out: nobody reported how they ended.
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
