-- HybridFlow: followers of changes: whether they still may follow, and messages between routers.

-- may_follow({followers: [{caller, tenant_id}]})
-- Whether these callers (see 0830) may still look at these tenants. Returns {ended: [{place, reason}]}: those
-- who may not; place: their place in the list, from 0.
create or replace function public.may_follow(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_follower record;
    v_ended jsonb := '[]';
begin
    perform hybridflow.require_keys('may_follow', p, '{followers}');
    perform hybridflow.require_keys_of_each('may_follow', p, 'followers', '{caller,tenant_id}');
    for v_follower in
        select f.caller, f.tenant_id, row_number() over () - 1 as place
        from jsonb_to_recordset(p -> 'followers') as f (caller jsonb, tenant_id bigint)
    loop
        begin
            perform hybridflow.require_role(
                hybridflow.known_caller(v_follower.caller), v_follower.tenant_id, 'viewer'
            );
        exception
            when sqlstate 'PT401' or sqlstate 'PT403' or sqlstate 'PT404' then
                v_ended := v_ended || jsonb_build_object('place', v_follower.place, 'reason', sqlerrm);
        end;
    end loop;
    return jsonb_build_object('ended', v_ended);
end
$$;

-- end_sign_in({sign_in})
-- A browser signed out; sign_in is a hash of its sign-in. Every router that passes changes on is told.
-- Returns {ok}.
create or replace function public.end_sign_in(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('end_sign_in', p, '{sign_in}');
    insert into public.changes (kind, sign_in) values ('signed_out', left(p ->> 'sign_in', 100));
    return '{"ok": true}';
end
$$;

-- call_followers({says, by})
-- Sends a word to the routers that listen: `changed` (something may have changed) or `follows` (a client here
-- follows changes). `by` names the sender, because it hears itself, too. Returns {ok}.
create or replace function public.call_followers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('call_followers', p, '{says,by}');
    perform pg_notify('hybridflow_changes', concat_ws(' ', p ->> 'says', left(p ->> 'by', 100)));
    return '{"ok": true}';
end
$$;

-- greet_routers({by})
-- A router that cannot listen tells the others that cannot that it is there; `by` names it. They read this
-- among the changes. Returns {ok}.
create or replace function public.greet_routers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('greet_routers', p, '{by}');
    insert into public.changes (kind, router) values ('here', left(p ->> 'by', 100));
    return '{"ok": true}';
end
$$;
