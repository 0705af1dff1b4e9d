-- HybridFlow: when API keys end: with the membership of the user who made them, and with the key that made
-- them.

-- Takes away what the user's keys may do in the tenant, if the user no longer has the role of the key there.
-- A key of this tenant alone is revoked; a key of several tenants loses this one. A key that was made with a
-- member's key counts as made by the member.
create or replace function hybridflow.end_keys(p_user_id uuid, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_role text := (
        select m.role from public.memberships as m where m.user_id = p_user_id and m.tenant_id = p_tenant_id
    );
    v_key public.api_keys;
begin
    for v_key in
        select k.* from public.api_keys as k
        where k.made_by = p_user_id and k.revoked_at is null and not hybridflow.reaches(v_role, k.role)
            and exists (
                select from public.api_key_tenants as t where t.api_key_id = k.id and t.tenant_id = p_tenant_id
            )
        order by k.id
        for update
    loop
        delete from public.api_key_tenants as t
        where t.api_key_id = v_key.id and t.tenant_id = p_tenant_id and exists (
            select from public.api_key_tenants as o where o.api_key_id = v_key.id and o.tenant_id <> p_tenant_id
        );
        if not found then
            update public.api_keys set revoked_at = hybridflow.clock() where id = v_key.id;
        end if;
    end loop;
end
$$;

-- made_by exists since 0.2.0. Before that, only created_by contained the user's id. The keys of members who
-- have left end here.
do $$
begin
    if exists (
        select from pg_catalog.pg_attribute
        where attrelid = 'public.api_keys'::regclass and attname = 'made_by' and not attisdropped
    ) then
        return;
    end if;
    alter table public.api_keys add column made_by uuid;
    update public.api_keys set made_by = created_by::uuid
    where created_by ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
    perform hybridflow.end_keys(k.made_by, t.tenant_id)
    from public.api_keys as k inner join public.api_key_tenants as t on t.api_key_id = k.id
    where k.made_by is not null;
end
$$;
comment on column public.api_keys.made_by is
'The user of Supabase Auth who made the key, or made the key that made it. The key ends with this'
' user''s membership.';
create index if not exists api_keys_by_maker on public.api_keys (made_by) where made_by is not null;

alter table public.api_keys
add column if not exists made_with bigint references public.api_keys (id) on delete set null;
comment on column public.api_keys.made_with is 'The key that made this key. This key ends with that one.';
create index if not exists api_keys_by_making_key on public.api_keys (made_with) where made_with is not null;

create or replace function hybridflow.end_keys_made_with()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.api_keys set revoked_at = new.revoked_at where made_with = new.id and revoked_at is null;
    return null;
end
$$;

create or replace trigger api_keys_end_those_made_with
after update of revoked_at on public.api_keys
for each row when (old.revoked_at is null and new.revoked_at is not null)
execute function hybridflow.end_keys_made_with();

create or replace function hybridflow.end_keys_of_member()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_keys(old.user_id, old.tenant_id);
    return null;
end
$$;

create or replace trigger memberships_end_keys
after update or delete on public.memberships
for each row execute function hybridflow.end_keys_of_member();
