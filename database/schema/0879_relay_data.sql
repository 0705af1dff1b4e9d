-- HybridFlow: relays as people's data: exported, erased, and pruned.

-- Returns the relays about a contact. A relay that one of the staff asked for is about the contact that it is
-- for.
create or replace function hybridflow.relays_about(p_session_ids bigint[])
returns setof public.relays
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select r.* from public.relays as r where r.session_id = any(p_session_ids)
$$;

-- A relay as an export shows it.
create or replace function hybridflow.exported_relay(p_relay public.relays)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_relay) - '{token_hash,waiting,request_hash,lease_until,said,idempotency_key}'::text[]
$$;

-- Deletes the relays about a contact, and, if the contact is one of the staff, the relays that they asked
-- for. What the staff wrote there and the word back stay as messages without text. The relays are locked
-- before these messages, in the same order as by the send of a word back, because the staff's session is not
-- locked. Returns how many.
create or replace function hybridflow.erase_relays(p_session_ids bigint[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select r.id from hybridflow.relays_about(p_session_ids) as r
        union
        select s.id from public.relays as s where s.staff_session_id = any(p_session_ids)
    );
begin
    perform from public.relays where id = any(v_ids) order by id for update;
    update public.messages set body = '', quoted = null, media = null, transcript = null, description = null
    where id = any(array(
        select r.word_message_id from hybridflow.relays_about(p_session_ids) as r
        union
        select m.id from hybridflow.relays_about(p_session_ids) as r
        cross join lateral hybridflow.messages_called(r.facts ->> 'wa_id') as m
        where m.session_id = r.staff_session_id
    ));
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch relays that are over. Returns how many.
create or replace function hybridflow.prune_relays(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select n.id from public.relays as n
            where n.tenant_id = r.tenant_id and n.finished_at < r.cutoff
            order by n.finished_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;
