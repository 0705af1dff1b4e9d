-- HybridFlow: tables.
--
-- public     tables and the functions that callers use (PostgREST exposes them to service_role only)
-- hybridflow steps that those functions share; never called from outside
--
-- State changes only through the functions. Row level security is on, and nothing is granted here to anon or
-- authenticated. Every statement is safe to run again.

create schema if not exists hybridflow;

-- The words that a column may have are a domain, not a check of its table. PostgreSQL reads and plans all
-- checks of a table again for each statement that writes one of its rows, whatever the statement changes, and
-- these tables are written at each message. A connection reads a domain once, and checks it only where the
-- column is written. The allowed words are added below, so that no table of an earlier release is rewritten.
do $hybridflow$
declare
    v_name text;
begin
    foreach v_name in array array[
        'chat', 'actor', 'turn_state', 'handler', 'sender', 'send_state', 'attempt_end'
    ] loop
        if pg_catalog.to_regtype('hybridflow.' || v_name) is null then
            execute format('create domain hybridflow.%I as text', v_name);
        end if;
    end loop;
end
$hybridflow$;

create table if not exists public.tenants (
    id bigint generated always as identity primary key,
    instance_name text not null unique check (instance_name ~ '^[^/]+$'),
    evo_server_url text not null check (evo_server_url ~ '^https?://'),
    evo_api_key text,
    system_prompt text,
    llm_provider text not null default 'anthropic' check (llm_provider in ('anthropic', 'openai')),
    llm_api_key text,
    llm_model text,
    llm_max_tokens integer check (llm_max_tokens > 0),
    is_active boolean not null default true,
    -- Settings of the conversation; null means the deployment's default.
    debounce_seconds numeric check (debounce_seconds between 0 and 3600),
    resume_after_hours numeric check (resume_after_hours > 0 and resume_after_hours <= 87600),
    answer_within_minutes numeric check (answer_within_minutes > 0 and answer_within_minutes <= 525600),
    auto_reply_seconds numeric not null default 0 check (auto_reply_seconds between 0 and 86400),
    other_client_takeover boolean not null default true,
    answer_groups boolean not null default false,
    unanswered_kinds text[] not null default '{}',
    on_new_message text not null default 'queue' check (on_new_message in ('queue', 'restart')),
    -- Who is told that a human is needed, or that the connection is lost.
    notify_number text
    check (notify_number ~ '^([1-9][0-9]{6,14}|[0-9]+@(s\.whatsapp\.net|lid)|[0-9-]+@g\.us)$'),
    notify_url text check (notify_url ~ '^https?://[^/]'),
    -- Who may post webhooks, within what the deployment allows.
    webhook_networks cidr[] check (webhook_networks <> '{}'),
    shared_webhook_secret boolean not null default true,
    -- What Evolution last reported about the connection.
    connection_state text,
    connection_reason integer,
    connection_changed_at timestamptz,
    connection_lost_at timestamptz,
    owner_jid text,
    qr_code text,
    pairing_code text,
    qr_updated_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table public.tenants is 'One business: one Evolution instance, its prompt, provider and settings.';
comment on column public.tenants.connection_lost_at is
'Since when the connection has been lost; null: it is not lost.';

create table if not exists public.sessions (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    chat hybridflow.chat not null default 'contact',
    phone_jid text,
    lid text,
    contact_name text,
    is_paused boolean not null default false,
    pause_source hybridflow.actor,
    pause_reason text,
    pause_message_id bigint,
    paused_at timestamptz,
    paused_until timestamptz,
    pause_indefinite boolean not null default false,
    resumed_at timestamptz,
    resume_source hybridflow.actor,
    last_human_at timestamptz,
    last_message_at timestamptz,
    last_contact_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

alter table public.sessions
-- The columns that 0.1.0 had come first (see 0895_erased.sql), as in an upgraded database.
add column if not exists erased_before timestamptz,
add column if not exists erasure_checked boolean not null default false,
add column if not exists merged_at timestamptz;

comment on table public.sessions is 'One tenant''s conversation with one contact (or group).';
comment on column public.sessions.last_human_at is
'When a human of the business last wrote or paused; a pause without its own end counts from here.';
comment on column public.sessions.merged_at is
'When another session was merged into it, by the clock of turns.seen_at. No earlier turn has seen the'
' messages that this brought.';
comment on column public.sessions.pause_message_id is
'The message that caused the pause; if it turns out to be our own, the pause is withdrawn.';

create index if not exists sessions_by_activity
on public.sessions (tenant_id, last_message_at desc nulls last, id desc);
create index if not exists sessions_paused_by_activity
on public.sessions (tenant_id, last_message_at desc nulls last, id desc) where is_paused;
create index if not exists sessions_paused
on public.sessions (tenant_id, coalesce(last_human_at, paused_at, updated_at))
where is_paused and not pause_indefinite and paused_until is null;
create index if not exists sessions_paused_until
on public.sessions (paused_until) where is_paused and paused_until is not null;

create table if not exists public.session_identities (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    jid text not null,
    session_id bigint not null references public.sessions (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (tenant_id, jid)
);

comment on table public.session_identities is
'Every JID (phone, LID, rewritten number) under which a contact is known; all lead to one session.';

create index if not exists session_identities_by_session on public.session_identities (session_id);
-- By the beginning and by the end of a number, for searches for a contact.
create index if not exists session_identities_by_beginning
on public.session_identities (tenant_id, jid text_pattern_ops);
create index if not exists session_identities_by_end
on public.session_identities (tenant_id, reverse(split_part(jid, '@', 1)) text_pattern_ops);

create table if not exists public.turns (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    state hybridflow.turn_state not null default 'pending',
    reason text,
    run_after timestamptz not null,
    debounce_until timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    worker text,
    handler hybridflow.handler,
    execution_id text,
    reply jsonb,
    incomplete boolean not null default false,
    error_kind text,
    error text,
    provider text,
    model text,
    tokens_in integer,
    tokens_out integer,
    correlation_id text,
    created_at timestamptz not null default now(),
    claimed_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default now()
);

comment on table public.turns is
'The work of making one reply: pending, running, sending, then sent, cancelled or dead.';
comment on column public.turns.token_hash is
'SHA-256 of the current attempt''s fencing token; a new attempt makes the old token worthless.';
comment on column public.turns.execution_id is
'n8n''s execution that works on the turn, as its flow reported it.';
comment on column public.turns.incomplete is 'Closed as sent, although not every part of the reply was sent.';

create index if not exists turns_by_execution on public.turns (execution_id) where execution_id is not null;
create index if not exists turns_by_session on public.turns (session_id, id desc);
create index if not exists turns_by_tenant on public.turns (tenant_id, id desc);
create index if not exists turns_by_state on public.turns (tenant_id, state, id desc);

create table if not exists public.messages (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint references public.turns (id) on delete set null,
    wa_id text,
    from_me boolean not null,
    sender hybridflow.sender not null,
    kind text not null default 'text',
    body text not null default '',
    media jsonb,
    quoted jsonb,
    author_name text,
    expects_reply boolean not null default false,
    status text,
    sent_at timestamptz not null,
    edited_at timestamptz,
    deleted_at timestamptz,
    part integer,
    send_state hybridflow.send_state,
    send_began_at timestamptz,
    sends integer not null default 0,
    created_at timestamptz not null default now()
);

comment on table public.messages is 'One WhatsApp message, in or out; from_me as in Evolution.';
comment on column public.messages.sender is
'contact; owner (typed by hand); operator (a human, through HybridFlow); ai; client (another client of the'
' API); auto (greeting, call reply).';
comment on column public.messages.sent_at is 'WhatsApp''s messageTimestamp: the order of the conversation.';
comment on column public.messages.send_state is
'Our own sends: sending, then sent, unknown (the outcome is in doubt) or failed (certainly not sent).';

-- In 0.1.0 these columns were texts with checks. The triggers and generated columns that prevent a change of
-- type are dropped here, and made again below, as in a new database.
do $hybridflow$
declare
    v_old record;
    v_domain record;
begin
    for v_old in
        select c.of_table, c.name, c.domain
        from (values
            ('sessions', 'chat', 'chat'), ('sessions', 'pause_source', 'actor'),
            ('sessions', 'resume_source', 'actor'), ('turns', 'state', 'turn_state'),
            ('turns', 'handler', 'handler'), ('messages', 'sender', 'sender'),
            ('messages', 'send_state', 'send_state'), ('messages_archive', 'sender', 'sender'),
            ('messages_archive', 'send_state', 'send_state')
        ) as c (of_table, name, domain)
        join pg_catalog.pg_attribute as a
            on a.attrelid = pg_catalog.to_regclass('public.' || c.of_table) and a.attname = c.name
        where a.atttypid = 'text'::pg_catalog.regtype
    loop
        drop trigger if exists sessions_audit_pause on public.sessions;
        drop trigger if exists turns_undelivered on public.turns;
        drop trigger if exists forget_what_was_said on public.turns;
        alter table public.turns
        drop constraint if exists turns_check, drop column if exists waiting, drop column if exists held;
        execute format(
            'alter table public.%I drop constraint if exists %I, alter column %I type hybridflow.%I',
            v_old.of_table, v_old.of_table || '_' || v_old.name || '_check', v_old.name, v_old.domain
        );
    end loop;
    for v_domain in
        select d.name, d.allowed
        from (values
            ('chat', array['contact', 'group']),
            ('actor', array['owner', 'operator', 'contact', 'ai', 'cron']),
            ('turn_state', array['pending', 'running', 'sending', 'sent', 'cancelled', 'dead']),
            ('handler', array['n8n', 'fallback']),
            ('sender', array['contact', 'owner', 'operator', 'ai', 'client', 'auto']),
            ('send_state', array['sending', 'sent', 'unknown', 'failed']),
            ('attempt_end', array[
                'sent', 'cancelled', 'dead', 'failed', 'away', 'in_doubt', 'refused', 'budget', 'unreadable',
                'released', 'begun_anew', 'restarted', 'merged', 'lapsed', 'cut_off'
            ])
        ) as d (name, allowed)
        where not exists (
            select from pg_catalog.pg_constraint as c
            where c.contypid = ('hybridflow.' || d.name)::pg_catalog.regtype and c.contype = 'c'
                and strpos(pg_catalog.pg_get_constraintdef(c.oid), quote_literal(d.allowed::text)) > 0
        )
    loop
        -- A release may allow more words than the one before.
        execute format(
            'alter domain hybridflow.%I drop constraint if exists %I', v_domain.name, v_domain.name || '_check'
        );
        execute format(
            'alter domain hybridflow.%I add constraint %I check (value = any(%L::text[]))',
            v_domain.name, v_domain.name || '_check', v_domain.allowed
        );
    end loop;
end
$hybridflow$;

create unique index if not exists messages_once
on public.messages (wa_id, tenant_id, from_me, session_id)
where wa_id is not null;
create unique index if not exists messages_one_per_part
on public.messages (turn_id, part) where part is not null;
create index if not exists messages_by_turn on public.messages (turn_id) where turn_id is not null;
create index if not exists messages_in_order on public.messages (session_id, sent_at desc, id desc);
-- Messages that a human of the business may have written: see hybridflow.is_by_human.
create index if not exists messages_by_humans on public.messages (session_id, sent_at desc, id desc)
where from_me and sender in ('owner', 'operator', 'client');
create index if not exists messages_by_creation on public.messages (tenant_id, created_at desc, id desc);

create table if not exists public.processed_events (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    event_key text not null,
    event text not null,
    decision jsonb,
    waiting_for text,
    change jsonb,
    processed_at timestamptz not null default clock_timestamp()
);

comment on table public.processed_events is
'The webhook deliveries that were accepted, each with the decision made.';
comment on column public.processed_events.waiting_for is
'The wa_id of a message that is not known yet; the change is applied when that message is recorded.';

-- In byte order, so that the events about one message are also found by the beginning of their keys.
create unique index if not exists processed_events_once
on public.processed_events (tenant_id, event_key text_pattern_ops);
alter table public.processed_events drop constraint if exists processed_events_tenant_id_event_key_key;
-- The contacts in changes that waited for their message, or still wait.
create index if not exists processed_events_changes
on public.processed_events using gin ((change -> 'jids')) where change is not null;
create index if not exists processed_events_recent on public.processed_events (processed_at desc);
-- When a tenant's webhook last delivered something. Our own probes and what gap repair fetched do not count.
create index if not exists processed_events_last
on public.processed_events (tenant_id, processed_at desc)
where event not in ('hybridflow.test', 'gap_repair');
create index if not exists processed_events_waiting
on public.processed_events (tenant_id, waiting_for) where waiting_for is not null;

create table if not exists public.notices (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    kind text not null,  -- the kinds: 0871_notices.sql
    facts jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    reason text,
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    number_told_at timestamptz,
    url_told_at timestamptz,
    handler text check (handler in ('n8n', 'fallback')),
    error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now()
);

comment on table public.notices is
'What the people of a business must be told, for example that a human is needed or the connection is lost.';
comment on column public.notices.reason is
'Why nobody was told: recovered (it is over), replaced (by a newer notice), nobody (nobody is to be told).';
comment on column public.notices.next_at is 'When it is due; while it is being told, when the lease ends.';
comment on column public.notices.number_told_at is
'When the send of its one WhatsApp message began. From then on the number counts as told, unless the send'
' certainly failed.';
comment on column public.notices.message_id is 'The WhatsApp message that tells it.';

create index if not exists notices_by_tenant on public.notices (tenant_id, id desc);
create index if not exists notices_by_session on public.notices (session_id);
create index if not exists notices_by_jid on public.notices (tenant_id, (facts ->> 'jid'))
where facts ->> 'jid' is not null;
create index if not exists notices_by_message on public.notices (message_id);

alter table public.tenants enable row level security;
alter table public.sessions enable row level security;
alter table public.session_identities enable row level security;
alter table public.turns enable row level security;
alter table public.messages enable row level security;
alter table public.processed_events enable row level security;
alter table public.notices enable row level security;
