-- HybridFlow: columns about a send, about a turn that stops, waits or runs beside another, and about a pause.

-- One pause may have several reasons, and lasts as long as the longest of them: for ever (pause_indefinite),
-- until a time that an operator named (paused_until), or for resume_after_hours from pause_asked_at or from
-- pause_written_at.
alter table public.sessions
add column if not exists pause_asked_at timestamptz,
add column if not exists pause_written_at timestamptz,
add column if not exists awaited_pictures integer,
add column if not exists awaited_until timestamptz;

comment on column public.sessions.pause_asked_at is
'When somebody (an operator, a handoff, a loop) last asked for the current pause without an end time.';
comment on column public.sessions.awaited_pictures is
'How many pictures of an announced album have not arrived yet; see awaited_until.';
comment on column public.sessions.awaited_until is
'Until when, at most, an answer waits for the pictures of an announced album.';
comment on column public.sessions.pause_written_at is
'When the last message was written by which a human of the business took over, within the current pause.';

alter table public.turns
add column if not exists beside boolean not null default false,
add column if not exists stop_reason text,
add column if not exists waits integer not null default 0,
add column if not exists seen_at timestamptz,
add column if not exists execution_told_at timestamptz,
add column if not exists retried_at timestamptz,
add column if not exists waits_for text,
add column if not exists waiting boolean generated always as (state = 'pending') stored,
add column if not exists held boolean generated always as (state in ('running', 'sending')) stored;

alter table public.turns drop constraint if exists turns_held_by_token;
alter table public.turns add constraint turns_held_by_token
check (not held or (token_hash is not null and lease_until is not null));

comment on column public.turns.waiting is 'Whether it is pending; see the index turns_waiting.';
comment on column public.turns.held is 'Whether it is running or sending; see the index turns_held.';
comment on column public.turns.retried_at is
'When a person last retried it. Its age counts from then, and no claim ends it as too old for its old'
' messages.';
comment on column public.turns.waits_for is
'What was away when it was tried (see llm_of, line_of); when that is back it is due at once. Null: nothing.';
comment on column public.turns.beside is
'It was sending when its session was merged into one with an active turn; it is finished beside that turn.';
comment on column public.turns.stop_reason is
'Why it may say no more, for example: a human took over while a part was leaving. It is closed when that'
' part is settled.';
comment on column public.turns.waits is
'Attempts in a row that sent nothing because Evolution, the line or the LLM was away; they do not count.';
comment on column public.turns.seen_at is
'When the conversation was read from which its reply is made, by the clock of messages.created_at.';
comment on column public.turns.execution_told_at is
'When n8n itself named execution_id in its answer to the router; null: its flow reported it.';

alter table public.turns
add column if not exists said_so_far text;

comment on column public.turns.said_so_far is
'All texts that its flow has sent, as the guard reads them; null once nobody works on the turn any more.';

-- When a turn ends or is put back, only its messages keep what it said.
create or replace function hybridflow.forget_what_was_said()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.state not in ('running', 'sending') then
        update public.turns set said_so_far = null where id = new.id;
    end if;
    return null;
end
$$;

-- After, not before: with a before trigger, every update of a turn would lock its row first, whatever the
-- condition.
create or replace trigger forget_what_was_said
after update of state on public.turns
for each row
when (new.said_so_far is not null)
execute function hybridflow.forget_what_was_said();

-- Queries use these two columns only to find turns that wait or are held, and each index has its own
-- condition. With the state as the condition, the planner would choose an index of a few rows for any query
-- that names the state, while its statistics are older than the rows, and each claim would read all of them.
create unique index if not exists turns_waiting_once on public.turns (session_id) where waiting;
create index if not exists turns_waiting on public.turns (tenant_id, run_after) where waiting;
create index if not exists turns_waiting_until on public.turns (run_after) where waiting and not held;
create index if not exists turns_put_off on public.turns (waits_for, id desc)
where waits_for is not null and (waiting or held);
create index if not exists turns_put_off_by_tenant on public.turns (waits_for, tenant_id, id desc)
where waits_for is not null and (waiting or held);
create unique index if not exists turns_held_once on public.turns (session_id) where held and not beside;
create index if not exists turns_worked_on on public.turns (worker)
where held and not waiting and worker is not null;
-- Only for queries that name a session: see above.
create index if not exists turns_sent on public.turns (session_id, id desc)
where state = 'sent' and session_id is not null;
create index if not exists turns_beside on public.turns (session_id) where held and beside;
create index if not exists turns_held on public.turns (tenant_id, lease_until) where held;
create index if not exists turns_held_until on public.turns (lease_until) where held and not waiting;

alter table public.notices
add column if not exists waiting boolean generated always as (state = 'pending') stored;
comment on column public.notices.waiting is 'Whether it is pending; see turns.waiting.';

create unique index if not exists notices_waiting_once on public.notices (tenant_id, kind)
where waiting and kind <> 'handoff';
create index if not exists notices_waiting on public.notices (tenant_id, next_at) where waiting;
create index if not exists notices_waiting_until on public.notices (next_at)
where waiting and next_at is not null;

alter table public.messages
add column if not exists identity text,
add column if not exists told_as text[],
add column if not exists chosen_id text,
add column if not exists late_until timestamptz,
add column if not exists check_at timestamptz,
add column if not exists upload_seconds numeric,
add column if not exists failed_at timestamptz,
add column if not exists failed_since timestamptz,
add column if not exists error_code text,
add column if not exists undelivered_turns bigint[] not null default '{}',
add column if not exists given_up text,
add column if not exists transcript text,
add column if not exists description text;

comment on column public.messages.transcript is
'What is said in a voice message, as recognised; empty: nothing is said. Null: nobody has listened (yet).';
comment on column public.messages.description is
'What its media shows or says, in words. Null: it has not been described.';
comment on column public.messages.given_up is
'Why this part of a reply can never be sent. It certainly did not leave, and the parts after it are sent.';
comment on column public.messages.identity is
'Our own sends: a hash of the request to Evolution; the same request again has the same hash.';
comment on column public.messages.told_as is
'Our own sends: hashes of what their echo may say, to identify the send while its id is unknown.';
comment on column public.messages.chosen_id is 'The id that we asked Evolution to give it.';
comment on column public.messages.late_until is
'After a doubt it was judged as not sent; until this time an echo with its words is still taken as ours.';
comment on column public.messages.check_at is
'When a send in doubt that belongs to no turn is looked up next.';
comment on column public.messages.upload_seconds is
'Our own sends: how many seconds longer than others it may take because its media is large. Null: none.';

create index if not exists messages_not_known_yet
on public.messages (tenant_id, send_began_at)
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);
create index if not exists messages_by_chosen_id
on public.messages (chosen_id) where wa_id is null and chosen_id is not null;
create index if not exists messages_to_check
on public.messages (coalesce(check_at, send_began_at))
where turn_id is null and send_state in ('sending', 'unknown');
