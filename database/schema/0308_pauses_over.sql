-- HybridFlow: pauses that have run out are found, and ended many at a time.

-- Sessions whose pause may have run out, including all whose pause has (pause_ends_at decides that). An index
-- finds them, so pauses that go on cost nothing.
create or replace function hybridflow.pauses_to_look_at(p_policy jsonb)
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return array(
        select without_end.id from public.tenants as t
        cross join lateral (
            select s.id from public.sessions as s
            where s.tenant_id = t.id and s.is_paused and not s.pause_indefinite and s.paused_until is null
                and not hybridflow.has_waiting_handoff(s.id)
                and coalesce(s.last_human_at, s.paused_at, s.updated_at) <= v_now - hybridflow.seconds(
                    3600 * hybridflow.rule(t.resume_after_hours, p_policy, 'resume_after_hours', 2)
                )
            offset 0  -- one index search per tenant, not a look at every pause
        ) as without_end
        union all
        select s.id from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.is_paused and s.paused_until <= v_now
            and hybridflow.pause_ends_at(s, t.resume_after_hours, p_policy) <= v_now
    );
end
$$;

-- Ends the pauses of the locked sessions p_ids. Returns how many turns they got.
create or replace function hybridflow.end_pauses(p_ids bigint[], p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
    update public.sessions
    set is_paused = false, paused_until = null, pause_indefinite = false, pause_message_id = null,
        pause_asked_at = null, pause_written_at = null,
        resumed_at = hybridflow.clock(), resume_source = 'cron', updated_at = hybridflow.clock()
    where id = any(p_ids);
    return (select count(hybridflow.answer_unanswered(i, p_policy)) from unnest(p_ids) as i);
end
$$;

-- pauses_over({policy})
-- Paused sessions whose pause has probably run out, at most 10,000, in no order. Returns {session_ids, more}.
create or replace function public.pauses_over(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    c_most constant integer := 10000;
    v_due bigint[] := hybridflow.pauses_to_look_at(p -> 'policy');
begin
    perform hybridflow.require_keys('pauses_over', p, '{policy}');
    return jsonb_build_object(
        'session_ids', (
            select coalesce(jsonb_agg(o.id), '[]') from (
                select d.id from unnest(v_due) as d (id) order by random() limit c_most
            ) as o
        ),
        'more', cardinality(v_due) > c_most
    );
end
$$;

-- auto_resume({policy, session_ids?: [id]})
-- Ends those pauses of these sessions (see pauses_over) that have run out. Without session_ids it takes up to
-- 100 such sessions at random, so that sessions that cannot be resumed do not always block the same others. A
-- session that someone is changing at this moment is left to the next run. So is one that cannot be resumed;
-- it does not hold up the others. Returns {resumed, sessions: [{session_id, tenant_id}], turns, failed:
-- [session_id], more}: how many were resumed, which, how many turns they got, which could not be resumed,
-- and, without session_ids, whether there were more.
create or replace function public.auto_resume(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_most constant integer := 100;
    v_named constant boolean := coalesce(p -> 'session_ids', 'null') <> 'null';
    v_due bigint[] := case
        when v_named
            then array(select i::bigint from jsonb_array_elements_text(p -> 'session_ids') as i)
        else hybridflow.pauses_to_look_at(p -> 'policy')
    end;
    v_more boolean := not v_named and cardinality(v_due) > c_most;
    v_ids bigint[];
    v_id bigint;
    v_done bigint[] := '{}';
    v_turns bigint := 0;
begin
    perform hybridflow.require_keys('auto_resume', p, '{policy}');
    if v_more then
        v_due := array(select d.id from unnest(v_due) as d (id) order by random() limit c_most);
    end if;
    v_ids := array(
        select s.id from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.id = any(v_due) and s.is_paused
            and hybridflow.pause_ends_at(s, t.resume_after_hours, p -> 'policy') <= hybridflow.clock()
        order by s.id
        for update of s skip locked
    );
    begin
        v_turns := hybridflow.end_pauses(v_ids, p -> 'policy');
        v_done := v_ids;
    exception
        when others then
            foreach v_id in array v_ids loop
                begin
                    v_turns := v_turns + hybridflow.end_pauses(array[v_id], p -> 'policy');
                    v_done := v_done || v_id;
                exception
                    when others then
                        null;
                end;
            end loop;
    end;
    return jsonb_build_object(
        'resumed', cardinality(v_done),
        'sessions', (
            select coalesce(jsonb_agg(jsonb_build_object('session_id', s.id, 'tenant_id', s.tenant_id)), '[]')
            from public.sessions as s where s.id = any(v_done)
        ),
        'turns', v_turns,
        'failed', (select coalesce(jsonb_agg(i), '[]') from unnest(v_ids) as i where i <> all(v_done)),
        'more', v_more
    );
end
$$;
