-- HybridFlow: handoffs: the AI calls a human to a conversation, and what became of that.
--
-- A handoff is `waiting` until a human of the business takes it (`taken`), by writing or pausing, here or on
-- the phone. It is `done` when the conversation is given back to the AI. A handoff that nobody took ends with
-- its pause as `expired`.

create table if not exists public.handoffs (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint references public.turns (id) on delete set null,
    state text not null default 'waiting' constraint handoffs_state_check
    check (state in ('waiting', 'taken', 'done', 'expired')),
    reason text not null constraint handoffs_reason_check check (
        reason in ('asked_for_person', 'not_known', 'not_allowed', 'upset', 'tool_failed', 'other')
    ),
    why text,
    summary text,
    said text,
    words text not null default 'none' constraint handoffs_words_check
    check (words in ('none', 'saying', 'said', 'not_said')),
    created_at timestamptz not null default now(),
    taken_at timestamptz,
    taken_by text,
    taken_name text,
    taken_message_id bigint references public.messages (id) on delete set null,
    ended_at timestamptz,
    step integer not null default 0,
    step_at timestamptz not null default now(),
    next_at timestamptz,
    line_turn_id bigint references public.turns (id) on delete set null,
    is_quiet boolean not null default false
);

comment on table public.handoffs is
'The AI called a human to a conversation: why, since when, and who took it.';
comment on column public.handoffs.turn_id is 'The turn that handed off; null: no turn did, or it was pruned.';
comment on column public.handoffs.why is
'The reason in the words of the caller that handed off, if these say more than `reason`.';
comment on column public.handoffs.said is 'What the turn that hands off tells the customer about it.';
comment on column public.handoffs.words is
'What became of `said`: none (nothing is said), saying, said (all of it), not_said (a part was not'
' delivered).';
comment on column public.handoffs.taken_by is
'How it was taken, as a pause names its source: owner (wrote on the phone) or operator (used the API).';
comment on column public.handoffs.taken_message_id is 'The message by which it was taken, if it was one.';
comment on column public.handoffs.step is
'The last step that was done because nobody took it: people were told again (1), the next number was told'
' (2), the customer was told (3).';
comment on column public.handoffs.step_at is
'When that step was done; at first, when the handoff began to wait.';
comment on column public.handoffs.next_at is 'When it is looked at next; null: never again.';
comment on column public.handoffs.is_quiet is 'Nothing is sent to the other side, because that is a machine.';
comment on column public.handoffs.line_turn_id is
'The turn that tells the customer that nobody has come yet.';

create unique index if not exists handoffs_waiting_once on public.handoffs (session_id)
where state = 'waiting';
create index if not exists handoffs_by_session on public.handoffs (session_id, id desc);
create index if not exists handoffs_open on public.handoffs (session_id) where ended_at is null;
create index if not exists handoffs_by_tenant on public.handoffs (tenant_id, id desc);
create index if not exists handoffs_by_state on public.handoffs (tenant_id, state, id desc);
create index if not exists handoffs_by_turn on public.handoffs (turn_id) where turn_id is not null;
create index if not exists handoffs_by_line_turn on public.handoffs (line_turn_id)
where line_turn_id is not null;
create index if not exists handoffs_by_message on public.handoffs (taken_message_id)
where taken_message_id is not null;
create index if not exists handoffs_ended on public.handoffs (tenant_id, ended_at)
where ended_at is not null;
create index if not exists handoffs_to_look_at on public.handoffs (next_at)
where state = 'waiting' and next_at is not null;
alter table public.handoffs enable row level security;
alter table public.handoffs add column if not exists part integer;
comment on column public.handoffs.part is
'If a flow sent the promise of a human itself: the number of that part. Null: the customer was told in'
' another way.';
