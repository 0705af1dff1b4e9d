-- HybridFlow: handoffs as the API shows and lists them.

-- A handoff as the API shows it.
create or replace function hybridflow.handoff_json(p_handoff public.handoffs)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_handoff) - '{step_at,next_at,line_turn_id,is_quiet,taken_message_id,step,part}'::text[]
        || jsonb_build_object(
            'reminded', p_handoff.step >= 1, 'told_next', p_handoff.step >= 2,
            'told_customer', p_handoff.line_turn_id is not null
        )
$$;

-- The session's handoff that has not ended, if there is one.
create or replace function hybridflow.open_handoff_json(p_session_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select hybridflow.handoff_json(h) from public.handoffs as h
    where h.session_id = p_session_id and h.ended_at is null
    order by h.id desc limit 1
$$;

-- list_handoffs({tenant_id, state?, session_id?, limit?, cursor?})
-- Returns {items: [handoff], next_cursor}: the handoffs of the tenant, or of a session, newest first; with
-- `state`, only those in that state. PT404: not this tenant's.
create or replace function public.list_handoffs(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_state text := p ->> 'state';
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('handoffs', p) ->> 0)::bigint, 9223372036854775807);
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_handoffs', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    select array_agg(
        jsonb_build_object('key', jsonb_build_array(f.id), 'item', hybridflow.handoff_json(f)) order by f.id desc
    )
    into v_rows
    from (
        select h.* from public.handoffs as h
        where h.tenant_id = v_tenant_id and h.id < v_before
            and (v_session_id is null or h.session_id = v_session_id)
            and (v_state is null or h.state = v_state)
        order by h.id desc limit v_limit + 1
    ) as f;
    return hybridflow.page('handoffs', v_rows, v_limit);
end
$$;
