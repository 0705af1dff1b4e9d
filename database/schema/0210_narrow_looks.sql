-- HybridFlow: the messages and turns that many functions look for, found by an index whatever the planner
-- knows.

-- The messages that WhatsApp calls p_wa_id, of whatever tenant; nearly always one. A function of its
-- own, and not a condition beside others, so that no plan can come to read a tenant's or a session's
-- messages instead: before there are statistics, every index looks the same to the planner.
create or replace function hybridflow.messages_called(p_wa_id text)
returns setof public.messages
language sql
stable
rows 1
set search_path = ''
as $$
    select * from public.messages where wa_id = p_wa_id
$$;

-- The turns of a session that are running or sending, however many it has had.
create or replace function hybridflow.held_turns(p_session_id bigint)
returns setof public.turns
language sql
stable
rows 1
set search_path = ''
as $$
    select * from public.turns where session_id = p_session_id and held and not beside
    union all
    select * from public.turns where session_id = p_session_id and held and beside
$$;
