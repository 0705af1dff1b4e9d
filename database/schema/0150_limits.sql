-- HybridFlow: what a tenant may say and spend: the columns for it, and the table of what was spent.

-- Rules for replies, loops and budgets; null means the deployment's default.
alter table public.tenants
add column if not exists forbidden_patterns text[] not null default '{}'
constraint tenants_forbidden_patterns_check check (
    cardinality(forbidden_patterns) <= 50 and length(array_to_string(forbidden_patterns, '')) <= 10000
    and array_position(forbidden_patterns, null) is null
),
add column if not exists max_reply_characters integer
constraint tenants_max_reply_characters_check check (max_reply_characters > 0),
add column if not exists leak_characters integer
constraint tenants_leak_characters_check check (leak_characters >= 0),
add column if not exists moderation_url text
constraint tenants_moderation_url_check check (moderation_url ~ '^https?://[^/]'),
add column if not exists on_refused_reply text not null default 'handoff'
constraint tenants_on_refused_reply_check check (on_refused_reply in ('handoff', 'fallback_message')),
add column if not exists fallback_message text
constraint tenants_fallback_message_check check (length(btrim(fallback_message)) between 1 and 4096),
add column if not exists loop_replies integer
constraint tenants_loop_replies_check check (loop_replies >= 0),
add column if not exists loop_minutes numeric
constraint tenants_loop_minutes_check check (loop_minutes > 0 and loop_minutes <= 1440),
add column if not exists daily_turns integer
constraint tenants_daily_turns_check check (daily_turns >= 0),
add column if not exists daily_tokens bigint
constraint tenants_daily_tokens_check check (daily_tokens >= 0),
add column if not exists contact_daily_turns integer
constraint tenants_contact_daily_turns_check check (contact_daily_turns >= 0),
add column if not exists contact_daily_tokens bigint
constraint tenants_contact_daily_tokens_check check (contact_daily_tokens >= 0);

