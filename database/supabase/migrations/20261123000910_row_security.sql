-- HybridFlow: what members of a tenant may read of it directly, by PostgREST or Realtime, as the role
-- `authenticated` with their token of Supabase Auth. They write nothing there: whoever pauses or answers
-- does it over the router's API, which is audited.

-- The user of this request; null: none. What Supabase calls auth.uid(), on any PostgreSQL.
create or replace function hybridflow.my_user_id()
returns uuid
language sql
stable
set search_path = ''
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

-- The tenants in which the user of this request has at least the role p_needs. Runs as its owner, for
-- the user may not read others' memberships; in a policy, as a subquery, it runs once a query.
create or replace function hybridflow.my_tenants(p_needs text default 'viewer')
returns setof bigint
language sql
stable
security definer
set search_path = ''
as $$
    select m.tenant_id from public.memberships as m
    where m.user_id = hybridflow.my_user_id() and hybridflow.reaches(m.role, p_needs)
$$;

-- let_members_read(table, condition, columns): has members read these columns of the rows for which the
-- condition holds; columns null: all. Does nothing on a plain PostgreSQL, which has no `authenticated`.
create or replace function hybridflow.let_members_read(
    p_table text, p_condition text, p_columns text default ''
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    execute format('drop policy if exists members_read on public.%I', p_table);
    execute format(
        'create policy members_read on public.%I for select to authenticated using (%s)', p_table, p_condition
    );
    execute format('grant select %s on public.%I to authenticated', p_columns, p_table);
end
$$;

select hybridflow.let_members_read(t.name, 'tenant_id in (select hybridflow.my_tenants())', t.columns)
from (
    values
    ('sessions', ''),
    ('session_identities', ''),
    ('messages', ''),
    (
        'turns',
        '(id, tenant_id, session_id, state, reason, run_after, attempt, handler, reply, incomplete,'
        ' error_kind, error, provider, model, tokens_in, tokens_out, created_at, claimed_at,'
        ' finished_at, updated_at)'
    ),
    (
        'notices',
        '(id, tenant_id, session_id, message_id, kind, facts, state, reason, attempt, number_told_at,'
        ' url_told_at, handler, error, created_at, finished_at, updated_at)'
    ),
    ('spending', '')
) as t (name, columns);
select hybridflow.let_members_read(
    'tenants', 'id in (select hybridflow.my_tenants())',
    '(id, instance_name, is_active, system_prompt, llm_provider, llm_model, debounce_seconds,'
    ' resume_after_hours, answer_within_minutes, connection_state, connection_changed_at,'
    ' connection_lost_at, created_at, updated_at)'
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
