-- HybridFlow: how much is stored for a tenant.

-- How many rows of a table a tenant has, and how many bytes they take, estimated from its first 1000 rows.
create or replace function hybridflow.amount_of(p_table text, p_tenant_id bigint)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_rows bigint;
    v_width numeric;
begin
    execute format('select count(*) from public.%I where tenant_id = $1', p_table)
    into v_rows using p_tenant_id;
    execute format(
        'select avg(pg_column_size(s.t)) from (select t from public.%I as t where t.tenant_id = $1 limit 1000) as s',
        p_table
    )
    into v_width using p_tenant_id;
    return jsonb_build_object('rows', v_rows, 'bytes', round(v_rows * coalesce(v_width, 0))::bigint);
end
$$;

-- get_tenant_stats({tenant_id})
-- How much is stored for a tenant, for its operators. It reads every row of the tenant in the indexes, so do
-- not call it on a busy path. Returns {stats: {tables: {<table>: {rows, bytes}}, bytes, oldest_message_at,
-- pruned_before}}; bytes are estimated. PT404: no such tenant.
create or replace function public.get_tenant_stats(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_tables jsonb;
begin
    perform hybridflow.require_keys('get_tenant_stats', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    select jsonb_object_agg(t, hybridflow.amount_of(t, v_tenant.id)) into v_tables
    from unnest(array[
        'sessions', 'messages', 'messages_archive', 'turns', 'notices', 'processed_events'
    ]) as t;
    return jsonb_build_object('stats', jsonb_build_object(
        'tables', v_tables,
        'bytes', (select sum((t.value ->> 'bytes')::bigint) from jsonb_each(v_tables) as t),
        'oldest_message_at', (
            select m.sent_at from public.messages as m
            where m.tenant_id = v_tenant.id order by m.created_at limit 1
        ),
        'pruned_before', v_tenant.pruned_before
    ));
end
$$;
