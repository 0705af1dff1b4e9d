-- HybridFlow: who may call what: only service_role.

-- apply_grants(tables, functions): takes every right on HybridFlow's own tables (and the sequences of their
-- ids) and functions away from public, anon and authenticated, and gives it to service_role. Other objects in
-- the schema public are not changed. Roles that do not exist (on a plain PostgreSQL) are skipped.
create or replace function hybridflow.apply_grants(p_tables text[], p_functions text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_role text;
    v_objects text[] := array(select 'table public.' || t from unnest(p_tables) as t)
        || array(select 'function public.' || f || '(jsonb)' from unnest(p_functions) as f)
        || array(
            select 'sequence ' || d.objid::pg_catalog.regclass
            from unnest(p_tables) as t
            join pg_catalog.pg_depend as d
                on d.refobjid = pg_catalog.to_regclass('public.' || t) and d.deptype in ('a', 'i')
            join pg_catalog.pg_class as c on c.oid = d.objid and c.relkind = 'S'
            where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        )
        || array['all functions in schema hybridflow'];
    v_object text;
begin
    foreach v_role in array array['public', 'anon', 'authenticated', 'service_role'] loop
        continue when v_role <> 'public' and not exists (select from pg_catalog.pg_roles where rolname = v_role);
        foreach v_object in array v_objects loop
            if v_role = 'service_role' then
                execute format('grant all on %s to service_role', v_object);
            else
                execute format('revoke all on %s from %s', v_object, v_role);
            end if;
        end loop;
    end loop;
    revoke all on schema hybridflow from public;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        grant usage on schema hybridflow to service_role;
    end if;
end
$$;

select hybridflow.apply_grants(
    array[
        'tenants', 'sessions', 'session_identities', 'turns', 'turn_attempts', 'messages', 'processed_events',
        'notices',
        'spending', 'webhook_secrets', 'api_keys', 'api_key_tenants', 'memberships', 'audit_log',
        'executions_to_erase', 'dry_turns', 'changes', 'outages',
        'erased_contacts', 'erased_messages', 'messages_archive', 'session_notes', 'handoffs', 'media_jobs',
        'relays', 'tenant_files', 'kept_files'
    ],
    array[
        'ingest_events', 'pause_session', 'resume_session', 'auto_resume', 'pauses_over', 'claim_turns',
        'save_reply',
        'begin_send', 'finish_send', 'doubt_send', 'settle_send', 'fail_turn', 'release_turn',
        'begin_anew', 'renew_turns', 'begin_human_send', 'begin_away_send', 'begin_fallback_send',
        'claim_doubts', 'settle_doubt',
        'finish_turn', 'retry_turn', 'retry_turns', 'forward_turn', 'begin_flow', 'take_execution',
        'fail_execution', 'look_at_turn', 'begin_flow_send', 'fail_send', 'give_up_part',
        'begin_dry_turn', 'note_dry_turn', 'look_at_dry_turn',
        'extend_turn', 'hand_off', 'check_database', 'get_session', 'list_sessions', 'list_messages',
        'list_turns', 'get_turn', 'list_tenants', 'get_tenant', 'create_tenant', 'change_tenant',
        'look_at_demo', 'begin_demo', 'end_demo', 'pass_demo_time', 'who_am_i',
        'get_instance', 'get_qrcode', 'pause_contact', 'resume_contact', 'gap_start', 'caught_up',
        'gaps_by_activity',
        'find_media', 'tell_flow_failing', 'tell_flow_works',
        'claim_notices', 'begin_notice_send', 'finish_notice', 'fail_notice',
        'claim_media_jobs', 'renew_media_job', 'begin_media_job',
        'finish_media_job', 'fail_media_job',
        'read_pictures', 'give_media', 'read_media',
        'begin_keeping', 'begin_own_file', 'finish_keeping', 'claim_kept_files', 'read_waiting_file',
        'settle_kept_file', 'find_kept_file',
        'finish_notice_send', 'fail_notice_send',
        'send_message', 'find_sent_message', 'claim_relays', 'read_relay', 'begin_relay_send',
        'begin_word_send', 'obey_staff', 'settle_relay',
        'reserve_budget', 'get_spending', 'refuse_reply',
        'reserve_tenant', 'tenants_elsewhere', 'add_webhook_secret', 'list_webhook_secrets',
        'retire_webhook_secret', 'webhook_guards', 'prove_caller', 'prove_flow', 'list_sealed', 'reseal',
        'claim_executions_to_erase', 'settle_execution', 'as_operator', 'create_api_key', 'list_api_keys',
        'revoke_api_key', 'list_members', 'set_member',
        'remove_member', 'list_audit', 'find_contact', 'export_contact', 'export_rows',
        'erase_history', 'erase_contact',
        'find_turn', 'tell_turn', 'look_at_handoffs', 'press_handoff',
        'list_handoffs',
        'set_labels', 'set_owner', 'add_note', 'list_notes', 'remove_note',
        'set_file', 'list_files', 'remove_file', 'read_file',
        'prune', 'get_tenant_stats', 'count_undelivered', 'count_outages', 'call_routers',
        'read_changes', 'follow_tenant', 'may_follow', 'end_sign_in', 'call_followers', 'greet_routers',
        'forget_changes'
    ]
);
notify pgrst, 'reload schema';
