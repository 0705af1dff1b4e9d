-- HybridFlow: what a contact was told about the business being closed.
--
-- The router decides when a business is open (router/tenants/hours.py), because it alone knows time zones and
-- public holidays. This file decides what needs the state: that a contact is told once per closed period.

alter table public.sessions
add column if not exists away_until timestamptz,
add column if not exists away_message_id bigint;

comment on column public.sessions.away_until is
'When the closed period ends that the contact was told about, with away_message_id.';

-- When the closed period ends that the session's contact was told about. Null: the contact was never told, or
-- the message did not leave, or WhatsApp did not deliver it.
create or replace function hybridflow.told_away_until(p_session public.sessions)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select p_session.away_until where not exists (
        select from public.messages as m
        where m.id = p_session.away_message_id and (m.send_state = 'failed' or m.status = 'error')
    )
$$;
