-- HybridFlow: the clock, and a number of seconds as an interval.

-- The one clock of every function. It uses clock_timestamp(), not now(): a transaction that waited for a lock
-- must not judge by the time at which it began to wait. Tests move it: `set hybridflow.clock_offset = '3
-- hours'`.
-- This function and other small rules are in PL/pgSQL: PostgreSQL inlines no function that sets search_path,
-- and one in SQL that is not inlined takes two or three times as long to call.
create or replace function hybridflow.clock()
returns timestamptz
language plpgsql
volatile
set search_path = ''
as $$
begin
    return clock_timestamp()
        + coalesce(nullif(current_setting('hybridflow.clock_offset', true), ''), '0')::interval;
end
$$;

-- A number of seconds as an interval.
create or replace function hybridflow.seconds(p_seconds numeric)
returns interval
language plpgsql
immutable
set search_path = ''
as $$
begin
    return make_interval(secs => p_seconds::double precision);
end
$$;
