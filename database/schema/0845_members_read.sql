-- HybridFlow: how members read their tenants' rows directly; what they may read is in row_security.

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
    if exists (
        select from pg_catalog.pg_policy
        where polrelid = ('public.' || p_table)::regclass and polname = 'members_read'
    ) then
        execute format('drop policy members_read on public.%I', p_table);
    end if;
    execute format(
        'create policy members_read on public.%I for select to authenticated using (%s)', p_table, p_condition
    );
    execute format('grant select %s on public.%I to authenticated', p_columns, p_table);
end
$$;
