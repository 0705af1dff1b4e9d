-- HybridFlow: which notice tells of which outages, and how.

-- Returns the tenant's waiting notice of p_kind, and the ids of the outages that it tells of.
create or replace function hybridflow.waiting_notice(
    p_tenant_id bigint, p_kind text, out notice public.notices, out ids bigint[]
)
language plpgsql
stable
set search_path = ''
as $$
begin
    select * into notice from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff';
    ids := array(select o.id::bigint from jsonb_array_elements_text(notice.facts -> 'outages') as o (id));
end
$$;

-- Locks the tenant's waiting notices of outages without waiting. Returns whether all of them are locked now.
-- A call that ends outages of many tenants must not wait for any of them: it could deadlock with a call that
-- begins an outage, which locks the notices in another order.
create or replace function hybridflow.has_waiting_notices(p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    c_kinds constant text[] := '{answered_again,unanswered}';
    v_ids bigint[] := array(
        select n.id from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
        for update skip locked
    );
begin
    return not exists (
        select from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
            and n.id <> all(v_ids)
    );
end
$$;

-- Waits until no other transaction changes the tenant's waiting notice of p_kind. Two outages may begin or
-- end at the same moment, and both must be told.
create or replace function hybridflow.lock_waiting_notice(p_tenant_id bigint, p_kind text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff'
    for update;
end
$$;

-- Adds outage p_id to the tenant's notice of p_kind, which is told at p_at at the latest. Returns the
-- notice's id.
create or replace function hybridflow.tell_outage(
    p_tenant_id bigint, p_kind text, p_id bigint, p_at timestamptz
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
    v_facts jsonb;
begin
    loop
        perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        v_facts := jsonb_build_object('outages', to_jsonb(
            array(select distinct i from unnest(v_waiting.ids || p_id) as i order by i)
        ));
        if (v_waiting.notice).attempt = 0 then
            update public.notices
            set facts = v_facts, next_at = least(next_at, p_at), updated_at = hybridflow.clock()
            where id = (v_waiting.notice).id;
            return (v_waiting.notice).id;
        end if;
        perform hybridflow.make_notice(p_tenant_id, p_kind, null, v_facts, p_at);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        if p_id = any(v_waiting.ids) then
            return (v_waiting.notice).id;
        end if;
        -- Another call has made a notice at this moment, for another outage. Add this outage to it.
    end loop;
end
$$;

-- Removes outage p_id from the tenant's notice of p_kind, if no worker has got the notice yet. A notice
-- without outages is not sent. Returns whether there was such a notice.
create or replace function hybridflow.untell_outage(p_tenant_id bigint, p_kind text, p_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
begin
    perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
    v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
    if (v_waiting.notice).id is null or (v_waiting.notice).attempt > 0 or p_id <> all(v_waiting.ids) then
        return false;
    elsif cardinality(v_waiting.ids) = 1 then
        perform hybridflow.drop_notices(p_tenant_id, array[p_kind], 'recovered');
    else
        update public.notices
        set facts = jsonb_build_object('outages', to_jsonb(array_remove(v_waiting.ids, p_id)))
        where id = (v_waiting.notice).id and waiting;
    end if;
    return true;
end
$$;

-- An outage as its notice shows it: how many turns it concerns (1000 means 1000 or more), and how many of
-- them ended without an answer. If it is about single conversations, it also names up to five, the newest
-- first, and says whether there are `others` among its newest hundred turns.
create or replace function hybridflow.outage_json(p_outage public.outages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'cause', p_outage.cause, 'began_at', p_outage.began_at, 'ended_at', p_outage.ended_at,
        'turns', c.turns, 'unanswered', c.unanswered, 'has_own_key', t.llm_api_key is not null,
        'provider', t.llm_provider, 'flow', t.n8n_flow
    ) || case when p_outage.about is null then jsonb_build_object('who', w.who, 'others', w.others) else '{}' end
    from public.tenants as t
    cross join lateral (
        select count(*) as turns, count(*) filter (where o.state in ('dead', 'cancelled')) as unanswered
        from (select u.state from public.turns as u where u.outage_id = p_outage.id limit 1000) as o
    ) as c
    left join lateral (
        select
            coalesce(jsonb_agg(jsonb_build_object(
                'name', s.contact_name, 'jid', coalesce(s.phone_jid, s.lid)
            ) order by d.newest desc) filter (where d.place <= 5), '[]') as who,
            count(*) > 5 as others
        from (
            select u.session_id, max(u.id) as newest, row_number() over (order by max(u.id) desc) as place
            from (
                select n.id, n.session_id from public.turns as n
                where n.outage_id = p_outage.id order by n.id desc limit 100
            ) as u
            group by u.session_id
        ) as d
        inner join public.sessions as s on s.id = d.session_id
    ) as w on p_outage.about is null
    where t.id = p_outage.tenant_id
$$;

-- What a notice tells. Outages are shown with what is known about them now.
create or replace function hybridflow.notice_facts(p_notice public.notices)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case
        when p_notice.kind not in ('unanswered', 'answered_again') then p_notice.facts
        else jsonb_build_object('outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from jsonb_array_elements_text(p_notice.facts -> 'outages') as f (id)
            inner join public.outages as o on o.id = f.id::bigint
        ))
    end
$$;
