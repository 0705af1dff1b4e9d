-- HybridFlow: what a contact was told of the business being closed.
--
-- When a business is open is the router's to say (router/tenants/hours.py): it alone knows time zones and
-- public holidays. Here is judged what needs the state: that a contact is told once for each closed stretch.

alter table public.sessions
add column if not exists away_until timestamptz,
add column if not exists away_message_id bigint;

comment on column public.sessions.away_until is
'When the closed stretch ends of which the contact was told, with away_message_id.';

-- Until when the session's contact was told that the business is closed; null: never, or it did not leave, or
-- WhatsApp did not deliver it.
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
