-- HybridFlow: turns that need no flow any more, and so no place in n8n.

-- The tenants without an LLM key of their own that have a turn that needs no flow any more: its reply is
-- made, or its flow has begun to send. Such a turn need not wait while n8n is full. At most p_enough tenants,
-- and none of p_full, which may have no more: first those whose lease ran out longest ago, then those whose
-- turn fell due most recently. Of the first kind only 200 turns are considered. Of all due turns only the 200
-- newest are looked at, so that a long queue costs no more: an older one waits for its tenant's next turn in
-- the round, when n8n has a place.
create or replace function hybridflow.next_made(p_now timestamptz, p_enough integer, p_full bigint[])
returns bigint[]
language sql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select coalesce(array_agg(d.tenant_id order by d.rank), '{}')
    from (
        select f.tenant_id, min(f.rank) as rank
        from (
            (
                select t.tenant_id, row_number() over (order by t.lease_until) as rank
                from (
                    select a.tenant_id, a.lease_until from public.turns as a
                    where a.held and not a.waiting and a.lease_until <= p_now
                        and (a.state = 'sending' or a.reply is not null) and a.tenant_id <> all(p_full)
                    order by a.lease_until limit 200
                ) as t
            )
            union all
            (
                select t.tenant_id, 200 + row_number() over (order by t.run_after desc)
                from (
                    select w.tenant_id, w.run_after, w.reply is not null as is_made
                    from public.turns as w
                    where w.waiting and not w.held and w.run_after <= p_now
                    order by w.run_after desc limit 200
                ) as t
                where t.is_made
            )
        ) as f
        inner join public.tenants as n on n.id = f.tenant_id and n.llm_api_key is null
        where f.tenant_id <> all(p_full)
        group by f.tenant_id
        order by min(f.rank) limit p_enough
    ) as d
$$;

-- The turns of a tenant that need no flow any more (see next_made) and may be claimed, at most p_most: first
-- those whose lease has run out, then the due ones, the newest first. Only the 100 newest due turns are
-- looked at, as in due_turns.
create or replace function hybridflow.made_turns(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, lapsed boolean, place bigint)
language sql
stable
rows 4
set search_path = ''
as $$
    select f.id, f.lapsed, row_number() over (order by f.lapsed desc, f.waited desc)
    from (
        (
            select t.id, true as lapsed, p_now - t.lease_until as waited from public.turns as t
            where t.tenant_id = p_tenant_id and t.held and t.lease_until <= p_now
                and (t.state = 'sending' or t.reply is not null)
            order by t.lease_until limit p_most
        )
        union all
        (
            select d.id, false, d.run_after - p_now
            from (
                select t.id, t.session_id, t.run_after, t.reply is not null as is_made from public.turns as t
                where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
                order by t.run_after desc limit 100
            ) as d
            where d.is_made and (
                select a.id from public.turns as a
                where a.session_id = d.session_id and a.held and not a.beside limit 1
            ) is null and (
                select a.id from public.turns as a
                where a.session_id = d.session_id and a.held and a.beside limit 1
            ) is null
            limit p_most
        )
    ) as f
    order by f.lapsed desc, f.waited desc limit p_most
$$;
