-- HybridFlow: the spellings of one phone number, as WhatsApp and as people write it.

-- The JIDs that plain_number takes for the same: the JID itself and, of a number that has one, its other
-- spelling.
create or replace function hybridflow.spellings(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, nullif(hybridflow.plain_number(p_jid), p_jid), case
        when p_jid ~ '^55(3[1-9]|[4-9][0-9])[789][0-9]{7}@s[.]whatsapp[.]net$'
            then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- The JIDs under which WhatsApp may know the number that a person typed as p_jid, as typed first: people
-- leave digits out, or put them in, where WhatsApp does neither. router/whatsapp/numbers.py does the same,
-- as a test shows.
create or replace function hybridflow.spellings_typed(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, case
        when p_jid ~ '^55[1-9]{2}9[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || substr(p_jid, 6)
        when p_jid ~ '^55[1-9]{2}[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^(521|549)[0-9]{10}@s[.]whatsapp[.]net$' then left(p_jid, 2) || substr(p_jid, 4)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- How the tenant knows whom p_jid names, which somebody typed: as it is, or by its other spelling.
create or replace function hybridflow.known_as(p_tenant_id bigint, p_jid text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select i.jid from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = any(hybridflow.spellings_typed(p_jid))
            order by i.jid <> p_jid limit 1
        ),
        p_jid
    )
$$;
