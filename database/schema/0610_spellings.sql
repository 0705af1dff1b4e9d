-- HybridFlow: the spellings of one phone number, as WhatsApp and as people write it.

-- Returns all JIDs that plain_number treats as the same number: p_jid itself and, if the number has one, its
-- other spelling.
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

-- Returns the JIDs under which WhatsApp may know the number that a person typed as p_jid; p_jid itself comes
-- first. People may leave out digits that WhatsApp uses, or add digits that it does not use.
-- router/whatsapp/numbers.py follows the same rules; a test compares the two.
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

-- Returns the JID under which the tenant knows the contact that a person typed as p_jid: p_jid itself, or its
-- other spelling.
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
