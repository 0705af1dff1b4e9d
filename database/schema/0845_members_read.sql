-- HybridFlow: lets members read their tenants' rows directly; row_security says which rows and columns.

-- The user of this request; null: none. Like Supabase's auth.uid(), but on any PostgreSQL.
create or replace function hybridflow.my_user_id()
returns uuid
language sql
stable
set search_path = ''
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

-- The tenants in which the user of this request has at least the role p_needs. Runs as its owner, because the
-- user may not read others' memberships. In a policy it is called in a subquery, so that it runs once for
-- each query.
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

-- let_members_read(table, condition, columns): lets members read these columns of the rows that meet the
-- condition; columns null: all columns. Does nothing on a plain PostgreSQL, which has no role
-- `authenticated`.
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
