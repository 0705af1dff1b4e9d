-- HybridFlow: what each tenant's webhooks must prove (access; in public names: guard), for routers' caches.

create index if not exists tenants_by_guard_change on public.tenants (guard_changed_at);

-- Stores when a tenant's access changed, however the change is made.
create or replace function hybridflow.note_guard()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_table_name = 'tenants' then
        new.guard_changed_at := hybridflow.clock();
        return new;
    end if;
    update public.tenants set guard_changed_at = hybridflow.clock()
    where id in (case when tg_op <> 'INSERT' then old.tenant_id end, case when tg_op <> 'DELETE' then new.tenant_id end);
    return null;
end
$$;

create or replace trigger tenants_guard
before insert or update of instance_name, webhook_networks, shared_webhook_secret on public.tenants
for each row execute function hybridflow.note_guard();

create or replace trigger webhook_secrets_guard
after insert or update or delete on public.webhook_secrets
for each row execute function hybridflow.note_guard();

-- One tenant's access, as routers know it. Each webhook is compared with all of it, so it contains at most as
-- many networks as may be set (see check_sizes), even if more were written directly.
create or replace function hybridflow.guard_json(p_tenant public.tenants, p_now timestamptz)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'tenant_id', p_tenant.id, 'instance_name', p_tenant.instance_name,
        'networks', p_tenant.webhook_networks[1:50], 'shared', p_tenant.shared_webhook_secret,
        'hashes', hybridflow.webhook_hashes(p_tenant.id, false),
        'retiring', (
            select coalesce(jsonb_object_agg(
                encode(w.secret_hash, 'hex'), extract(epoch from w.retires_at - p_now)
            ), '{}')
            from public.webhook_secrets as w where w.tenant_id = p_tenant.id and w.retires_at > p_now
        )
    )
$$;

-- The tenants that a router is told of: the next p_limit after p_after, in the order of their ids. Without
-- p_since, only those that have an access of their own.
create or replace function hybridflow.guarded_after(p_after bigint, p_limit bigint, p_since timestamptz)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select array(
        select t.id from public.tenants as t
        where t.id > p_after and (
            p_since is not null or t.webhook_networks is not null or not t.shared_webhook_secret
            or hybridflow.webhook_hashes(t.id, false) <> '[]'
        )
        order by t.id limit p_limit
    )
$$;

-- webhook_guards({after?, limit?, changed_since?})
-- The access of the tenants that have one of their own. Returns {guards: [{tenant_id, instance_name,
-- networks, shared, hashes: [hash], retiring: {<hash>: seconds}}], next, now}. networks null: any network.
-- shared: EVOLUTION_WEBHOOK_SHARED_SECRET is accepted, too. next: the `after` of the next call; null: there
-- are no more. Routers read everything once, and then every few seconds what changed since the last `now`, so
-- that a flood of webhooks costs no query. Then the answer has every tenant that changed (also one that has
-- no access of its own any more), and the next `limit` others, because a change may have taken long to
-- commit.
create or replace function public.webhook_guards(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_since timestamptz := (p ->> 'changed_since')::timestamptz - interval '1 minute';
    v_limit bigint := (p ->> 'limit')::bigint;
    v_ids bigint[] := hybridflow.guarded_after(coalesce((p ->> 'after')::bigint, 0), v_limit, v_since);
begin
    return jsonb_build_object(
        'now', v_now,
        'next', case when cardinality(v_ids) = v_limit then v_ids[cardinality(v_ids)] end,
        'guards', (
            select coalesce(jsonb_agg(hybridflow.guard_json(t, v_now) order by t.id), '[]')
            from public.tenants as t
            where t.id in (
                select unnest(v_ids)
                union
                select c.id from public.tenants as c where c.guard_changed_at >= v_since
            )
        )
    );
end
$$;
