-- HybridFlow: what an earlier release had and is no more.

drop index if exists public.turns_one_active;
drop index if exists public.turns_one_pending;
drop index if exists public.turns_one_at_work;
drop index if exists public.turns_due;
drop index if exists public.turns_due_by_tenant;
drop index if exists public.turns_leased;
drop index if exists public.turns_leased_by_tenant;
drop index if exists public.notices_due;
drop index if exists public.notices_due_by_tenant;
drop index if exists public.notices_one_of_connection;
drop index if exists public.messages_in_doubt;
drop function if exists hybridflow.close_turn_for_merge(bigint);
drop function if exists hybridflow.notice_message(jsonb);
drop function if exists hybridflow.take_back_pause(bigint, bigint);
drop function if exists hybridflow.mark_sent(bigint, text, text);
drop function if exists hybridflow.number_tail(text);
drop function if exists hybridflow.busy_tenants(text);
drop function if exists hybridflow.due_turns(timestamptz, integer, integer, text);
drop function if exists hybridflow.next_due(integer, text);
drop function if exists hybridflow.waiting_tenants();
drop function if exists hybridflow.leased_tenants();
drop function if exists hybridflow.claimable_turns(timestamptz, integer, jsonb);
drop function if exists hybridflow.next_claimable(timestamptz, integer, jsonb);
drop function if exists hybridflow.own_after(bigint[], jsonb);
drop function if exists hybridflow.tenants_to_tell();
drop function if exists hybridflow.claimable_notices(timestamptz, integer, jsonb);
drop function if exists hybridflow.next_notice(integer, jsonb);

do $hybridflow$
begin
    if pg_catalog.to_regclass('public.tenants') is not null then
        drop function if exists hybridflow.recognise_own(public.tenants, jsonb);
        drop function if exists hybridflow.ingest_change(bigint, public.tenants, jsonb);
        drop function if exists hybridflow.ingest_status(bigint, public.tenants, jsonb, jsonb);
        drop function if exists hybridflow.join_turn(public.tenants, bigint, numeric, numeric, text);
    end if;
    if pg_catalog.to_regclass('public.sessions') is not null then
        drop function if exists hybridflow.session_matches(public.sessions, jsonb);
        drop function if exists hybridflow.has_message(public.sessions, jsonb);
    end if;
end
$hybridflow$;
