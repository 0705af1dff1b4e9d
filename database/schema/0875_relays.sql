-- HybridFlow: relays: messages of a human of the business to a contact through HybridFlow, over the API or by
-- quoting a notice in WhatsApp, while they are on their way.
--
-- A relay is a row. It is written in the transaction of its request, and any router may carry it out, so a
-- crashed router loses nothing. It is sent once: a send that has begun is begun again only if it certainly
-- did not leave. If one of the staff asked for it by quoting a notice, they get one word back at the end.

create table if not exists public.relays (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete set null,
    staff_session_id bigint references public.sessions (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    word_message_id bigint references public.messages (id) on delete set null,
    source text not null constraint relays_source_check check (source in ('operator', 'staff')),
    caller text,
    idempotency_key text,
    request_hash text,
    said jsonb,
    facts jsonb not null default '{}',
    outcome text constraint relays_outcome_check check (
        outcome in (
            'sent', 'failed', 'in_doubt', 'taken', 'resumed', 'until', 'past', 'too_far', 'no_notice',
            'no_session', 'erased', 'unsupported', 'no_media', 'unquoted', 'too_old',
            'too_many', 'switched_off', 'answered'
        )
    ),
    error text,
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiting boolean generated always as (finished_at is null) stored
);

comment on table public.relays is
'What a human of the business says to a contact, or asks for by quoting a notice, while it is on its way.';
comment on column public.relays.session_id is
'The session that it is for; null: none, or the session was erased.';
comment on column public.relays.staff_session_id is
'The session in which one of the staff wrote it, and gets the word back.';
comment on column public.relays.message_id is 'The message to the contact, sent or about to be sent.';
comment on column public.relays.word_message_id is 'The message with the one word back to the staff.';
comment on column public.relays.caller is
'Who requested it over the API, with the kind of caller: key:12, user:…, deployment:…';
comment on column public.relays.idempotency_key is 'Identifies a repeated request of the same caller.';
comment on column public.relays.request_hash is
'A hash of the request: another request with the same idempotency_key has another hash.';
comment on column public.relays.said is
'What is to be sent, or what the staff wrote; null when it is not needed any more.';
comment on column public.relays.facts is 'What the word back mentions, such as the contact and the time.';
comment on column public.relays.outcome is 'How the relay ended; null: it is on its way.';
comment on column public.relays.waiting is 'The relay is not over; see turns.waiting.';

create unique index if not exists relays_once on public.relays (tenant_id, caller, idempotency_key)
where idempotency_key is not null;
create index if not exists relays_waiting on public.relays (tenant_id, next_at) where waiting;
create index if not exists relays_waiting_until on public.relays (next_at) where waiting;
create index if not exists relays_by_session on public.relays (session_id, id desc)
where session_id is not null;
create index if not exists relays_by_staff on public.relays (staff_session_id, id desc)
where staff_session_id is not null;
create index if not exists relays_by_message on public.relays (message_id) where message_id is not null;
create index if not exists relays_by_word on public.relays (word_message_id)
where word_message_id is not null;
create index if not exists relays_finished on public.relays (tenant_id, finished_at)
where finished_at is not null;
alter table public.relays enable row level security;

-- The largest number of relays of a tenant that may be on their way.
create or replace function hybridflow.most_relays()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 200
$$;

-- Whether the tenant already has the largest number of relays on their way.
create or replace function hybridflow.has_too_many_relays(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select hybridflow.most_relays() <= (
        select count(*) from (
            select r.id from public.relays as r
            where r.tenant_id = p_tenant_id and r.waiting limit hybridflow.most_relays()
        ) as w
    )
$$;

-- Whether a relay's message is written down, but its send has not begun.
create or replace function hybridflow.is_unbegun(p_message public.messages)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.send_state = 'sending' and p_message.check_at = 'infinity', false)
$$;

-- A relay with its message as the API shows them: {message, state, error}. state: 'waiting' (it is on its
-- way), 'in_doubt' (it has begun, and nobody knows yet how it ended), 'sent', 'failed'.
create or replace function hybridflow.relay_json(p_relay public.relays)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'message', case when v_message.id is not null then hybridflow.short_message_json(v_message) end,
        'state', case
            when v_message.send_state = 'sent' then 'sent'
            when p_relay.outcome in ('sent', 'failed', 'in_doubt') then p_relay.outcome
            when p_relay.outcome is not null then 'failed'
            when v_message.send_state = 'unknown' then 'in_doubt'
            else 'waiting'
        end,
        'error', p_relay.error
    );
end
$$;
