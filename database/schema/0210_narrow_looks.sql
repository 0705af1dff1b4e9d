-- HybridFlow: lookups of messages and turns that many functions use. They use an index, whatever the planner
-- knows.

-- The messages that WhatsApp calls p_wa_id, of all tenants; nearly always one. This is a function of its own,
-- not a condition beside others, so that no plan reads all messages of a tenant or session instead: without
-- statistics, all indexes look the same to the planner.
create or replace function hybridflow.messages_called(p_wa_id text)
returns setof public.messages
language sql
stable
rows 1
set search_path = ''
as $$
    select * from public.messages where wa_id = p_wa_id
$$;

-- The turns of a session that are running or sending, found by index, however many turns the session has had.
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
