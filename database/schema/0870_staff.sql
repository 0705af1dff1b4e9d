-- HybridFlow: the staff: under which numbers the people of a business are told, and by which they are known.

-- A phone number as it is dialled, without what people write between the digits; a JID as it is.
create or replace function hybridflow.dialled(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_number like '%@%' then p_number
        -- With the dashes, blanks and unseen marks that phones copy along.
        else regexp_replace(
            p_number, '[\s()+./\u00a0\u2010-\u2015\u200b-\u200f\u202a-\u202f\u2060-\u2069-]', '', 'g'
        )
    end
$$;

-- The JID of a number that people are told at; null where it is.
create or replace function hybridflow.notified_jid(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_number like '%@%' then p_number else p_number || '@s.whatsapp.net' end
$$;

-- The JID of the tenant's staff; null where nobody is to be told by WhatsApp.
create or replace function hybridflow.staff_jid(p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select hybridflow.notified_jid(p_tenant.notify_number)
$$;

-- Every spelling of the numbers at which the tenant's staff are told.
create or replace function hybridflow.staff_jids(p_tenant public.tenants)
returns text[]
language sql
stable
set search_path = ''
as $$
    select hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number))
        || hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number_next))
$$;

-- Whether anybody is told by WhatsApp.
create or replace function hybridflow.has_staff(p_tenant public.tenants)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    return p_tenant.notify_number is not null or p_tenant.notify_number_next is not null;
end
$$;

-- Which of the tenant's staff is told in the chat with the business's own number, of which p_event is: as
-- that was typed. By its JIDs, or where that is the own LID, by where that was told which it quotes.
create or replace function hybridflow.own_staff_jid(p_tenant public.tenants, p_event jsonb)
returns text
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.jid
    from unnest(array[
        hybridflow.staff_jid(p_tenant), hybridflow.notified_jid(p_tenant.notify_number_next)
    ]) with ordinality as n (jid, place)
    where n.jid is not null and (
        exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where j.value = any(hybridflow.spellings_typed(n.jid))
        )
        or p_event ->> 'chat' <> 'self' and exists (
            select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
            inner join public.session_identities as i on i.session_id = m.session_id
            where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
                and i.jid = any(hybridflow.spellings_typed(n.jid))
        )
    )
    order by n.place limit 1
$$;

-- Whether the session is one with the staff, whichever way their number was typed.
create or replace function hybridflow.is_staff(p_tenant public.tenants, p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.session_identities as i
        where i.tenant_id = p_tenant.id and i.session_id = p_session_id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    )
$$;

-- The number that is told of a notice: the tenant's, or the next one, where nobody took what it tells of.
create or replace function hybridflow.notice_number(p_notice public.notices, p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_notice.facts ? 'to_next' then p_tenant.notify_number_next else p_tenant.notify_number end
$$;
