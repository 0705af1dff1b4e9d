-- HybridFlow: what a tenant may say and spend: columns, and the table of what was spent.

-- What is checked of a reply before it is sent; null means the deployment's default.
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

comment on column public.tenants.forbidden_patterns is
'Regular expressions (RE2, case does not count) of which a reply may match none.';
comment on column public.tenants.leak_characters is
'So many characters of the system prompt in one piece make a reply a leak; 0: it is not looked for.';
comment on column public.tenants.moderation_url is 'A service that is asked whether a reply may be sent.';
comment on column public.tenants.on_refused_reply is
'A reply that may not be sent becomes a handoff, or the fallback_message.';
comment on column public.tenants.fallback_message is
'What the contact gets in place of a refused reply, and once a day when a budget is used up.';
comment on column public.tenants.loop_replies is
'So many replies within loop_minutes to messages that are alike are a loop of two bots; 0: no guard.';
comment on column public.tenants.daily_turns is 'Turns that may be made in a day (UTC).';
comment on column public.tenants.contact_daily_turns is 'The same for each of its contacts.';

-- Which flow of n8n makes a tenant's replies, and how it gives them; null: the deployment's.
alter table public.tenants
add column if not exists n8n_flow text
constraint tenants_n8n_flow_check check (n8n_flow ~ '^[A-Za-z0-9_-]{1,100}(/[A-Za-z0-9_-]{1,100}){0,4}$'),
add column if not exists n8n_contract text
constraint tenants_n8n_contract_check check (n8n_contract in ('answer', 'gateway'));
comment on column public.tenants.n8n_flow is
'The path of the webhook of the flow in n8n that makes its replies.';
comment on column public.tenants.n8n_contract is
'answer: the flow answers with what is to be said; gateway: it sends by itself, and says when it is done.';

alter table public.turns
add column if not exists reserved_tokens bigint,
add column if not exists reserved_on date;
comment on column public.turns.reserved_tokens is
'Tokens set aside for an attempt whose cost is not known yet; they count as spent until it is.';
comment on column public.turns.reserved_on is 'The day on whose budget it was begun.';

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
'Turns and tokens of one day (UTC), of a session, and (session_id null) of the whole tenant.';
comment on column public.spending.told_at is 'When the contact was told that the budget is used up.';
create index if not exists spending_by_session on public.spending (session_id);
alter table public.spending enable row level security;

-- What the router checks of a reply before it is sent.
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
