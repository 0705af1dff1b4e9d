-- HybridFlow: the tenants' Evolution instances: how to reach one, and the QR code that it shows.

-- tenants_elsewhere({named: [url]})
-- For the start and the health check. Lists the tenants that EVOLUTION_API_KEY may no longer serve, because
-- they have no key of their own and their server is not in `named`. Also lists the tenants whose URL is not
-- just scheme, host and port, so that it must not be requested. Returns {servers: [{evo_server_url, own_key,
-- tenants, instances: [name]}]}, at most a hundred; tenants: how many use this server; instances: the names
-- of the first twenty. It compares texts only. The router decides whether two URLs mean the same server, and
-- whether an unusual URL is wrong.
create or replace function public.tenants_elsewhere(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('tenants_elsewhere', p, '{named}');
    return (
        select jsonb_build_object('servers', coalesce(jsonb_agg(to_jsonb(s) order by s.instances), '[]'))
        from (
            select
                t.evo_server_url, coalesce(t.evo_api_key, '') <> '' as own_key, count(*) as tenants,
                (array_agg(t.instance_name order by t.id))[1:20] as instances
            from public.tenants as t
            where (
                coalesce(t.evo_api_key, '') = ''
                or t.evo_server_url
                !~* '^https?://([a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,3}|:[1-5][0-9]{4})?/*$'
            )
                and rtrim(t.evo_server_url, '/') <> all(array(select jsonb_array_elements_text(p -> 'named')))
            group by t.evo_server_url, coalesce(t.evo_api_key, '') <> ''
            order by min(t.id) limit 100
        ) as s
    );
end
$$;

-- get_instance({tenant_id | instance_name, probe?})
-- How to reach the tenant's Evolution instance, with its key; which of its replies were lately not delivered;
-- when its webhook last brought an event (null: not within the week that events are kept); and whether the
-- probe with this mark has arrived. Only for the router itself, never for the API. Returns {tenant_id,
-- instance_name, evo_server_url, evo_api_key, is_active, llm_provider, llm_api_key_set, llm_api_key,
-- connection_state, shared_webhook_secret, webhook_hashes: [hash], undelivered, outages, last_event_at,
-- probe_arrived}. The keys are as they are stored. outages: those that now keep its customers from getting
-- answers (see outage_json). PT404: no such tenant.
create or replace function public.get_instance(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_instance', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    return jsonb_build_object(
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'is_active', v_tenant.is_active, 'llm_provider', v_tenant.llm_provider,
        'llm_api_key_set', coalesce(v_tenant.llm_api_key, '') <> '', 'llm_api_key', v_tenant.llm_api_key,
        'connection_state', v_tenant.connection_state,
        'shared_webhook_secret', v_tenant.shared_webhook_secret,
        'webhook_hashes', hybridflow.webhook_hashes(v_tenant.id, true),
        'undelivered', hybridflow.failures_json(v_tenant.id),
        'outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from public.outages as o
            where o.tenant_id = v_tenant.id and o.ended_at is null and o.about is not null
                and o.last_at > hybridflow.clock() - interval '1 day'
        ),
        'last_event_at', (
            select e.processed_at from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event not in ('hybridflow.test', 'gap_repair')
            order by e.processed_at desc limit 1
        ),
        'probe_arrived', exists (
            select from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event_key = 'probe:' || (p ->> 'probe')
        )
    );
end
$$;

-- get_qrcode({tenant_id | instance_name})
-- The latest QR code from Evolution, to connect the phone. Returns {instance_name, code, pairing_code,
-- updated_at, age_seconds, connection_state}. WhatsApp accepts a code for less than a minute. PT404: no such
-- tenant, or no code.
create or replace function public.get_qrcode(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_qrcode', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    if v_tenant.qr_code is null and v_tenant.pairing_code is null then
        raise exception 'Evolution has sent no QR code for the instance % (its connection is %)',
            v_tenant.instance_name, coalesce(v_tenant.connection_state, 'not known') using errcode = 'PT404';
    end if;
    return jsonb_build_object(
        'instance_name', v_tenant.instance_name, 'code', v_tenant.qr_code,
        'pairing_code', v_tenant.pairing_code, 'updated_at', v_tenant.qr_updated_at,
        'age_seconds', floor(extract(epoch from hybridflow.clock() - v_tenant.qr_updated_at)),
        'connection_state', v_tenant.connection_state
    );
end
$$;
