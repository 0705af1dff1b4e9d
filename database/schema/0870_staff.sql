-- HybridFlow: the staff: the numbers at which the people of a business are told, and how they are recognised.

-- Returns a phone number as it is dialled, without what people write between the digits. A JID is returned as
-- it is.
create or replace function hybridflow.dialled(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_number like '%@%' then p_number
        -- This includes the dashes, spaces and invisible characters that phones copy with a number.
        else regexp_replace(
            p_number, '[\s()+./\u00a0\u2010-\u2015\u200b-\u200f\u202a-\u202f\u2060-\u2069-]', '', 'g'
        )
    end
$$;

-- Returns the JID of a number that gets notices; null if there is no number.
create or replace function hybridflow.notified_jid(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_number like '%@%' then p_number else p_number || '@s.whatsapp.net' end
$$;

-- The JID of the tenant's staff; null if nobody is told by WhatsApp.
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

-- Whether the tenant has a number that is told by WhatsApp.
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

-- p_event comes from the chat with the business's own number. Returns which of the tenant's staff gets
-- notices there, as the number was typed. It is found by the event's JIDs; if the only JID is the business's
-- own LID, by the chat of the message that the event quotes.
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

-- Whether the session is one with the staff, in whichever spelling their number was typed.
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

-- The number that gets a notice: the tenant's, or the next one if nobody took the handoff that the notice
-- tells of.
create or replace function hybridflow.notice_number(p_notice public.notices, p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_notice.facts ? 'to_next' then p_tenant.notify_number_next else p_tenant.notify_number end
$$;
