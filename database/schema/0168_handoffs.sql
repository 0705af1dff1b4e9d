-- HybridFlow: handoffs: the AI wants a human in a conversation, and what became of it.
--
-- One is `waiting` until a human of the business takes it, by writing or pausing, here or on the phone
-- (`taken`), and `done` when the conversation is given back to the AI. One that nobody took ends with its
-- pause as `expired`.

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
'The AI wants a human in a conversation: why, since when, and who took it.';
comment on column public.handoffs.turn_id is 'The turn that handed off; null: no turn did, or it is pruned.';
comment on column public.handoffs.why is
'The reason in the words of who handed off, where it says more than `reason`.';
comment on column public.handoffs.said is 'What the customer is told of it, by the turn that hands off.';
comment on column public.handoffs.words is
'What became of that: nothing is said, it is being said, all of it is said, or a part was not delivered.';
comment on column public.handoffs.taken_by is
'What took it, as a pause names its source: owner, who wrote on the phone, or operator, who used the API.';
comment on column public.handoffs.taken_message_id is 'The message by which it was taken, if it was one.';
comment on column public.handoffs.step is
'How often something was done about it that nobody took: people told again (1), the next number told (2), the'
' customer told (3).';
comment on column public.handoffs.step_at is 'When that was last done; at first when it began to wait.';
comment on column public.handoffs.next_at is 'When it is looked at next; null: no more.';
comment on column public.handoffs.is_quiet is 'Nothing is said to the other side: it is a machine.';
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
'Of what a flow sent by itself, the part that promised a human; null: it was told in another way.';
