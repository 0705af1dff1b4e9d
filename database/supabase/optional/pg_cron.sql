-- HybridFlow: runs auto-resume and prune by pg_cron, inside the database, instead of an outside scheduler.
-- Run this file once after the schema, and again after you change it: jobs with the same name are replaced.
--
-- The values below are the defaults of the routers' variables (RESUME_AFTER_HOURS, ANSWER_WITHIN_MINUTES,
-- EVENTS_RETENTION_DAYS, and RETENTION_DAYS, where null means for ever). If you change a variable, change it
-- here, too. Routers find the turns that a resume makes within POLL_SECONDS.
--
-- To remove the jobs: select cron.unschedule('hybridflow-auto-resume'), cron.unschedule('hybridflow-prune');

do $$
begin
    if to_regprocedure('cron.schedule(text, text, text)') is null then
        raise exception 'pg_cron is not enabled: in Supabase''s dashboard, Integrations, Cron; elsewhere'
            ' create extension pg_cron';
    end if;
end
$$;

select cron.schedule('hybridflow-auto-resume', '*/5 * * * *', $job$
    -- A hundred at a time, so that nobody's session is held for long; 100,000 at most.
    do $do$
    declare
        v_more boolean;
    begin
        for v_run in 1..1000 loop
            v_more := (public.auto_resume('{"policy": {
                "resume_after_hours": 2,
                "answer_within_minutes": 60
            }}') ->> 'more')::boolean;
            commit;
            exit when not v_more;
        end loop;
    end
    $do$
$job$);

-- One batch every ten minutes: some 2.8 million rows of each kind in a day.
select cron.schedule('hybridflow-prune', '*/10 * * * *', $job$
    select public.prune('{"batch": 20000, "events_days": 7, "retention_days": null}')
$job$);
