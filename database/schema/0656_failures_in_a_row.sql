-- HybridFlow: if many replies fail in a row, the line itself may be the problem: people are told.

create index if not exists notices_undelivered
on public.notices (tenant_id, id desc) where kind = 'undelivered';
create index if not exists notices_flow_failing
on public.notices (tenant_id, id desc) where kind = 'flow_failing';

-- The tenant's latest replies that failed in a row, to any contacts: how many, to how many contacts (of the
-- last 100), when the first one and when the last one. None (0) if a reply that was sent after them was
-- delivered.
create or replace function hybridflow.failed_in_a_row(
    p_tenant_id bigint,
    out replies integer, out contacts integer, out since timestamptz, out last_at timestamptz
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_last public.messages;
begin
    replies := 0;
    contacts := 0;
    select * into v_last from public.messages as m
    where m.tenant_id = p_tenant_id and m.failed_at is not null
    order by m.failed_at desc, m.id desc limit 1;
    if v_last.id is null or exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.created_at >= v_last.created_at and m.id > v_last.id
            and m.from_me and m.turn_id is not null and hybridflow.was_delivered(m.status)
    ) then
        return;
    end if;
    since := v_last.failed_since;
    last_at := v_last.failed_at;
    select count(*), count(distinct f.session_id) into replies, contacts from (
        select m.session_id from public.messages as m
        where m.tenant_id = p_tenant_id and m.failed_at is not null and m.failed_at >= v_last.failed_since
        order by m.failed_at desc, m.id desc limit 100
    ) as f;
end
$$;

-- The number of failed replies in a row that casts doubt on the line itself, not only on one contact. From
-- then on people are told, and nothing is answered again until a reply arrives. It is three: one contact's
-- reply and both of its repetitions.
create or replace function hybridflow.many_in_a_row()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 3
$$;

-- Tells the people of the business, once, that so many replies have failed in a row. The notice waits twenty
-- seconds, because the problem may be over by then.
create or replace function hybridflow.notice_undelivered(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_row record;
begin
    select * into v_row from hybridflow.failed_in_a_row(p_tenant_id);
    if v_row.replies < hybridflow.many_in_a_row()
        or v_row.since = (
            select (n.facts ->> 'since')::timestamptz from public.notices as n
            where n.tenant_id = p_tenant_id and n.kind = 'undelivered' and n.reason is distinct from 'recovered'
                and n.facts ? 'since'  -- without `since` it tells of a part that was given up
            order by n.id desc limit 1
        )
        or not pg_try_advisory_xact_lock(hashtextextended('undelivered:' || p_tenant_id, 0))
    then
        return;  -- too few, already told, or another transaction is telling it
    end if;
    perform hybridflow.make_notice(
        p_tenant_id, 'undelivered', null, jsonb_build_object(
            'replies', v_row.replies, 'contacts', v_row.contacts, 'since', v_row.since
        ),
        hybridflow.clock() + interval '20 seconds'
    );
end
$$;

-- The failures in a row, as the API and notices show them; null if there are none.
create or replace function hybridflow.failures_json(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(f) from hybridflow.failed_in_a_row(p_tenant_id) as f where f.replies > 0
$$;

-- count_undelivered({})
-- For the health check: the number of tenants that have too many failed replies in a row (many_in_a_row), the
-- last one within a day. Returns {tenants}.
create or replace function public.count_undelivered(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_after timestamptz := hybridflow.clock() - interval '1 day';
    v_ids bigint[] := array(
        select l.tenant_id from public.tenants as t
        cross join lateral (
            select m.tenant_id from public.messages as m
            where m.tenant_id = t.id and m.failed_at is not null and m.failed_at > v_after
            limit 1
        ) as l
    );
begin
    return jsonb_build_object('tenants', (
        select count(*) from unnest(v_ids) as i
        cross join lateral hybridflow.failed_in_a_row(i) as f
        where f.replies >= hybridflow.many_in_a_row()
    ));
end
$$;
