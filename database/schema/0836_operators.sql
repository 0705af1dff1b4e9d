-- HybridFlow: what callers may do over the API, and the one function that does it for them.

-- The functions that callers may use: the name, the role that is needed in the tenant that the argument
-- names, whether the call is audited, and which keys of the argument the audit line shows. as_operator cannot
-- call a function that is not listed here.
create or replace function hybridflow.operator_calls()
returns table (name text, needs text, audited boolean, details text[])
language sql
immutable
set search_path = ''
as $$
    values
    ('list_tenants', 'anybody', false, '{}'::text[]),
    ('who_am_i', 'anybody', false, '{}'),
    ('get_tenant', 'viewer', false, '{}'),
    ('get_spending', 'viewer', false, '{}'),
    ('get_tenant_stats', 'viewer', false, '{}'),
    ('list_sessions', 'viewer', false, '{}'),
    ('get_session', 'viewer', false, '{}'),
    ('list_messages', 'viewer', false, '{}'),
    ('list_turns', 'viewer', false, '{}'),
    ('list_handoffs', 'viewer', false, '{}'),
    ('get_turn', 'viewer', false, '{}'),
    ('tell_turn', 'viewer', false, '{}'),
    ('follow_tenant', 'viewer', false, '{}'),
    ('find_turn', 'deployment', false, '{}'),
    ('pause_session', 'operator', true, '{until,indefinite}'),
    ('resume_session', 'operator', true, '{}'),
    ('pause_contact', 'operator', true, '{until,indefinite}'),
    ('resume_contact', 'operator', true, '{}'),
    ('retry_turn', 'operator', true, '{}'),
    ('retry_turns', 'operator', true, '{}'),
    ('begin_human_send', 'operator', true, '{knowingly}'),
    ('send_message', 'operator', true, '{}'),
    ('find_sent_message', 'operator', false, '{}'),
    ('find_kept_file', 'operator', true, '{message_id}'),
    ('set_labels', 'operator', true, '{}'),
    ('set_owner', 'operator', true, '{owner}'),
    ('list_notes', 'viewer', false, '{}'),
    ('add_note', 'operator', true, '{}'),
    ('remove_note', 'operator', true, '{note_id}'),
    ('list_files', 'viewer', false, '{}'),
    ('begin_own_file', 'admin', false, '{}'),
    ('set_file', 'admin', true, '{name,kind}'),
    ('remove_file', 'admin', true, '{name}'),
    ('find_contact', 'admin', false, '{}'),
    ('export_contact', 'admin', true, '{}'),
    ('export_rows', 'admin', false, '{}'),
    ('erase_history', 'admin', false, '{}'),
    ('erase_contact', 'admin', true, '{}'),
    ('get_instance', 'operator', false, '{}'),
    ('get_qrcode', 'admin', true, '{}'),
    ('begin_dry_turn', 'admin', true, '{flow}'),
    ('look_at_dry_turn', 'admin', false, '{}'),
    ('reserve_tenant', 'deployment', false, '{}'),
    ('create_tenant', 'deployment', true, '{}'),
    ('change_tenant', 'admin', true, '{}'),
    ('list_webhook_secrets', 'admin', false, '{}'),
    ('add_webhook_secret', 'admin', true, '{ends_with,retire_others_after_hours}'),
    ('retire_webhook_secret', 'admin', true, '{webhook_secret_id,after_hours}'),
    ('list_members', 'admin', false, '{}'),
    ('set_member', 'admin', true, '{user_id,role}'),
    ('remove_member', 'admin', true, '{user_id}'),
    ('list_api_keys', 'anybody', false, '{}'),
    ('create_api_key', 'anybody', true, '{name,starts_with,role,tenant_ids,expires_at}'),
    ('revoke_api_key', 'anybody', true, '{api_key_id}'),
    ('list_audit', 'admin', false, '{}')
$$;

-- as_operator({caller, function, argument?})
-- Calls the function for the caller, if the caller has the role that it needs, and audits the call. The
-- function gets the known caller as `caller`. Returns {caller: its name, result}: what the function returns,
-- without `audit` and `audit_tenants`, which go into the audit log. PT401: no such key. PT403: the role is
-- too low, or this function cannot be called over the API. PT404: the caller has no role in the tenant. Also
-- raises what the function raises.
create or replace function public.as_operator(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_caller jsonb;
    v_argument jsonb;
    v_call record;
    v_tenant_id bigint;
    v_result jsonb;
begin
    perform hybridflow.require_keys('as_operator', p, '{caller,function}');
    v_caller := hybridflow.known_caller(p -> 'caller');
    v_argument := coalesce(nullif(p -> 'argument', 'null'), '{}') || jsonb_build_object('caller', v_caller);
    select * into v_call from hybridflow.operator_calls() as c where c.name = p ->> 'function';
    if not found then
        raise exception 'nobody may call % over the API', p ->> 'function' using errcode = 'PT403';
    end if;
    v_tenant_id := hybridflow.allowed_tenant(v_caller, v_call.needs, v_argument);
    execute format('select public.%I($1)', v_call.name) into v_result using v_argument;
    if v_call.audited then
        -- A call that concerns several tenants gets a line for the admins of each tenant, without the names
        -- of the others.
        perform hybridflow.record_audit(
            v_caller, v_call.name, coalesce(v_tenant_id, (v_result #>> '{tenant,id}')::bigint, a.tenant_id),
            jsonb_build_object(
                'session_id', coalesce(v_argument -> 'session_id', v_result #> '{session,id}'),
                'turn_id', coalesce(v_argument -> 'turn_id', v_result -> 'turn_id')
            ),
            coalesce(v_result -> 'audit', (
                select jsonb_object_agg(d.key, v_argument -> d.key) from unnest(v_call.details) as d (key)
            ), '{}')
        )
        from (
            select t.id::bigint as tenant_id from jsonb_array_elements_text(v_result -> 'audit_tenants') as t (id)
            union all
            select null where coalesce(jsonb_array_length(v_result -> 'audit_tenants'), 0) = 0
        ) as a;
    end if;
    return jsonb_build_object(
        'caller', v_caller -> 'name', 'result', v_result - '{audit,audit_tenants}'::text[]
    );
end
$$;
