-- HybridFlow: what members of a tenant may read directly, over PostgREST or Realtime, as the role
-- `authenticated` with their token of Supabase Auth. They cannot write: pauses and answers go through the
-- router's API, which audits them.

select hybridflow.let_members_read(t.name, 'tenant_id in (select hybridflow.my_tenants())', t.columns)
from (
    values
    ('sessions', ''),
    ('session_identities', ''),
    ('messages', ''),
    ('messages_archive', ''),
    ('session_notes', ''),
    ('handoffs', ''),
    (
        'turns',
        '(id, tenant_id, session_id, state, reason, run_after, attempt, handler, reply, incomplete,'
        ' undelivered, error_kind, error, provider, model, tokens_in, tokens_out, created_at, claimed_at,'
        ' finished_at, updated_at)'
    ),
    (
        'turn_attempts',
        '(id, turn_id, tenant_id, attempt, handler, handler_since, began, ended, outcome, reason, error_kind,'
        ' error, provider, model, tokens_in, tokens_out)'
    ),
    (
        'notices',
        '(id, tenant_id, session_id, message_id, kind, facts, state, reason, attempt, number_told_at,'
        ' url_told_at, handler, error, created_at, finished_at, updated_at)'
    ),
    (
        'relays',
        '(id, tenant_id, session_id, staff_session_id, message_id, word_message_id, source, outcome, error,'
        ' created_at, finished_at, updated_at)'
    ),
    ('spending', ''),
    ('outages', '(id, tenant_id, cause, began_at, last_at, ended_at, error)')
) as t (name, columns);
select hybridflow.let_members_read(
    'tenants', 'id in (select hybridflow.my_tenants())',
    '(id, ' || array_to_string(hybridflow.settings_followed(), ', ')
    || ', connection_state, connection_changed_at, connection_lost_at, created_at, updated_at)'
);
select hybridflow.let_members_read(
    'audit_log', 'tenant_id in (select hybridflow.my_tenants(''admin''))'
);
select hybridflow.let_members_read(
    'memberships',
    'tenant_id in (select hybridflow.my_tenants(''admin'')) or user_id = (select hybridflow.my_user_id())'
);

do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant usage on schema hybridflow to authenticated;
        grant execute on function hybridflow.my_tenants(text), hybridflow.my_user_id() to authenticated;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        revoke update, delete, truncate on public.audit_log from service_role;
    end if;
end
$$;
notify pgrst, 'reload schema';