-- Columns that later files use. They are here so that the columns have the same order in every database. A
-- new setting's column goes to the end, with a check named `tenants_<column>_check`. What the setting means,
-- and who may set it, is declared in router/configuration/tenant_settings.py.
alter table public.tenants
add column if not exists caught_up_at timestamptz,
add column if not exists retention_days integer
constraint tenants_retention_days_check check (retention_days between 1 and 36500),
add column if not exists on_retention text not null default 'archive'
constraint tenants_on_retention_check check (on_retention in ('archive', 'delete')),
add column if not exists pruned_before timestamptz,
add column if not exists guard_changed_at timestamptz not null default '-infinity',
add column if not exists answer_edits boolean not null default false,
add column if not exists answered_kinds text[] not null default '{}'
constraint tenants_answered_kinds_check check (answered_kinds <@ array['reaction', 'poll_vote']),
add column if not exists unknown_lid_minutes numeric not null default 3
constraint tenants_unknown_lid_minutes_check check (unknown_lid_minutes between 0 and 60),
add column if not exists facts text,
add column if not exists timezone text
constraint tenants_timezone_check check (length(timezone) between 1 and 64),
add column if not exists opening_hours jsonb
constraint tenants_opening_hours_check check (
    jsonb_typeof(opening_hours) = 'object' and octet_length(opening_hours::text) <= 20000
),
add column if not exists away_message text
constraint tenants_away_message_check check (
    length(away_message) <= 2000 and length(btrim(away_message)) > 0
),
add column if not exists answer_when_closed boolean not null default true,
add column if not exists notes_to_llm boolean not null default false,
add column if not exists n8n_flow text
constraint tenants_n8n_flow_check check (n8n_flow ~ '^[A-Za-z0-9_-]{1,100}(/[A-Za-z0-9_-]{1,100}){0,4}$'),
add column if not exists n8n_contract text
constraint tenants_n8n_contract_check check (n8n_contract in ('answer', 'gateway')),
add column if not exists max_bubbles integer not null default 3
constraint tenants_max_bubbles_check check (max_bubbles between 1 and 10),
add column if not exists new_message_stops boolean not null default false,
add column if not exists understand_media boolean not null default true,
add column if not exists media_wait_seconds numeric
constraint tenants_media_wait_seconds_check check (media_wait_seconds between 0 and 120),
add column if not exists speech_language text
constraint tenants_speech_language_check check (speech_language ~ '^[a-z]{2,3}$'),
add column if not exists handoff_message text
constraint tenants_handoff_message_check check (length(btrim(handoff_message)) between 1 and 2000),
add column if not exists handoff_words text[] not null default '{}'
constraint tenants_handoff_words_check check (
    cardinality(handoff_words) <= 100 and length(array_to_string(handoff_words, '')) <= 5000
    and array_position(handoff_words, null) is null
),
add column if not exists handoff_on_promise boolean not null default true,
add column if not exists quote_replies boolean not null default true,
add column if not exists thanks_reaction text
constraint tenants_thanks_reaction_check check (
    length(thanks_reaction) between 1 and 16 and thanks_reaction !~ '[ -~[:alnum:][:space:][:cntrl:]]'
),
add column if not exists voice_replies text not null default 'never'
constraint tenants_voice_replies_check check (voice_replies in ('never', 'mirror', 'always')),
add column if not exists mark_as_read boolean not null default true,
add column if not exists handoff_remind_minutes numeric not null default 15
constraint tenants_handoff_remind_minutes_check check (handoff_remind_minutes between 1 and 1440),
add column if not exists handoff_untaken text not null default 'return'
constraint tenants_handoff_untaken_check check (handoff_untaken in ('return', 'wait')),
add column if not exists notify_number_next text
constraint tenants_notify_number_next_check
check (notify_number_next ~ '^([1-9][0-9]{6,14}|[0-9]+@(s\.whatsapp\.net|lid)|[0-9-]+@g\.us)$'),
add column if not exists tts_voice text
constraint tenants_tts_voice_check check (length(btrim(tts_voice)) between 1 and 100),
add column if not exists tts_instructions text
constraint tenants_tts_instructions_check check (length(btrim(tts_instructions)) between 1 and 500),
add column if not exists language text not null default 'en'
constraint tenants_language_check check (language in ('en', 'pt', 'es')),
add column if not exists keep_media_days integer not null default 0
constraint tenants_keep_media_days_check check (keep_media_days between 0 and 3650),
add column if not exists answer_late_words boolean not null default false;

comment on column public.tenants.caught_up_at is
'Gap repair has asked Evolution for everything that was sent before this time.';
comment on column public.tenants.pruned_before is
'Messages sent before this time may have been pruned: an unknown message that is older is no longer'
' recorded.';
comment on column public.tenants.guard_changed_at is
'When the rules about who may post its webhooks last changed; routers ask for what has changed.';

alter table public.turns
add column if not exists reserved_tokens bigint,
add column if not exists reserved_on date;
comment on column public.turns.reserved_tokens is
'Tokens reserved for an attempt whose cost is not known yet; until it is known they count as spent.';
comment on column public.turns.reserved_on is 'The day whose budget the attempt counts against.';

create table if not exists public.spending (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete cascade,
    day date not null,
    turns integer not null default 0,
    tokens bigint not null default 0,
    told_at timestamptz,
    unique nulls not distinct (tenant_id, day, session_id)
);
comment on table public.spending is
'Turns and tokens of one day (UTC): of a session, or, where session_id is null, of the whole tenant.';
comment on column public.spending.told_at is 'When the contact was told that the budget is used up.';
create index if not exists spending_by_session on public.spending (session_id);
alter table public.spending enable row level security;

-- The rules by which the router checks a reply before it is sent.
create or replace function hybridflow.reply_rules(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'forbidden_patterns', p_tenant.forbidden_patterns,
        'max_characters', p_tenant.max_reply_characters,
        'leak_characters', p_tenant.leak_characters,
        'moderation_url', p_tenant.moderation_url
    )
$$;
