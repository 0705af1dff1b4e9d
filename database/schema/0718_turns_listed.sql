-- HybridFlow: operators list turns, and read one.

-- list_turns({tenant_id, state?, session_id?, limit?, cursor?})
-- Returns {items: [turn], next_cursor}: the tenant's turns, or a session's, newest first. With both a session
-- and a state, a page reads 1000 turns (see page_of_search). A page ends before its `limit` if its replies
-- reach 500,000 characters. PT404: no such tenant, or the session is not the tenant's.
create or replace function public.list_turns(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_state text := p ->> 'state';
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('turns', p) ->> 0)::bigint, 9223372036854775807);
    v_look integer := hybridflow.rows_to_look_at(v_limit, v_state is not null);
    v_last jsonb;
    v_ids bigint[];
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_turns', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    if v_session_id is not null then
        select
            array_agg(l.id order by l.id desc) filter (where l.state = coalesce(v_state, l.state)),
            case when count(*) = v_look then jsonb_build_array(min(l.id)) end
        into v_ids, v_last
        from (
            select t.id, t.state from public.turns as t
            where t.session_id = v_session_id and t.id < v_before
            order by t.id desc limit v_look
        ) as l;
        v_ids := v_ids[:v_limit + 1];
    elsif v_state is not null then
        v_ids := array(
            select t.id from public.turns as t
            where t.tenant_id = v_tenant_id and t.state = v_state and t.id < v_before
            order by t.id desc limit v_limit + 1
        );
    else
        v_ids := array(
            select t.id from public.turns as t
            where t.tenant_id = v_tenant_id and t.id < v_before
            order by t.id desc limit v_limit + 1
        );
    end if;
    select
        array_agg(jsonb_build_object(
            'key', jsonb_build_array(f.id), 'item', case when f.fits then hybridflow.turn_json(f.id) end
        ) order by f.id desc),
        least(v_limit, count(*) filter (where f.fits))
    into v_rows, v_limit
    from (
        select i.id, coalesce(sum((
            select length(t.reply::text) from public.turns as t where t.id = i.id
        )) over (order by i.id desc rows between unbounded preceding and 1 preceding), 0) < 500000 as fits
        from unnest(v_ids) as i (id)
    ) as f;
    return hybridflow.page_of_search('turns', v_rows, v_limit, v_last);
end
$$;

-- get_turn({tenant_id, turn_id})
-- Returns {turn} with its messages: those that it answers and the parts of its reply. If they are longer than
-- 500,000 characters together, only the newest ones. PT404: the tenant has no such turn.
create or replace function public.get_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_turn_id bigint := (p ->> 'turn_id')::bigint;
begin
    perform hybridflow.require_keys('get_turn', p, '{tenant_id,turn_id}');
    perform hybridflow.require_own(p - 'session_id');
    if not exists (
        select from public.turns where id = v_turn_id and tenant_id = (p ->> 'tenant_id')::bigint
    ) then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    return jsonb_build_object('turn', hybridflow.turn_json(v_turn_id) || jsonb_build_object('messages', (
        select coalesce(jsonb_agg((
            select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
        ) order by f.sent_at, f.id), '[]')
        from (
            select m.id, m.sent_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
                order by m.sent_at desc, m.id desc rows between unbounded preceding and 1 preceding
            ), 0) as characters_after
            from public.messages as m where m.turn_id = v_turn_id
        ) as f
        where f.characters_after < 500000
    )));
end
$$;
