-- HybridFlow: a tenant's clock and opening hours, what may be quoted, and what was told of being closed.
--
-- When a business is open is the router's to say (router/tenants/hours.py): it alone knows time zones and
-- public holidays. Here is judged what needs the state: that a contact is told once for each closed stretch.

alter table public.tenants
-- What 0.1.0 has (see 0800_tenants.sql and 0890_lifecycle.sql) comes first, as where it was upgraded.
add column if not exists caught_up_at timestamptz,
add column if not exists retention_days integer
constraint tenants_retention_days_check check (retention_days between 1 and 36500),
add column if not exists on_retention text not null default 'archive'
constraint tenants_on_retention_check check (on_retention in ('archive', 'delete')),
add column if not exists pruned_before timestamptz,
add column if not exists facts text
constraint tenants_facts_check check (length(facts) <= 100000),
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
add column if not exists answer_when_closed boolean not null default true;

comment on column public.tenants.facts is
'What the AI may quote (prices, addresses): it stands beside the system prompt, and is never a leak.';
comment on column public.tenants.timezone is 'Its clock, by its IANA name; null: DEFAULT_TIMEZONE.';
comment on column public.tenants.opening_hours is
'{weekly, exceptions, holidays} as router/tenants/hours.py reads it; null: no hours are known.';
comment on column public.tenants.away_message is
'What a contact is told once for each closed stretch, with {time} where it says when that ends.';
comment on column public.tenants.answer_when_closed is 'The AI goes on while the business is closed.';

alter table public.sessions
add column if not exists away_until timestamptz,
add column if not exists away_message_id bigint;

comment on column public.sessions.away_until is
'When the closed stretch ends of which the contact was told, with away_message_id.';

-- Until when the session's contact was told that the business is closed; null: never, or it did not leave.
create or replace function hybridflow.told_away_until(p_session public.sessions)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select p_session.away_until where not exists (
        select from public.messages as m where m.id = p_session.away_message_id and m.send_state = 'failed'
    )
$$;
