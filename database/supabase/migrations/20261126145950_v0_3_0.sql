-- HybridFlow 0.3.0: brings a database of an earlier release up to date. Made by
-- `python -m scripts.build_schema` from database/schema/; change that, not this.

create schema if not exists hybridflow;
create table if not exists hybridflow.migrations (
    version text primary key,
    name text not null,
    checksum text,
    applied_at timestamptz not null default now()
);
comment on table hybridflow.migrations is
'Which files of HybridFlow were applied; checksum: SHA-256 of the text, null: pushed by a CLI.';
alter table hybridflow.migrations enable row level security;

-- ==================== 0005_names.sql

-- HybridFlow: its table names must be free, or be its own tables already. Otherwise a table that belongs to
-- something else would be taken for ours, get our triggers and rights, and lead to an error much later.

do $hybridflow$
declare
    v_foreign text;
begin
    select string_agg('public.' || c.relname, ', ' order by c.relname) into v_foreign
    from (values
        ('tenants', array['instance_name', 'evo_server_url', 'llm_provider', 'is_active']),
        ('sessions', array['tenant_id', 'phone_jid', 'lid', 'is_paused', 'last_human_at']),
        ('session_identities', array['tenant_id', 'jid', 'session_id']),
        ('turns', array['tenant_id', 'session_id', 'run_after', 'debounce_until', 'token_hash']),
        ('turn_attempts', array['turn_id', 'tenant_id', 'attempt', 'began', 'ended', 'outcome']),
        ('messages', array['tenant_id', 'session_id', 'wa_id', 'from_me', 'send_state']),
        ('messages_archive', array['tenant_id', 'session_id', 'wa_id', 'from_me', 'archived_at']),
        ('processed_events', array['tenant_id', 'event_key', 'decision', 'waiting_for']),
        ('notices', array['tenant_id', 'facts', 'next_at', 'number_told_at']),
        ('spending', array['tenant_id', 'session_id', 'day', 'turns', 'tokens', 'told_at']),
        ('webhook_secrets', array['tenant_id', 'secret_hash', 'ends_with', 'retires_at']),
        ('api_keys', array['key_hash', 'starts_with', 'every_tenant', 'revoked_at']),
        ('api_key_tenants', array['api_key_id', 'tenant_id']),
        ('memberships', array['tenant_id', 'user_id', 'role', 'created_by']),
        ('audit_log', array['at', 'tenant_id', 'caller_kind', 'caller', 'action']),
        ('executions_to_erase', array['execution_id', 'tenant_id', 'asked_at', 'next_at']),
        ('dry_turns', array['tenant_id', 'token_hash', 'ends_at', 'said', 'ended']),
        ('relays', array['tenant_id', 'staff_session_id', 'idempotency_key', 'outcome']),
        ('handoffs', array['tenant_id', 'session_id', 'state', 'taken_at', 'next_at']),
        ('media_jobs', array['tenant_id', 'message_id', 'next_at', 'token_hash']),
        ('kept_files', array['tenant_id', 'message_id', 'store', 'sha256', 'due_at']),
        ('tenant_files', array['tenant_id', 'name', 'description', 'kind', 'content']),
        ('session_notes', array['tenant_id', 'session_id', 'body', 'author']),
        ('outages', array['tenant_id', 'cause', 'about', 'began_at', 'ended_at']),
        ('changes', array['txid', 'tenant_id', 'session_id', 'sign_in']),
        ('erased_contacts', array['tenant_id', 'contact_hash', 'erased_at']),
        ('erased_messages', array['tenant_id', 'wa_id_hash', 'erased_at'])
    ) as o (name, columns)
    inner join pg_catalog.pg_class as c
        on c.relname = o.name and c.relnamespace = 'public'::pg_catalog.regnamespace
    where c.relkind <> 'r' or exists (
        select from unnest(o.columns) as n (name)
        where not exists (
            select from pg_catalog.pg_attribute as a
            where a.attrelid = c.oid and a.attname = n.name and a.attnum > 0 and not a.attisdropped
        )
    );
    if v_foreign is not null then
        raise exception 'HybridFlow needs names that something else has: % (not a table of HybridFlow)', v_foreign
            using hint = 'Give HybridFlow a database (a Supabase project) of its own, or rename what has the name:'
                ' alter table public.… rename to …; nothing was changed.';
    end if;
end
$hybridflow$;

-- Drops functions that are gone or have another signature, and our triggers and policies that use
-- them, which are made again below. Everything in the schema hybridflow belongs to HybridFlow.
do $hybridflow$
declare
    v_old record;
    v_user record;
begin
    for v_old in
        select p.oid, format(
            '%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)
        ) as signature
        from pg_catalog.pg_proc as p
        inner join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = 'hybridflow' and p.prokind = 'f' and not exists (
            select from (values
                ('reply_rules', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'jsonb'),
                ('forget_what_was_said', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('told_away_until', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'timestamptz'),
                ('delivery_rules', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'jsonb'),
                ('stopped_by_newer', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'text'),
                ('left_unsaid', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'bigint'),
                ('is_without_ai', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('notes_for_llm', 'ii', array['p_tenant', 'p_session_id']::text[], array['public.tenants', 'bigint']::text[], 0, false, 'jsonb'),
                ('files_for_llm', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('file_json', 'i', array['p_file']::text[], array['public.tenant_files']::text[], 0, false, 'jsonb'),
                ('forget_attempts', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('note_attempt', 'iiiiii', array['p_turn', 'p_outcome', 'p_ended', 'p_reason', 'p_error_kind', 'p_error']::text[], array['public.turns', 'text', 'timestamptz', 'text', 'text', 'text']::text[], 0, false, 'void'),
                ('note_lapsed', 'i', array['p_turn_ids']::text[], array['bigint[]']::text[], 0, false, 'void'),
                ('told_fallback_at', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'timestamptz'),
                ('clock', '', array[]::text[], array[]::text[], 0, false, 'timestamptz'),
                ('seconds', 'i', array['p_seconds']::text[], array['numeric']::text[], 0, false, 'interval'),
                ('rule', 'iiii', array['p_own', 'p_policy', 'p_name', 'p_default']::text[], array['numeric', 'jsonb', 'text', 'numeric']::text[], 0, false, 'numeric'),
                ('require_keys', 'iii', array['p_function', 'p', 'p_keys']::text[], array['text', 'jsonb', 'text[]']::text[], 0, false, 'void'),
                ('require_keys_of_each', 'iiii', array['p_function', 'p', 'p_list', 'p_keys']::text[], array['text', 'jsonb', 'text', 'text[]']::text[], 0, false, 'void'),
                ('cut', 'ii', array['p_text', 'p_most']::text[], array['text', 'integer']::text[], 1, false, 'text'),
                ('cut_fields', 'i', array['p_object']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('messages_called', 'i', array['p_wa_id']::text[], array['text']::text[], 0, true, 'public.messages'),
                ('held_turns', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, true, 'public.turns'),
                ('merge_sessions', 'ii', array['p_into', 'p_from']::text[], array['bigint', 'bigint']::text[], 0, false, 'void'),
                ('make_way', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('resolve_session', 'iiii', array['p_tenant_id', 'p_jids', 'p_chat', 'p_name']::text[], array['bigint', 'text[]', 'text', 'text']::text[], 0, false, 'public.sessions'),
                ('size_of_session', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'bigint'),
                ('forget_identities', 'ii', array['p_session_id', 'p_kept']::text[], array['bigint', 'text[]']::text[], 0, false, 'void'),
                ('connect_identities', 'iii', array['p_tenant_id', 'p_jids', 'p_chat']::text[], array['bigint', 'text[]', 'text']::text[], 0, false, 'void'),
                ('asked_at', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'timestamptz'),
                ('has_waiting_handoff', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('asked_by_human', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'timestamptz'),
                ('human_pause_ends_at', 'iii', array['p_session', 'p_resume_after', 'p_policy']::text[], array['public.sessions', 'numeric', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('pause_ends_at', 'iii', array['p_session', 'p_resume_after', 'p_policy']::text[], array['public.sessions', 'numeric', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('cancel_other_turns', 'iii', array['p_session_id', 'p_but', 'p_reason']::text[], array['bigint', 'bigint', 'text']::text[], 0, false, 'integer'),
                ('cancel_turns', 'ii', array['p_session_id', 'p_reason']::text[], array['bigint', 'text']::text[], 0, false, 'integer'),
                ('take_over', 'iiiiii', array['p_session', 'p_tenant', 'p_policy', 'p_at', 'p_message_id', 'p_reason']::text[], array['public.sessions', 'public.tenants', 'jsonb', 'timestamptz', 'bigint', 'text']::text[], 0, false, 'text'),
                ('end_pause', 'ii', array['p_session_id', 'p_source']::text[], array['bigint', 'text']::text[], 0, false, 'void'),
                ('is_by_human', 'ii', array['p_message', 'p_tenant']::text[], array['public.messages', 'public.tenants']::text[], 0, false, 'boolean'),
                ('has_spoken', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('is_in_doubt', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('left_unanswered', 'iitttt', array['p_session_id', 'p_since', 'message_id', 'kind', 'sent_at', 'answered_by']::text[], array['bigint', 'timestamptz', 'bigint', 'text', 'timestamptz', 'bigint']::text[], 0, true, null),
                ('close_sight', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('answer_unanswered', 'ii', array['p_session_id', 'p_policy']::text[], array['bigint', 'jsonb']::text[], 0, false, 'bigint'),
                ('human_wrote_since', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'boolean'),
                ('undo_takeover', 'iii', array['p_session_id', 'p_since', 'p_policy']::text[], array['bigint', 'timestamptz', 'jsonb']::text[], 0, false, 'bigint'),
                ('withdraw_pause', 'ii', array['p_session_id', 'p_message_id']::text[], array['bigint', 'bigint']::text[], 0, false, 'boolean'),
                ('end_expired_pause', 'iii', array['p_session', 'p_resume_after', 'p_policy']::text[], array['public.sessions', 'numeric', 'jsonb']::text[], 0, false, 'boolean'),
                ('session_of', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'public.sessions'),
                ('pauses_to_look_at', 'i', array['p_policy']::text[], array['jsonb']::text[], 0, false, 'bigint[]'),
                ('end_pauses', 'ii', array['p_ids', 'p_policy']::text[], array['bigint[]', 'jsonb']::text[], 0, false, 'bigint'),
                ('handoff_changed', 'ii', array['p_tenant_id', 'p_session_id']::text[], array['bigint', 'bigint']::text[], 0, false, 'void'),
                ('lock_turns_of_handoffs', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('handoff_reason', 'i', array['p_reason']::text[], array['text']::text[], 0, false, 'text'),
                ('pause_reason_told', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'text'),
                ('begin_handoff', 'iii', array['p_session', 'p_turn_id', 'p']::text[], array['public.sessions', 'bigint', 'jsonb']::text[], 0, false, 'void'),
                ('hand_off_with', 'iii', array['p_session', 'p_turn', 'p_part']::text[], array['public.sessions', 'public.turns', 'integer']::text[], 0, false, 'void'),
                ('know_more_of_handoff', 'ii', array['p_turn_id', 'p']::text[], array['bigint', 'jsonb']::text[], 0, false, 'boolean'),
                ('hand_off_by_promise', 'iii', array['p_session', 'p_turn_id', 'p_handoff']::text[], array['public.sessions', 'bigint', 'jsonb']::text[], 0, false, 'void'),
                ('say_handoff', 'iiii', array['p_turn', 'p_handoff', 'p_say', 'p_outcome']::text[], array['public.turns', 'jsonb', 'jsonb', 'text']::text[], 0, false, 'void'),
                ('ends_as_handoff', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'text'),
                ('words_end', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'void'),
                ('take_handoff', 'iiiii', array['p_session_id', 'p_by', 'p_name', 'p_message_id', 'p_at']::text[], array['bigint', 'text', 'text', 'bigint', 'timestamptz']::text[], 0, false, 'boolean'),
                ('untake_handoff', 'i', array['p_message_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('end_handoffs', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('merge_handoffs', 'ii', array['p_into', 'p_from']::text[], array['bigint', 'bigint']::text[], 0, false, 'void'),
                ('tell_customer_of_wait', 'ii', array['p_handoff', 'p_say']::text[], array['public.handoffs', 'text']::text[], 0, false, 'bigint'),
                ('handoff_json', 'i', array['p_handoff']::text[], array['public.handoffs']::text[], 0, false, 'jsonb'),
                ('open_handoff_json', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('join_turn', 'iiiiiioo', array['p_tenant', 'p_session_id', 'p_debounce', 'p_cap', 'p_correlation_id', 'p_now', 'turn_id', 'due']::text[], array['public.tenants', 'bigint', 'numeric', 'numeric', 'text', 'timestamptz', 'bigint', 'timestamptz']::text[], 0, false, null),
                ('widen_turn', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('discard_reply', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('requeue_turn', 'iii', array['p_turn', 'p_run_after', 'p_outcome']::text[], array['public.turns', 'timestamptz', 'text']::text[], 0, false, 'void'),
                ('close_turn', 'iii', array['p_turn_id', 'p_state', 'p_reason']::text[], array['bigint', 'text', 'text']::text[], 0, false, 'void'),
                ('await_settlement', 'ii', array['p_turn', 'p_check_after']::text[], array['public.turns', 'numeric']::text[], 0, false, 'boolean'),
                ('put_aside', 'iii', array['p_turn_id', 'p_until', 'p_outcome']::text[], array['bigint', 'timestamptz', 'text']::text[], 0, false, 'void'),
                ('stop_turn', 'ii', array['p_turn_id', 'p_reason']::text[], array['bigint', 'text']::text[], 0, false, 'void'),
                ('take_up', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'void'),
                ('given_up_of', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'text'),
                ('after_settlement', 'ii', array['p_turn_id', 'p_policy']::text[], array['bigint', 'jsonb']::text[], 0, false, 'void'),
                ('turn_parts', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('characters_of', 'iii', array['p_body', 'p_quoted', 'p_media']::text[], array['text', 'jsonb', 'jsonb']::text[], 0, false, 'integer'),
                ('told_history', 'ii', array['p_turn', 'p_limit']::text[], array['public.turns', 'integer']::text[], 0, false, 'json'),
                ('hash_token', 'i', array['p_token']::text[], array['uuid']::text[], 0, false, 'bytea'),
                ('recent_wa_ids', 'ii', array['p_send', 'p_ours']::text[], array['public.messages', 'boolean']::text[], 0, false, 'jsonb'),
                ('turn_context', 'iii', array['p_turn', 'p_token', 'p_history_limit']::text[], array['public.turns', 'uuid', 'integer']::text[], 0, false, 'jsonb'),
                ('put_off_unreadable', 'ii', array['p_turn', 'p_error']::text[], array['public.turns', 'text']::text[], 0, false, 'jsonb'),
                ('turn_contexts', 'iii', array['p_ids', 'p_tokens', 'p_history_limit']::text[], array['bigint[]', 'uuid[]', 'integer']::text[], 0, false, 'jsonb'),
                ('free_to_end', 'i', array['p_ids']::text[], array['bigint[]']::text[], 0, false, 'bigint[]'),
                ('bury_lapsed', 'ii', array['p_max_attempts', 'p_minutes']::text[], array['integer', 'numeric']::text[], 0, false, 'bigint[]'),
                ('is_used_up', 'ii', array['p_turn', 'p_max_attempts']::text[], array['public.turns', 'integer']::text[], 0, false, 'boolean'),
                ('is_dead_flow', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'boolean'),
                ('close_dead_flows', '', array[]::text[], array[]::text[], 0, false, 'void'),
                ('not_in_n8n', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'bigint[]'),
                ('free_flows_without', 'ii', array['p_max_in_flight', 'p_not_there']::text[], array['integer', 'bigint[]']::text[], 0, false, 'integer'),
                ('tenants_at_work', 'iitt', array['p_worker', 'p_own', 'tenant_id', 'turns']::text[], array['text', 'jsonb', 'bigint', 'integer']::text[], 0, true, null),
                ('tenants_in_n8n', 'itt', array['p', 'tenant_id', 'turns']::text[], array['jsonb', 'bigint', 'integer']::text[], 0, true, null),
                ('busy_tenants', 'itt', array['p', 'tenant_id', 'turns']::text[], array['jsonb', 'bigint', 'integer']::text[], 0, true, null),
                ('seats_of', 'ii', array['p_tenant_id', 'p']::text[], array['bigint', 'jsonb']::text[], 0, false, 'integer'),
                ('room_for', 'iiii', array['p_tenant_id', 'p_busy', 'p_limit', 'p']::text[], array['bigint', 'integer', 'integer', 'jsonb']::text[], 0, false, 'integer'),
                ('room_with_n8n', 'iiii', array['p_tenant_id', 'p_busy', 'p_limit', 'p']::text[], array['bigint', 'integer', 'integer', 'jsonb']::text[], 0, false, 'integer'),
                ('full_tenants', 'ii', array['p_limit', 'p']::text[], array['integer', 'jsonb']::text[], 0, false, 'bigint[]'),
                ('next_made', 'iii', array['p_now', 'p_enough', 'p_full']::text[], array['timestamptz', 'integer', 'bigint[]']::text[], 0, false, 'bigint[]'),
                ('made_turns', 'iiittt', array['p_tenant_id', 'p_now', 'p_most', 'turn_id', 'lapsed', 'place']::text[], array['bigint', 'timestamptz', 'integer', 'bigint', 'boolean', 'bigint']::text[], 0, true, null),
                ('due_turns', 'iiittt', array['p_tenant_id', 'p_now', 'p_most', 'turn_id', 'run_after', 'is_oldest']::text[], array['bigint', 'timestamptz', 'integer', 'bigint', 'timestamptz', 'boolean']::text[], 0, true, null),
                ('next_tenants', 'iiiiiooo', array['p_after', 'p_now', 'p_enough', 'p_most', 'p_full', 'tenants', 'last', 'is_whole']::text[], array['bigint', 'timestamptz', 'integer', 'integer', 'bigint[]', 'bigint[]', 'bigint', 'boolean']::text[], 0, false, null),
                ('next_without_n8n', 'iiiiiooo', array['p_after', 'p_now', 'p_enough', 'p_most', 'p_full', 'tenants', 'last', 'is_whole']::text[], array['bigint', 'timestamptz', 'integer', 'integer', 'bigint[]', 'bigint[]', 'bigint', 'boolean']::text[], 0, false, null),
                ('lapsed_since', 'itt', array['p_now', 'tenant_id', 'lapsed_at']::text[], array['timestamptz', 'bigint', 'timestamptz']::text[], 0, true, null),
                ('next_lapsed', 'iii', array['p_now', 'p_limit', 'p']::text[], array['timestamptz', 'integer', 'jsonb']::text[], 0, true, 'bigint'),
                ('turns_of_tenant', 'iiittt', array['p_tenant_id', 'p_now', 'p_most', 'turn_id', 'lapsed', 'place']::text[], array['bigint', 'timestamptz', 'integer', 'bigint', 'boolean', 'bigint']::text[], 0, true, null),
                ('claimable_turns', 'iiiiittt', array['p_tenants', 'p_lapsed', 'p_now', 'p_limit', 'p', 'turn_id', 'place', 'was_cut']::text[], array['bigint[]', 'boolean', 'timestamptz', 'integer', 'jsonb', 'bigint', 'bigint', 'boolean']::text[], 0, true, null),
                ('is_one_due', '', array[]::text[], array[]::text[], 0, false, 'boolean'),
                ('next_claimable', 'i', array['p_now']::text[], array['timestamptz']::text[], 0, false, 'timestamptz'),
                ('is_too_old', 'ii', array['p_turn', 'p_minutes']::text[], array['public.turns', 'numeric']::text[], 0, false, 'boolean'),
                ('end_those_too_old', 'iioo', array['p_ids', 'p_minutes', 'ended', 'left_for']::text[], array['bigint[]', 'numeric', 'bigint[]', 'bigint[]']::text[], 0, false, null),
                ('is_in_texts', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'boolean'),
                ('names_of', 'i', array['p_ids']::text[], array['bigint[]']::text[], 0, false, 'jsonb'),
                ('in_texts', 'i', array['p_turns']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('turn_refusal', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'jsonb'),
                ('stopped_for', 'ii', array['p_turn', 'p_session']::text[], array['public.turns', 'public.sessions']::text[], 0, false, 'text'),
                ('lock_turn', 'iooo', array['p', 'turn', 'session', 'refused']::text[], array['jsonb', 'public.turns', 'public.sessions', 'jsonb']::text[], 0, false, null),
                ('hold_turn', 'iooo', array['p', 'turn', 'session', 'refused']::text[], array['jsonb', 'public.turns', 'public.sessions', 'jsonb']::text[], 0, false, null),
                ('llm_of', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'text'),
                ('line_of', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'text'),
                ('newest_put_off', 'ii', array['p_waits_for', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'bigint[]'),
                ('due_since', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'timestamptz'),
                ('is_back', 'ii', array['p_waits_for', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'void'),
                ('write_reply', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'jsonb'),
                ('reply_was_made', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'void'),
                ('back_off', 'iii', array['p_base', 'p_times', 'p_most']::text[], array['numeric', 'integer', 'numeric']::text[], 0, false, 'numeric'),
                ('after_failure', 'iii', array['p_turn', 'p_session', 'p']::text[], array['public.turns', 'public.sessions', 'jsonb']::text[], 0, false, 'jsonb'),
                ('end_attempt', 'iii', array['p_turn', 'p_session', 'p']::text[], array['public.turns', 'public.sessions', 'jsonb']::text[], 0, false, 'jsonb'),
                ('has_unsent', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('is_cut_off', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('is_begun', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('retry_refusal', 'ii', array['p_turn', 'p_session']::text[], array['public.turns', 'public.sessions']::text[], 0, false, 'text'),
                ('revive_turn', 'ii', array['p_turn', 'p_due_at']::text[], array['public.turns', 'timestamptz']::text[], 0, false, 'void'),
                ('is_to_be_retried', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'boolean'),
                ('is_still_wanted', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'boolean'),
                ('retry_one_of_many', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('folded', 'i', array['p_text']::text[], array['text']::text[], 0, false, 'text'),
                ('plain_number', 'i', array['p_jid']::text[], array['text']::text[], 0, false, 'text'),
                ('give_up_id', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'void'),
                ('take_part_back', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'void'),
                ('record_twin', 'iii', array['p_message', 'p_wa_id', 'p_status']::text[], array['public.messages', 'text', 'text']::text[], 0, false, 'void'),
                ('typed_by_hand', '', array[]::text[], array[]::text[], 0, false, 'text'),
                ('can_be', 'ii', array['p_other', 'p_message']::text[], array['public.messages', 'public.messages']::text[], 0, false, 'boolean'),
                ('id_is_taken', 'ii', array['p_message', 'p_wa_id']::text[], array['public.messages', 'text']::text[], 0, false, 'boolean'),
                ('mark_sent_without_id', 'iii', array['p_message', 'p_status', 'p_policy']::text[], array['public.messages', 'text', 'jsonb']::text[], 0, false, 'void'),
                ('mark_sent', 'iiii', array['p_message_id', 'p_wa_id', 'p_status', 'p_policy']::text[], array['bigint', 'text', 'text', 'jsonb']::text[], 0, false, 'void'),
                ('begin_message', 'iiiii', array['p_session', 'p_turn_id', 'p_part', 'p_sender', 'p']::text[], array['public.sessions', 'bigint', 'integer', 'text', 'jsonb']::text[], 0, false, 'public.messages'),
                ('pass_fence', 'iii', array['p_turn', 'p_session', 'p']::text[], array['public.turns', 'public.sessions', 'jsonb']::text[], 0, false, 'jsonb'),
                ('begun_send', 'ii', array['p_message', 'p_session']::text[], array['public.messages', 'public.sessions']::text[], 0, false, 'jsonb'),
                ('is_named', 'ii', array['p_message', 'p']::text[], array['public.messages', 'jsonb']::text[], 0, false, 'boolean'),
                ('send_of', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'public.messages'),
                ('learn_identity', 'iii', array['p_tenant_id', 'p_session_id', 'p_jid']::text[], array['bigint', 'bigint', 'text']::text[], 0, false, 'void'),
                ('learn_other', 'iii', array['p_tenant_id', 'p_session_id', 'p_jid']::text[], array['bigint', 'bigint', 'text']::text[], 0, false, 'void'),
                ('learn_answer', 'iii', array['p_tenant_id', 'p_session_id', 'p_jid']::text[], array['bigint', 'bigint', 'text']::text[], 0, false, 'void'),
                ('told_taken', 'i', array['p_is_taken']::text[], array['boolean']::text[], 0, false, 'jsonb'),
                ('mark_not_sent', 'iii', array['p_message_id', 'p_late_until', 'p_policy']::text[], array['bigint', 'timestamptz', 'jsonb']::text[], 0, false, 'void'),
                ('late_until', 'ii', array['p_message', 'p']::text[], array['public.messages', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('doubted_too_often', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'boolean'),
                ('doubt_context', 'i', array['p_send']::text[], array['public.messages']::text[], 0, false, 'jsonb'),
                ('doubt_contexts', 'i', array['p_ids']::text[], array['bigint[]']::text[], 0, false, 'jsonb'),
                ('notice_given_up', 'ii', array['p_message', 'p_why']::text[], array['public.messages', 'text']::text[], 0, false, 'void'),
                ('give_up', 'ii', array['p_message', 'p_why']::text[], array['public.messages', 'text']::text[], 0, false, 'void'),
                ('never_begun', 'iii', array['p_session', 'p_part', 'p']::text[], array['public.sessions', 'integer', 'jsonb']::text[], 0, false, 'public.messages'),
                ('words_of', 'i', array['p_text']::text[], array['text']::text[], 0, false, 'text[]'),
                ('likeness_of', 'iii', array['p_one', 'p_other', 'p_is_same']::text[], array['text[]', 'text[]', 'boolean']::text[], 0, false, 'numeric'),
                ('sentences_of', 'i', array['p_text']::text[], array['text']::text[], 0, false, 'text[]'),
                ('answers_evenly', 'iiii', array['p_session_id', 'p_text', 'p_since', 'p_replies']::text[], array['bigint', 'text', 'timestamptz', 'integer']::text[], 0, false, 'boolean'),
                ('pause_for_loop', 'i', array['p_session']::text[], array['public.sessions']::text[], 0, false, 'void'),
                ('is_loop', 'iiii', array['p_tenant', 'p_session', 'p_event', 'p_policy']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'jsonb']::text[], 0, false, 'boolean'),
                ('stranger_wrote_at', 'ii', array['p_tenant', 'p_session']::text[], array['public.tenants', 'public.sessions']::text[], 0, false, 'timestamptz'),
                ('stranger_waits_until', 'iiiii', array['p_tenant', 'p_wrote_at', 'p_since', 'p_newest', 'p_policy']::text[], array['public.tenants', 'timestamptz', 'timestamptz', 'timestamptz', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('stranger_wait', 'iiii', array['p_tenant', 'p_session', 'p_at', 'p_policy']::text[], array['public.tenants', 'public.sessions', 'timestamptz', 'jsonb']::text[], 0, false, 'numeric'),
                ('waits_for_stranger', 'ii', array['p_turn', 'p_session']::text[], array['public.turns', 'public.sessions']::text[], 0, false, 'boolean'),
                ('await_album', 'iiii', array['p_session', 'p_pictures', 'p_at', 'p_cap']::text[], array['public.sessions', 'integer', 'timestamptz', 'numeric']::text[], 0, false, 'timestamptz'),
                ('await_next_picture', 'iiii', array['p_session', 'p_kind', 'p_debounce', 'p_cap']::text[], array['public.sessions', 'text', 'numeric', 'numeric']::text[], 0, false, 'numeric'),
                ('status_rank', 'i', array['p_status']::text[], array['text']::text[], 0, false, 'integer'),
                ('later_status', 'ii', array['p_one', 'p_other']::text[], array['text', 'text']::text[], 0, false, 'text'),
                ('was_delivered', 'i', array['p_status']::text[], array['text']::text[], 0, false, 'boolean'),
                ('change_message', 'ii', array['p_message_id', 'p_change']::text[], array['bigint', 'jsonb']::text[], 0, false, 'void'),
                ('lock_message', 'ii', array['p_tenant_id', 'p_wa_id']::text[], array['bigint', 'text']::text[], 0, false, 'void'),
                ('apply_waiting', 'iii', array['p_tenant_id', 'p_message_id', 'p_wa_id']::text[], array['bigint', 'bigint', 'text']::text[], 0, false, 'boolean'),
                ('cancel_deleted_turn', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('began_anew_enough', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'boolean'),
                ('reread_turn', 'iii', array['p_turn_id', 'p_tenant', 'p_policy']::text[], array['bigint', 'public.tenants', 'jsonb']::text[], 0, false, 'numeric'),
                ('answer_edit', 'iiii', array['p_tenant', 'p_message_id', 'p_event', 'p_policy']::text[], array['public.tenants', 'bigint', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('message_meant', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'public.messages'),
                ('whose_change', 'i', array['p_change']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('await_message', 'ii', array['p_tenant_id', 'p_event']::text[], array['bigint', 'jsonb']::text[], 0, false, 'jsonb'),
                ('ingest_change', 'iii', array['p_tenant', 'p_event', 'p_policy']::text[], array['public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('hasten', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('ingest_connection', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'jsonb'),
                ('spellings', 'i', array['p_jid']::text[], array['text']::text[], 0, false, 'text[]'),
                ('spellings_typed', 'i', array['p_jid']::text[], array['text']::text[], 0, false, 'text[]'),
                ('known_as', 'ii', array['p_tenant_id', 'p_jid']::text[], array['bigint', 'text']::text[], 0, false, 'text'),
                ('sends_that_say', 'iii', array['p_tenant_id', 'p_event', 'p_at']::text[], array['bigint', 'jsonb', 'timestamptz']::text[], 0, true, 'public.messages'),
                ('find_own', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'public.messages'),
                ('recognise_own', 'iii', array['p_tenant', 'p_event', 'p_policy']::text[], array['public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('known_own', 'iiii', array['p_tenant', 'p_message', 'p_event', 'p_policy']::text[], array['public.tenants', 'public.messages', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('insert_message', 'iiiii', array['p_session', 'p_event', 'p_sender', 'p_at', 'p_turn_id']::text[], array['public.sessions', 'jsonb', 'text', 'timestamptz', 'bigint']::text[], 0, false, 'bigint'),
                ('is_greeting', 'iii', array['p_tenant', 'p_session', 'p_at']::text[], array['public.tenants', 'public.sessions', 'timestamptz']::text[], 0, false, 'boolean'),
                ('judge_greetings_again', 'iiii', array['p_tenant', 'p_session', 'p_at', 'p_policy']::text[], array['public.tenants', 'public.sessions', 'timestamptz', 'jsonb']::text[], 0, false, 'boolean'),
                ('judge_business_message', 'iiiioo', array['p_tenant', 'p_session', 'p_event', 'p_at', 'sender', 'takeover']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'timestamptz', 'text', 'boolean']::text[], 0, false, null),
                ('ingest_business_message', 'iiiii', array['p_tenant', 'p_session', 'p_event', 'p_policy', 'p_at']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'jsonb', 'timestamptz']::text[], 0, false, 'jsonb'),
                ('ingest_contact_message', 'iiiii', array['p_tenant', 'p_session', 'p_event', 'p_policy', 'p_at']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'jsonb', 'timestamptz']::text[], 0, false, 'jsonb'),
                ('answers_a_notice', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'boolean'),
                ('is_to_self', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'boolean'),
                ('ingest_note_to_self', 'iiiii', array['p_tenant', 'p_session', 'p_event', 'p_policy', 'p_at']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'jsonb', 'timestamptz']::text[], 0, false, 'jsonb'),
                ('ingest_message', 'iii', array['p_tenant', 'p_event', 'p_policy']::text[], array['public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('ingest_again', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'jsonb'),
                ('is_forgotten', 'i', array['p_event']::text[], array['jsonb']::text[], 0, false, 'boolean'),
                ('refuse_event', 'i', array['p_event']::text[], array['jsonb']::text[], 0, false, 'void'),
                ('ingest_event', 'ii', array['p_event', 'p_policy']::text[], array['jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('count_failed_parts', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('note_failure', 'ii', array['p_message_id', 'p_change']::text[], array['bigint', 'jsonb']::text[], 0, false, 'void'),
                ('take_back_failure', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'void'),
                ('change_status', 'ii', array['p_message_id', 'p_change']::text[], array['bigint', 'jsonb']::text[], 0, false, 'void'),
                ('ingest_status', 'iii', array['p_tenant', 'p_event', 'p_policy']::text[], array['public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('may_pass', 'i', array['p_error_code']::text[], array['text']::text[], 0, false, 'boolean'),
                ('may_have_arrived', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('messages_to_answer_again', 'ii', array['p_turn', 'p_since']::text[], array['public.turns', 'timestamptz']::text[], 0, false, 'bigint[]'),
                ('answer_undelivered', 'ii', array['p_turn_id', 'p_since']::text[], array['bigint', 'timestamptz']::text[], 0, false, 'void'),
                ('call_off_answer', 'ii', array['p_turn_id', 'p_session_id']::text[], array['bigint', 'bigint']::text[], 0, false, 'void'),
                ('look_at_ended_turn', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('failed_in_a_row', 'ioooo', array['p_tenant_id', 'replies', 'contacts', 'since', 'last_at']::text[], array['bigint', 'integer', 'integer', 'timestamptz', 'timestamptz']::text[], 0, false, null),
                ('many_in_a_row', '', array[]::text[], array[]::text[], 0, false, 'integer'),
                ('notice_undelivered', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('failures_json', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('await_media', 'iiiii', array['p_tenant', 'p_message_id', 'p_turn_id', 'p_event', 'p_policy']::text[], array['public.tenants', 'bigint', 'bigint', 'jsonb', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('heard', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'numeric'),
                ('forget_media', 'i', array['p_message_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('media_job_context', 'ii', array['p_job', 'p_token']::text[], array['public.media_jobs', 'uuid']::text[], 0, false, 'jsonb'),
                ('media_job_contexts', 'ii', array['p_ids', 'p_tokens']::text[], array['bigint[]', 'uuid[]']::text[], 0, false, 'jsonb'),
                ('next_to_hear', 'iiiiiooo', array['p_after', 'p_now', 'p_enough', 'p_most', 'p_full', 'tenants', 'last', 'is_whole']::text[], array['bigint', 'timestamptz', 'integer', 'integer', 'bigint[]', 'bigint[]', 'bigint', 'boolean']::text[], 0, false, null),
                ('claimable_media_jobs', 'iiiittt', array['p_tenants', 'p_now', 'p_limit', 'p', 'job_id', 'place', 'was_cut']::text[], array['bigint[]', 'timestamptz', 'integer', 'jsonb', 'bigint', 'bigint', 'boolean']::text[], 0, true, null),
                ('hold_media_job', 'iooo', array['p', 'job', 'message', 'refused']::text[], array['jsonb', 'public.media_jobs', 'public.messages', 'jsonb']::text[], 0, false, null),
                ('sense_of', 'ii', array['p_tenant_id', 'p_name']::text[], array['bigint', 'text']::text[], 0, false, 'text'),
                ('senses_are_back', 'i', array['p_waits_for']::text[], array['text']::text[], 0, false, 'void'),
                ('spend_on_media', 'iii', array['p_job', 'p_message', 'p_tokens']::text[], array['public.media_jobs', 'public.messages', 'bigint']::text[], 0, false, 'void'),
                ('close_media_job', 'iiii', array['p_job', 'p_message', 'p_error', 'p_tokens']::text[], array['public.media_jobs', 'public.messages', 'text', 'bigint']::text[], 0, false, 'numeric'),
                ('answer_late_words', 'iii', array['p_tenant', 'p_message', 'p_policy']::text[], array['public.tenants', 'public.messages', 'jsonb']::text[], 0, false, 'numeric'),
                ('exported_kept_file', 'i', array['p_file']::text[], array['public.kept_files']::text[], 0, false, 'jsonb'),
                ('to_cursor', 'ii', array['p_list', 'p_key']::text[], array['text', 'jsonb']::text[], 0, false, 'text'),
                ('from_cursor', 'ii', array['p_list', 'p']::text[], array['text', 'jsonb']::text[], 0, false, 'jsonb'),
                ('page_size', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'integer'),
                ('page', 'iii', array['p_list', 'p_rows', 'p_limit']::text[], array['text', 'jsonb[]', 'integer']::text[], 0, false, 'jsonb'),
                ('rows_to_look_at', 'ii', array['p_limit', 'p_searches']::text[], array['integer', 'boolean']::text[], 0, false, 'integer'),
                ('page_of_search', 'iiii', array['p_list', 'p_rows', 'p_limit', 'p_last']::text[], array['text', 'jsonb[]', 'integer', 'jsonb']::text[], 0, false, 'jsonb'),
                ('require_own', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'void'),
                ('session_json', 'ii', array['p_session_id', 'p_policy']::text[], array['bigint', 'jsonb']::text[], 1, false, 'jsonb'),
                ('turn_json', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('message_json', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'jsonb'),
                ('short_message_json', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'jsonb'),
                ('sessions_called', 'ii', array['p_tenant_id', 'p_contact']::text[], array['bigint', 'text']::text[], 0, false, 'bigint[]'),
                ('digits_of', 'i', array['p_contact']::text[], array['text']::text[], 0, false, 'text'),
                ('beginnings_typed', 'i', array['p_digits']::text[], array['text']::text[], 0, false, 'text[]'),
                ('ends_typed', 'i', array['p_digits']::text[], array['text']::text[], 0, false, 'text[]'),
                ('sessions_numbered', 'ii', array['p_tenant_id', 'p_digits']::text[], array['bigint', 'text']::text[], 0, false, 'bigint[]'),
                ('message_matches', 'ii', array['p_message', 'p']::text[], array['public.messages', 'jsonb']::text[], 0, false, 'boolean'),
                ('picks_messages', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'boolean'),
                ('messages_of_session', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('messages_of_tenant', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('tenant_settings', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('tenant_keys', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('settings_for_admins', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('settings_of_deployment', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('untold_settings', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('settings_followed', '', array[]::text[], array[]::text[], 0, false, 'text[]'),
                ('list_bounds', '', array[]::text[], array[]::text[], 0, false, 'jsonb'),
                ('text_bounds', '', array[]::text[], array[]::text[], 0, false, 'jsonb'),
                ('tenant_rule', 'i', array['p_constraint']::text[], array['text']::text[], 0, false, 'text'),
                ('store_settings', 'i', array['p_new']::text[], array['public.tenants']::text[], 0, false, 'public.tenants'),
                ('tenant_json', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'jsonb'),
                ('tenant_seen_by', 'ii', array['p_caller', 'p_tenant']::text[], array['jsonb', 'public.tenants']::text[], 0, false, 'jsonb'),
                ('tenant_of', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'public.tenants'),
                ('check_name', 'ii', array['p_what', 'p_name']::text[], array['text', 'text']::text[], 0, false, 'void'),
                ('check_sizes', 'i', array['p_values']::text[], array['jsonb']::text[], 0, false, 'void'),
                ('check_waiting', 'iii', array['p_tenant', 'p_values', 'p_policy']::text[], array['public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'void'),
                ('check_tenant_values', 'i', array['p_values']::text[], array['jsonb']::text[], 0, false, 'void'),
                ('write_tenant', 'ii', array['p_tenant', 'p_values']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'public.tenants'),
                ('check_key_stays', 'ii', array['p_tenant', 'p_values']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'void'),
                ('is_deployment', 'i', array['p_caller']::text[], array['jsonb']::text[], 0, false, 'boolean'),
                ('check_deployments_own', 'iii', array['p_caller', 'p_tenant', 'p_values']::text[], array['jsonb', 'public.tenants', 'jsonb']::text[], 0, false, 'void'),
                ('check_ceilings', 'iiii', array['p_caller', 'p_tenant', 'p_values', 'p_ceilings']::text[], array['jsonb', 'public.tenants', 'jsonb', 'jsonb']::text[], 0, false, 'void'),
                ('told_shortly', 'i', array['p_value']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('tenant_changes', 'ii', array['p_old', 'p_new']::text[], array['public.tenants', 'public.tenants']::text[], 0, false, 'jsonb'),
                ('save_tenant', 'iii', array['p_tenant_id', 'p_reserved_id', 'p_values']::text[], array['bigint', 'bigint', 'jsonb']::text[], 0, false, 'jsonb'),
                ('with_contact', 'ii', array['p', 'p_make']::text[], array['jsonb', 'boolean']::text[], 0, false, 'jsonb'),
                ('webhook_secret_json', 'i', array['p_secret']::text[], array['public.webhook_secrets']::text[], 0, false, 'jsonb'),
                ('webhook_hashes', 'ii', array['p_tenant_id', 'p_lasting']::text[], array['bigint', 'boolean']::text[], 0, false, 'jsonb'),
                ('reaches', 'ii', array['p_role', 'p_needs']::text[], array['text', 'text']::text[], 0, false, 'boolean'),
                ('known_caller', 'i', array['p_caller']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('role_in', 'ii', array['p_caller', 'p_tenant_id']::text[], array['jsonb', 'bigint']::text[], 0, false, 'text'),
                ('tenants_of', 'ii', array['p_caller', 'p_needs']::text[], array['jsonb', 'text']::text[], 0, false, 'bigint[]'),
                ('require_role', 'iii', array['p_caller', 'p_tenant_id', 'p_needs']::text[], array['jsonb', 'bigint', 'text']::text[], 0, false, 'void'),
                ('allowed_tenant', 'iii', array['p_caller', 'p_needs', 'p']::text[], array['jsonb', 'text', 'jsonb']::text[], 0, false, 'bigint'),
                ('refuse_change', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('audit_pause', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('record_audit', 'iiiii', array['p_caller', 'p_action', 'p_tenant_id', 'p', 'p_detail']::text[], array['jsonb', 'text', 'bigint', 'jsonb', 'jsonb']::text[], 0, false, 'void'),
                ('audit_wanted', 'ii', array['p_line', 'p']::text[], array['public.audit_log', 'jsonb']::text[], 0, false, 'boolean'),
                ('short_detail', 'i', array['p_detail']::text[], array['jsonb']::text[], 0, false, 'jsonb'),
                ('operator_calls', 'tttt', array['name', 'needs', 'audited', 'details']::text[], array['text', 'text', 'boolean', 'text[]']::text[], 0, true, null),
                ('end_keys', 'ii', array['p_user_id', 'p_tenant_id']::text[], array['uuid', 'bigint']::text[], 0, false, 'void'),
                ('end_keys_made_with', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('end_keys_of_member', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('member_behind', 'i', array['p_caller']::text[], array['jsonb']::text[], 0, false, 'uuid'),
                ('api_key_json', 'i', array['p_key']::text[], array['public.api_keys']::text[], 0, false, 'jsonb'),
                ('audit_of_key', 'i', array['p_key']::text[], array['public.api_keys']::text[], 0, false, 'jsonb'),
                ('make_room_for_key', 'i', array['p_tenants']::text[], array['bigint[]']::text[], 0, false, 'void'),
                ('may_manage', 'ii', array['p_caller', 'p_key']::text[], array['jsonb', 'public.api_keys']::text[], 0, false, 'boolean'),
                ('user_of', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'uuid'),
                ('my_user_id', '', array[]::text[], array[]::text[], 0, false, 'uuid'),
                ('my_tenants', 'i', array['p_needs']::text[], array['text']::text[], 1, true, 'bigint'),
                ('let_members_read', 'iii', array['p_table', 'p_condition', 'p_columns']::text[], array['text', 'text', 'text']::text[], 1, false, 'void'),
                ('execution_owner', 'i', array['p_execution_id']::text[], array['text']::text[], 0, false, 'bigint'),
                ('is_execution_id', 'i', array['p_execution_id']::text[], array['text']::text[], 0, false, 'boolean'),
                ('check_execution_id', 'i', array['p_execution_id']::text[], array['text']::text[], 0, false, 'void'),
                ('is_anothers_execution', 'ii', array['p_execution_id', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'boolean'),
                ('may_claim_execution', 'ii', array['p_execution_id', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'boolean'),
                ('lock_execution', 'iooo', array['p_execution_id', 'turn', 'session', 'refused']::text[], array['text', 'public.turns', 'public.sessions', 'jsonb']::text[], 0, false, null),
                ('said_so_far', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'text'),
                ('next_part', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, false, 'integer'),
                ('keep_rest', 'iii', array['p_turn', 'p_session', 'p_rest']::text[], array['public.turns', 'public.sessions', 'jsonb']::text[], 0, false, 'void'),
                ('erase_executions', 'ii', array['p_tenant_id', 'p_session_ids']::text[], array['bigint', 'bigint[]']::text[], 0, false, 'jsonb'),
                ('endings', 'tttttttt', array['cause', 'about', 'lasts', 'tells_after', 'is_told', 'says_fallback', 'hands_off', 'told_deployment']::text[], array['text', 'text', 'interval', 'interval', 'boolean', 'boolean', 'boolean', 'text']::text[], 0, true, null),
                ('note_unanswered', 'iii', array['p_turn', 'p_cause', 'p_error']::text[], array['public.turns', 'text', 'text']::text[], 0, false, 'boolean'),
                ('after_unanswered', 'iiiii', array['p_turn', 'p_session', 'p_cause', 'p_error', 'p_minutes']::text[], array['public.turns', 'public.sessions', 'text', 'text', 'numeric']::text[], 0, false, 'jsonb'),
                ('begin_outage', 'iii', array['p_tenant_id', 'p_cause', 'p_error']::text[], array['bigint', 'text', 'text']::text[], 0, false, 'public.outages'),
                ('know_why_flows_fail', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('end_outages', 'ii', array['p_about', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'void'),
                ('replies_are_made', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'void'),
                ('waiting_notice', 'iioo', array['p_tenant_id', 'p_kind', 'notice', 'ids']::text[], array['bigint', 'text', 'public.notices', 'bigint[]']::text[], 0, false, null),
                ('has_waiting_notices', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('lock_waiting_notice', 'ii', array['p_tenant_id', 'p_kind']::text[], array['bigint', 'text']::text[], 0, false, 'void'),
                ('tell_outage', 'iiii', array['p_tenant_id', 'p_kind', 'p_id', 'p_at']::text[], array['bigint', 'text', 'bigint', 'timestamptz']::text[], 0, false, 'bigint'),
                ('untell_outage', 'iii', array['p_tenant_id', 'p_kind', 'p_id']::text[], array['bigint', 'text', 'bigint']::text[], 0, false, 'boolean'),
                ('outage_json', 'i', array['p_outage']::text[], array['public.outages']::text[], 0, false, 'jsonb'),
                ('notice_facts', 'i', array['p_notice']::text[], array['public.notices']::text[], 0, false, 'jsonb'),
                ('fallback_since', 'ii', array['p_tenant_id', 'p_cause']::text[], array['bigint', 'text']::text[], 0, false, 'timestamptz'),
                ('say_fallback', 'iiii', array['p_turn', 'p_session', 'p_cause', 'p_minutes']::text[], array['public.turns', 'public.sessions', 'text', 'numeric']::text[], 0, false, 'void'),
                ('dialled', 'i', array['p_number']::text[], array['text']::text[], 0, false, 'text'),
                ('notified_jid', 'i', array['p_number']::text[], array['text']::text[], 0, false, 'text'),
                ('staff_jid', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'text'),
                ('staff_jids', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'text[]'),
                ('has_staff', 'i', array['p_tenant']::text[], array['public.tenants']::text[], 0, false, 'boolean'),
                ('own_staff_jid', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'text'),
                ('is_staff', 'ii', array['p_tenant', 'p_session_id']::text[], array['public.tenants', 'bigint']::text[], 0, false, 'boolean'),
                ('notice_number', 'ii', array['p_notice', 'p_tenant']::text[], array['public.notices', 'public.tenants']::text[], 0, false, 'text'),
                ('make_notice', 'iiiii', array['p_tenant_id', 'p_kind', 'p_session_id', 'p_facts', 'p_at']::text[], array['bigint', 'text', 'bigint', 'jsonb', 'timestamptz']::text[], 0, false, 'void'),
                ('drop_notices', 'iii', array['p_tenant_id', 'p_kinds', 'p_reason']::text[], array['bigint', 'text[]', 'text']::text[], 0, false, 'void'),
                ('notice_handoff', 'iii', array['p_session', 'p_reason', 'p_summary']::text[], array['public.sessions', 'text', 'text']::text[], 0, false, 'void'),
                ('notice_untaken', 'iii', array['p_handoff', 'p_session', 'p_to_next']::text[], array['public.handoffs', 'public.sessions', 'boolean']::text[], 0, false, 'void'),
                ('untold_handoff_notice', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'bigint'),
                ('notice_words_lost', 'i', array['p_handoff']::text[], array['public.handoffs']::text[], 0, false, 'void'),
                ('notice_connection', 'iii', array['p_tenant', 'p_state', 'p_reason']::text[], array['public.tenants', 'text', 'text']::text[], 0, false, 'void'),
                ('notice_qr', 'ii', array['p_tenant', 'p_event']::text[], array['public.tenants', 'jsonb']::text[], 0, false, 'void'),
                ('flow_has_worked', 'ii', array['p_tenant_id', 'p_since']::text[], array['bigint', 'timestamptz']::text[], 0, false, 'boolean'),
                ('notice_context', 'ii', array['p_notice', 'p_token']::text[], array['public.notices', 'uuid']::text[], 0, false, 'jsonb'),
                ('notice_contexts', 'ii', array['p_ids', 'p_tokens']::text[], array['bigint[]', 'uuid[]']::text[], 0, false, 'jsonb'),
                ('next_to_tell', 'iiiiiooo', array['p_after', 'p_now', 'p_enough', 'p_most', 'p_full', 'tenants', 'last', 'is_whole']::text[], array['bigint', 'timestamptz', 'integer', 'integer', 'bigint[]', 'bigint[]', 'bigint', 'boolean']::text[], 0, false, null),
                ('claimable_notices', 'iiiittt', array['p_tenants', 'p_now', 'p_limit', 'p', 'notice_id', 'place', 'was_cut']::text[], array['bigint[]', 'timestamptz', 'integer', 'jsonb', 'bigint', 'bigint', 'boolean']::text[], 0, true, null),
                ('notice_refusal', 'ii', array['p_notice', 'p']::text[], array['public.notices', 'jsonb']::text[], 0, false, 'jsonb'),
                ('hold_notice', 'ioo', array['p', 'notice', 'refused']::text[], array['jsonb', 'public.notices', 'jsonb']::text[], 0, false, null),
                ('most_relays', '', array[]::text[], array[]::text[], 0, false, 'integer'),
                ('has_too_many_relays', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('is_unbegun', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'boolean'),
                ('relay_json', 'i', array['p_relay']::text[], array['public.relays']::text[], 0, false, 'jsonb'),
                ('unseen_human', 'iiii', array['p_session', 'p_seen', 'p_name', 'p_staff_session_id']::text[], array['public.sessions', 'bigint', 'text', 'bigint']::text[], 0, false, 'public.messages'),
                ('caller_label', 'i', array['p_caller']::text[], array['jsonb']::text[], 0, false, 'text'),
                ('relay_of_request', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'public.relays'),
                ('quoted_by_staff', 'ii', array['p_session', 'p_event']::text[], array['public.sessions', 'jsonb']::text[], 0, false, 'public.messages'),
                ('session_of_notice', 'i', array['p_notice']::text[], array['public.notices']::text[], 0, false, 'public.sessions'),
                ('note_staff_words', 'iiiii', array['p_tenant', 'p_session', 'p_event', 'p_at', 'p_policy']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'timestamptz', 'jsonb']::text[], 0, false, 'boolean'),
                ('relay_context', 'ii', array['p_relay', 'p_token']::text[], array['public.relays', 'uuid']::text[], 0, false, 'jsonb'),
                ('relay_refusal', 'ii', array['p_relay', 'p']::text[], array['public.relays', 'jsonb']::text[], 0, false, 'jsonb'),
                ('hold_relay', 'iiooo', array['p', 'p_of_staff', 'relay', 'session', 'refused']::text[], array['jsonb', 'boolean', 'public.relays', 'public.sessions', 'jsonb']::text[], 0, false, null),
                ('begin_again', 'iii', array['p_session', 'p_message', 'p']::text[], array['public.sessions', 'public.messages', 'jsonb']::text[], 0, false, 'public.messages'),
                ('seen_by_staff', 'i', array['p_relay']::text[], array['public.relays']::text[], 0, false, 'bigint'),
                ('relays_about', 'i', array['p_session_ids']::text[], array['bigint[]']::text[], 0, true, 'public.relays'),
                ('exported_relay', 'i', array['p_relay']::text[], array['public.relays']::text[], 0, false, 'jsonb'),
                ('erase_relays', 'i', array['p_session_ids']::text[], array['bigint[]']::text[], 0, false, 'bigint'),
                ('prune_relays', 'ii', array['p_batch', 'p_default_days']::text[], array['integer', 'integer']::text[], 0, false, 'bigint'),
                ('pause_for_human', 'iii', array['p_session', 'p_reason', 'p_summary']::text[], array['public.sessions', 'text', 'text']::text[], 0, false, 'void'),
                ('reply_instead', 'iii', array['p_turn_id', 'p_reply', 'p_outcome']::text[], array['bigint', 'jsonb', 'text']::text[], 0, false, 'void'),
                ('answer_instead', 'iii', array['p_turn_id', 'p_message', 'p_outcome']::text[], array['bigint', 'text', 'text']::text[], 0, false, 'void'),
                ('spending_of', 'iii', array['p_tenant_id', 'p_session_id', 'p_day']::text[], array['bigint', 'bigint', 'date']::text[], 0, false, 'public.spending'),
                ('settle_budget', 'ii', array['p_turn', 'p_tokens']::text[], array['public.turns', 'bigint']::text[], 0, false, 'void'),
                ('tokens_told', 'i', array['p']::text[], array['jsonb']::text[], 0, false, 'bigint'),
                ('settle_reply', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'void'),
                ('with_cost', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'public.turns'),
                ('book_cost', 'ii', array['p_turn', 'p']::text[], array['public.turns', 'jsonb']::text[], 0, false, 'void'),
                ('ceiled', 'iii', array['p_own', 'p_policy', 'p_name']::text[], array['numeric', 'jsonb', 'text']::text[], 0, false, 'numeric'),
                ('used_up', 'iiiiii', array['p_tenant', 'p_all', 'p_own', 'p_policy', 'p_turns', 'p_tokens']::text[], array['public.tenants', 'public.spending', 'public.spending', 'jsonb', 'integer', 'bigint']::text[], 0, false, 'text'),
                ('was_pruned', 'ii', array['p_tenant_id', 'p_sent_at']::text[], array['bigint', 'timestamptz']::text[], 0, false, 'boolean'),
                ('retentions', 'itt', array['p_default_days', 'tenant_id', 'cutoff']::text[], array['integer', 'bigint', 'timestamptz']::text[], 0, true, null),
                ('has_unfinished_turn', 'i', array['p_session_id']::text[], array['bigint']::text[], 0, false, 'boolean'),
                ('prune_messages', 'ii', array['p_batch', 'p_default_days']::text[], array['integer', 'integer']::text[], 0, false, 'jsonb'),
                ('prune_turns', 'ii', array['p_batch', 'p_default_days']::text[], array['integer', 'integer']::text[], 0, false, 'bigint'),
                ('prune_notices', 'ii', array['p_batch', 'p_default_days']::text[], array['integer', 'integer']::text[], 0, false, 'bigint'),
                ('prune_handoffs', 'ii', array['p_batch', 'p_default_days']::text[], array['integer', 'integer']::text[], 0, false, 'bigint'),
                ('prune_spending', 'i', array['p_batch']::text[], array['integer']::text[], 0, false, 'bigint'),
                ('prune_erased', 'i', array['p_batch']::text[], array['integer']::text[], 0, false, 'bigint'),
                ('prune_media', 'i', array['p_batch']::text[], array['integer']::text[], 0, false, 'void'),
                ('amount_of', 'ii', array['p_table', 'p_tenant_id']::text[], array['text', 'bigint']::text[], 0, false, 'jsonb'),
                ('note_guard', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('guard_json', 'ii', array['p_tenant', 'p_now']::text[], array['public.tenants', 'timestamptz']::text[], 0, false, 'jsonb'),
                ('guarded_after', 'iii', array['p_after', 'p_limit', 'p_since']::text[], array['bigint', 'bigint', 'timestamptz']::text[], 0, false, 'bigint[]'),
                ('changes_kept', '', array[]::text[], array[]::text[], 0, false, 'interval'),
                ('changes_told', '', array[]::text[], array[]::text[], 0, false, 'interval'),
                ('tell_change', 'iiii', array['p_kind', 'p_tenant_id', 'p_session_id', 'p_turn_id']::text[], array['text', 'bigint', 'bigint', 'bigint']::text[], 2, false, 'void'),
                ('message_changed', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('turn_changed', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('session_changed', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('notice_changed', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('tenant_changed', '', array[]::text[], array[]::text[], 0, false, 'trigger'),
                ('prune_changes', 'i', array['p_batch']::text[], array['integer']::text[], 0, false, 'bigint'),
                ('position_now', '', array[]::text[], array[]::text[], 0, false, 'text'),
                ('snapshot_of', 'i', array['p_position']::text[], array['text']::text[], 0, false, 'pg_snapshot'),
                ('changes_since', 'iiii', array['p_since', 'p_tenant_ids', 'p_most', 'p_everybodys']::text[], array['pg_snapshot', 'bigint[]', 'integer', 'boolean']::text[], 0, false, 'jsonb'),
                ('wa_id_hash', 'i', array['p_wa_id']::text[], array['text']::text[], 0, false, 'bytea'),
                ('erased_before', 'ii', array['p_tenant_id', 'p_event']::text[], array['bigint', 'jsonb']::text[], 0, false, 'timestamptz'),
                ('was_erased', 'ii', array['p_tenant_id', 'p_wa_id']::text[], array['bigint', 'text']::text[], 0, false, 'boolean'),
                ('bury_message', 'ii', array['p_tenant_id', 'p_wa_id']::text[], array['bigint', 'text']::text[], 0, false, 'void'),
                ('forget_event', '', array[]::text[], array[]::text[], 0, false, 'void'),
                ('note_who_wrote_meanwhile', 'ii', array['p_event', 'p_policy']::text[], array['jsonb', 'jsonb']::text[], 0, false, 'jsonb'),
                ('taken_over_meanwhile', 'iiii', array['p_tenant', 'p_session', 'p_event', 'p_policy']::text[], array['public.tenants', 'public.sessions', 'jsonb', 'jsonb']::text[], 0, false, 'public.sessions'),
                ('refuse_erased', 'iii', array['p_session', 'p_event', 'p_at']::text[], array['public.sessions', 'jsonb', 'timestamptz']::text[], 0, false, 'void'),
                ('refuse_erased_change', 'ii', array['p_tenant_id', 'p_event']::text[], array['bigint', 'jsonb']::text[], 0, false, 'void'),
                ('wa_id_of_event', 'i', array['p_key']::text[], array['text']::text[], 0, false, 'text'),
                ('sessions_of_contact', 'ii', array['p_tenant_id', 'p_jids']::text[], array['bigint', 'text[]']::text[], 0, false, 'bigint[]'),
                ('lock_contact', 'ii', array['p_tenant_id', 'p_jids']::text[], array['bigint', 'text[]']::text[], 0, false, 'bigint[]'),
                ('identities_of', 'i', array['p_session_ids']::text[], array['bigint[]']::text[], 0, false, 'text[]'),
                ('notices_about', 'iii', array['p_tenant_id', 'p_session_ids', 'p_jids']::text[], array['bigint', 'bigint[]', 'text[]']::text[], 0, true, 'public.notices'),
                ('wa_ids_of', 'i', array['p_session_ids']::text[], array['bigint[]']::text[], 0, true, 'text'),
                ('events_about_message', 'ii', array['p_tenant_id', 'p_wa_id']::text[], array['bigint', 'text']::text[], 0, true, 'public.processed_events'),
                ('changes_about', 'ii', array['p_tenant_id', 'p_jids']::text[], array['bigint', 'text[]']::text[], 0, true, 'public.processed_events'),
                ('events_about', 'iii', array['p_tenant_id', 'p_session_ids', 'p_jids']::text[], array['bigint', 'bigint[]', 'text[]']::text[], 0, true, 'public.processed_events'),
                ('exported_turn', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'jsonb'),
                ('attempts_at', 'i', array['p_turn_id']::text[], array['bigint']::text[], 0, true, 'public.turn_attempts'),
                ('rows_about', 'iii', array['p_tenant_id', 'p_session_ids', 'p_jids']::text[], array['bigint', 'bigint[]', 'text[]']::text[], 0, false, 'jsonb'),
                ('exported_media_job', 'i', array['p_job']::text[], array['public.media_jobs']::text[], 0, false, 'jsonb'),
                ('all_about', 'iii', array['p_tenant_id', 'p_session_ids', 'p_jids']::text[], array['bigint', 'bigint[]', 'text[]']::text[], 0, false, 'jsonb'),
                ('said_in_session', 'iiiiittt', array['p_session_id', 'p_archived', 'p_sent_at', 'p_id', 'p_limit', 'id', 'sent_at', 'wa_id']::text[], array['bigint', 'boolean', 'timestamptz', 'bigint', 'integer', 'bigint', 'timestamptz', 'text']::text[], 0, true, null),
                ('page_of_said', 'iiii', array['p_list', 'p_session_id', 'p_after', 'p_limit']::text[], array['text', 'bigint', 'jsonb', 'integer']::text[], 0, false, 'jsonb'),
                ('page_of_events', 'iiiii', array['p_list', 'p_tenant_id', 'p_session_id', 'p_after', 'p_limit']::text[], array['text', 'bigint', 'bigint', 'jsonb', 'integer']::text[], 0, false, 'jsonb'),
                ('page_of_attempts', 'iii', array['p_session_id', 'p_after', 'p_limit']::text[], array['bigint', 'jsonb', 'integer']::text[], 0, false, 'jsonb'),
                ('page_of_changes', 'iiiii', array['p_tenant_id', 'p_session_id', 'p_jids', 'p_after_id', 'p_limit']::text[], array['bigint', 'bigint', 'text[]', 'bigint', 'integer']::text[], 0, false, 'jsonb'),
                ('erase_rows', 'iii', array['p_table', 'p_tenant_id', 'p_session_ids']::text[], array['text', 'bigint', 'bigint[]']::text[], 0, false, 'bigint'),
                ('bury_contact', 'iii', array['p_tenant_id', 'p_session_ids', 'p_hashes']::text[], array['bigint', 'bigint[]', 'jsonb']::text[], 0, false, 'void'),
                ('notices_that_name', 'i', array['p_session_ids']::text[], array['bigint[]']::text[], 0, false, 'bigint[]'),
                ('erase_notices', 'iii', array['p_tenant_id', 'p_session_ids', 'p_jids']::text[], array['bigint', 'bigint[]', 'text[]']::text[], 0, false, 'bigint'),
                ('turn_of_story', 'i', array['p_turn']::text[], array['public.turns']::text[], 0, false, 'jsonb'),
                ('message_of_story', 'i', array['p_message']::text[], array['public.messages']::text[], 0, false, 'jsonb'),
                ('events_of_story', 'iitttt', array['p_tenant_id', 'p_wa_ids', 'at', 'rank', 'kind', 'facts']::text[], array['bigint', 'text[]', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('attempts_of_story', 'itttt', array['p_turn', 'at', 'rank', 'kind', 'facts']::text[], array['public.turns', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('sends_of_story', 'itttt', array['p_turn_id', 'at', 'rank', 'kind', 'facts']::text[], array['bigint', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('session_of_story', 'itttt', array['p_turn', 'at', 'rank', 'kind', 'facts']::text[], array['public.turns', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('answered_again', 'itttt', array['p_turn', 'at', 'rank', 'kind', 'facts']::text[], array['public.turns', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('happenings_of_turn', 'itttt', array['p_turn', 'at', 'rank', 'kind', 'facts']::text[], array['public.turns', 'timestamptz', 'integer', 'text', 'jsonb']::text[], 0, true, null),
                ('message_told', 'ii', array['p_tenant_id', 'p_wa_id']::text[], array['bigint', 'text']::text[], 0, false, 'public.messages'),
                ('tenant_of_story', 'i', array['p_tenant_id']::text[], array['bigint']::text[], 0, false, 'jsonb'),
                ('apply_grants', 'ii', array['p_tables', 'p_functions']::text[], array['text[]', 'text[]']::text[], 0, false, 'void')
            ) as f (name, modes, names, types, defaults, is_set, result)
            where f.name = p.proname
                and f.modes = coalesce(array_to_string(p.proargmodes, ''), repeat('i', p.pronargs))
                and f.names = coalesce(p.proargnames, '{}')
                and array(
                    select pg_catalog.to_regtype(t.name)::oid
                    from unnest(f.types) with ordinality as t (name, place)
                    order by t.place
                ) = array(
                    select t.type from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]))
                        with ordinality as t (type, place)
                    order by t.place
                )
                and f.defaults >= p.pronargdefaults
                and f.is_set = p.proretset
                and coalesce(pg_catalog.to_regtype(f.result), p.prorettype) = p.prorettype
        )
    loop
        for v_user in
            select
                format('drop trigger %I on %s', t.tgname, t.tgrelid::pg_catalog.regclass)
                    as dropping
            from pg_catalog.pg_trigger as t
            where t.tgfoid = v_old.oid and not t.tgisinternal
                and t.tgrelid in (
                    select c.oid from pg_catalog.pg_class as c
                    where c.relnamespace = 'public'::pg_catalog.regnamespace
                        and c.relname = any(array['tenants', 'sessions', 'session_identities', 'turns', 'messages', 'processed_events', 'notices', 'spending', 'session_notes', 'tenant_files', 'handoffs', 'kept_files', 'media_jobs', 'turn_attempts', 'outages', 'webhook_secrets', 'api_keys', 'api_key_tenants', 'memberships', 'audit_log', 'dry_turns', 'executions_to_erase', 'relays', 'messages_archive', 'changes', 'erased_contacts', 'erased_messages']::text[])
                )
            union all
            select format('drop policy %I on %s', p.polname, p.polrelid::pg_catalog.regclass)
            from pg_catalog.pg_policy as p
            inner join pg_catalog.pg_depend as d
                on d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid = p.oid
                and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                and d.refobjid = v_old.oid
            where p.polname = 'members_read'
        loop
            execute v_user.dropping;
        end loop;
        execute 'drop function ' || v_old.signature;
    end loop;
end
$hybridflow$;

-- ==================== 0010_gone.sql

-- HybridFlow: drops what an earlier release had and this one no longer has. (A function of the schema
-- hybridflow is dropped automatically; one of the schema public must be dropped here by its name.)

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
drop trigger if exists turns_words_are_over on public.turns;

-- ==================== 0100_tables.sql

-- HybridFlow: tables.
--
-- public     tables and the functions that callers use (PostgREST exposes them to service_role only)
-- hybridflow steps that those functions share; never called from outside
--
-- State changes only through the functions. Row level security is on, and nothing is granted here to anon or
-- authenticated. Every statement is safe to run again.

create schema if not exists hybridflow;

-- The words that a column may have are a domain, not a check of its table. PostgreSQL reads and plans all
-- checks of a table again for each statement that writes one of its rows, whatever the statement changes, and
-- these tables are written at each message. A connection reads a domain once, and checks it only where the
-- column is written. The allowed words are added below, so that no table of an earlier release is rewritten.
do $hybridflow$
declare
    v_name text;
begin
    foreach v_name in array array[
        'chat', 'actor', 'turn_state', 'handler', 'sender', 'send_state', 'attempt_end'
    ] loop
        if pg_catalog.to_regtype('hybridflow.' || v_name) is null then
            execute format('create domain hybridflow.%I as text', v_name);
        end if;
    end loop;
end
$hybridflow$;

create table if not exists public.tenants (
    id bigint generated always as identity primary key,
    instance_name text not null unique check (instance_name ~ '^[^/]+$'),
    evo_server_url text not null check (evo_server_url ~ '^https?://'),
    evo_api_key text,
    system_prompt text,
    llm_provider text not null default 'anthropic' check (llm_provider in ('anthropic', 'openai')),
    llm_api_key text,
    llm_model text,
    llm_max_tokens integer check (llm_max_tokens > 0),
    is_active boolean not null default true,
    -- Settings of the conversation; null means the deployment's default.
    debounce_seconds numeric check (debounce_seconds between 0 and 3600),
    resume_after_hours numeric check (resume_after_hours > 0 and resume_after_hours <= 87600),
    answer_within_minutes numeric check (answer_within_minutes > 0 and answer_within_minutes <= 525600),
    auto_reply_seconds numeric not null default 0 check (auto_reply_seconds between 0 and 86400),
    other_client_takeover boolean not null default true,
    answer_groups boolean not null default false,
    unanswered_kinds text[] not null default '{}',
    on_new_message text not null default 'queue' check (on_new_message in ('queue', 'restart')),
    -- Who is told that a human is needed, or that the connection is lost.
    notify_number text
    check (notify_number ~ '^([1-9][0-9]{6,14}|[0-9]+@(s\.whatsapp\.net|lid)|[0-9-]+@g\.us)$'),
    notify_url text check (notify_url ~ '^https?://[^/]'),
    -- Who may post webhooks, within what the deployment allows.
    webhook_networks cidr[] check (webhook_networks <> '{}'),
    shared_webhook_secret boolean not null default true,
    -- What Evolution last reported about the connection.
    connection_state text,
    connection_reason integer,
    connection_changed_at timestamptz,
    connection_lost_at timestamptz,
    owner_jid text,
    qr_code text,
    pairing_code text,
    qr_updated_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

comment on table public.tenants is 'One business: one Evolution instance, its prompt, provider and settings.';
comment on column public.tenants.connection_lost_at is
'Since when the connection has been lost; null: it is not lost.';

create table if not exists public.sessions (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    chat hybridflow.chat not null default 'contact',
    phone_jid text,
    lid text,
    contact_name text,
    is_paused boolean not null default false,
    pause_source hybridflow.actor,
    pause_reason text,
    pause_message_id bigint,
    paused_at timestamptz,
    paused_until timestamptz,
    pause_indefinite boolean not null default false,
    resumed_at timestamptz,
    resume_source hybridflow.actor,
    last_human_at timestamptz,
    last_message_at timestamptz,
    last_contact_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

alter table public.sessions
-- The columns that 0.1.0 had come first (see 0895_erased.sql), as in an upgraded database.
add column if not exists erased_before timestamptz,
add column if not exists erasure_checked boolean not null default false,
add column if not exists merged_at timestamptz;

comment on table public.sessions is 'One tenant''s conversation with one contact (or group).';
comment on column public.sessions.last_human_at is
'When a human of the business last wrote or paused; a pause without its own end counts from here.';
comment on column public.sessions.merged_at is
'When another session was merged into it, by the clock of turns.seen_at. No earlier turn has seen the'
' messages that this brought.';
comment on column public.sessions.pause_message_id is
'The message that caused the pause; if it turns out to be our own, the pause is withdrawn.';

create index if not exists sessions_by_activity
on public.sessions (tenant_id, last_message_at desc nulls last, id desc);
create index if not exists sessions_paused_by_activity
on public.sessions (tenant_id, last_message_at desc nulls last, id desc) where is_paused;
create index if not exists sessions_paused
on public.sessions (tenant_id, coalesce(last_human_at, paused_at, updated_at))
where is_paused and not pause_indefinite and paused_until is null;
create index if not exists sessions_paused_until
on public.sessions (paused_until) where is_paused and paused_until is not null;

create table if not exists public.session_identities (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    jid text not null,
    session_id bigint not null references public.sessions (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (tenant_id, jid)
);

comment on table public.session_identities is
'Every JID (phone, LID, rewritten number) under which a contact is known; all lead to one session.';

create index if not exists session_identities_by_session on public.session_identities (session_id);
-- By the beginning and by the end of a number, for searches for a contact.
create index if not exists session_identities_by_beginning
on public.session_identities (tenant_id, jid text_pattern_ops);
create index if not exists session_identities_by_end
on public.session_identities (tenant_id, reverse(split_part(jid, '@', 1)) text_pattern_ops);

create table if not exists public.turns (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    state hybridflow.turn_state not null default 'pending',
    reason text,
    run_after timestamptz not null,
    debounce_until timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    worker text,
    handler hybridflow.handler,
    execution_id text,
    reply jsonb,
    incomplete boolean not null default false,
    error_kind text,
    error text,
    provider text,
    model text,
    tokens_in integer,
    tokens_out integer,
    correlation_id text,
    created_at timestamptz not null default now(),
    claimed_at timestamptz,
    finished_at timestamptz,
    updated_at timestamptz not null default now()
);

comment on table public.turns is
'The work of making one reply: pending, running, sending, then sent, cancelled or dead.';
comment on column public.turns.token_hash is
'SHA-256 of the current attempt''s fencing token; a new attempt makes the old token worthless.';
comment on column public.turns.execution_id is
'n8n''s execution that works on the turn, as its flow reported it.';
comment on column public.turns.incomplete is 'Closed as sent, although not every part of the reply was sent.';

create index if not exists turns_by_execution on public.turns (execution_id) where execution_id is not null;
create index if not exists turns_by_session on public.turns (session_id, id desc);
create index if not exists turns_by_tenant on public.turns (tenant_id, id desc);
create index if not exists turns_by_state on public.turns (tenant_id, state, id desc);

create table if not exists public.messages (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint references public.turns (id) on delete set null,
    wa_id text,
    from_me boolean not null,
    sender hybridflow.sender not null,
    kind text not null default 'text',
    body text not null default '',
    media jsonb,
    quoted jsonb,
    author_name text,
    expects_reply boolean not null default false,
    status text,
    sent_at timestamptz not null,
    edited_at timestamptz,
    deleted_at timestamptz,
    part integer,
    send_state hybridflow.send_state,
    send_began_at timestamptz,
    sends integer not null default 0,
    created_at timestamptz not null default now()
);

comment on table public.messages is 'One WhatsApp message, in or out; from_me as in Evolution.';
comment on column public.messages.sender is
'contact; owner (typed by hand); operator (a human, through HybridFlow); ai; client (another client of the'
' API); auto (greeting, call reply).';
comment on column public.messages.sent_at is 'WhatsApp''s messageTimestamp: the order of the conversation.';
comment on column public.messages.send_state is
'Our own sends: sending, then sent, unknown (the outcome is in doubt) or failed (certainly not sent).';

-- In 0.1.0 these columns were texts with checks. The triggers and generated columns that prevent a change of
-- type are dropped here, and made again below, as in a new database.
do $hybridflow$
declare
    v_old record;
    v_domain record;
begin
    for v_old in
        select c.of_table, c.name, c.domain
        from (values
            ('sessions', 'chat', 'chat'), ('sessions', 'pause_source', 'actor'),
            ('sessions', 'resume_source', 'actor'), ('turns', 'state', 'turn_state'),
            ('turns', 'handler', 'handler'), ('messages', 'sender', 'sender'),
            ('messages', 'send_state', 'send_state'), ('messages_archive', 'sender', 'sender'),
            ('messages_archive', 'send_state', 'send_state')
        ) as c (of_table, name, domain)
        join pg_catalog.pg_attribute as a
            on a.attrelid = pg_catalog.to_regclass('public.' || c.of_table) and a.attname = c.name
        where a.atttypid = 'text'::pg_catalog.regtype
    loop
        drop trigger if exists sessions_audit_pause on public.sessions;
        drop trigger if exists turns_undelivered on public.turns;
        drop trigger if exists forget_what_was_said on public.turns;
        alter table public.turns
        drop constraint if exists turns_check, drop column if exists waiting, drop column if exists held;
        execute format(
            'alter table public.%I drop constraint if exists %I, alter column %I type hybridflow.%I',
            v_old.of_table, v_old.of_table || '_' || v_old.name || '_check', v_old.name, v_old.domain
        );
    end loop;
    for v_domain in
        select d.name, d.allowed
        from (values
            ('chat', array['contact', 'group']),
            ('actor', array['owner', 'operator', 'contact', 'ai', 'cron']),
            ('turn_state', array['pending', 'running', 'sending', 'sent', 'cancelled', 'dead']),
            ('handler', array['n8n', 'fallback']),
            ('sender', array['contact', 'owner', 'operator', 'ai', 'client', 'auto']),
            ('send_state', array['sending', 'sent', 'unknown', 'failed']),
            ('attempt_end', array[
                'sent', 'cancelled', 'dead', 'failed', 'away', 'in_doubt', 'refused', 'budget', 'unreadable',
                'released', 'begun_anew', 'restarted', 'merged', 'lapsed', 'cut_off'
            ])
        ) as d (name, allowed)
        where not exists (
            select from pg_catalog.pg_constraint as c
            where c.contypid = ('hybridflow.' || d.name)::pg_catalog.regtype and c.contype = 'c'
                and strpos(pg_catalog.pg_get_constraintdef(c.oid), quote_literal(d.allowed::text)) > 0
        )
    loop
        -- A release may allow more words than the one before.
        execute format(
            'alter domain hybridflow.%I drop constraint if exists %I', v_domain.name, v_domain.name || '_check'
        );
        execute format(
            'alter domain hybridflow.%I add constraint %I check (value = any(%L::text[]))',
            v_domain.name, v_domain.name || '_check', v_domain.allowed
        );
    end loop;
end
$hybridflow$;

create unique index if not exists messages_once
on public.messages (wa_id, tenant_id, from_me, session_id)
where wa_id is not null;
create unique index if not exists messages_one_per_part
on public.messages (turn_id, part) where part is not null;
create index if not exists messages_by_turn on public.messages (turn_id) where turn_id is not null;
create index if not exists messages_in_order on public.messages (session_id, sent_at desc, id desc);
-- Messages that a human of the business may have written: see hybridflow.is_by_human.
create index if not exists messages_by_humans on public.messages (session_id, sent_at desc, id desc)
where from_me and sender in ('owner', 'operator', 'client');
create index if not exists messages_by_creation on public.messages (tenant_id, created_at desc, id desc);

create table if not exists public.processed_events (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    event_key text not null,
    event text not null,
    decision jsonb,
    waiting_for text,
    change jsonb,
    processed_at timestamptz not null default clock_timestamp()
);

comment on table public.processed_events is
'The webhook deliveries that were accepted, each with the decision made.';
comment on column public.processed_events.waiting_for is
'The wa_id of a message that is not known yet; the change is applied when that message is recorded.';

-- In byte order, so that the events about one message are also found by the beginning of their keys.
create unique index if not exists processed_events_once
on public.processed_events (tenant_id, event_key text_pattern_ops);
alter table public.processed_events drop constraint if exists processed_events_tenant_id_event_key_key;
-- The contacts in changes that waited for their message, or still wait.
create index if not exists processed_events_changes
on public.processed_events using gin ((change -> 'jids')) where change is not null;
create index if not exists processed_events_recent on public.processed_events (processed_at desc);
-- When a tenant's webhook last delivered something. Our own probes and what gap repair fetched do not count.
create index if not exists processed_events_last
on public.processed_events (tenant_id, processed_at desc)
where event not in ('hybridflow.test', 'gap_repair');
create index if not exists processed_events_waiting
on public.processed_events (tenant_id, waiting_for) where waiting_for is not null;

create table if not exists public.notices (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    kind text not null,  -- the kinds: 0871_notices.sql
    facts jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    reason text,
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    number_told_at timestamptz,
    url_told_at timestamptz,
    handler text check (handler in ('n8n', 'fallback')),
    error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now()
);

comment on table public.notices is
'What the people of a business must be told, for example that a human is needed or the connection is lost.';
comment on column public.notices.reason is
'Why nobody was told: recovered (it is over), replaced (by a newer notice), nobody (nobody is to be told).';
comment on column public.notices.next_at is 'When it is due; while it is being told, when the lease ends.';
comment on column public.notices.number_told_at is
'When the send of its one WhatsApp message began. From then on the number counts as told, unless the send'
' certainly failed.';
comment on column public.notices.message_id is 'The WhatsApp message that tells it.';

create index if not exists notices_by_tenant on public.notices (tenant_id, id desc);
create index if not exists notices_by_session on public.notices (session_id);
create index if not exists notices_by_jid on public.notices (tenant_id, (facts ->> 'jid'))
where facts ->> 'jid' is not null;
create index if not exists notices_by_message on public.notices (message_id);

alter table public.tenants enable row level security;
alter table public.sessions enable row level security;
alter table public.session_identities enable row level security;
alter table public.turns enable row level security;
alter table public.messages enable row level security;
alter table public.processed_events enable row level security;
alter table public.notices enable row level security;

-- ==================== 0150_limits.sql

-- HybridFlow: what a tenant may say and spend: the columns for it, and the table of what was spent.

-- Rules for replies, loops and budgets; null means the deployment's default.
alter table public.tenants
add column if not exists forbidden_patterns text[] not null default '{}'
constraint tenants_forbidden_patterns_check check (
    cardinality(forbidden_patterns) <= 50 and length(array_to_string(forbidden_patterns, '')) <= 10000
    and array_position(forbidden_patterns, null) is null
),
add column if not exists max_reply_characters integer
constraint tenants_max_reply_characters_check check (max_reply_characters > 0),
add column if not exists leak_characters integer
constraint tenants_leak_characters_check check (leak_characters >= 0),
add column if not exists moderation_url text
constraint tenants_moderation_url_check check (moderation_url ~ '^https?://[^/]'),
add column if not exists on_refused_reply text not null default 'handoff'
constraint tenants_on_refused_reply_check check (on_refused_reply in ('handoff', 'fallback_message')),
add column if not exists fallback_message text
constraint tenants_fallback_message_check check (length(btrim(fallback_message)) between 1 and 4096),
add column if not exists loop_replies integer
constraint tenants_loop_replies_check check (loop_replies >= 0),
add column if not exists loop_minutes numeric
constraint tenants_loop_minutes_check check (loop_minutes > 0 and loop_minutes <= 1440),
add column if not exists daily_turns integer
constraint tenants_daily_turns_check check (daily_turns >= 0),
add column if not exists daily_tokens bigint
constraint tenants_daily_tokens_check check (daily_tokens >= 0),
add column if not exists contact_daily_turns integer
constraint tenants_contact_daily_turns_check check (contact_daily_turns >= 0),
add column if not exists contact_daily_tokens bigint
constraint tenants_contact_daily_tokens_check check (contact_daily_tokens >= 0);

-- Columns that later files use. They are here so that the columns have the same order in every database. A
-- new setting's column goes to the end, with a check named `tenants_<column>_check`. What the setting means,
-- and who may set it, is declared in router/configuration/tenant_settings.py.
alter table public.tenants
add column if not exists caught_up_at timestamptz,
add column if not exists retention_days integer
constraint tenants_retention_days_check check (retention_days between 1 and 36500),
add column if not exists on_retention text not null default 'archive'
constraint tenants_on_retention_check check (on_retention in ('archive', 'delete')),
add column if not exists pruned_before timestamptz,
add column if not exists guard_changed_at timestamptz not null default '-infinity',
add column if not exists answer_edits boolean not null default false,
add column if not exists answered_kinds text[] not null default '{}'
constraint tenants_answered_kinds_check check (answered_kinds <@ array['reaction', 'poll_vote']),
add column if not exists unknown_lid_minutes numeric not null default 3
constraint tenants_unknown_lid_minutes_check check (unknown_lid_minutes between 0 and 60),
add column if not exists facts text,
add column if not exists timezone text
constraint tenants_timezone_check check (length(timezone) between 1 and 64),
add column if not exists opening_hours jsonb
constraint tenants_opening_hours_check check (
    jsonb_typeof(opening_hours) = 'object' and octet_length(opening_hours::text) <= 20000
),
add column if not exists away_message text
constraint tenants_away_message_check check (
    length(away_message) <= 2000 and length(btrim(away_message)) > 0
),
add column if not exists answer_when_closed boolean not null default true,
add column if not exists notes_to_llm boolean not null default false,
add column if not exists n8n_flow text
constraint tenants_n8n_flow_check check (n8n_flow ~ '^[A-Za-z0-9_-]{1,100}(/[A-Za-z0-9_-]{1,100}){0,4}$'),
add column if not exists n8n_contract text
constraint tenants_n8n_contract_check check (n8n_contract in ('answer', 'gateway')),
add column if not exists max_bubbles integer not null default 3
constraint tenants_max_bubbles_check check (max_bubbles between 1 and 10),
add column if not exists new_message_stops boolean not null default false,
add column if not exists understand_media boolean not null default true,
add column if not exists media_wait_seconds numeric
constraint tenants_media_wait_seconds_check check (media_wait_seconds between 0 and 120),
add column if not exists speech_language text
constraint tenants_speech_language_check check (speech_language ~ '^[a-z]{2,3}$'),
add column if not exists handoff_message text
constraint tenants_handoff_message_check check (length(btrim(handoff_message)) between 1 and 2000),
add column if not exists handoff_words text[] not null default '{}'
constraint tenants_handoff_words_check check (
    cardinality(handoff_words) <= 100 and length(array_to_string(handoff_words, '')) <= 5000
    and array_position(handoff_words, null) is null
),
add column if not exists handoff_on_promise boolean not null default true,
add column if not exists quote_replies boolean not null default true,
add column if not exists thanks_reaction text
constraint tenants_thanks_reaction_check check (
    length(thanks_reaction) between 1 and 16 and thanks_reaction !~ '[ -~[:alnum:][:space:][:cntrl:]]'
),
add column if not exists voice_replies text not null default 'never'
constraint tenants_voice_replies_check check (voice_replies in ('never', 'mirror', 'always')),
add column if not exists mark_as_read boolean not null default true,
add column if not exists handoff_remind_minutes numeric not null default 15
constraint tenants_handoff_remind_minutes_check check (handoff_remind_minutes between 1 and 1440),
add column if not exists handoff_untaken text not null default 'return'
constraint tenants_handoff_untaken_check check (handoff_untaken in ('return', 'wait')),
add column if not exists notify_number_next text
constraint tenants_notify_number_next_check
check (notify_number_next ~ '^([1-9][0-9]{6,14}|[0-9]+@(s\.whatsapp\.net|lid)|[0-9-]+@g\.us)$'),
add column if not exists tts_voice text
constraint tenants_tts_voice_check check (length(btrim(tts_voice)) between 1 and 100),
add column if not exists tts_instructions text
constraint tenants_tts_instructions_check check (length(btrim(tts_instructions)) between 1 and 500),
add column if not exists language text not null default 'en'
constraint tenants_language_check check (language in ('en', 'pt', 'es')),
add column if not exists keep_media_days integer not null default 0
constraint tenants_keep_media_days_check check (keep_media_days between 0 and 3650),
add column if not exists answer_late_words boolean not null default false;

comment on column public.tenants.caught_up_at is
'Gap repair has asked Evolution for everything that was sent before this time.';
comment on column public.tenants.pruned_before is
'Messages sent before this time may have been pruned: an unknown message that is older is no longer'
' recorded.';
comment on column public.tenants.guard_changed_at is
'When the rules about who may post its webhooks last changed; routers ask for what has changed.';

alter table public.turns
add column if not exists reserved_tokens bigint,
add column if not exists reserved_on date;
comment on column public.turns.reserved_tokens is
'Tokens reserved for an attempt whose cost is not known yet; until it is known they count as spent.';
comment on column public.turns.reserved_on is 'The day whose budget the attempt counts against.';

create table if not exists public.spending (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete cascade,
    day date not null,
    turns integer not null default 0,
    tokens bigint not null default 0,
    told_at timestamptz,
    unique nulls not distinct (tenant_id, day, session_id)
);
comment on table public.spending is
'Turns and tokens of one day (UTC): of a session, or, where session_id is null, of the whole tenant.';
comment on column public.spending.told_at is 'When the contact was told that the budget is used up.';
create index if not exists spending_by_session on public.spending (session_id);
alter table public.spending enable row level security;

-- The rules by which the router checks a reply before it is sent.
create or replace function hybridflow.reply_rules(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'forbidden_patterns', p_tenant.forbidden_patterns,
        'max_characters', p_tenant.max_reply_characters,
        'leak_characters', p_tenant.leak_characters,
        'moderation_url', p_tenant.moderation_url
    )
$$;

-- ==================== 0160_outbox.sql

-- HybridFlow: columns about a send, about a turn that stops, waits or runs beside another, and about a pause.

-- One pause may have several reasons, and lasts as long as the longest of them: for ever (pause_indefinite),
-- until a time that an operator named (paused_until), or for resume_after_hours from pause_asked_at or from
-- pause_written_at.
alter table public.sessions
add column if not exists pause_asked_at timestamptz,
add column if not exists pause_written_at timestamptz,
add column if not exists awaited_pictures integer,
add column if not exists awaited_until timestamptz;

comment on column public.sessions.pause_asked_at is
'When somebody (an operator, a handoff, a loop) last asked for the current pause without an end time.';
comment on column public.sessions.awaited_pictures is
'How many pictures of an announced album have not arrived yet; see awaited_until.';
comment on column public.sessions.awaited_until is
'Until when, at most, an answer waits for the pictures of an announced album.';
comment on column public.sessions.pause_written_at is
'When the last message was written by which a human of the business took over, within the current pause.';

alter table public.turns
add column if not exists beside boolean not null default false,
add column if not exists stop_reason text,
add column if not exists waits integer not null default 0,
add column if not exists seen_at timestamptz,
add column if not exists execution_told_at timestamptz,
add column if not exists retried_at timestamptz,
add column if not exists waits_for text,
add column if not exists waiting boolean generated always as (state = 'pending') stored,
add column if not exists held boolean generated always as (state in ('running', 'sending')) stored;

alter table public.turns drop constraint if exists turns_held_by_token;
alter table public.turns add constraint turns_held_by_token
check (not held or (token_hash is not null and lease_until is not null));

comment on column public.turns.waiting is 'Whether it is pending; see the index turns_waiting.';
comment on column public.turns.held is 'Whether it is running or sending; see the index turns_held.';
comment on column public.turns.retried_at is
'When a person last retried it. Its age counts from then, and no claim ends it as too old for its old'
' messages.';
comment on column public.turns.waits_for is
'What was away when it was tried (see llm_of, line_of); when that is back it is due at once. Null: nothing.';
comment on column public.turns.beside is
'It was sending when its session was merged into one with an active turn; it is finished beside that turn.';
comment on column public.turns.stop_reason is
'Why it may say no more, for example: a human took over while a part was leaving. It is closed when that'
' part is settled.';
comment on column public.turns.waits is
'Attempts in a row that sent nothing because Evolution, the line or the LLM was away; they do not count.';
comment on column public.turns.seen_at is
'When the conversation was read from which its reply is made, by the clock of messages.created_at.';
comment on column public.turns.execution_told_at is
'When n8n itself named execution_id in its answer to the router; null: its flow reported it.';

alter table public.turns
add column if not exists said_so_far text;

comment on column public.turns.said_so_far is
'All texts that its flow has sent, as the guard reads them; null once nobody works on the turn any more.';

-- When a turn ends or is put back, only its messages keep what it said.
create or replace function hybridflow.forget_what_was_said()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.state not in ('running', 'sending') then
        update public.turns set said_so_far = null where id = new.id;
    end if;
    return null;
end
$$;

-- After, not before: with a before trigger, every update of a turn would lock its row first, whatever the
-- condition.
create or replace trigger forget_what_was_said
after update of state on public.turns
for each row
when (new.said_so_far is not null)
execute function hybridflow.forget_what_was_said();

-- Queries use these two columns only to find turns that wait or are held, and each index has its own
-- condition. With the state as the condition, the planner would choose an index of a few rows for any query
-- that names the state, while its statistics are older than the rows, and each claim would read all of them.
create unique index if not exists turns_waiting_once on public.turns (session_id) where waiting;
create index if not exists turns_waiting on public.turns (tenant_id, run_after) where waiting;
create index if not exists turns_waiting_until on public.turns (run_after) where waiting and not held;
create index if not exists turns_put_off on public.turns (waits_for, id desc)
where waits_for is not null and (waiting or held);
create index if not exists turns_put_off_by_tenant on public.turns (waits_for, tenant_id, id desc)
where waits_for is not null and (waiting or held);
create unique index if not exists turns_held_once on public.turns (session_id) where held and not beside;
create index if not exists turns_worked_on on public.turns (worker)
where held and not waiting and worker is not null;
-- Only for queries that name a session: see above.
create index if not exists turns_sent on public.turns (session_id, id desc)
where state = 'sent' and session_id is not null;
create index if not exists turns_beside on public.turns (session_id) where held and beside;
create index if not exists turns_held on public.turns (tenant_id, lease_until) where held;
create index if not exists turns_held_until on public.turns (lease_until) where held and not waiting;

alter table public.notices
add column if not exists waiting boolean generated always as (state = 'pending') stored;
comment on column public.notices.waiting is 'Whether it is pending; see turns.waiting.';

create unique index if not exists notices_waiting_once on public.notices (tenant_id, kind)
where waiting and kind <> 'handoff';
create index if not exists notices_waiting on public.notices (tenant_id, next_at) where waiting;
create index if not exists notices_waiting_until on public.notices (next_at)
where waiting and next_at is not null;

alter table public.messages
add column if not exists identity text,
add column if not exists told_as text[],
add column if not exists chosen_id text,
add column if not exists late_until timestamptz,
add column if not exists check_at timestamptz,
add column if not exists upload_seconds numeric,
add column if not exists failed_at timestamptz,
add column if not exists failed_since timestamptz,
add column if not exists error_code text,
add column if not exists undelivered_turns bigint[] not null default '{}',
add column if not exists given_up text,
add column if not exists transcript text,
add column if not exists description text;

comment on column public.messages.transcript is
'What is said in a voice message, as recognised; empty: nothing is said. Null: nobody has listened (yet).';
comment on column public.messages.description is
'What its media shows or says, in words. Null: it has not been described.';
comment on column public.messages.given_up is
'Why this part of a reply can never be sent. It certainly did not leave, and the parts after it are sent.';
comment on column public.messages.identity is
'Our own sends: a hash of the request to Evolution; the same request again has the same hash.';
comment on column public.messages.told_as is
'Our own sends: hashes of what their echo may say, to identify the send while its id is unknown.';
comment on column public.messages.chosen_id is 'The id that we asked Evolution to give it.';
comment on column public.messages.late_until is
'After a doubt it was judged as not sent; until this time an echo with its words is still taken as ours.';
comment on column public.messages.check_at is
'When a send in doubt that belongs to no turn is looked up next.';
comment on column public.messages.upload_seconds is
'Our own sends: how many seconds longer than others it may take because its media is large. Null: none.';

create index if not exists messages_not_known_yet
on public.messages (tenant_id, send_began_at)
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);
create index if not exists messages_by_chosen_id
on public.messages (chosen_id) where wa_id is null and chosen_id is not null;
create index if not exists messages_to_check
on public.messages (coalesce(check_at, send_began_at))
where turn_id is null and send_state in ('sending', 'unknown');

-- ==================== 0165_hours.sql

-- HybridFlow: what a contact was told about the business being closed.
--
-- The router decides when a business is open (router/tenants/hours.py), because it alone knows time zones and
-- public holidays. This file decides what needs the state: that a contact is told once per closed period.

alter table public.sessions
add column if not exists away_until timestamptz,
add column if not exists away_message_id bigint;

comment on column public.sessions.away_until is
'When the closed period ends that the contact was told about, with away_message_id.';

-- When the closed period ends that the session's contact was told about. Null: the contact was never told, or
-- the message did not leave, or WhatsApp did not deliver it.
create or replace function hybridflow.told_away_until(p_session public.sessions)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select p_session.away_until where not exists (
        select from public.messages as m
        where m.id = p_session.away_message_id and (m.send_state = 'failed' or m.status = 'error')
    )
$$;

-- ==================== 0166_delivery.sql

-- HybridFlow: how a reply is sent: in how many messages, and what stops the messages that are left.

-- The settings for sending a tenant's replies, for the router.
create or replace function hybridflow.delivery_rules(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'max_bubbles', p_tenant.max_bubbles, 'quote_replies', p_tenant.quote_replies,
        'thanks_reaction', p_tenant.thanks_reaction, 'voice_replies', p_tenant.voice_replies,
        'tts_voice', p_tenant.tts_voice, 'tts_instructions', p_tenant.tts_instructions
    )
$$;

-- Whether a new message of the contact stops the rest of a reply: the tenant wants that (new_message_stops),
-- a part of the reply is on the phone, and another turn waits for the new message. A reply that hands off
-- goes on, because a handoff is never left out. The session is locked.
create or replace function hybridflow.stopped_by_newer(p_turn public.turns)
returns text
language sql
stable
set search_path = ''
as $$
    select 'new_message'
    from public.tenants as t
    where t.id = p_turn.tenant_id and t.new_message_stops
        and p_turn.reply is not null and not p_turn.reply @? '$[*].handoff'
        and exists (select from public.turns as o where o.session_id = p_turn.session_id and o.waiting)
        and exists (
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part is not null and m.send_state = 'sent'
        )
$$;

-- How many parts of an incomplete reply were not sent; null: none, or it is not known.
create or replace function hybridflow.left_unsaid(p_turn public.turns)
returns bigint
language sql
stable
set search_path = ''
as $$
    select nullif(greatest(
        (
            select count(*) from jsonb_array_elements(p_turn.reply) as r
            where not coalesce(r ? 'handoff' and not r ? 'text', false)
        ) - count(*), 0
    ), 0)
    from public.messages as m
    where p_turn.incomplete and p_turn.reply is not null
        and m.turn_id = p_turn.id and m.part is not null and m.send_state = 'sent'
    having p_turn.incomplete and p_turn.reply is not null
$$;

-- ==================== 0167_kept_by_people.sql

-- HybridFlow: what the people of a business keep about a conversation: labels, an owner, notes.

alter table public.sessions
add column if not exists labels text[] not null default '{}',
add column if not exists owner text;

comment on column public.sessions.labels is
'Labels that people gave it. no-ai: the AI answers nothing there; vip: the AI is told so.';
comment on column public.sessions.owner is 'Who of the business looks after it; null: nobody in particular.';

create table if not exists public.session_notes (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    body text not null constraint session_notes_body_check check (length(body) between 1 and 4000),
    author text not null,
    created_at timestamptz not null default now()
);

comment on table public.session_notes is
'Notes that the people of a business made about a conversation; never sent to the contact.';
create index if not exists session_notes_by_session on public.session_notes (session_id, id desc);
create index if not exists session_notes_by_tenant on public.session_notes (tenant_id);
alter table public.session_notes enable row level security;

-- Whether the session has the label no-ai: then the AI answers nothing there.
create or replace function hybridflow.is_without_ai(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce((select 'no-ai' = any(s.labels) from public.sessions as s where s.id = p_session_id), false)
$$;

-- The session's notes that the AI is told, oldest first: the newest twenty, if the tenant wants that.
create or replace function hybridflow.notes_for_llm(p_tenant public.tenants, p_session_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case when p_tenant.notes_to_llm then (
        select coalesce(jsonb_agg(n.body order by n.id), '[]')
        from (
            select w.id, w.body from public.session_notes as w
            where w.session_id = p_session_id order by w.id desc limit 20
        ) as n
    ) else '[]' end
$$;

-- ==================== 0168_files.sql

-- HybridFlow: the business's own files, which the AI may send by name: a menu, a picture, a sticker.

create table if not exists public.tenant_files (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    name text not null constraint tenant_files_name_check check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    description text not null
    constraint tenant_files_description_check check (length(description) between 1 and 300),
    kind text not null
    constraint tenant_files_kind_check check (kind in ('image', 'sticker', 'video', 'audio', 'document')),
    file_name text not null,
    bytes integer not null,
    content bytea not null
    constraint tenant_files_content_check check (octet_length(content) between 1 and 16000000),
    created_by text not null,
    created_at timestamptz not null default now(),
    unique (tenant_id, name)
);

alter table public.tenant_files alter column content drop not null;

comment on table public.tenant_files is
'Files of a business that the AI may send; kept until they, or their tenant, are removed.';
comment on column public.tenant_files.content is
'The file''s content; null: it is in the store of files (kept_files.own_file_id).';
comment on column public.tenant_files.kind is 'How it is sent; determined from its content.';
comment on column public.tenant_files.file_name is
'Ends with the extension of its type, because Evolution looks at that.';
alter table public.tenant_files enable row level security;

-- What the AI is told about a tenant's files.
create or replace function hybridflow.files_for_llm(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'name', f.name, 'description', f.description, 'kind', f.kind, 'file_name', f.file_name
    ) order by f.name), '[]')
    from public.tenant_files as f
    where f.tenant_id = p_tenant_id
$$;

-- A file as it is shown: without its content.
create or replace function hybridflow.file_json(p_file public.tenant_files)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_file) - 'content'
$$;

-- ==================== 0168_handoffs.sql

-- HybridFlow: handoffs: the AI calls a human to a conversation, and what became of that.
--
-- A handoff is `waiting` until a human of the business takes it (`taken`), by writing or pausing, here or on
-- the phone. It is `done` when the conversation is given back to the AI. A handoff that nobody took ends with
-- its pause as `expired`.

create table if not exists public.handoffs (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint references public.turns (id) on delete set null,
    state text not null default 'waiting' constraint handoffs_state_check
    check (state in ('waiting', 'taken', 'done', 'expired')),
    reason text not null constraint handoffs_reason_check check (
        reason in ('asked_for_person', 'not_known', 'not_allowed', 'upset', 'tool_failed', 'other')
    ),
    why text,
    summary text,
    said text,
    words text not null default 'none' constraint handoffs_words_check
    check (words in ('none', 'saying', 'said', 'not_said')),
    created_at timestamptz not null default now(),
    taken_at timestamptz,
    taken_by text,
    taken_name text,
    taken_message_id bigint references public.messages (id) on delete set null,
    ended_at timestamptz,
    step integer not null default 0,
    step_at timestamptz not null default now(),
    next_at timestamptz,
    line_turn_id bigint references public.turns (id) on delete set null,
    is_quiet boolean not null default false
);

comment on table public.handoffs is
'The AI called a human to a conversation: why, since when, and who took it.';
comment on column public.handoffs.turn_id is 'The turn that handed off; null: no turn did, or it was pruned.';
comment on column public.handoffs.why is
'The reason in the words of the caller that handed off, if these say more than `reason`.';
comment on column public.handoffs.said is 'What the turn that hands off tells the customer about it.';
comment on column public.handoffs.words is
'What became of `said`: none (nothing is said), saying, said (all of it), not_said (a part was not'
' delivered).';
comment on column public.handoffs.taken_by is
'How it was taken, as a pause names its source: owner (wrote on the phone) or operator (used the API).';
comment on column public.handoffs.taken_message_id is 'The message by which it was taken, if it was one.';
comment on column public.handoffs.step is
'The last step that was done because nobody took it: people were told again (1), the next number was told'
' (2), the customer was told (3).';
comment on column public.handoffs.step_at is
'When that step was done; at first, when the handoff began to wait.';
comment on column public.handoffs.next_at is 'When it is looked at next; null: never again.';
comment on column public.handoffs.is_quiet is 'Nothing is sent to the other side, because that is a machine.';
comment on column public.handoffs.line_turn_id is
'The turn that tells the customer that nobody has come yet.';

create unique index if not exists handoffs_waiting_once on public.handoffs (session_id)
where state = 'waiting';
create index if not exists handoffs_by_session on public.handoffs (session_id, id desc);
create index if not exists handoffs_open on public.handoffs (session_id) where ended_at is null;
create index if not exists handoffs_by_tenant on public.handoffs (tenant_id, id desc);
create index if not exists handoffs_by_state on public.handoffs (tenant_id, state, id desc);
create index if not exists handoffs_by_turn on public.handoffs (turn_id) where turn_id is not null;
create index if not exists handoffs_by_line_turn on public.handoffs (line_turn_id)
where line_turn_id is not null;
create index if not exists handoffs_by_message on public.handoffs (taken_message_id)
where taken_message_id is not null;
create index if not exists handoffs_ended on public.handoffs (tenant_id, ended_at)
where ended_at is not null;
create index if not exists handoffs_to_look_at on public.handoffs (next_at)
where state = 'waiting' and next_at is not null;
alter table public.handoffs enable row level security;
alter table public.handoffs add column if not exists part integer;
comment on column public.handoffs.part is
'If a flow sent the promise of a human itself: the number of that part. Null: the customer was told in'
' another way.';

-- ==================== 0168_kept_files.sql

-- HybridFlow: files outside the database, in a folder or in a bucket of Supabase Storage: what contacts sent,
-- for some days, and the business's own files. A row exists before its file and is deleted after it, so no
-- crash leaves a file that nobody knows of.

create table if not exists public.kept_files (
    id bigint generated always as identity primary key,
    tenant_id bigint references public.tenants (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    own_file_id bigint references public.tenant_files (id) on delete set null,
    state text not null default 'writing' constraint kept_files_state_check
    check (state in ('writing', 'waiting', 'kept', 'failed', 'deleted', 'expired')),
    store text not null constraint kept_files_store_check check (store in ('folder', 'bucket')),
    name text constraint kept_files_name_check check (name ~ '^[0-9]+/[0-9]+/[0-9]+-[0-9a-f]{16}$'),
    media_type text not null,
    bytes bigint not null,
    sha256 text,
    content bytea,
    expires_at timestamptz not null,
    next_at timestamptz not null,
    removal_at timestamptz not null,
    attempt integer not null default 0,
    error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    due_at timestamptz generated always as (
        case
            when message_id is null and own_file_id is null then removal_at
            when name is not null then next_at
        end
    ) stored,
    has_owner boolean generated always as (message_id is not null or own_file_id is not null) stored
);

comment on table public.kept_files is
'A file outside the database: one that a contact sent, or an own file of the business. Once its message'
' (erased, pruned, archived) or own file (removed, replaced) is gone, the file is removed, and then the row.';
comment on column public.kept_files.state is
'writing: on its way to the store; waiting: the store did not take it, so the row has it; kept: it is in'
' the store; failed, deleted (by its sender), expired: it is not in the store, or soon will not be.';
comment on column public.kept_files.name is
'Its name in the store, made of ids and random digits. Null: nothing of it is left.';
comment on column public.kept_files.media_type is 'Determined from its bytes.';
comment on column public.kept_files.content is 'The file itself, while its store is away.';
comment on column public.kept_files.next_at is
'While its message or own file exists: when the file must be written or removed.';
comment on column public.kept_files.removal_at is
'Once its message or own file is gone: from when the file may be removed. Before that a router may still be'
' writing it.';

create unique index if not exists kept_files_once on public.kept_files (message_id);
create unique index if not exists kept_files_own on public.kept_files (own_file_id);
create index if not exists kept_files_due on public.kept_files (store, due_at) where due_at is not null;
create index if not exists kept_files_by_tenant on public.kept_files (tenant_id) include (bytes)
where name is not null;
create index if not exists kept_files_waiting on public.kept_files (tenant_id) include (bytes)
where state = 'waiting';
alter table public.kept_files enable row level security;

-- ==================== 0168_media.sql

-- HybridFlow: media that a contact sent, and the work of putting it into words: one row for each message.

create table if not exists public.media_jobs (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    message_id bigint not null references public.messages (id) on delete cascade,
    state text not null default 'pending' constraint media_jobs_state_check
    check (state in ('pending', 'done', 'failed')),
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    error text,
    tokens bigint not null default 0,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiting boolean generated always as (state = 'pending') stored
);

alter table public.media_jobs
add column if not exists pictures jsonb,
add column if not exists pictures_until timestamptz,
add column if not exists content bytea,
add column if not exists waits integer not null default 0,
add column if not exists waits_for text,
add column if not exists keep_only boolean not null default false;

comment on column public.media_jobs.keep_only is
'The file is only kept; it is not put into words, and no turn waits for it.';

comment on column public.media_jobs.waits is
'How often it was put off because something that it needs was away. Such an attempt does not count while'
' that works for nobody.';
comment on column public.media_jobs.waits_for is
'What it is put off for: ''speech'', ''describer'', or its tenant''s line; it is due when that works again.';

comment on column public.media_jobs.content is
'The media itself, if it came inside its webhook and is available nowhere else; until the job is done.';

comment on column public.media_jobs.pictures is
'Small JPEGs (base64) that were made from it and are shown to the LLM; deleted after a day.';
comment on table public.media_jobs is
'The work of putting into words what a contact sent, such as a voice message; the words are stored with the'
' message.';
comment on column public.media_jobs.next_at is 'When it is due; while it is worked on, when the lease ends.';
comment on column public.media_jobs.error is 'Why it failed, or why the last attempt failed.';
comment on column public.media_jobs.tokens is 'What it cost, in tokens, as the budget counts them.';
comment on column public.media_jobs.waiting is 'Whether it is pending; see turns.waiting.';

create unique index if not exists media_jobs_once on public.media_jobs (message_id);
create index if not exists media_jobs_waiting on public.media_jobs (tenant_id, next_at) where waiting;
-- For all tenants together. The condition on `attempt` keeps PostgreSQL from using this index for the jobs of
-- one tenant, for which it would read all of them.
create index if not exists media_jobs_waiting_until on public.media_jobs (next_at)
where waiting and attempt >= 0;
create index if not exists media_jobs_with_pictures on public.media_jobs (pictures_until)
where pictures_until is not null;
create index if not exists media_jobs_put_off on public.media_jobs (waits_for, id desc)
where waits_for is not null;
alter table public.media_jobs enable row level security;

-- ==================== 0170_attempts.sql

-- HybridFlow: the attempts at turns, each recorded once, when it has ended.
--
-- An attempt is under way while its turn is held and has a worker. Until it ends, the turn's own columns
-- describe it (attempt, worker, claimed_at, handler, handler_since), and there can be no second one. So an
-- attempt costs one insert.

create table if not exists public.turn_attempts (
    id bigint generated always as identity,
    turn_id bigint not null,
    tenant_id bigint not null,
    attempt integer not null,
    worker text not null,
    handler hybridflow.handler,
    handler_since timestamptz,
    began timestamptz not null,
    ended timestamptz not null,
    outcome hybridflow.attempt_end not null,
    reason text,
    error_kind text,
    error text,
    provider text,
    model text,
    tokens_in integer,
    tokens_out integer,
    primary key (turn_id, id)
);

comment on table public.turn_attempts is
'Attempts at turns, once they have ended. They are deleted with their turn: see forget_attempts.';
comment on column public.turn_attempts.attempt is
'Its number (1 = first), as its turn counted then. An attempt that does not count shares its number with'
' another.';
comment on column public.turn_attempts.handler is
'Who made the reply, or had to make it; null: the attempt did not get that far, or went on with a saved'
' reply.';
comment on column public.turn_attempts.outcome is
'sent, cancelled, dead: the turn was closed like that. failed: it is tried again. away: it waits, and the'
' attempt does not count; neither do released, begun_anew, restarted, merged. lapsed: nobody reported how it'
' ended.';
comment on column public.turn_attempts.tokens_in is 'Tokens of this attempt alone.';

alter table public.turns add column if not exists handler_since timestamptz;
comment on column public.turns.handler_since is
'When `handler` got the turn, or when the reply that it made was saved.';

alter table public.turns
add column if not exists undelivered integer not null default 0,
add column if not exists execution_url text;
comment on column public.turns.undelivered is 'How many parts of its reply WhatsApp did not deliver.';
comment on column public.turns.execution_url is
'The link to the execution in n8n''s editor; null: its workflow is not known.';
alter table public.turn_attempts
add column if not exists execution_id text,
add column if not exists execution_url text;
comment on column public.turn_attempts.execution_id is
'n8n''s execution that worked on it; the turn itself names only the last one.';

alter table public.turn_attempts enable row level security;

-- Attempts are deleted with their turn, however that is deleted. This is not a foreign key, because a foreign
-- key would look the turn up and lock it again at the end of each attempt, although only note_attempt writes
-- here, for a turn that it has already locked.
create or replace function hybridflow.forget_attempts()
returns trigger
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
    if tg_op = 'TRUNCATE' then
        truncate public.turn_attempts;
        return null;
    end if;
    delete from public.turn_attempts as a using gone as g where a.turn_id = g.id;
    return null;
end
$$;

create or replace trigger forget_attempts
after delete on public.turns
referencing old table as gone
for each statement
execute function hybridflow.forget_attempts();

create or replace trigger forget_all_attempts
after truncate on public.turns
for each statement
execute function hybridflow.forget_attempts();

-- In 0.1.0 a turn that was given back kept the name of its worker.
update public.turns set worker = null
where waiting and worker is not null;

-- Records that the attempt at p_turn has ended. p_turn is the turn as it was during the attempt; without a
-- worker there was no attempt. The attempt's tokens are the turn's tokens minus those of its earlier
-- attempts.
create or replace function hybridflow.note_attempt(
    p_turn public.turns, p_outcome text, p_ended timestamptz, p_reason text, p_error_kind text, p_error text
)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_handled boolean := coalesce(p_turn.handler_since >= p_turn.claimed_at, false);
    v_in integer := p_turn.tokens_in;
    v_out integer := p_turn.tokens_out;
begin
    if p_turn.worker is null then
        return;
    end if;
    if v_in > 0 or v_out > 0 then
        select nullif(v_in - coalesce(sum(a.tokens_in), 0), 0), nullif(v_out - coalesce(sum(a.tokens_out), 0), 0)
        into v_in, v_out
        from public.turn_attempts as a where a.turn_id = p_turn.id;
    end if;
    insert into public.turn_attempts (
        turn_id, tenant_id, attempt, worker, handler, handler_since, began, ended, outcome, reason, error_kind,
        error, provider, model, tokens_in, tokens_out, execution_id, execution_url
    )
    values (
        p_turn.id, p_turn.tenant_id, p_turn.attempt, p_turn.worker, case when v_handled then p_turn.handler end,
        case when v_handled then p_turn.handler_since end, p_turn.claimed_at, p_ended, p_outcome, p_reason,
        p_error_kind, p_error,
        case when v_handled or v_in is not null or v_out is not null then p_turn.provider end,
        case when v_handled or v_in is not null or v_out is not null then p_turn.model end,
        v_in, v_out,
        case when v_handled then p_turn.execution_id end, case when v_handled then p_turn.execution_url end
    );
    if p_turn.waits >= 100 then
        -- During a long outage a turn is tried every half minute: of the attempts that did nothing, only the
        -- newest are kept.
        delete from public.turn_attempts
        where turn_id = p_turn.id and id = (
            select min(a.id) from public.turn_attempts as a
            where a.turn_id = p_turn.id and a.outcome = 'away' and a.tokens_in is null and a.tokens_out is null
        );
    end if;
end
$$;

-- Records the attempts at these turns whose lease ran out: nobody reported how they ended.
create or replace function hybridflow.note_lapsed(p_turn_ids bigint[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
    perform hybridflow.note_attempt(t, 'lapsed', t.lease_until, null, null, null)
    from public.turns as t
    where t.id = any(p_turn_ids) and t.held and t.worker is not null;
end
$$;

-- ==================== 0172_outages.sql

-- HybridFlow: outages: times in which customers of a tenant get no answer, for one cause.
--
-- People are told only once about many turns that fail for one cause: that it began, how many turns it
-- concerns, and that it is over. 0865_endings.sql says which endings there are, and who is told what.

create table if not exists public.outages (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    cause text not null,
    about text,
    began_at timestamptz not null,
    last_at timestamptz not null,
    ended_at timestamptz,
    notice_id bigint,
    error text
);

comment on table public.outages is 'A time in which customers of a tenant get no answer, for one cause.';
comment on column public.outages.cause is 'See hybridflow.endings.';
comment on column public.outages.about is
'What must work again: the LLM (llm_of), the line (line_of), or any reply of the tenant. Null: none of'
' these.';
comment on column public.outages.last_at is 'When it was last noticed, to the minute.';
comment on column public.outages.notice_id is 'The notice that tells the business about it.';
comment on column public.outages.error is 'The first error of the outage.';

create unique index if not exists outages_open on public.outages (tenant_id, cause) where ended_at is null;
create index if not exists outages_open_about on public.outages (about, tenant_id)
where ended_at is null and about is not null;
create index if not exists outages_by_tenant on public.outages (tenant_id, ended_at);
alter table public.outages enable row level security;

alter table public.sessions
add column if not exists fallback_told_at timestamptz,
add column if not exists fallback_message_id bigint;
comment on column public.sessions.fallback_told_at is
'When the contact was last sent the fallback message because there was no answer, with fallback_message_id.';

-- When the session's contact was last sent the fallback message; null: never, or it did not leave, or
-- WhatsApp did not deliver it.
create or replace function hybridflow.told_fallback_at(p_session public.sessions)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select p_session.fallback_told_at where not exists (
        select from public.messages as m
        where m.id = p_session.fallback_message_id and (m.send_state = 'failed' or m.status = 'error')
    )
$$;

-- ==================== 0200_clock.sql

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

-- ==================== 0202_arguments.sql

-- HybridFlow: how functions read their argument: a value from the tenant or from the caller's policy, and
-- keys that are required.

-- A setting's value: the tenant's own, else the caller's policy, else the product's default.
create or replace function hybridflow.rule(p_own numeric, p_policy jsonb, p_name text, p_default numeric)
returns numeric
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(p_own, (p_policy ->> p_name)::numeric, p_default);
end
$$;

-- Raises PT422 for the first of p_keys that is missing or null in the argument of p_function, so that nothing
-- is done for a caller that leaves out something important. `a|b`: one of the two is required. `a or null`:
-- the key is required, and null has a meaning of its own.
create or replace function hybridflow.require_keys(p_function text, p jsonb, p_keys text[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_key text;
    v_names text[];
begin
    foreach v_key in array p_keys loop
        continue when p ->> v_key is not null;
        v_names := string_to_array(replace(v_key, ' or null', ''), '|');
        continue when exists (select from unnest(v_names) as n (name) where p ->> n.name is not null)
            or (v_key like '% or null' and p ? v_names[1]);
        raise exception '% needs "%": it is %', p_function, array_to_string(v_names, '" or "'),
            case when p ?| v_names then 'null' else 'missing' end using errcode = 'PT422';
    end loop;
end
$$;

-- Like require_keys, for each object in the list p_list of the argument; p_list must be a list.
create or replace function hybridflow.require_keys_of_each(
    p_function text, p jsonb, p_list text, p_keys text[]
)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if jsonb_typeof(p -> p_list) <> 'array' then
        raise exception '% needs "%": it must be a list', p_function, p_list using errcode = 'PT422';
    end if;
    perform hybridflow.require_keys(format('each of the %s of %s', p_list, p_function), e.item, p_keys)
    from jsonb_array_elements(p -> p_list) as e (item);
end
$$;

-- ==================== 0205_lengths.sql

-- HybridFlow: how long a text may be: a longer one is cut, and ends with […].

-- A text of at most p_most characters: a longer one is cut, and ends with […]. WhatsApp's own limit is
-- 65,536. However long the text is, only so much of it is read. router/whatsapp/lengths.py cuts in the same
-- way.
create or replace function hybridflow.cut(p_text text, p_most integer default 65536)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when octet_length(p_text) <= p_most or length(left(p_text, p_most + 1)) <= p_most then p_text
        else left(p_text, p_most - 4) || ' […]'
    end
$$;

-- The object, with its texts cut to the limits of their kinds. A small object costs only a look at its size.
create or replace function hybridflow.cut_fields(p_object jsonb)
returns jsonb
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    if pg_column_size(p_object) <= 1000 or jsonb_typeof(p_object) <> 'object' then
        return p_object;
    end if;
    return (
        select jsonb_object_agg(f.key, case jsonb_typeof(f.value)
            when 'string' then to_jsonb(hybridflow.cut(f.value #>> '{}', case
                when f.key in ('text', 'caption') then 65536
                when f.key like '%name' then 256
                else 4096
            end))
            when 'object' then hybridflow.cut_fields(f.value)
            else f.value
        end)
        from jsonb_each(p_object) as f
    );
end
$$;

-- ==================== 0210_narrow_looks.sql

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

-- ==================== 0220_merges.sql

-- HybridFlow: two sessions turn out to be with one person, and become one.

-- Moves everything of session p_from into session p_into and deletes p_from. The caller has locked both rows,
-- lower id first. The pause of either session holds for both, and each reason lasts as long as it would have.
-- If a message turns out to be ours, a pause that also had another reason is not withdrawn. A turn that has
-- sent nothing is folded into the other session's turn; one that is sending is finished beside it.
create or replace function hybridflow.merge_sessions(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_from public.sessions;
    v_into public.sessions;
    v_is_reason boolean;
    v_is_resume boolean;
    v_pending bigint;
    v_from_told timestamptz;
    v_into_told timestamptz;
    v_from_fallback timestamptz;
    v_into_fallback timestamptz;
begin
    select * into v_from from public.sessions where id = p_from;
    select * into v_into from public.sessions where id = p_into;
    -- A message that did not arrive told the contact nothing: of the two, only one that arrived counts.
    v_from_told := hybridflow.told_away_until(v_from);
    v_into_told := hybridflow.told_away_until(v_into);
    v_from_fallback := hybridflow.told_fallback_at(v_from);
    v_into_fallback := hybridflow.told_fallback_at(v_into);
    -- Which session's words explain the pause, and which session was resumed last.
    v_is_reason := v_from.is_paused
    and (not v_into.is_paused or (v_from.pause_indefinite and not v_into.pause_indefinite));
    v_is_resume := v_from.resumed_at is not null and coalesce(v_from.resumed_at > v_into.resumed_at, true);
    perform hybridflow.close_sight(i) from unnest(array[p_into, p_from]) as i;
    perform hybridflow.make_way(t.id)
    from hybridflow.held_turns(p_from) as t
    where exists (select from hybridflow.held_turns(p_into));
    select id into v_pending from public.turns where session_id = p_into and waiting;
    if v_pending is not null then
        update public.messages as m set turn_id = v_pending
        from public.turns as t
        where t.session_id = p_from and t.waiting and m.turn_id = t.id and not m.from_me;
        update public.turns as t
        set retried_at = greatest(t.retried_at, f.retried_at),
            -- It waits for the media of both.
            run_after = case
                when f.due_when_heard is not null then greatest(t.run_after, f.run_after) else t.run_after
            end,
            due_when_heard = case
                when f.due_when_heard is null then t.due_when_heard
                else greatest(coalesce(t.due_when_heard, t.run_after), f.due_when_heard)
            end
        from public.turns as f
        where t.id = v_pending and f.session_id = p_from and f.waiting;
        perform hybridflow.close_turn(t.id, 'cancelled', 'merged')
        from public.turns as t where t.session_id = p_from and t.waiting;
        perform hybridflow.widen_turn(v_pending);
    end if;
    update public.turns set session_id = p_into where session_id = p_from;
    delete from public.messages as m
    where m.session_id = p_from and exists (
        select from hybridflow.messages_called(m.wa_id) as twin
        where twin.session_id = p_into and twin.tenant_id = m.tenant_id and twin.from_me = m.from_me
    );
    update public.messages set session_id = p_into where session_id = p_from;
    update public.messages_archive set session_id = p_into where session_id = p_from;
    update public.session_identities set session_id = p_into where session_id = p_from;
    update public.notices set session_id = p_into where session_id = p_from;
    update public.session_notes set session_id = p_into where session_id = p_from;
    update public.relays set session_id = p_into where session_id = p_from;
    update public.relays set staff_session_id = p_into where staff_session_id = p_from;
    perform hybridflow.merge_handoffs(p_into, p_from);
    -- A session has one owner: a note keeps the name of the other one.
    insert into public.session_notes (tenant_id, session_id, body, author, created_at)
    select
        v_from.tenant_id, p_into,
        left(v_from.owner, 100) || ' looked after one of the two conversations that became this one.',
        'HybridFlow', hybridflow.clock()
    where v_from.owner <> v_into.owner;
    update public.sessions as s
    set phone_jid = coalesce(s.phone_jid, v_from.phone_jid),
        lid = coalesce(s.lid, v_from.lid),
        contact_name = coalesce(s.contact_name, v_from.contact_name),
        is_paused = s.is_paused or v_from.is_paused,
        pause_source = case when v_is_reason then v_from.pause_source else s.pause_source end,
        pause_reason = case when v_is_reason then v_from.pause_reason else s.pause_reason end,
        pause_message_id = case
            when s.is_paused and v_from.is_paused then null
            when v_from.is_paused then v_from.pause_message_id
            else s.pause_message_id
        end,
        paused_at = case
            when s.is_paused and v_from.is_paused then least(s.paused_at, v_from.paused_at)
            when v_is_reason then v_from.paused_at
            else s.paused_at
        end,
        paused_until = greatest(
            case when s.is_paused then s.paused_until end, case when v_from.is_paused then v_from.paused_until end
        ),
        pause_indefinite = (s.is_paused and s.pause_indefinite) or (v_from.is_paused and v_from.pause_indefinite),
        pause_asked_at = greatest(hybridflow.asked_at(s), hybridflow.asked_at(v_from)),
        pause_written_at = greatest(
            case when s.is_paused then s.pause_written_at end,
            case when v_from.is_paused then v_from.pause_written_at end,
            -- If the AI asked for one of the pauses, what a human asked for in the other counts as a message
            -- written then.
            case when v_from.is_paused and v_from.pause_source = 'ai' then hybridflow.asked_by_human(s) end,
            case when s.is_paused and s.pause_source = 'ai' then hybridflow.asked_by_human(v_from) end
        ),
        resumed_at = case when v_is_resume then v_from.resumed_at else s.resumed_at end,
        resume_source = case when v_is_resume then v_from.resume_source else s.resume_source end,
        last_human_at = greatest(s.last_human_at, v_from.last_human_at),
        last_message_at = greatest(s.last_message_at, v_from.last_message_at),
        last_contact_at = greatest(s.last_contact_at, v_from.last_contact_at),
        awaited_pictures = case
            when s.awaited_until >= v_from.awaited_until or v_from.awaited_until is null then s.awaited_pictures
            else v_from.awaited_pictures
        end,
        awaited_until = greatest(s.awaited_until, v_from.awaited_until),
        erased_before = greatest(s.erased_before, v_from.erased_before),
        labels = array(select distinct l from unnest(s.labels || v_from.labels) as l order by l),
        owner = coalesce(s.owner, v_from.owner),
        away_until = greatest(v_into_told, v_from_told),
        away_message_id = case
            when v_from_told > coalesce(v_into_told, '-infinity') then v_from.away_message_id
            else s.away_message_id
        end,
        fallback_told_at = greatest(v_into_fallback, v_from_fallback),
        fallback_message_id = case
            when v_from_fallback > coalesce(v_into_fallback, '-infinity') then v_from.fallback_message_id
            else s.fallback_message_id
        end,
        created_at = least(s.created_at, v_from.created_at),
        updated_at = hybridflow.clock()
    where s.id = p_into;
    insert into public.spending (tenant_id, session_id, day, turns, tokens, told_at)
    select b.tenant_id, p_into, b.day, b.turns, b.tokens, b.told_at from public.spending as b
    where b.session_id = p_from
    on conflict (tenant_id, day, session_id) do update
        set turns = spending.turns + excluded.turns, tokens = spending.tokens + excluded.tokens,
            told_at = coalesce(spending.told_at, excluded.told_at);
    delete from public.sessions where id = p_from;
    if (select is_paused from public.sessions where id = p_into) then
        perform hybridflow.cancel_turns(p_into, 'paused');
    elsif hybridflow.is_without_ai(p_into) then
        perform hybridflow.cancel_turns(p_into, 'no_ai');
    end if;
end
$$;

-- An active turn makes way for the active turn of the session that its own is merged into. A turn that is
-- sending goes on beside the other, because nobody knows yet what of it is on the phone. Any other goes back
-- to pending, and the caller folds it into the other.
create or replace function hybridflow.make_way(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn_id for update;
    if v_turn.state = 'sending' then
        update public.turns set beside = true, updated_at = hybridflow.clock() where id = p_turn_id;
        return;
    end if;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'merged');
end
$$;

-- ==================== 0230_identities.sql

-- HybridFlow: identities: which session a contact's JIDs lead to.

-- Finds or creates the session that is known under any of p_jids, and returns its row, locked. New JIDs are
-- recorded. If the JIDs lead to several sessions, these are one person's: they are merged, see
-- connect_identities.
create or replace function hybridflow.resolve_session(
    p_tenant_id bigint, p_jids text[], p_chat text, p_name text
)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_known integer;
    v_found record;
    v_session public.sessions;
    v_jid text;
begin
    if p_jids = '{}' then
        raise exception 'a contact has a JID: the list of them is empty' using errcode = 'PT422';
    elsif cardinality(p_jids) = 1 then
        select s as session into v_found from public.sessions as s
        where s.id = (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = p_jids[1]
        )
        for update of s;
        v_session := v_found.session;
    end if;
    while v_session.id is null loop
        select array_agg(distinct i.session_id order by i.session_id), count(*)
        into v_ids, v_known
        from public.session_identities as i
        where i.tenant_id = p_tenant_id and i.jid = any(p_jids);

        if cardinality(v_ids) = 1 and v_known = cardinality(p_jids) then
            select * into v_session from public.sessions where id = v_ids[1] for update;
            exit when found;
            continue;  -- merged away while we waited for it
        end if;

        for v_jid in select j from unnest(p_jids) as j order by j loop
            perform pg_advisory_xact_lock(hashtextextended(p_tenant_id || ':' || v_jid, 0));
        end loop;
        perform hybridflow.connect_identities(p_tenant_id, p_jids, p_chat);
    end loop;

    if p_name is not null and p_name <> '' and p_name is distinct from v_session.contact_name then
        update public.sessions set contact_name = p_name where id = v_session.id;
        v_session.contact_name := p_name;
    end if;
    return v_session;
end
$$;

-- How large a session is: hundreds of rows of each kind, with at most ten thousand rows of each kind counted.
create or replace function hybridflow.size_of_session(p_session_id bigint)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
begin
    return (select count(*) from (
            select from public.messages as m where m.session_id = p_session_id limit 10000
        ) as m) / 100
        + (select count(*) from (
            select from public.messages_archive as a where a.session_id = p_session_id limit 10000
        ) as a) / 100
        + (select count(*) from (
            select from public.turns as t where t.session_id = p_session_id limit 10000
        ) as t) / 100
        + (select count(*) from (
            select from public.session_identities as i where i.session_id = p_session_id limit 10000
        ) as i) / 100;
end
$$;

-- Forgets identities of a session above the eighth, the oldest first, except p_kept and those that its
-- messages are sent to. A person has a phone number, in two spellings, and a LID. A contact with ever more
-- identities would make each lock, claim and lookup of the session cost more.
create or replace function hybridflow.forget_identities(p_session_id bigint, p_kept text[])
returns void
language sql
set search_path = ''
as $$
    with counted as (
        select i.tenant_id, i.jid, row_number() over (
            order by
                i.jid = any(p_kept) desc, coalesce(i.jid in (s.phone_jid, s.lid), false) desc,
                i.created_at desc, i.jid
        ) as place
        from public.session_identities as i
        inner join public.sessions as s on s.id = i.session_id
        where i.session_id = p_session_id
    )

    delete from public.session_identities as i
    using counted as c
    where c.place > 8 and i.tenant_id = c.tenant_id and i.jid = c.jid
        and i.jid <> all(p_kept)
$$;

-- Makes all p_jids lead to one session. The caller holds the advisory locks of the JIDs.
create or replace function hybridflow.connect_identities(p_tenant_id bigint, p_jids text[], p_chat text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_locked integer;
    v_session_id bigint;
    v_other bigint;
begin
    select array_agg(distinct i.session_id order by i.session_id) into v_ids
    from public.session_identities as i
    where i.tenant_id = p_tenant_id and i.jid = any(p_jids);
    perform from public.sessions where id = any(v_ids) order by id for update;
    get diagnostics v_locked = row_count;
    if v_locked <> coalesce(cardinality(v_ids), 0) then
        return;  -- one was merged away while we waited: the caller looks again
    end if;

    if cardinality(v_ids) > 1 then
        -- Merge into the largest, so that little has to be moved, however often somebody causes this. Of
        -- sessions with next to nothing, and of equal ones, the oldest is used.
        v_ids := array(
            select i from unnest(v_ids) as i order by hybridflow.size_of_session(i) desc, i
        );
    end if;
    v_session_id := v_ids[1];
    if v_session_id is null then
        insert into public.sessions (tenant_id, chat) values (p_tenant_id, p_chat)
        returning id into v_session_id;
    end if;
    foreach v_other in array coalesce(v_ids[2:], '{}') loop
        perform hybridflow.merge_sessions(v_session_id, v_other);
    end loop;

    insert into public.session_identities (tenant_id, jid, session_id)
    select p_tenant_id, j, v_session_id from unnest(p_jids) as j
    on conflict do nothing;
    update public.sessions
    set phone_jid = coalesce((select j from unnest(p_jids) as j where j not like '%@lid' limit 1), phone_jid),
        lid = coalesce((select j from unnest(p_jids) as j where j like '%@lid' limit 1), lid),
        erasure_checked = false
    where id = v_session_id;
    perform hybridflow.forget_identities(v_session_id, p_jids);
end
$$;

-- ==================== 0300_pauses.sql

-- HybridFlow: pauses: how long one lasts, the takeover that begins it, what it cancels, and how it ends.

-- pause_asked_at of p_session, if it is paused. For a pause that began under 0.1.0 only the time is known at
-- which a human last wrote or paused.
create or replace function hybridflow.asked_at(p_session public.sessions)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select case
        when not p_session.is_paused then null
        when coalesce(p_session.pause_asked_at, p_session.pause_written_at) is not null
            then p_session.pause_asked_at
        when p_session.paused_until is null or p_session.pause_source = 'owner'
            then coalesce(p_session.last_human_at, p_session.paused_at, p_session.updated_at)
    end
$$;

-- Whether the AI has called a human to the session, and none has come.
create or replace function hybridflow.has_waiting_handoff(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (select from public.handoffs as h where h.session_id = p_session_id and h.state = 'waiting')
$$;

-- When a human last asked for the pause of p_session without an end time; null: no human did, or the AI asked
-- later, and the human's time was kept as pause_written_at.
create or replace function hybridflow.asked_by_human(p_session public.sessions)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select case when p_session.pause_source <> 'ai' then hybridflow.asked_at(p_session) end
$$;

-- Until when people want p_session paused, whatever the AI wants; null: they do not, or they want it without
-- an end.
create or replace function hybridflow.human_pause_ends_at(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select case when p_session.is_paused and not p_session.pause_indefinite then greatest(
        p_session.paused_until,
        greatest(p_session.pause_written_at, hybridflow.asked_by_human(p_session))
        + hybridflow.seconds(3600 * hybridflow.rule(p_resume_after, p_policy, 'resume_after_hours', 2))
    ) end
$$;

-- When the pause of p_session ends by itself; null: it does not (not paused, indefinite, or a handoff waits:
-- see press_handoff). No reason for the pause shortens what another reason asks for.
create or replace function hybridflow.pause_ends_at(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select case
        when not p_session.is_paused or p_session.pause_indefinite then null
        when hybridflow.has_waiting_handoff(p_session.id) then null
        else greatest(
            p_session.paused_until,
            greatest(hybridflow.asked_at(p_session), p_session.pause_written_at)
            + hybridflow.seconds(3600 * hybridflow.rule(p_resume_after, p_policy, 'resume_after_hours', 2))
        )
    end
$$;

-- Cancels what the session was about to say: its pending turn, and the running one, whose token becomes
-- invalid. A turn that is sending says no more either, even if the pause ends before its worker hears of it:
-- it is closed here or, while a part is leaving, when that part is settled (see stop_turn). The turn p_but
-- goes on.
create or replace function hybridflow.cancel_other_turns(
    p_session_id bigint, p_but bigint, p_reason text
)
returns integer
language plpgsql
set search_path = ''
as $$
declare
    v_cancelled integer;
begin
    perform hybridflow.close_turn(t.id, 'cancelled', p_reason)
    from (
        select c.id from public.turns as c
        where c.id in (
            select w.id from public.turns as w where w.session_id = p_session_id and w.waiting
            union all
            select h.id from hybridflow.held_turns(p_session_id) as h where h.state = 'running'
        ) and c.state in ('pending', 'running') and c.id is distinct from p_but
        for update
    ) as t;
    get diagnostics v_cancelled = row_count;
    perform hybridflow.stop_turn(t.id, p_reason)
    from hybridflow.held_turns(p_session_id) as t
    where t.state = 'sending' and t.id is distinct from p_but;
    return v_cancelled;
end
$$;

create or replace function hybridflow.cancel_turns(p_session_id bigint, p_reason text)
returns integer
language sql
set search_path = ''
as $$
    select hybridflow.cancel_other_turns(p_session_id, null, p_reason)
$$;

-- A human of the business wrote at p_at: pauses the locked session and cancels its turns.
-- Returns 'takeover', or 'takeover_over' if the pause that this asks for has already run out, or if an
-- operator resumed after the message (10 s of tolerance: WhatsApp's clock is not ours, and counts in
-- seconds).
create or replace function hybridflow.take_over(
    p_session public.sessions, p_tenant public.tenants, p_policy jsonb,
    p_at timestamptz, p_message_id bigint, p_reason text
)
returns text
language plpgsql
set search_path = ''
as $$
declare
    v_ends timestamptz := p_at + hybridflow.seconds(
        3600 * hybridflow.rule(p_tenant.resume_after_hours, p_policy, 'resume_after_hours', 2)
    );
    v_over boolean := v_ends <= hybridflow.clock()
        or coalesce(
            p_session.resume_source = 'operator' and p_at < p_session.resumed_at - interval '10 seconds', false
        );
begin
    update public.sessions as s
    set last_human_at = greatest(s.last_human_at, p_at),
        is_paused = s.is_paused or not v_over,
        pause_source = case when v_over or (s.is_paused and s.pause_indefinite) then s.pause_source else 'owner' end,
        pause_reason = case when v_over or (s.is_paused and s.pause_indefinite) then s.pause_reason else p_reason end,
        pause_message_id = case when v_over or s.is_paused then s.pause_message_id else p_message_id end,
        paused_at = case when v_over or s.is_paused then s.paused_at else hybridflow.clock() end,
        paused_until = case when s.is_paused then s.paused_until end,
        pause_indefinite = s.is_paused and s.pause_indefinite,
        pause_asked_at = hybridflow.asked_at(s),
        pause_written_at = greatest(
            case when s.is_paused then s.pause_written_at end, case when not v_over then p_at end
        ),
        updated_at = hybridflow.clock()
    where s.id = p_session.id;
    if v_over then
        return 'takeover_over';
    end if;
    perform hybridflow.take_handoff(p_session.id, 'owner', null, p_message_id, p_at);
    perform hybridflow.cancel_turns(p_session.id, 'takeover');
    return 'takeover';
end
$$;

-- Ends the pause of the locked session, for any caller. The columns that say why it was paused keep their
-- values, for operators to read.
create or replace function hybridflow.end_pause(p_session_id bigint, p_source text)
returns void
language sql
set search_path = ''
as $$
    update public.sessions
    set is_paused = false, paused_until = null, pause_indefinite = false, pause_message_id = null,
        pause_asked_at = null, pause_written_at = null,
        resumed_at = hybridflow.clock(), resume_source = p_source, updated_at = hybridflow.clock()
    where id = p_session_id
$$;

-- ==================== 0303_unanswered.sql

-- HybridFlow: messages of a contact that nobody answered, and the one turn that answers all of them.

-- Whether a human of the business wrote the message (a reaction or a vote does not count as writing).
create or replace function hybridflow.is_by_human(p_message public.messages, p_tenant public.tenants)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select p_message.from_me and p_message.kind not in ('reaction', 'poll_vote')
        and (
            p_message.sender in ('owner', 'operator')
            or (p_message.sender = 'client' and p_tenant.other_client_takeover)
        )
        and p_message.send_state is distinct from 'failed'
$$;

-- Whether something that turn p_turn_id said is on the phone.
create or replace function hybridflow.has_spoken(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent' and m.status is distinct from 'error'
    )
$$;

-- Whether a send of turn p_turn_id is under way, or nobody knows how it ended. One plan serves all turns;
-- without the setting, the planner would make a new plan at each call.
create or replace function hybridflow.is_in_doubt(p_turn_id bigint)
returns boolean
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state in ('sending', 'unknown')
    );
end
$$;

-- The contact's messages since p_since that their own turn does not answer: it is not active, and nothing of
-- it is on the phone or may be. `answered_by` is the first later turn that had the message in its history and
-- spoke, or may have spoken: a turn begins when the one before has ended, so its history contains the
-- messages that the one before left without an answer.
-- Deleted messages are left out. Only the session's newest 2,000 messages and their turns are read: no reply
-- reads more, and a contact who has written many more makes nobody wait.
create or replace function hybridflow.left_unanswered(p_session_id bigint, p_since timestamptz)
returns table (message_id bigint, kind text, sent_at timestamptz, answered_by bigint)
language sql
stable
rows 10
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with lately as materialized (
        select
            m.id, m.turn_id, m.kind, m.sent_at, m.created_at,
            not m.from_me and m.expects_reply and m.deleted_at is null and m.sent_at >= p_since as asks,
            m.from_me and (
                m.send_state in ('sending', 'unknown')
                or (m.send_state = 'sent' and m.status is distinct from 'error')
            ) as speaks
        from public.messages as m
        -- The sent_at of a send is in whole seconds.
        where m.session_id = p_session_id and m.sent_at >= p_since - interval '1 minute'
        order by m.sent_at desc, m.id desc limit 2000
    ),

    spoke as materialized (
        select t.id, t.seen_at
        from (select distinct l.turn_id from lately as l where l.speaks and l.turn_id is not null) as d
        inner join public.turns as t on t.id = d.turn_id
        inner join public.sessions as s on s.id = p_session_id
        where t.session_id = p_session_id and t.seen_at > coalesce(s.merged_at, '-infinity')
            -- The message that nobody has come yet is not an answer.
            and not exists (select from public.handoffs as h where h.line_turn_id = t.id)
    ),

    answering as materialized (
        select t.id
        from (select distinct l.turn_id from lately as l where l.asks and l.turn_id is not null) as d
        inner join public.turns as t on t.id = d.turn_id
        where t.state in ('pending', 'running', 'sending') or exists (
            select from public.messages as m
            where m.turn_id = t.id and m.from_me and (
                m.send_state in ('sending', 'unknown')
                or (m.send_state = 'sent' and m.status is distinct from 'error')
            )
        )
    )

    select l.id, l.kind, l.sent_at, (
        select min(s.id) from spoke as s where s.id > coalesce(l.turn_id, 0) and s.seen_at >= l.created_at
    )
    from lately as l
    where l.asks and not exists (select from answering as a where a.id = l.turn_id)
$$;

-- Session p_session_id is about to be merged. Messages that a later turn with them in its history answered
-- become that turn's own, and no current turn counts as having seen the messages that the other session
-- brings.
create or replace function hybridflow.close_sight(p_session_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.messages as m set turn_id = u.answered_by
    from hybridflow.left_unanswered(p_session_id, hybridflow.clock() - interval '7 days') as u
    where m.id = u.message_id and u.answered_by is not null;
    update public.sessions set merged_at = clock_timestamp() where id = p_session_id;
$$;

-- Gives the customer's recent messages that nobody answered to one turn, which is due at once. A human's
-- message answers all messages before it; a reply of the AI answers only the messages that it was made for.
-- Returns the turn's id; null: there is nothing to answer. The session is locked.
create or replace function hybridflow.answer_unanswered(p_session_id bigint, p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_since timestamptz;
    v_human record;
    v_ids bigint[];
    v_turn_id bigint;
begin
    select t.* into v_tenant from public.tenants as t
    inner join public.sessions as s on s.tenant_id = t.id
    where s.id = p_session_id;
    if not v_tenant.is_active or hybridflow.is_without_ai(p_session_id) then
        return null;
    end if;
    v_since := hybridflow.clock() - hybridflow.seconds(
        60 * hybridflow.rule(v_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
    );
    select m.sent_at, m.id into v_human from public.messages as m
    where m.session_id = p_session_id and m.sent_at >= v_since
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    select array_agg(u.message_id) into v_ids from hybridflow.left_unanswered(p_session_id, v_since) as u
    where u.answered_by is null and u.kind <> all(v_tenant.unanswered_kinds)
        and (v_human.id is null or (u.sent_at, u.message_id) > (v_human.sent_at, v_human.id));
    if v_ids is null then
        return null;
    end if;
    v_turn_id := (hybridflow.join_turn(v_tenant, p_session_id, 0, 0, null, hybridflow.clock())).turn_id;
    update public.messages set turn_id = v_turn_id where id = any(v_ids);
    return v_turn_id;
end
$$;

-- ==================== 0305_takeovers_undone.sql

-- HybridFlow: a takeover is undone, because its message was not a human's.

-- Whether a human of the business has written to the session since the turn was made.
create or replace function hybridflow.human_wrote_since(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        inner join public.tenants as t on t.id = m.tenant_id
        where m.session_id = p_turn.session_id and m.sent_at >= p_turn.created_at - interval '10 seconds'
            and m.created_at >= p_turn.created_at
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
    )
$$;

-- A message was taken for a human's and is not: what it stopped goes on. A turn that had begun to speak and
-- was stopped since p_since says the rest, unless a human has also written since the turn was made. The
-- customer's messages that nobody answered get a turn, whose id is returned. In a session without AI
-- everything stays stopped. The session is locked.
create or replace function hybridflow.undo_takeover(p_session_id bigint, p_since timestamptz, p_policy jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_without_ai constant boolean := hybridflow.is_without_ai(p_session_id);
begin
    update public.turns as t
    set stop_reason = case when v_without_ai then 'no_ai' end, updated_at = hybridflow.clock()
    where t.id in (select h.id from hybridflow.held_turns(p_session_id) as h)
        and t.state = 'sending' and t.stop_reason = 'takeover' and not hybridflow.human_wrote_since(t);
    if v_without_ai then
        return null;
    end if;
    perform hybridflow.take_up(t)
    from public.turns as t
    where t.id = (
        select s.id
        from (
            select l.* from public.turns as l
            where l.session_id = p_session_id and l.state = 'sent'
            order by l.id desc limit 100
        ) as s
        where s.incomplete and s.reason = 'takeover' and s.reply is not null and s.finished_at >= p_since
        order by s.id desc limit 1
    ) and not hybridflow.human_wrote_since(t);
    return hybridflow.answer_unanswered(p_session_id, p_policy);
end
$$;

-- Message p_message_id was taken for a human's and is not: the pause that it caused is withdrawn, unless the
-- pause has another reason (a human also wrote, or somebody paused). Returns whether the session goes on now.
-- The session is locked.
create or replace function hybridflow.withdraw_pause(p_session_id bigint, p_message_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_tenant public.tenants;
    v_false public.messages;
    v_human public.messages;
    v_goes_on boolean;
begin
    select * into v_session from public.sessions where id = p_session_id;
    select * into v_tenant from public.tenants where id = v_session.tenant_id;
    select * into v_false from public.messages where id = p_message_id;
    select m.* into v_human from public.messages as m
    where m.session_id = p_session_id and m.id <> p_message_id
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    v_goes_on := v_session.is_paused and v_session.pause_message_id is not distinct from p_message_id
    and not v_session.pause_indefinite and v_session.paused_until is null and v_session.pause_asked_at is null
    and not exists (
        select from public.messages as m
        where m.session_id = p_session_id and m.id <> p_message_id and m.created_at >= v_false.created_at
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    );
    update public.sessions as s
    set last_human_at = case
            when s.pause_message_id is null and s.is_paused then greatest(s.paused_at, v_human.sent_at)
            else v_human.sent_at
        end,
        is_paused = s.is_paused and not v_goes_on,
        pause_message_id = case
            when v_goes_on then null
            when s.pause_message_id = p_message_id then v_human.id
            else s.pause_message_id
        end,
        -- If the false message seemed to prolong a pause of an operator or the AI, the pause is theirs again.
        pause_source = case
            when v_goes_on then null
            when s.pause_source = 'owner' and s.pause_message_id is null
                and coalesce(v_human.created_at < s.paused_at, true)
                then case when exists (
                    select from public.handoffs as h where h.taken_message_id = p_message_id
                ) then 'ai' else 'operator' end
            else s.pause_source
        end,
        pause_reason = case when v_goes_on then null else s.pause_reason end,
        paused_at = case when v_goes_on then null else s.paused_at end,
        pause_written_at = case
            when v_goes_on then null
            when v_human.id is not null then least(s.pause_written_at, v_human.sent_at)
            -- If the pause has another known reason, only that counts; if none is known, the message still
            -- counts.
            when s.pause_indefinite or s.paused_until is not null or s.pause_asked_at is not null then null
            else s.pause_written_at
        end,
        updated_at = hybridflow.clock()
    where s.id = p_session_id;
    perform hybridflow.untake_handoff(p_message_id);
    return v_goes_on;
end
$$;

-- ==================== 0307_pausing.sql

-- HybridFlow: operators pause and resume a session; a pause that has run out ends.

-- Ends the pause of the locked session if it has run out. Returns whether it did.
create or replace function hybridflow.end_expired_pause(
    p_session public.sessions, p_resume_after numeric, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if coalesce(hybridflow.pause_ends_at(p_session, p_resume_after, p_policy) <= hybridflow.clock(), false) then
        perform hybridflow.end_pause(p_session.id, 'cron');
        return true;
    end if;
    return false;
end
$$;

-- The session that an operator's request names, locked. Raises PT404 if it is not the tenant's own.
create or replace function hybridflow.session_of(p jsonb)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session public.sessions;
begin
    select * into v_session from public.sessions
    where id = (p ->> 'session_id')::bigint and tenant_id = v_tenant_id
    for update;
    if not found then
        raise exception 'tenant % has no session %', v_tenant_id, p ->> 'session_id' using errcode = 'PT404';
    end if;
    return v_session;
end
$$;

-- pause_session({caller?, tenant_id, session_id, source, reason?, until?, indefinite?, policy?})
-- Pauses a session: until `until`, for ever (`indefinite`), or, with neither, until RESUME_AFTER_HOURS have
-- passed, as after a human's message. Cancels what it was about to say. `until` replaces what was asked
-- before; without `until` and `indefinite`, the earlier request stays valid as well. What a human's message
-- asks for always stays valid. The latest end counts (`pause_ends_at`); resume_session ends them all. Returns
-- {session, cancelled_turns}: the number of cancelled turns. PT404: not this tenant's. PT422: `until` is not
-- in the future.
create or replace function public.pause_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_until timestamptz := (p ->> 'until')::timestamptz;
    v_for_ever boolean := coalesce((p ->> 'indefinite')::boolean, false);
    v_cancelled integer;
begin
    perform hybridflow.require_keys('pause_session', p, '{tenant_id,session_id,source}');
    v_session := hybridflow.session_of(p);
    if v_until <= hybridflow.clock() then
        raise exception 'until must be in the future, not %', p ->> 'until' using errcode = 'PT422';
    end if;
    update public.sessions
    set is_paused = true,
        pause_source = p ->> 'source',
        pause_reason = p ->> 'reason',
        pause_message_id = null,
        paused_at = hybridflow.clock(),
        paused_until = case when v_until is not null or not is_paused then v_until else paused_until end,
        pause_indefinite = v_for_ever or (v_until is null and is_paused and pause_indefinite),
        pause_asked_at = case when v_until is null and not v_for_ever then hybridflow.clock() end,
        pause_written_at = case
            when is_paused  -- a pause from before 0.2.0 does not say when the owner wrote
                then coalesce(pause_written_at, case when pause_source = 'owner' then last_human_at end)
        end,
        last_human_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where id = v_session.id;
    if p ->> 'source' in ('owner', 'operator') then
        perform hybridflow.take_handoff(
            v_session.id, p ->> 'source', p -> 'caller' ->> 'name', null, hybridflow.clock()
        );
    end if;
    v_cancelled := hybridflow.cancel_turns(v_session.id, 'paused');
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'), 'cancelled_turns', v_cancelled
    );
end
$$;

-- resume_session({tenant_id, session_id, source, policy})
-- Ends a pause; does nothing to a session that is not paused. Recent messages of the customer that nobody
-- answered get a turn. Returns {session, resumed, turn_id}: whether it was paused, and that turn (null:
-- none). PT404: as in pause_session.
create or replace function public.resume_session(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_session public.sessions;
    v_turn_id bigint;
begin
    perform hybridflow.require_keys('resume_session', p, '{tenant_id,session_id,source,policy}');
    v_session := hybridflow.session_of(p);
    if v_session.is_paused then
        perform hybridflow.end_pause(v_session.id, p ->> 'source');
        v_turn_id := hybridflow.answer_unanswered(v_session.id, p -> 'policy');
    end if;
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'),
        'resumed', v_session.is_paused,
        'turn_id', v_turn_id
    );
end
$$;

-- ==================== 0308_pauses_over.sql

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

-- ==================== 0310_handoffs_begun.sql

-- HybridFlow: handoffs: begun by the AI, by the words of a reply, or by a flow.
--
-- A function that changes a handoff holds its session locked, and itself reports the change (see changes):
-- the table has no triggers.

-- Reports that a handoff of the session has changed.
create or replace function hybridflow.handoff_changed(p_tenant_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('handoff', p_tenant_id, p_session_id);
end
$$;

-- Locks the turns that speak about the handoffs of the locked session, before anybody locks one of the
-- handoffs: when such a turn ends, for example by a claim, it records in its handoff what became of the
-- words. So the order is session, turn, handoff.
create or replace function hybridflow.lock_turns_of_handoffs(p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.turns as t
    where t.id in (
        select unnest(array[h.turn_id, h.line_turn_id]) from public.handoffs as h
        where h.session_id = p_session_id and h.ended_at is null
    )
    order by t.id
    for update;
end
$$;

-- The reason of a handoff as one of the known words. What else a flow calls it is kept as `why`.
create or replace function hybridflow.handoff_reason(p_reason text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_reason in ('asked_for_person', 'not_known', 'not_allowed', 'upset', 'tool_failed') then p_reason
        else 'other'
    end
$$;

-- Why the session was paused, for its story. For a handoff, the summary is left out, because it may contain
-- the contact's own words.
create or replace function hybridflow.pause_reason_told(p_session public.sessions)
returns text
language sql
stable
set search_path = ''
as $$
    select case
        when p_session.pause_source <> 'ai' then p_session.pause_reason
        else coalesce(
            (
                select coalesce(h.why, h.reason) from public.handoffs as h
                where h.session_id = p_session.id
                order by h.id desc limit 1
            ),
            p_session.pause_reason
        )
    end
$$;

-- Calls a human to the locked session: pauses it with source 'ai', for no shorter time than before, begins a
-- handoff, and makes the notice for the people of the business. If a handoff already waits, that one stays. p
-- has what is known: {reason, why?, summary?, said?, part?, is_quiet?}. p_turn_id: the turn that hands off,
-- if one does. The caller cancels what the session was about to say.
create or replace function hybridflow.begin_handoff(p_session public.sessions, p_turn_id bigint, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_called text := coalesce(p ->> 'why', p ->> 'reason');
begin
    update public.sessions
    set is_paused = true, pause_source = 'ai',
        pause_reason = left(concat_ws(': ', v_called, p ->> 'summary'), 2000),
        pause_message_id = null, paused_at = v_now,
        paused_until = case when is_paused then paused_until end,
        pause_indefinite = is_paused and pause_indefinite,
        pause_asked_at = v_now,
        -- What a human asked for without an end time counts as a message written then.
        pause_written_at = case
            when is_paused then greatest(pause_written_at, hybridflow.asked_by_human(p_session))
        end,
        last_human_at = v_now, updated_at = v_now
    where id = p_session.id;
    insert into public.handoffs (
        tenant_id, session_id, turn_id, reason, why, summary, said, words, created_at, step_at, next_at, is_quiet,
        part
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, hybridflow.handoff_reason(p ->> 'reason'),
        left(nullif(v_called, hybridflow.handoff_reason(p ->> 'reason')), 2000), left(p ->> 'summary', 2000),
        left(p ->> 'said', 8000), case when p ->> 'said' is null then 'none' else 'saying' end, v_now, v_now,
        v_now + hybridflow.seconds(60 * (
            select t.handoff_remind_minutes from public.tenants as t where t.id = p_session.tenant_id
        )),
        coalesce((p ->> 'is_quiet')::boolean, false), (p ->> 'part')::integer
    )
    on conflict (session_id) where state = 'waiting' do nothing;
    perform hybridflow.handoff_changed(p_session.tenant_id, p_session.id);
    perform hybridflow.notice_handoff(p_session, v_called, p ->> 'summary');
end
$$;

-- Part p_part of the turn's reply, whose send begins, hands off: the locked session is paused for a human,
-- and what else it was about to say is cancelled. If the part did not leave and is sent again, nothing more
-- happens.
create or replace function hybridflow.hand_off_with(
    p_session public.sessions, p_turn public.turns, p_part integer
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.handoffs as h where h.turn_id = p_turn.id) then
        return;
    end if;
    perform hybridflow.cancel_other_turns(p_session.id, p_turn.id, 'paused');
    perform hybridflow.begin_handoff(
        p_session, p_turn.id, p_turn.reply -> p_part -> 'handoff' || jsonb_build_object('said', (
            select string_agg(coalesce(w.part ->> 'text', w.part #>> '{}'), E'\n\n' order by w.number)
            from jsonb_array_elements(p_turn.reply) with ordinality as w (part, number)
            where w.number > p_part and w.part -> 'path' is null
        ))
    );
end
$$;

-- More is known about the handoff that turn p_turn_id has begun: {reason, summary?}. The people of the
-- business are told that as well, if they have not been told about the handoff yet. Returns whether the turn
-- has begun a handoff that waits.
create or replace function hybridflow.know_more_of_handoff(p_turn_id bigint, p jsonb)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs
    set reason = hybridflow.handoff_reason(p ->> 'reason'),
        why = left(nullif(p ->> 'reason', hybridflow.handoff_reason(p ->> 'reason')), 2000),
        summary = coalesce(left(p ->> 'summary', 2000), summary)
    where turn_id = p_turn_id and state = 'waiting'
    returning * into v_handoff;
    if v_handoff.id is null then
        return false;
    end if;
    update public.sessions
    set pause_reason = left(concat_ws(': ', p ->> 'reason', v_handoff.summary), 2000)
    where id = v_handoff.session_id and pause_source = 'ai';
    update public.notices
    set next_at = hybridflow.clock(), facts = facts || jsonb_strip_nulls(jsonb_build_object(
        'reason', left(p ->> 'reason', 500), 'summary', v_handoff.summary
    ))
    where id = hybridflow.untold_handoff_notice(v_handoff.session_id);
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    return true;
end
$$;

-- A flow's send, which is about to leave, promises a human: the locked session is handed off with it, once
-- per turn. p_handoff: {reason, why?, said, part}. The flow may still say why (see hand_off); the notice
-- waits ten seconds for that.
create or replace function hybridflow.hand_off_by_promise(
    p_session public.sessions, p_turn_id bigint, p_handoff jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from public.handoffs as h where h.turn_id = p_turn_id) then
        return;
    end if;
    perform hybridflow.cancel_other_turns(p_session.id, p_turn_id, 'paused');
    perform hybridflow.begin_handoff(p_session, p_turn_id, p_handoff);
    update public.notices set next_at = hybridflow.clock() + interval '10 seconds'
    where id = hybridflow.untold_handoff_notice(p_session.id);
end
$$;

-- ==================== 0312_handoffs_said.sql

-- HybridFlow: what the customer is told about a handoff, as the turn's last words, and whether it arrived.

-- Ends turn p_turn, which a flow has, with a handoff (p_handoff). p_say, a list of texts, tells the customer
-- about it. The turn's reply is now what the flow has sent, followed by p_say. The next claim goes on with
-- that, and the session is handed off when p_say begins to be sent (see begin_send). Parts of the flow that
-- did not leave are given up, because the human answers now. A part in doubt is also given up, if it is found
-- not to have left: for a file, the reply has only the text that stands for it. p_outcome: how the flow's
-- attempt ended. The session is locked.
create or replace function hybridflow.say_handoff(
    p_turn public.turns, p_handoff jsonb, p_say jsonb, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_in_doubt boolean := hybridflow.is_in_doubt(p_turn.id);
    v_told jsonb := jsonb_build_array(jsonb_build_object('handoff', p_handoff, 'text', p_say -> 0))
        || (p_say - 0);
begin
    if v_in_doubt or exists (
        select from public.messages as m where m.turn_id = p_turn.id and m.from_me and m.send_state = 'sent'
    ) then
        update public.messages set given_up = 'its flow has called a human'
        where turn_id = p_turn.id and part is not null and send_state in ('failed', 'sending', 'unknown')
            and given_up is null;
        update public.turns
        set state = 'sending', reply = (
                select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
                where m.turn_id = p_turn.id and m.part is not null
            ) || v_told
        where id = p_turn.id;
        perform hybridflow.put_aside(
            p_turn.id, v_now + case when v_in_doubt then interval '3 seconds' else interval '0' end, p_outcome
        );
    else
        perform hybridflow.reply_instead(p_turn.id, v_told, p_outcome);
    end if;
    -- Sending the rest does not count as another attempt.
    update public.turns set handler = p_turn.handler, attempt = greatest(attempt - 1, 0)
    where id = p_turn.id;
end
$$;

-- The reason with which a turn that has said all it can is closed: 'handoff' if it handed off, else null.
create or replace function hybridflow.ends_as_handoff(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select 'handoff' where exists (select from public.handoffs as h where h.turn_id = p_turn_id)
$$;

-- A turn that told the customer about a handoff has ended: records whether all of that is on the phone. The
-- handoff is valid either way; if the customer was not told, the people of the business are told so.
create or replace function hybridflow.words_end(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    update public.handoffs as h
    set words = case when h.part is not null then case when exists (
            -- A part that a flow sent itself promised a human: how the flow's other parts ended does not
            -- matter here.
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part = h.part and m.send_state = 'sent'
        ) then 'said' else 'not_said' end when p_turn.state = 'sent' and not exists (
            select from jsonb_array_elements(p_turn.reply) with ordinality as w (part, number)
            where w.number >= (
                select min(f.number)
                from jsonb_array_elements(p_turn.reply) with ordinality as f (part, number)
                where f.part -> 'handoff' is not null
            ) and not exists (
                select from public.messages as m
                where m.turn_id = p_turn.id and m.part = w.number - 1 and m.send_state = 'sent'
            )
        ) then 'said' else 'not_said' end
    where h.turn_id = p_turn.id and h.words = 'saying'
    returning * into v_handoff;
    if v_handoff.id is null then
        return;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_handoff.words = 'not_said' and v_handoff.state = 'waiting' then
        perform hybridflow.notice_words_lost(v_handoff);
    end if;
end
$$;

-- ==================== 0314_handoffs_taken.sql

-- HybridFlow: handoffs: taken by a human, given back with the conversation, merged with it.

-- A human of the business has come: takes the handoff that waits in the locked session, if there is one. p_by
-- is 'owner' or 'operator', p_name is that person's name if known, and p_message_id what they wrote, at p_at.
-- A message from before the handoff does not take it (10 s of tolerance: WhatsApp's clock is not ours).
create or replace function hybridflow.take_handoff(
    p_session_id bigint, p_by text, p_name text, p_message_id bigint, p_at timestamptz
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    perform hybridflow.lock_turns_of_handoffs(p_session_id);
    update public.handoffs
    set state = 'taken', taken_at = greatest(p_at, created_at), taken_by = p_by, taken_name = left(p_name, 256),
        taken_message_id = p_message_id, next_at = null
    where session_id = p_session_id and state = 'waiting' and p_at >= created_at - interval '10 seconds'
    returning * into v_handoff;
    if v_handoff.id is null then
        return false;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    return true;
end
$$;

-- Message p_message_id was taken for a human's and is not: the handoff that it took waits again, and the turn
-- that was telling the customer about it goes on. The session is locked.
create or replace function hybridflow.untake_handoff(p_message_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_handoff public.handoffs;
begin
    perform hybridflow.lock_turns_of_handoffs(h.session_id) from public.handoffs as h
    where h.taken_message_id = p_message_id;
    update public.handoffs as h
    set state = 'waiting', taken_at = null, taken_by = null, taken_name = null, taken_message_id = null,
        next_at = h.step_at
    where h.taken_message_id = p_message_id and h.state = 'taken' and not exists (
        select from public.handoffs as o where o.session_id = h.session_id and o.state = 'waiting'
    )
    returning * into v_handoff;
    if v_handoff.id is null then
        return;
    end if;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    update public.turns set stop_reason = null, updated_at = hybridflow.clock()
    where id in (v_handoff.turn_id, v_handoff.line_turn_id) and held and stop_reason = 'takeover';
end
$$;

-- A session that is no longer paused belongs to the AI again: its handoffs end. A handoff that nobody took,
-- and whose pause ran out, has expired. What the customer has not been told about it yet is not said any
-- more, because the customer's messages may get another answer now. This is a trigger because pauses end in
-- several ways.
create or replace function hybridflow.end_handoffs()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_saying bigint[];
begin
    perform hybridflow.lock_turns_of_handoffs(new.id);
    with ended as (
        update public.handoffs
        set state = case when state = 'waiting' and new.resume_source = 'cron' then 'expired' else 'done' end,
            ended_at = hybridflow.clock(), next_at = null
        where session_id = new.id and ended_at is null
        returning turn_id, line_turn_id
    )

    select array_agg(e.turn_id) || array_agg(e.line_turn_id) into v_saying from ended as e;
    if v_saying is null then
        return null;
    end if;
    perform hybridflow.handoff_changed(new.tenant_id, new.id);
    perform hybridflow.stop_turn(t.id, 'paused')
    from public.turns as t
    where t.id = any(v_saying) and t.state in ('pending', 'running', 'sending');
    return null;
end
$$;

create or replace trigger sessions_end_handoffs
after update of is_paused on public.sessions
for each row when (old.is_paused and not new.is_paused)
execute function hybridflow.end_handoffs();

-- Session p_from is merged into p_into: both are locked, and the messages are already moved. The handoffs of
-- p_from now belong to p_into. Of two that wait, the older one stays, and the other is done. A waiting
-- handoff is taken if a human has written in the other session since, for example to a LID whose phone was
-- not known.
create or replace function hybridflow.merge_handoffs(p_into bigint, p_from bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_human public.messages;
begin
    perform hybridflow.lock_turns_of_handoffs(s.id) from unnest(array[p_into, p_from]) as s (id);
    update public.handoffs
    set state = 'done', ended_at = hybridflow.clock(), next_at = null
    where id = (
        select max(h.id) from public.handoffs as h
        where h.session_id in (p_into, p_from) and h.state = 'waiting'
        having count(*) > 1
    );
    update public.handoffs set session_id = p_into where session_id = p_from;
    select m.* into v_human
    from public.handoffs as h
    inner join public.tenants as t on t.id = h.tenant_id
    inner join public.messages as m on m.session_id = h.session_id
    where h.session_id = p_into and h.state = 'waiting' and m.sent_at >= h.created_at - interval '10 seconds'
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
    order by m.sent_at desc, m.id desc limit 1;
    if v_human.id is not null then
        perform hybridflow.take_handoff(
            p_into, case v_human.sender when 'operator' then 'operator' else 'owner' end, v_human.author_name,
            v_human.id, v_human.sent_at
        );
    end if;
end
$$;

-- ==================== 0316_handoffs_untaken.sql

-- HybridFlow: handoffs that nobody took: how they are found, and the steps that follow one after the other.

-- look_at_handoffs({limit})
-- Waiting handoffs that are due to be looked at, the longest due first. The router decides whether enough
-- opening hours have passed since `step_at`. Returns {handoffs: [{handoff_id, step, step_at, minutes,
-- timezone, opening_hours, jids: [jid], wrote: [text]}], now}: `wrote` is what the contact wrote last.
create or replace function public.look_at_handoffs(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    perform hybridflow.require_keys('look_at_handoffs', p, '{limit}');
    return jsonb_build_object('now', hybridflow.clock(), 'handoffs', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'handoff_id', d.id, 'step', d.step, 'step_at', d.step_at,
            'minutes', t.handoff_remind_minutes, 'timezone', t.timezone, 'opening_hours', t.opening_hours,
            'jids', (
                select coalesce(jsonb_agg(i.jid), '[]') from public.session_identities as i
                where i.session_id = d.session_id
            ),
            'wrote', (
                select coalesce(jsonb_agg(hybridflow.cut(l.body, 1000)), '[]') from (
                    select m.body from public.messages as m
                    where m.session_id = d.session_id and not m.from_me and m.kind = 'text'
                    order by m.sent_at desc, m.id desc limit 3
                ) as l
            )
        ) order by d.next_at, d.id), '[]')
        from (
            select h.* from public.handoffs as h
            where h.state = 'waiting' and h.next_at is not null and h.next_at <= hybridflow.clock()
            order by h.next_at limit (p ->> 'limit')::integer
        ) as d
        inner join public.tenants as t on t.id = d.tenant_id
    ));
end
$$;

-- Makes the turn that tells the customer that nobody has come for the handoff yet, if that can be sent now.
create or replace function hybridflow.tell_customer_of_wait(p_handoff public.handoffs, p_say text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn_id bigint;
begin
    if p_handoff.is_quiet or hybridflow.is_without_ai(p_handoff.session_id) or exists (
        select from public.turns as t where t.session_id = p_handoff.session_id and t.waiting
    ) or exists (select from hybridflow.held_turns(p_handoff.session_id)) then
        return null;  -- what tells the customer of the handoff itself is still on its way
    end if;
    insert into public.turns (tenant_id, session_id, run_after, debounce_until, reply, handler)
    values (
        p_handoff.tenant_id, p_handoff.session_id, v_now, v_now,
        jsonb_build_array(jsonb_build_object('line', p_handoff.id, 'text', p_say)), 'fallback'
    )
    returning id into v_turn_id;
    update public.handoffs set line_turn_id = v_turn_id where id = p_handoff.id;
    return v_turn_id;
end
$$;

-- press_handoff({handoff_id, step, say, due_at?, policy})
-- The next step for a handoff that nobody has taken, and for which `step` steps are done: the people are told
-- again; the next number is told; the customer is told `say`; then the AI goes on, or the conversation waits
-- for a human, as the tenant has set. With due_at no step is done: the handoff is looked at again then. Each
-- step is done at most once, however often and by however many routers this is called. Returns {did,
-- turn_id?}: did is 'reminded', 'told_next', 'told_customer', 'returned', 'waits', 'expired' (nobody took it,
-- and a person's own pause goes on), or null (nothing was done); turn_id is the turn to be answered now.
create or replace function public.press_handoff(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_handoff public.handoffs;
    v_tenant public.tenants;
    v_step integer;
    v_turn_id bigint;
begin
    perform hybridflow.require_keys('press_handoff', p, '{handoff_id,step,say,policy}');
    select s.* into v_session from public.sessions as s
    where s.id = (select h.session_id from public.handoffs as h where h.id = (p ->> 'handoff_id')::bigint)
    for update;
    perform hybridflow.lock_turns_of_handoffs(v_session.id);
    select * into v_handoff from public.handoffs where id = (p ->> 'handoff_id')::bigint for update;
    if v_handoff.id is null or v_handoff.state <> 'waiting' or v_handoff.step <> (p ->> 'step')::integer
        or v_handoff.session_id is distinct from v_session.id
    then
        return '{"did": null}';
    elsif p ->> 'due_at' is not null then
        update public.handoffs set next_at = (p ->> 'due_at')::timestamptz where id = v_handoff.id;
        return '{"did": null}';
    end if;
    select * into v_tenant from public.tenants where id = v_handoff.tenant_id;
    v_step := case
        when v_handoff.step = 0 and v_tenant.is_active then 1
        when v_handoff.step <= 1 and v_tenant.notify_number_next is not null and v_tenant.is_active then 2
        when v_handoff.step <= 2 and not v_handoff.is_quiet and v_tenant.is_active then 3
        else 4
    end;
    update public.handoffs
    set step = v_step, step_at = v_now,
        next_at = case when v_step < 4 then v_now + hybridflow.seconds(60 * v_tenant.handoff_remind_minutes) end
    where id = v_handoff.id;
    perform hybridflow.handoff_changed(v_handoff.tenant_id, v_handoff.session_id);
    if v_step < 3 then
        perform hybridflow.notice_untaken(v_handoff, v_session, v_step = 2);
    elsif v_step = 3 then
        v_turn_id := hybridflow.tell_customer_of_wait(v_handoff, p ->> 'say');
    elsif v_tenant.handoff_untaken = 'wait' then
        return '{"did": "waits"}';
    elsif v_session.pause_indefinite
        or hybridflow.human_pause_ends_at(v_session, v_tenant.resume_after_hours, p -> 'policy') > v_now
    then
        -- Somebody also paused the session, and that pause goes on.
        update public.handoffs set state = 'expired', ended_at = v_now where id = v_handoff.id;
        return '{"did": "expired"}';
    else
        perform hybridflow.end_pause(v_session.id, 'cron');
        v_turn_id := hybridflow.answer_unanswered(v_session.id, p -> 'policy');
    end if;
    return jsonb_strip_nulls(jsonb_build_object('turn_id', v_turn_id)) || jsonb_build_object(
        'did', (array['reminded', 'told_next', 'told_customer', 'returned'])[v_step]
    );
end
$$;

-- ==================== 0318_handoffs_listed.sql

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

-- ==================== 0400_turns.sql

-- HybridFlow: a turn's steps from one state to the next, from pending to sent, cancelled or dead.
--
-- The functions on the hot path have `enable_seqscan = off`: a connection keeps a plan for as long as it
-- lives, and a plan made while a table was small would go on reading the whole table.

-- Gives one more message to the session's pending turn: moves the turn (debounce, up to a cap counted from
-- its first message) or creates it. If the tenant prefers that, a running turn that has said nothing yet
-- starts again with the message instead. The session is locked. Returns which turn it is, and when it is due.
create or replace function hybridflow.join_turn(
    p_tenant public.tenants, p_session_id bigint, p_debounce numeric, p_cap numeric, p_correlation_id text,
    p_now timestamptz, out turn_id bigint, out due timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    v_due timestamptz := p_now + make_interval(secs => p_debounce::double precision);
    v_running public.turns;
    v_claimed_at timestamptz;
begin
    if p_tenant.on_new_message = 'restart' then
        select * into v_running from public.turns
        where session_id = p_session_id and held and not beside and state = 'running' for update;
        if found then
            -- The attempt did not fail: it does not count.
            update public.turns set attempt = greatest(attempt - 1, 0) where id = v_running.id;
            perform hybridflow.requeue_turn(v_running, v_due, 'restarted');
        end if;
    end if;

    update public.turns
    set run_after = case
            when claimed_at is not null then greatest(run_after, v_due)
            else greatest(run_after, least(v_due, debounce_until))
        end,
        due_when_heard = case
            when due_when_heard is not null then greatest(due_when_heard, least(v_due, debounce_until))
        end,
        updated_at = p_now
    where session_id = p_session_id and waiting
    returning id, run_after, claimed_at into turn_id, due, v_claimed_at;
    if not found then
        insert into public.turns (tenant_id, session_id, run_after, debounce_until, correlation_id)
        values (
            p_tenant.id, p_session_id, v_due,
            greatest(v_due, p_now + hybridflow.seconds(p_cap)), p_correlation_id
        )
        returning id, run_after into turn_id, due;
    elsif v_claimed_at is not null then
        perform hybridflow.widen_turn(turn_id);
    end if;
end
$$;

-- A pending turn has one more message to answer. Its reply, and every send that had begun for it, was made
-- without that message. If such a send shows up late it is ours, but answers nothing of the turn.
create or replace function hybridflow.widen_turn(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.discard_reply(p_turn_id);
    update public.messages set turn_id = null where turn_id = p_turn_id and from_me;
end
$$;

-- Throws away the reply of a turn that has nothing on the phone or in doubt: it is made again for everything
-- that the turn answers now. Sends that had begun keep their rows, so that a late echo is recognised as ours.
create or replace function hybridflow.discard_reply(p_turn_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns set reply = null, updated_at = hybridflow.clock()
    where id = p_turn_id and reply is not null;
    update public.messages set part = null where turn_id = p_turn_id and part is not null;
end
$$;

-- Puts a turn that has nothing on the phone or in doubt back to pending, due at p_run_after, and folds into
-- it the turn that has become pending meanwhile. Its reply is kept only if there is nothing new to answer.
-- The session is locked. p_turn is the turn as it was during the attempt, and p_outcome is how the attempt
-- ended; null: there was no attempt, or the caller records its end.
create or replace function hybridflow.requeue_turn(
    p_turn public.turns, p_run_after timestamptz, p_outcome text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_newer bigint;
    v_retried_at timestamptz;
    v_heard_by timestamptz;
begin
    select t.id, t.retried_at, case when t.due_when_heard is not null then t.run_after end
    into v_newer, v_retried_at, v_heard_by
    from public.turns as t
    where t.session_id = p_turn.session_id and t.waiting for update;
    if v_newer is not null then
        perform hybridflow.close_turn(v_newer, 'cancelled', 'merged');
        update public.messages set turn_id = p_turn.id where turn_id = v_newer and not from_me;
        perform hybridflow.widen_turn(p_turn.id);
    elsif p_turn.reply is null then
        perform hybridflow.discard_reply(p_turn.id);
    end if;
    update public.turns
    set state = 'pending', token_hash = null, lease_until = null, worker = null, beside = false,
        stop_reason = null, run_after = greatest(p_run_after, v_heard_by),
        due_when_heard = case when v_heard_by is not null then p_run_after end, retried_at = greatest(retried_at, v_retried_at),
        updated_at = v_now
    where id = p_turn.id;
    if p_outcome in ('refused', 'budget') then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, p_turn.error_kind, p_turn.error);
    elsif p_outcome is not null then
        perform hybridflow.note_attempt(p_turn, p_outcome, v_now, null, null, null);
    end if;
end
$$;

-- Closes a turn for good, and with it the attempt that is under way. Only this function cancels turns. The
-- token's hash stays: the token allows nothing any more, but shows that a repeated callback is the same one.
create or replace function hybridflow.close_turn(p_turn_id bigint, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean := p_state = 'dead' or coalesce(p_reason in ('budget', 'reply_refused'), false);
begin
    update public.turns
    set state = p_state, reason = p_reason, lease_until = null, finished_at = v_now, updated_at = v_now
    where id = p_turn_id
    returning * into v_turn;
    -- If nobody was working on the turn, it has no worker, and nothing is recorded.
    perform hybridflow.note_attempt(
        v_turn, p_state, v_now, p_reason,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- If a send of the turn is in doubt, puts the turn aside until that send is looked up. Returns whether it
-- did.
create or replace function hybridflow.await_settlement(p_turn public.turns, p_check_after numeric)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    if not hybridflow.is_in_doubt(p_turn.id) then
        return false;
    end if;
    perform hybridflow.put_aside(
        p_turn.id, hybridflow.clock() + hybridflow.seconds(coalesce(p_check_after, 3)), 'in_doubt'
    );
    return true;
end
$$;

-- Nobody works on the active turn until p_until, when it can be claimed again (earlier after a reconnect).
-- The attempt that was under way, if there was one, has ended with p_outcome.
create or replace function hybridflow.put_aside(p_turn_id bigint, p_until timestamptz, p_outcome text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_failed boolean;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    v_failed := coalesce(v_turn.error_kind = p_outcome, false);  -- else the error is an earlier attempt's
    update public.turns set lease_until = p_until, worker = null, updated_at = v_now
    where id = p_turn_id;
    perform hybridflow.note_attempt(
        v_turn, p_outcome, v_now, null,
        case when v_failed then v_turn.error_kind end, case when v_failed then v_turn.error end
    );
end
$$;

-- The turn may say no more. It is closed as sent (incomplete) if it has said something, otherwise as
-- cancelled. While a part of it is leaving it stays open: the fence refuses the next part, and the turn is
-- closed when that part is settled.
create or replace function hybridflow.stop_turn(p_turn_id bigint, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if hybridflow.is_in_doubt(p_turn_id) then
        update public.turns set stop_reason = coalesce(stop_reason, p_reason), updated_at = hybridflow.clock()
        where id = p_turn_id;
    elsif exists (select from public.messages where turn_id = p_turn_id and send_state = 'sent') then
        update public.turns set incomplete = true where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', p_reason);
    else
        perform hybridflow.close_turn(p_turn_id, 'cancelled', p_reason);
    end if;
end
$$;

-- The turn goes on at once, with the next claim; beside another active turn, if the session has one.
create or replace function hybridflow.take_up(p_turn public.turns)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.turns
    set state = 'sending', incomplete = false, reason = null, finished_at = null, worker = null,
        token_hash = hybridflow.hash_token(gen_random_uuid()), lease_until = hybridflow.clock(),
        attempt = greatest(attempt - 1, 0),
        beside = exists (
            select from hybridflow.held_turns(p_turn.session_id) as a where a.id <> p_turn.id
        ),
        updated_at = hybridflow.clock()
    where id = p_turn.id;
end
$$;

-- Which parts of turn p_turn_id were given up, and why (see give_up_part); null: none.
create or replace function hybridflow.given_up_of(p_turn_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select left(string_agg(
        format('part %s (%s) is given up: %s', m.part + 1, m.kind, m.given_up), '; ' order by m.part
    ), 2000)
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null and m.send_state = 'failed' and m.given_up is not null
$$;

-- A send of turn p_turn_id has been settled or given up. The turn is closed when all of its reply is on the
-- phone, except for parts that were given up, or when it may say no more. It is dead if every part was given
-- up. If a turn that may say no more has said nothing, and the session goes on, another turn answers its
-- messages. A send may prove late to have left: then its turn, which waits to be made again, goes on with the
-- rest, or is done. The session is locked.
create or replace function hybridflow.after_settlement(p_turn_id bigint, p_policy jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_sent integer;
    v_given_up integer;
    v_is_over boolean;
begin
    select * into v_turn from public.turns
    where id = p_turn_id and state in ('pending', 'running', 'sending') for update;
    if v_turn.id is null or hybridflow.is_in_doubt(p_turn_id) then
        return;
    end if;
    select
        count(*) filter (where m.send_state = 'sent'),
        count(*) filter (where m.send_state = 'failed' and m.given_up is not null)
    into v_sent, v_given_up
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null;
    v_is_over := coalesce(jsonb_array_length(v_turn.reply) <= v_sent + v_given_up, false);
    if v_is_over and v_given_up = 0 then
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_is_over and v_sent > 0 then
        update public.turns
        set incomplete = true, error_kind = 'given_up', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'sent', hybridflow.ends_as_handoff(p_turn_id));
    elsif v_turn.stop_reason is not null then
        perform hybridflow.stop_turn(p_turn_id, v_turn.stop_reason);
        if not (select s.is_paused from public.sessions as s where s.id = v_turn.session_id) then
            perform hybridflow.answer_unanswered(v_turn.session_id, p_policy);
        end if;
    elsif v_is_over then
        update public.turns
        set error_kind = 'permanent', error = hybridflow.given_up_of(p_turn_id)
        where id = p_turn_id;
        perform hybridflow.close_turn(p_turn_id, 'dead', v_turn.reason);
    elsif v_turn.state = 'pending' and v_turn.reply is not null and v_sent > 0 then
        perform hybridflow.take_up(v_turn);
    elsif v_turn.state <> 'sending' and v_sent = 0 and exists (
        -- An earlier reply to the same messages was sent (see widen_turn): the new one is not.
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent'
    ) then
        perform hybridflow.stop_turn(p_turn_id, 'late');
    end if;
end
$$;

-- ==================== 0410_turn_contexts.sql

-- HybridFlow: what a worker is given with a turn: the conversation, and what of the reply is already sent.

-- The parts of a turn that have begun, in order, for the handler that goes on with it.
create or replace function hybridflow.turn_parts(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'message_id', m.id, 'part', m.part, 'kind', m.kind, 'body', hybridflow.cut(m.body), 'identity', m.identity,
        'told_as', m.told_as, 'chosen_id', m.chosen_id, 'send_state', m.send_state, 'wa_id', m.wa_id,
        'send_began_at', m.send_began_at, 'upload_seconds', m.upload_seconds,
        'given_up', m.given_up is not null
    ) order by m.part), '[]')
    from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null
$$;

-- How many characters of a message are read: of its text, its caption, and what it quotes.
create or replace function hybridflow.characters_of(p_body text, p_quoted jsonb, p_media jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when octet_length(p_body) > 65536 then 65536 else length(p_body) end
        + least(coalesce(length(p_quoted ->> 'text'), 0), 65536)
        + least(coalesce(length(p_media ->> 'caption'), 0), 65536)
$$;

-- The conversation up to now, oldest first. The messages that turn p_turn answers come last, even if an
-- earlier reply left after they were written. Left out are sends that certainly failed, sends that WhatsApp
-- did not deliver, messages that wait for a later turn, and everything beyond the newest 200,000 characters,
-- which begin with the turn's own messages. The result is json, and becomes jsonb once, together with the
-- object that it is a part of: jsonb would be read and written again for each object around it, a quarter of
-- the cost of a claim.
create or replace function hybridflow.told_history(p_turn public.turns, p_limit integer)
returns json
language sql
stable
set search_path = ''
as $$
    select coalesce(json_agg(told), '[]') from (
        select
            h.id as message_id, h.wa_id, h.from_me, h.sender, h.kind,
            case
                when h.deleted_at is not null then '[deleted message]'
                when octet_length(h.body) > 65536 then hybridflow.cut(h.body)
                else h.body
            end as body,
            hybridflow.cut_fields(h.quoted) as quoted,
            case
                when octet_length(h.author_name) > 256 then hybridflow.cut(h.author_name, 256) else h.author_name
            end as author_name,
            h.sent_at,
            case when h.deleted_at is null then hybridflow.cut_fields(h.media) end as media,
            case
                when h.transcript is not null and h.deleted_at is null then hybridflow.cut(h.transcript)
            end as transcript,
            case
                when h.description is not null and h.deleted_at is null then hybridflow.cut(h.description)
            end as description,
            h.media is not null and h.deleted_at is null and h.transcript is null
            and h.description is null and exists (
                select from public.media_jobs as j
                where j.message_id = h.id and j.state <> 'done' and not j.keep_only
            ) as unheard,
            h.media is not null and h.deleted_at is null and not h.from_me and exists (
                select from public.media_jobs as j where j.message_id = h.id and j.pictures_until is not null
            ) as pictured,
            h.in_turn
        from (
            select w.*, sum(w.characters) over (
                order by w.in_turn desc, w.sent_at desc, w.id desc rows between unbounded preceding and 1 preceding
            ) as characters_after
            from (
                select
                    m.id, m.wa_id, m.from_me, m.sender, m.kind, m.body, m.quoted, m.author_name, m.sent_at,
                    m.media, m.transcript, m.description, m.deleted_at,
                    case
                        when m.quoted is null and m.media is null and octet_length(m.body) <= 65536 then length(m.body)
                        else hybridflow.characters_of(m.body, m.quoted, m.media)
                    end
                    + least(coalesce(length(m.transcript), 0) + coalesce(length(m.description), 0), 131072)
                    as characters,
                    (m.turn_id is not distinct from p_turn.id and not m.from_me) as in_turn
                from public.messages as m
                where m.session_id = p_turn.session_id
                    and m.send_state is distinct from 'failed'
                    and not (m.from_me and m.status is not distinct from 'error')
                    -- One lookup for all messages: a session has at most one pending turn.
                    and (m.turn_id is null or m.turn_id is distinct from (
                        select o.id from public.turns as o
                        where o.session_id = p_turn.session_id and o.waiting and o.id <> p_turn.id
                    ))
                order by m.sent_at desc, m.id desc
                limit p_limit
            ) as w
        ) as h
        where coalesce(h.characters_after, 0) < 200000
        order by h.in_turn, h.sent_at, h.id
    ) as told
$$;

-- How a token is stored: as a hash, so that somebody who reads the table cannot act for a handler.
create or replace function hybridflow.hash_token(p_token uuid)
returns bytea
language plpgsql
immutable
set search_path = ''
as $$
begin
    return sha256(convert_to(p_token::text, 'UTF8'));
end
$$;

-- The ids of recent messages in the conversation of a send: ours (p_ours), or the contact's. Only the newest
-- 2,000 messages are read.
create or replace function hybridflow.recent_wa_ids(p_send public.messages, p_ours boolean)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(r.wa_id), '[]') from (
        select l.wa_id
        from (
            select m.wa_id, m.from_me, m.sent_at, m.id from public.messages as m
            where m.session_id = p_send.session_id
            order by m.sent_at desc, m.id desc limit 2000
        ) as l
        where l.from_me = p_ours and l.wa_id is not null
        order by l.sent_at desc, l.id desc limit 100
    ) as r
$$;

-- Everything that a handler needs for one attempt at a turn, including the token.
create or replace function hybridflow.turn_context(p_turn public.turns, p_token uuid, p_history_limit integer)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'turn_id', p_turn.id, 'token', p_token, 'attempt', p_turn.attempt, 'now', hybridflow.clock(),
        'lease_until', p_turn.lease_until, 'reply', p_turn.reply,
        'last_handler', p_turn.handler, 'last_error', p_turn.error, 'waits', p_turn.waits,
        'correlation_id', p_turn.correlation_id,
        'tenant', jsonb_build_object(
            'tenant_id', t.id, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url,
            'evo_api_key', t.evo_api_key, 'system_prompt', t.system_prompt, 'llm_provider', t.llm_provider,
            'llm_api_key', t.llm_api_key, 'llm_model', t.llm_model, 'llm_max_tokens', t.llm_max_tokens,
            'n8n_flow', t.n8n_flow, 'n8n_contract', t.n8n_contract,
            'reply_rules', hybridflow.reply_rules(t), 'facts', t.facts, 'timezone', t.timezone,
            'opening_hours', t.opening_hours, 'away_message', t.away_message,
            'answer_when_closed', t.answer_when_closed, 'delivery', hybridflow.delivery_rules(t),
            'handoff_message', t.handoff_message,
            'handoff_words', t.handoff_words, 'handoff_on_promise', t.handoff_on_promise,
            'fallback_message', t.fallback_message, 'mark_as_read', t.mark_as_read,
            'files', hybridflow.files_for_llm(t.id)
        ),
        'session', jsonb_build_object(
            'session_id', s.id, 'chat', s.chat, 'jid', coalesce(s.phone_jid, s.lid),
            'jids', (select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = s.id),
            'contact_name', hybridflow.cut(s.contact_name, 256),
            'labels', s.labels, 'notes', hybridflow.notes_for_llm(t, s.id),
            'away_until', case when s.away_until is not null then hybridflow.told_away_until(s) end
        ),
        'parts', hybridflow.turn_parts(p_turn.id),
        'ours', (  -- to look up a send in doubt: the history leaves out what was not delivered
            select hybridflow.recent_wa_ids(m, true) from public.messages as m
            where m.turn_id = p_turn.id and m.send_state in ('sending', 'unknown') limit 1
        ),
        'history', hybridflow.told_history(p_turn, p_history_limit)
    )
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_turn.session_id
$$;

-- A turn that was just claimed cannot be worked on, because of p_error: it waits for a minute, and when its
-- attempts are used up it dies with this error.
create or replace function hybridflow.put_off_unreadable(p_turn public.turns, p_error text)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_error text := 'what a reply is made from could not be read: ' || p_error;
begin
    update public.turns set error_kind = 'unreadable', error = v_error where id = p_turn.id;
    perform hybridflow.put_aside(p_turn.id, hybridflow.clock() + interval '1 minute', 'unreadable');
    return jsonb_build_object('turn_id', p_turn.id, 'tenant_id', p_turn.tenant_id, 'error', v_error);
end
$$;

-- The contexts of turns that were just claimed. Each is read by itself, so that only a turn that fails is put
-- off: {turns, unreadable: [{turn_id, tenant_id, error}]}.
create or replace function hybridflow.turn_contexts(p_ids bigint[], p_tokens uuid[], p_history_limit integer)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
    v_unreadable jsonb := '[]';
begin
    for v_claim in
        select t as turn, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.turns as t on t.id = c.id
        order by t.id
    loop
        begin
            v_contexts := v_contexts
                || hybridflow.turn_context(v_claim.turn, v_claim.token, p_history_limit);
        exception
            when others then
                v_unreadable := v_unreadable
                    || hybridflow.put_off_unreadable(v_claim.turn, 'SQLSTATE ' || sqlstate);
        end;
    end loop;
    return jsonb_build_object('turns', v_contexts, 'unreadable', v_unreadable);
end
$$;

-- ==================== 0415_lapsed_turns.sql

-- HybridFlow: turns whose lease has run out: which of them end, and how many turns are in n8n.

-- Of the locked turns p_ids, those that a claim can end without waiting for anybody: nobody else holds their
-- session, their tenant, or the waiting notice to its people. These are locked here, too. Whoever holds the
-- session may want the turn next. (If one transaction changes a turn twice, its foreign keys lock its session
-- and its tenant.)
create or replace function hybridflow.free_to_end(p_ids bigint[])
returns bigint[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        inner join public.tenants as n on n.id = t.tenant_id
        where t.id = any(p_ids)
        for update of s skip locked for key share of n skip locked
    );
    v_tenants bigint[];
begin
    select array_agg(d.tenant_id) filter (where hybridflow.has_waiting_notices(d.tenant_id)) into v_tenants
    from (select distinct t.tenant_id from public.turns as t where t.id = any(v_ids)) as d;
    return array(
        select t.id from public.turns as t
        where t.id = any(v_ids) and t.tenant_id = any(v_tenants)
    );
end
$$;

-- Turns die here if their attempts are used up and their lease has run out. A turn with a send in doubt does
-- not: the outcome must be found out first. Nor does one whose flow is dead: close_dead_flows closes it, and
-- may have found it locked a moment ago. A turn that cannot end without waiting is left out. Returns their
-- ids.
create or replace function hybridflow.bury_lapsed(p_max_attempts integer, p_minutes numeric)
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and t.attempt >= p_max_attempts and hybridflow.is_used_up(t, p_max_attempts)
            and not (t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t))
        for update skip locked
    );
begin
    if v_ids = '{}' then
        return v_ids;
    end if;
    v_ids := hybridflow.free_to_end(v_ids);
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'dead', lease_until = null, error_kind = coalesce(error_kind, 'crashed'),
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.after_unanswered(
        d.turn, d.session, case when (d.turn).handler = 'n8n' then 'flow_failed' else 'crashed' end,
        (d.turn).error, p_minutes
    )
    from (
        select t as turn, s as session from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.id = any(v_ids)
        order by t.tenant_id, t.id  -- the order in which everybody locks notices of several tenants
    ) as d;
    return v_ids;
end
$$;

-- Whether the turn, whose lease has run out, may have no further attempt.
create or replace function hybridflow.is_used_up(p_turn public.turns, p_max_attempts integer)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.attempt >= p_max_attempts and not hybridflow.is_in_doubt(p_turn.id)
$$;

-- Whether the flow of the turn, whose lease has run out, has said something and then fell silent. What it
-- sent has left, for all that is known.
create or replace function hybridflow.is_dead_flow(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.state = 'sending' and p_turn.reply is null and hybridflow.has_spoken(p_turn.id)
        and not exists (
            select from public.messages as m
            where m.turn_id = p_turn.id and (
                m.send_state in ('sending', 'unknown') or (m.send_state = 'failed' and m.part is not null)
            )
        )
$$;

-- A turn whose flow is dead is closed as sent, incomplete: nobody knows what else the flow would have said,
-- and a new run would repeat what was said. What cannot end without waiting is left for the next claim.
create or replace function hybridflow.close_dead_flows()
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select t.id from public.turns as t
        where t.held and not t.waiting and t.lease_until <= (select hybridflow.clock())
            and t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t)
        for update skip locked
    );
begin
    if v_ids = '{}' then
        return;
    end if;
    v_ids := hybridflow.free_to_end(v_ids);
    perform hybridflow.note_lapsed(v_ids);
    update public.turns
    set state = 'sent', incomplete = true, reason = 'flow_died', lease_until = null,
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(v_ids);
    perform hybridflow.note_unanswered(d.turn, 'half_said', 'its flow fell silent')
    from (select t as turn from public.turns as t where t.id = any(v_ids) order by t.tenant_id, t.id) as d;
end
$$;

-- The turns that no flow works on, as the claiming router knows (`not_in_n8n`), whatever the state says.
create or replace function hybridflow.not_in_n8n(p jsonb)
returns bigint[]
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_agg(k.id::bigint), '{}')
    from jsonb_array_elements_text(nullif(p -> 'not_in_n8n', 'null')) as k (id)
$$;

-- How many more turns may be given to n8n now; a burst waits here, not in n8n. The turns p_not_there are no
-- longer in n8n, or the caller has counted them. Neither is a turn there whose reply has been made, however
-- long sending takes, nor one that is put aside: nobody works on it until its line is back, or until its
-- doubt is looked up again.
create or replace function hybridflow.free_flows_without(p_max_in_flight integer, p_not_there bigint[])
returns integer
language sql
stable
set search_path = ''
as $$
    select greatest(p_max_in_flight - count(*)::integer, 0) from public.turns
    where held and not waiting and handler = 'n8n' and lease_until > (select hybridflow.clock())
        and worker is not null and reply is null and id <> all(p_not_there)
$$;

-- ==================== 0418_shares_of_turns.sql

-- HybridFlow: how many turns of each tenant are under way, and how many more it may have. The worker that
-- claims has a number of seats, and n8n has a number of places.

-- How many turns of each tenant are being worked on: by p_worker, or by any worker if that is null. p_own
-- says how many the worker itself counts, by tenant. It may still work on a turn whose lease has run out, so
-- the larger number counts.
create or replace function hybridflow.tenants_at_work(p_worker text, p_own jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select b.tenant_id, max(b.turns)::integer
    from (
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is not null and t.worker = p_worker and t.worker is not null
            and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select t.tenant_id, count(*) as turns from public.turns as t
        where p_worker is null and t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer from jsonb_each_text(p_own) as o
    ) as b
    group by b.tenant_id
$$;

-- How many turns of each tenant are in n8n, or on their way there, from all workers: those that are being
-- worked on and have no reply yet (see free_flows_without). Those of a tenant with an LLM key of its own do
-- not count, nor do the turns in p.not_in_n8n: the worker knows that they are not in n8n. p.in_n8n is the
-- worker's own number of its turns in n8n or on their way, by tenant, even if their leases have run out; the
-- larger number counts. A router of 0.2.0 sends only p.own, which is used instead.
create or replace function hybridflow.tenants_in_n8n(p jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select b.tenant_id, max(b.turns)::integer
    from (
        select t.tenant_id, count(*) as turns from public.turns as t
        where t.held and not t.waiting and t.lease_until > (select hybridflow.clock())
            and t.worker is not null and t.reply is null
            and t.id <> all((select hybridflow.not_in_n8n(p))::bigint[])
            and (select n.llm_api_key from public.tenants as n where n.id = t.tenant_id) is null
        group by t.tenant_id
        union all
        select o.key::bigint, o.value::integer
        from jsonb_each_text(coalesce(nullif(p -> 'in_n8n', 'null'), nullif(p -> 'own', 'null'))) as o
    ) as b
    group by b.tenant_id
$$;

-- How many turns of each tenant count against its share: those in n8n if n8n is used, else the worker's.
create or replace function hybridflow.busy_tenants(p jsonb)
returns table (tenant_id bigint, turns integer)
language sql
stable
rows 20
set search_path = ''
as $$
    select a.tenant_id, a.turns
    from hybridflow.tenants_at_work(p ->> 'worker', nullif(p -> 'own', 'null')) as a
    where p ->> 'n8n_max_in_flight' is null
    union all
    select n.tenant_id, n.turns from hybridflow.tenants_in_n8n(p) as n
    where p ->> 'n8n_max_in_flight' is not null
$$;

-- How many of the worker's seats tenant p_tenant_id has: the number in p.sitting. Without p.sitting, each of
-- its turns (p.own) has a seat.
create or replace function hybridflow.seats_of(p_tenant_id bigint, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select coalesce((coalesce(nullif(p -> 'sitting', 'null'), p -> 'own') ->> p_tenant_id::text)::integer, 0)
$$;

-- How many more turns tenant p_tenant_id may have; null: any number. It has p_busy (null: none) of at most
-- tenant_max. It gets another seat of the worker while it has fewer than own_times as many as are free
-- (p_limit). It may have at most own_max turns in this worker, including those that have no seat because they
-- wait for the tenant's own server.
create or replace function hybridflow.room_for(p_tenant_id bigint, p_busy integer, p_limit integer, p jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'tenant_max' is null and p ->> 'own_times' is null then null
        else greatest(0, least(
            (p ->> 'tenant_max')::integer - coalesce(p_busy, 0),
            ceil((p ->> 'own_times')::numeric * p_limit)::integer - hybridflow.seats_of(p_tenant_id, p),
            (p ->> 'own_max')::integer - coalesce((p -> 'own' ->> p_tenant_id::text)::integer, 0)
        ))
    end
$$;

-- The same if n8n is used. Then the rule for seats is also used for the places in n8n, of which p.n8n_free
-- are free. A flow that sends by itself has no seat.
create or replace function hybridflow.room_with_n8n(
    p_tenant_id bigint, p_busy integer, p_limit integer, p jsonb
)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case
        when p ->> 'own_times' is null or p ->> 'n8n_free' is null
            then hybridflow.room_for(p_tenant_id, p_busy, p_limit, p)
        else least(
            hybridflow.room_for(p_tenant_id, p_busy, p_limit, p),
            greatest(0, ceil(
                (p ->> 'own_times')::numeric * (p ->> 'n8n_free')::integer
            )::integer - coalesce(p_busy, 0))
        )
    end
$$;

-- The tenants that may not get another turn now.
create or replace function hybridflow.full_tenants(p_limit integer, p jsonb)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select coalesce(array_agg(b.tenant_id), '{}')
    from hybridflow.busy_tenants(p) as b
    where hybridflow.room_with_n8n(b.tenant_id, b.turns, p_limit, p) = 0
$$;

-- ==================== 0419_made_turns.sql

-- HybridFlow: turns that need no flow any more, and so no place in n8n.

-- The tenants without an LLM key of their own that have a turn that needs no flow any more: its reply is
-- made, or its flow has begun to send. Such a turn need not wait while n8n is full. At most p_enough tenants,
-- and none of p_full, which may have no more: first those whose lease ran out longest ago, then those whose
-- turn fell due most recently. Of the first kind only 200 turns are considered. Of all due turns only the 200
-- newest are looked at, so that a long queue costs no more: an older one waits for its tenant's next turn in
-- the round, when n8n has a place.
create or replace function hybridflow.next_made(p_now timestamptz, p_enough integer, p_full bigint[])
returns bigint[]
language sql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select coalesce(array_agg(d.tenant_id order by d.rank), '{}')
    from (
        select f.tenant_id, min(f.rank) as rank
        from (
            (
                select t.tenant_id, row_number() over (order by t.lease_until) as rank
                from (
                    select a.tenant_id, a.lease_until from public.turns as a
                    where a.held and not a.waiting and a.lease_until <= p_now
                        and (a.state = 'sending' or a.reply is not null) and a.tenant_id <> all(p_full)
                    order by a.lease_until limit 200
                ) as t
            )
            union all
            (
                select t.tenant_id, 200 + row_number() over (order by t.run_after desc)
                from (
                    select w.tenant_id, w.run_after, w.reply is not null as is_made
                    from public.turns as w
                    where w.waiting and not w.held and w.run_after <= p_now
                    order by w.run_after desc limit 200
                ) as t
                where t.is_made
            )
        ) as f
        inner join public.tenants as n on n.id = f.tenant_id and n.llm_api_key is null
        where f.tenant_id <> all(p_full)
        group by f.tenant_id
        order by min(f.rank) limit p_enough
    ) as d
$$;

-- The turns of a tenant that need no flow any more (see next_made) and may be claimed, at most p_most: first
-- those whose lease has run out, then the due ones, the newest first. Only the 100 newest due turns are
-- looked at, as in due_turns.
create or replace function hybridflow.made_turns(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, lapsed boolean, place bigint)
language sql
stable
rows 4
set search_path = ''
as $$
    select f.id, f.lapsed, row_number() over (order by f.lapsed desc, f.waited desc)
    from (
        (
            select t.id, true as lapsed, p_now - t.lease_until as waited from public.turns as t
            where t.tenant_id = p_tenant_id and t.held and t.lease_until <= p_now
                and (t.state = 'sending' or t.reply is not null)
            order by t.lease_until limit p_most
        )
        union all
        (
            select d.id, false, d.run_after - p_now
            from (
                select t.id, t.session_id, t.run_after, t.reply is not null as is_made from public.turns as t
                where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
                order by t.run_after desc limit 100
            ) as d
            where d.is_made and (
                select a.id from public.turns as a
                where a.session_id = d.session_id and a.held and not a.beside limit 1
            ) is null and (
                select a.id from public.turns as a
                where a.session_id = d.session_id and a.held and a.beside limit 1
            ) is null
            limit p_most
        )
    ) as f
    order by f.lapsed desc, f.waited desc limit p_most
$$;

-- ==================== 0420_due_turns.sql

-- HybridFlow: which turns are next: the due ones, tenant by tenant, each tenant within its share.
--
-- Claims read an index in its order and stop early, so these queries never sort what an index has in order.

-- The due turns of a tenant that can be claimed: the p_most newest, and the oldest. A turn cannot be claimed
-- if its session has an active turn (the customer has written again while that is being made). At each end
-- only 100 are looked at, so that very many such turns cost no more; those between come when the others have
-- ended. Each session is looked up separately: a join whose plan was made when hardly any turn was under way
-- would read all turns under way for each session.
create or replace function hybridflow.due_turns(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, run_after timestamptz, is_oldest boolean)
language sql
stable
rows 4
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    (
        select d.id, d.run_after, false
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after desc limit 100
        ) as d
        where (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and not a.beside limit 1
        ) is null and (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and a.beside limit 1
        ) is null
        limit p_most
    )
    union all
    (
        select d.id, d.run_after, true
        from (
            select t.id, t.session_id, t.run_after from public.turns as t
            where t.tenant_id = p_tenant_id and t.waiting and t.run_after <= p_now
            order by t.run_after limit 100
        ) as d
        where (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and not a.beside limit 1
        ) is null and (
            select a.id from public.turns as a
            where a.session_id = d.session_id and a.held and a.beside limit 1
        ) is null
        limit least(p_most, 1)
    )
$$;

-- The next tenants that have a turn that can be claimed, and room for it (they are not in p_full). They come
-- in the order of their ids, beginning after tenant p_after and then again from the first, so the tenant that
-- was served last comes last. Each tenant with a waiting turn costs one look at the index. The search ends
-- when p_enough are found, after p_most tenants, or after 50 whose due turns cannot be claimed. The next
-- round begins after `last`. is_whole: all tenants with a waiting turn were looked at.
create or replace function hybridflow.next_tenants(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 200;
    v_next record;
    v_from_start boolean := false;
    v_in_vain integer := 0;
begin
    -- Usually only a few turns are due: then one query finds all of them.
    select array_agg(d.tenant_id) filter (where not d.is_behind), count(*) < c_few into tenants, is_whole from (
        select w.tenant_id, exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and not a.beside
            ) or exists (
                select from public.turns as a where a.session_id = w.session_id and a.held and a.beside
            ) as is_behind
        from (
            select t.tenant_id, t.session_id from public.turns as t
            where t.waiting and not t.held and t.run_after <= p_now
            order by t.run_after limit c_few
        ) as w
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        last := case when is_whole then p_after else coalesce(tenants[p_enough], p_after) end;
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select t.tenant_id, t.run_after into v_next from public.turns as t
        where t.waiting and t.tenant_id > last
        order by t.tenant_id, t.run_after limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select t.tenant_id, t.run_after into v_next from public.turns as t
            where t.waiting
            order by t.tenant_id, t.run_after limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.run_after <= p_now and v_next.tenant_id <> all(p_full) then
            if exists (select from hybridflow.due_turns(v_next.tenant_id, p_now, 1)) then
                tenants := tenants || v_next.tenant_id;
                is_whole := cardinality(tenants) < p_enough;
                exit when not is_whole;
            else
                v_in_vain := v_in_vain + 1;
                is_whole := v_in_vain < 50;
                exit when not is_whole;
            end if;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

create index if not exists tenants_with_own_key on public.tenants (id) where llm_api_key is not null;

-- The same for tenants with an LLM key of their own, also those with a turn whose lease has run out. No flow
-- makes their replies, so they need not wait while n8n is full. is_whole: all of them were looked at.
create or replace function hybridflow.next_without_n8n(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_id bigint;
    v_from_start boolean := false;
begin
    tenants := '{}';
    last := p_after;
    is_whole := false;
    for v_looks in 1..p_most loop
        v_id := (select min(t.id) from public.tenants as t where t.llm_api_key is not null and t.id > last);
        if v_id is null and not v_from_start then
            v_from_start := true;
            v_id := (select min(t.id) from public.tenants as t where t.llm_api_key is not null);
        end if;
        is_whole := v_id is null or (v_from_start and v_id > p_after);
        exit when is_whole;
        last := v_id;
        if v_id <> all(p_full) and (
            (
                exists (
                    select from public.turns as t
                    where t.tenant_id = v_id and t.waiting and t.run_after <= p_now
                ) and exists (select from hybridflow.due_turns(v_id, p_now, 1))
            )
            or exists (
                select from public.turns as t where t.tenant_id = v_id and t.held and t.lease_until <= p_now
            )
        ) then
            tenants := tenants || v_id;
            exit when cardinality(tenants) >= p_enough;
        end if;
    end loop;
end
$$;

-- The tenants that have a turn whose lease has run out, and since when. Each tenant with a turn under way
-- costs one look at the index.
create or replace function hybridflow.lapsed_since(p_now timestamptz)
returns table (tenant_id bigint, lapsed_at timestamptz)
language sql
stable
rows 20
set search_path = ''
as $$
    with recursive leased as (
        (
            select t.tenant_id, t.lease_until from public.turns as t
            where t.held
            order by t.tenant_id, t.lease_until limit 1
        )
        union all
        (
            select n.tenant_id, n.lease_until
            from leased as l
            cross join lateral (
                select t.tenant_id, t.lease_until from public.turns as t
                where t.held and t.tenant_id > l.tenant_id
                order by t.tenant_id, t.lease_until limit 1
            ) as n
        )
    )

    select l.tenant_id, l.lease_until from leased as l where l.lease_until <= p_now
$$;

-- The next tenants that have a turn whose lease has run out, and that may have one more turn. Those with the
-- fewest turns under way come first, then those whose lease ran out longest ago. There are up to twice
-- p_limit, because some turns may be locked. Such tenants can be many: if a server hangs for an hour, all
-- sends to it are in doubt.
create or replace function hybridflow.next_lapsed(p_now timestamptz, p_limit integer, p jsonb)
returns setof bigint
language sql
stable
rows 20
set search_path = ''
as $$
    select l.tenant_id
    from hybridflow.lapsed_since(p_now) as l
    left join hybridflow.busy_tenants(p) as b on b.tenant_id = l.tenant_id
    where (
            b.tenant_id is null and not coalesce(nullif(p -> 'own', 'null') ? l.tenant_id::text, false)
        )
        or hybridflow.room_with_n8n(l.tenant_id, b.turns, p_limit, p) is distinct from 0
    order by coalesce(b.turns, 0), l.lapsed_at limit 2 * p_limit
$$;

-- The turns of a tenant that may be claimed, at most p_most. Those whose lease has run out come first, then
-- the due ones, the newest first: a customer who has just written is still there, and one who has waited long
-- may not be. So that old turns end as well, in one call of four (by chance) the oldest comes first among the
-- due ones, if it has been due for at least a minute. And in one call of two (by chance) the due ones come
-- before those that were put aside (without a worker). Otherwise many sends in doubt that cannot be looked
-- up, and are tried again and again, would leave no room for the due turns.
create or replace function hybridflow.turns_of_tenant(p_tenant_id bigint, p_now timestamptz, p_most integer)
returns table (turn_id bigint, lapsed boolean, place bigint)
language sql
volatile
rows 4
set search_path = ''
as $$
    select f.id, bool_or(f.lapsed), row_number() over (order by min(f.rank))
    from (
        (
            select t.id, true as lapsed, case
                when t.worker is null and (select random()) < 0.5 then 1e12
                else -1 - extract(epoch from p_now - t.lease_until)
            end as rank
            from public.turns as t
            where t.tenant_id = p_tenant_id and t.held and t.lease_until <= p_now
            order by t.lease_until limit p_most
        )
        union all
        select d.turn_id, false, case
            when d.is_oldest and d.run_after <= p_now - interval '1 minute' and (select random()) < 0.25 then 0
            else 1 + extract(epoch from p_now - d.run_after)
        end
        from hybridflow.due_turns(p_tenant_id, p_now, p_most) as d
    ) as f
    group by f.id
    order by min(f.rank) limit p_most
$$;

-- The turns that may be claimed, in their order: up to twice p_limit, because some may be locked. They are
-- due, or their lease has run out. If p_lapsed says that there is a turn of the second kind, tenants with
-- such turns are added to p_tenants. The tenants are served in turns, in the order of p_tenants (see
-- next_tenants). A tenant with many turns under way comes after one with few, so that a flood of messages to
-- one tenant makes no other wait. No tenant gets more than its share at once (see room_for), and the last
-- places are left to tenants that have none. With p.without_n8n, only those turns are returned that need no
-- flow: all of a tenant with an LLM key of its own, and of the others those that need none any more (see
-- made_turns). was_cut: the tenant may have more.
create or replace function hybridflow.claimable_turns(
    p_tenants bigint[], p_lapsed boolean, p_now timestamptz, p_limit integer, p jsonb
)
returns table (turn_id bigint, place bigint, was_cut boolean)
language sql
volatile
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.turn_id, r.place, r.was_cut
    from (
        select
            d.turn_id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.busy + d.place, d.lapsed desc, w.nth, d.turn_id) as place,
            w.own + d.place - 1 as has,
            w.busy + d.place - 1 as has_in_n8n
        from (
            select
                a.tenant_id, a.nth, coalesce(b.turns, 0) as busy,
                hybridflow.seats_of(a.tenant_id, p) as own,
                coalesce((p ->> 'without_n8n')::boolean, false) and not exists (
                    select from public.tenants as o where o.id = a.tenant_id and o.llm_api_key is not null
                ) as only_made,
                -- Of all tenants together twice the limit (at least 4 of each), because some may be locked.
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_with_n8n(a.tenant_id, b.turns, p_limit, p)) as room
            from (
                select coalesce(n.tenant_id, l.tenant_id) as tenant_id, coalesce(n.nth, 2 * p_limit + 1) as nth
                from unnest(p_tenants) with ordinality as n (tenant_id, nth)
                full join (
                    select t.tenant_id from hybridflow.next_lapsed(p_now, p_limit, p) as t (tenant_id)
                    where p_lapsed
                ) as l on l.tenant_id = n.tenant_id
            ) as a
            left join hybridflow.busy_tenants(p) as b on b.tenant_id = a.tenant_id
        ) as w
        cross join lateral (
            select e.turn_id, e.lapsed, e.place
            from hybridflow.turns_of_tenant(w.tenant_id, p_now, least(w.enough, w.room)) as e
            where not w.only_made
            union all
            select m.turn_id, m.lapsed, m.place
            from hybridflow.made_turns(w.tenant_id, p_now, least(w.enough, w.room)) as m
            where w.only_made
        ) as d
    ) as r
    where p ->> 'own_times' is null or (
        r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
        and coalesce(
            r.has_in_n8n < (p ->> 'own_times')::numeric * ((p ->> 'n8n_free')::integer - r.place + 1), true
        )
    )
    order by r.place limit 2 * p_limit
$$;

-- Whether a turn is due and has no worker, even if it cannot be claimed now.
create or replace function hybridflow.is_one_due()
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.turns as t
        where t.waiting and not t.held and t.run_after <= (select hybridflow.clock())
    )
$$;

-- When the next turn falls due, or a lease runs out.
create or replace function hybridflow.next_claimable(p_now timestamptz)
returns timestamptz
language sql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
    select least(
        (
            select t.run_after from public.turns as t
            where t.waiting and not t.held and t.run_after > p_now
            order by t.run_after limit 1
        ),
        (
            select t.lease_until from public.turns as t
            where t.held and not t.waiting and t.lease_until > p_now
            order by t.lease_until limit 1
        )
    )
$$;

-- ==================== 0425_claims.sql

-- HybridFlow: a turn is claimed: what is too old ends, and what is due gets a worker, a token and a lease.

-- Whether a turn is too old to be answered at all. Its age counts from the latest of these times: when its
-- messages were sent, when they were last edited (an edit with a time in the future does not count), and when
-- a person retried it. A turn without a customer's message, which only says something, counts from the time
-- when it was made.
create or replace function hybridflow.is_too_old(p_turn public.turns, p_minutes numeric)
returns boolean
language sql
stable
set search_path = ''
as $$
    select coalesce(greatest(
        (
            select max(greatest(m.sent_at, case when m.edited_at <= hybridflow.clock() then m.edited_at end))
            from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ),
        p_turn.retried_at,
        case when not exists (
            select from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ) then p_turn.debounce_until end
    ) < hybridflow.clock() - hybridflow.seconds(60 * coalesce(
        (select t.answer_within_minutes from public.tenants as t where t.id = p_turn.tenant_id), p_minutes, 60
    )), false)
$$;

-- Of these turns, which are locked and about to be claimed, ends those that are too old to be answered (see
-- is_too_old). A turn with a part on the phone or in doubt is not ended, and neither is one that a person
-- retried. `left_for`: those that are too old but cannot end at this moment (see free_to_end); the next claim
-- tries again.
create or replace function hybridflow.end_those_too_old(
    p_ids bigint[], p_minutes numeric, out ended bigint[], out left_for bigint[]
)
language plpgsql
set search_path = ''
as $$
declare
    v_old bigint[] := array(
        select t.id from public.turns as t
        where t.id = any(p_ids) and t.retried_at is null and hybridflow.is_too_old(t, p_minutes)
            and not hybridflow.has_spoken(t.id) and not hybridflow.is_in_doubt(t.id)
    );
begin
    ended := '{}';
    left_for := '{}';
    if v_old = '{}' then  -- almost always
        return;
    end if;
    ended := hybridflow.free_to_end(v_old);
    left_for := array(select i from unnest(v_old) as i where i <> all(ended));
    perform hybridflow.note_lapsed(ended);
    update public.turns
    set state = 'dead', reason = 'too_old', lease_until = null, waits_for = null,
        error_kind = coalesce(error_kind, 'too_old'),
        error = coalesce(error, 'nobody could answer it before it was too old (ANSWER_WITHIN_MINUTES)'),
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where id = any(ended);
    -- A turn that has met an outage belongs to that one already.
    perform hybridflow.note_unanswered(
        d.turn, case when (d.turn).error_kind = 'away' then 'line_away' else 'too_late' end, (d.turn).error
    )
    from (
        select t as turn from public.turns as t
        where t.id = any(ended) and t.outage_id is null
        order by t.tenant_id, t.id
    ) as d;
end
$$;

-- Whether a router of 0.2.0 can send the turn's reply. Such a router knows only texts; of a handoff it sends
-- the text. It must not get a turn with a part that was given up, because it would send that again.
create or replace function hybridflow.is_in_texts(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select not coalesce(p_turn.reply @? '$[*] ? (@.type() == "object" && !exists(@.text))', false)
        and not exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.given_up is not null
        )
$$;

-- Turns that ended at a claim, in the form in which claim_turns returns them.
create or replace function hybridflow.names_of(p_ids bigint[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'turn_id', t.id, 'tenant_id', t.tenant_id, 'session_id', t.session_id
    )), '[]')
    from public.turns as t where t.id = any(p_ids)
$$;

-- Turns in the form in which claim_turns returns them, with all parts of their replies as texts.
create or replace function hybridflow.in_texts(p_turns jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_agg(
        case
            when jsonb_typeof(c.turn -> 'reply') <> 'array' then c.turn
            else jsonb_set(c.turn, '{reply}', (
                select coalesce(jsonb_agg(coalesce(r.part ->> 'text', r.part #>> '{}') order by r.nth), '[]')
                from jsonb_array_elements(c.turn -> 'reply') with ordinality as r (part, nth)
            ))
        end order by c.nth
    ), '[]')
    from jsonb_array_elements(p_turns) with ordinality as c (turn, nth)
$$;

-- claim_turns({limit, lease_seconds, max_attempts, history_limit, worker, after_tenant?, tenant_max?,
-- n8n_max_in_flight?, in_n8n?: {<tenant_id>: turns}, ids_in_n8n?, not_in_n8n?, own?: {<tenant_id>: turns},
-- own_max?, sitting?: {<tenant_id>: turns}, own_times?, answer_within_minutes?, objects?, without_n8n?})
-- Takes due turns for one attempt each: pending ones whose session has no active turn, and active ones whose
-- lease has run out. Each gets a new token (the old one is dead) and a lease; finding out about a send in
-- doubt does not count as an attempt. Turns that are older than answer_within_minutes end as 'too_old'. The
-- tenants are served in turns (see claimable_turns), those after after_tenant first.
-- The shares: tenant_max is how many turns of one tenant this worker, or with n8n all workers together, may
-- have at once. `own` is how many turns of each tenant the worker is working on, even if their leases have
-- run out, and own_max is how many that may be. `sitting` is how many of them have one of the worker's seats;
-- if it is not given, all have one. A tenant gets another seat while it has fewer than own_times as many as
-- are free; the same rule is used for the places in n8n. Of its own turns, the worker says how many of each
-- tenant are in n8n or on their way there (in_n8n), which these are (ids_in_n8n: an array), and which are not
-- (not_in_n8n: an array of ids).
-- `objects`: the worker can send parts of a reply that are not texts. A router of 0.2.0 cannot: it gets only
-- turns whose parts all have a text, as texts (see is_in_texts). without_n8n: only turns that need no flow:
-- those of tenants with an LLM key of their own, and those whose reply is made, or has begun to be sent. If
-- long prompts would make the answer large, the rest of the turns are left to the next call.
-- Never waits for a lock, nor for the disk. If a crash of the database takes a claim back, it is as if it had
-- never been made, and its token opens nothing. The next step with the token (reserve_budget, the fence)
-- brings the claim to the disk before anything else happens.
-- Returns {turns: [context], unreadable: [{turn_id, tenant_id, error}], too_old:
-- [{turn_id, tenant_id, session_id}], exhausted?: [{turn_id, tenant_id, session_id}], now, after_tenant,
-- more, taken, left, next_due_at, n8n_full?}. The context (see turn_context) has the saved reply and the
-- parts that an earlier attempt began. exhausted: turns that died here, because their last lease has run out
-- (see bury_lapsed). after_tenant is for the next claim. more: there may be other turns that can be claimed
-- right now. taken: how many turns were available, to be claimed or ended. left: some turns are due but were
-- not claimed, such as one whose session has an active turn (it can be claimed when that ends). next_due_at:
-- when the next turn is due; now, if other processes hold those that could be claimed. n8n_full: with these
-- turns, no place in n8n is free.
create or replace function public.claim_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
-- Its lists of ids are short. The planner expects longer ones, so it would plan the queries again at each
-- call, which is a quarter of the cost of a claim.
set plan_cache_mode = force_generic_plan
-- Joined rows are found by their ids. A merge or hash join would read the whole table, which looks cheap
-- while the table is small, and would stay in use as long as the plan does.
set enable_mergejoin = off
set enable_hashjoin = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_lapsed boolean := exists (
        select from public.turns as t where t.held and not t.waiting and t.lease_until <= v_now
    );
    v_flows integer;
    v_there bigint[];
    v_without_n8n boolean := coalesce((p ->> 'without_n8n')::boolean, false);
    v_full bigint[];
    v_round record;
    v_made bigint[] := '{}';
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_locked integer;
    v_for_others integer := 0;
    v_old bigint[] := '{}';
    v_left bigint[] := '{}';
    v_buried bigint[] := '{}';
    v_claimed bigint[];
    v_tokens uuid[];
    v_for_flows integer;
    v_last bigint;
    v_turns jsonb[];
    v_unreadable jsonb := '[]';
    v_contexts jsonb;
begin
    if num_nulls(
        p ->> 'limit', p ->> 'lease_seconds', p ->> 'max_attempts', p ->> 'history_limit', p ->> 'worker'
    ) > 0 then
        perform hybridflow.require_keys(
            'claim_turns', p, '{limit,lease_seconds,max_attempts,history_limit,worker}'
        );
    end if;
    perform set_config('synchronous_commit', 'off', true);
    if v_lapsed then
        perform hybridflow.close_dead_flows();
        v_buried := hybridflow.bury_lapsed(
            (p ->> 'max_attempts')::integer, (p ->> 'answer_within_minutes')::numeric
        );
    end if;
    if not v_lapsed and not hybridflow.is_one_due() then  -- the usual case of a look after a turn has ended
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb, 'now', v_now,
            'after_tenant', v_after, 'taken', 0, 'more', false, 'left', false,
            'next_due_at', hybridflow.next_claimable(v_now)
        );
    end if;
    if p ->> 'n8n_max_in_flight' is not null then
        -- Those on their way there have their places, although the state does not count them yet.
        v_there := array(
            select k.id::bigint from jsonb_array_elements_text(nullif(p -> 'ids_in_n8n', 'null')) as k (id)
        );
        v_flows := hybridflow.free_flows_without(
            (p ->> 'n8n_max_in_flight')::integer - cardinality(v_there), hybridflow.not_in_n8n(p) || v_there
        );
        v_limit := least(v_limit, v_flows);
    end if;
    if v_limit > 0 and v_without_n8n then
        v_full := hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows));
        v_round := hybridflow.next_without_n8n(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500), v_full
        );
        v_made := hybridflow.next_made(v_now, 2 * v_limit, v_full);
    elsif v_limit > 0 then
        v_round := hybridflow.next_tenants(
            v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 500),
            hybridflow.full_tenants(v_limit, p || jsonb_build_object('n8n_free', v_flows))
        );
    else  -- the round stays where it is: nobody would be served
        select '{}'::bigint[] as tenants, v_after as last, true as is_whole into v_round;
    end if;
    if v_limit <= 0 or (v_round.tenants || v_made = '{}' and (v_without_n8n or not v_lapsed)) then
        return jsonb_build_object(
            'turns', '[]'::jsonb, 'unreadable', '[]'::jsonb, 'too_old', '[]'::jsonb,
            'exhausted', case when v_buried = '{}' then '[]' else hybridflow.names_of(v_buried) end,
            'now', v_now, 'after_tenant', v_round.last, 'taken', 0,
            'more', not v_round.is_whole and v_round.last <> v_after,
            'left', v_lapsed or hybridflow.is_one_due(),
            'next_due_at', hybridflow.next_claimable(v_now),
            'n8n_full', coalesce(v_flows = 0, false)
        );
    end if;
    select coalesce(array_agg(f.turn_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_turns(
        v_round.tenants || v_made, v_lapsed and not v_without_n8n, v_now, v_limit,
        p || jsonb_build_object('n8n_free', v_flows)
    ) as f;
    if p ->> 'objects' is null then
        select
            coalesce(array_agg(f.id order by f.place) filter (where r.readable), '{}'),
            count(*) filter (where not r.readable)
        into v_offered, v_for_others
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.turns as t on t.id = f.id
        cross join lateral (select hybridflow.is_in_texts(t) as readable) as r;
    end if;
    select coalesce(array_agg(s.id order by s.place) filter (where s.fits), '{}'), count(*)
    into v_ids, v_locked
    from (
        select d.id, d.place, coalesce(sum(d.size) over (
            order by d.place rows between unbounded preceding and 1 preceding
        ), 0) < 16000000 as fits
        from (
            select t.id, f.place, (
                select coalesce(octet_length(n.system_prompt), 0)::bigint + coalesce(octet_length(n.facts), 0)
                from public.tenants as n where n.id = t.tenant_id
            ) as size
            from unnest(v_offered) with ordinality as f (id, place)
            inner join public.turns as t on t.id = f.id
            where (t.state = 'pending' and t.run_after <= v_now)
                or (
                    t.state in ('running', 'sending') and t.lease_until <= v_now
                    and not hybridflow.is_used_up(t, (p ->> 'max_attempts')::integer)
                    and not (t.state = 'sending' and t.reply is null and hybridflow.is_dead_flow(t))
                )
            order by f.place limit v_limit
            for update of t skip locked
        ) as d
    ) as s;
    -- A router of 0.1.0 does not give it: it may be configured with a longer time than the default here.
    if p ->> 'answer_within_minutes' is not null then
        select e.ended, e.left_for, v_locked - cardinality(e.left_for) into v_old, v_left, v_locked
        from hybridflow.end_those_too_old(v_ids, (p ->> 'answer_within_minutes')::numeric) as e;
    end if;
    if v_lapsed or v_without_n8n then
        perform hybridflow.note_lapsed(array(select i from unnest(v_ids) as i where i <> all(v_old || v_left)));
    end if;
    -- Only if the next look differs from this one: something was taken, or it begins after another tenant.
    v_more := cardinality(v_ids) - cardinality(v_old) - cardinality(v_left) < v_locked or (v_locked < v_limit and (
        (v_more and v_locked > 0) or (not v_round.is_whole and (v_locked > 0 or v_round.last <> v_after))
    ));

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
        where f.id <> all(v_old || v_left)
    ),

    claimed as (
        update public.turns as t
        set state = case when t.state = 'pending' then 'running' else t.state end,
            attempt = t.attempt + case when hybridflow.is_in_doubt(t.id) then 0 else 1 end,
            seen_at = case when t.reply is null then clock_timestamp() else t.seen_at end,
            token_hash = hybridflow.hash_token(f.token),
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            worker = p ->> 'worker', waits_for = null, due_when_heard = null, claimed_at = v_now,
            updated_at = v_now
        from fresh as f
        where t.id = f.id
        returning t.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;

    if v_flows <= v_locked then
        select count(*) into v_for_flows
        from public.turns as t
        inner join public.tenants as n on n.id = t.tenant_id and n.llm_api_key is null
        where t.id = any(v_claimed) and t.state = 'running' and t.reply is null;
        -- What needs no place there has left some to others. A router of 0.2.0 does not say which turns are
        -- on their way there: it would get their places again at once.
        v_more := v_more or (v_for_flows < v_flows and p ->> 'ids_in_n8n' is not null);
    end if;

    -- Tenants that were served come last the next time; if none was, the next look goes on from here.
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select t.tenant_id from public.turns as t where t.id = any(v_ids))
    order by n.nth desc limit 1;
    begin
        select array_agg(
            hybridflow.turn_context(t, c.token, (p ->> 'history_limit')::integer) order by t.id
        ) into v_turns
        from unnest(v_claimed, v_tokens) as c (id, token)
        inner join public.turns as t on t.id = c.id;
    exception
        when others then
            v_contexts := hybridflow.turn_contexts(v_claimed, v_tokens, (p ->> 'history_limit')::integer);
            v_turns := array(select jsonb_array_elements(v_contexts -> 'turns'));
            v_unreadable := v_contexts -> 'unreadable';
    end;
    if p ->> 'objects' is null then
        v_turns := array(select jsonb_array_elements(hybridflow.in_texts(to_jsonb(v_turns))));
    end if;
    return jsonb_build_object(
        'turns', coalesce(v_turns, '{}'),
        'unreadable', v_unreadable,
        'too_old', case when v_old = '{}' then '[]' else hybridflow.names_of(v_old) end,
        'exhausted', case when v_buried = '{}' then '[]' else hybridflow.names_of(v_buried) end,
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', v_more or v_unreadable <> '[]',  -- those hold no place
        'taken', v_locked,
        'left', v_lapsed or hybridflow.is_one_due(),
        'n8n_full', coalesce(v_flows <= v_for_flows, false),
        'next_due_at', case
            when v_locked < least(v_limit, cardinality(v_offered)) then v_now
            when v_for_others > 0 then greatest(hybridflow.next_claimable(v_now), v_now + interval '1 second')
            else hybridflow.next_claimable(v_now)
        end
    );
end
$$;

-- ==================== 0430_held_turns.sql

-- HybridFlow: whether the holder of a turn's token may still act for the turn.

-- Why the holder of p.token may not act for the turn, as every function answers it: {refused: reason}, or
-- null. 'stale': the turn is not the holder's, or no longer: a newer attempt has it, the lease ran out, or it
-- does not exist. A token that is not the turn's own learns nothing else. A turn that was closed keeps its
-- last token; the reason is then 'paused', or 'superseded' (closed or merged).
create or replace function hybridflow.turn_refusal(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
volatile
set search_path = ''
as $$
begin
    if p_turn.id is null or p_turn.state = 'pending' or p ->> 'token' is null
        or p_turn.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_turn.state in ('cancelled', 'sent') and p_turn.reason in ('takeover', 'paused') then
        return '{"refused": "paused"}';
    elsif p_turn.state in ('cancelled', 'sent', 'dead') then
        return '{"refused": "superseded"}';
    elsif p_turn.lease_until <= hybridflow.clock() then
        return '{"refused": "stale"}';
    end if;
    return null;
end
$$;

-- Why a held turn may say no more: a takeover, a pause, the label no-ai, or is_active = false; null: it may.
-- What a handoff says passes the handoff's own pause while nobody has taken it.
create or replace function hybridflow.stopped_for(p_turn public.turns, p_session public.sessions)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    v_own text;
begin
    if p_turn.stop_reason is not null then
        return p_turn.stop_reason;
    elsif p_turn.reply @? '$[*] ? (exists(@.handoff) || exists(@.line))'
        or (p_turn.reply is null and p_turn.handler = 'n8n' and p_session.is_paused)  -- by a flow's promise
    then
        select h.state into v_own from public.handoffs as h
        where h.turn_id = p_turn.id or h.line_turn_id = p_turn.id
        order by h.id desc limit 1;
    end if;
    return case
        when v_own = 'taken' then 'takeover'
        when v_own <> 'waiting' or (p_session.is_paused and v_own is null) then 'paused'
        when 'no-ai' = any(p_session.labels) then 'no_ai'
        when not (select t.is_active from public.tenants as t where t.id = p_turn.tenant_id) then 'tenant_inactive'
    end;
end
$$;

-- The turn p.turn_id, locked together with its session (session first). `refused` says why the holder of
-- p.token may not act for it, see turn_refusal. For callers that need not hold the turn: the router itself,
-- when it reports on a send that an earlier attempt began.
create or replace function hybridflow.lock_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint := (p ->> 'turn_id')::bigint;
begin
    loop
        select s.* into session from public.sessions as s
        inner join public.turns as t on t.session_id = s.id
        where t.id = v_id
        for update of s;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found;
        exit when not exists (select from public.turns as t where t.id = v_id);
    end loop;
    select * into turn from public.turns where id = v_id for update;
    refused := hybridflow.turn_refusal(turn, p);
end
$$;

-- The turn that a handler holds with p.token, locked as by lock_turn; `refused` says why it may not go on. A
-- caller whose token is not the turn's own gets no lock and waits for none: it may be a flow that names
-- another tenant's turn.
create or replace function hybridflow.hold_turn(
    p jsonb, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id constant bigint := (p ->> 'turn_id')::bigint;
    v_hash constant bytea := hybridflow.hash_token((p ->> 'token')::uuid);
    v_session_id bigint;
    v_locked record;
begin
    select t.session_id into v_session_id from public.turns as t where t.id = v_id and t.token_hash = v_hash;
    if found then
        select s.* into session from public.sessions as s where s.id = v_session_id for update;
        if not found then  -- its session was merged away while we waited, or is gone
            v_locked := hybridflow.lock_turn(p);
            turn := v_locked.turn;
            session := v_locked.session;
            refused := v_locked.refused;
            return;
        end if;
        select t.* into turn from public.turns as t where t.id = v_id for update;
        if turn.id is null or turn.state not in ('running', 'sending') or turn.token_hash is distinct from v_hash
            or turn.lease_until <= hybridflow.clock()
        then
            refused := hybridflow.turn_refusal(turn, p);
        end if;
    else
        refused := hybridflow.turn_refusal(turn, p);
    end if;
end
$$;

-- ==================== 0433_put_off_turns.sql

-- HybridFlow: turns that wait for an LLM or a line that is away, and their release when it is back.

-- The LLM of a tenant's replies, as turns.waits_for names it: the deployment's LLM of a provider, or one with
-- the tenant's own key, because that key may be the cause.
create or replace function hybridflow.llm_of(p_tenant_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select concat('llm ', t.llm_provider, case when t.llm_api_key is not null then ' ' || t.id end)
    from public.tenants as t
    where t.id = p_tenant_id
$$;

-- A tenant's way to WhatsApp, as turns.waits_for names it: its line, and the Evolution server in front of it.
create or replace function hybridflow.line_of(p_tenant_id bigint)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    return 'line ' || p_tenant_id;
end
$$;

-- The newest turns that wait for p_waits_for, of tenant p_tenant_id or (null) of all tenants; only a few at a
-- time, so that no call takes long. There are two statements because each has an index of its own.
create or replace function hybridflow.newest_put_off(p_waits_for text, p_tenant_id bigint)
returns bigint[]
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
begin
    if p_tenant_id is null then
        return array(
            select t.id from public.turns as t
            where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            order by t.id desc limit c_few for update skip locked
        );
    end if;
    return array(
        select t.id from public.turns as t
        where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
            and t.tenant_id = p_tenant_id
        order by t.tenant_id desc, t.id desc limit c_few for update skip locked
    );
end
$$;

-- The time from which a turn is due that need not wait any more: when its contact last wrote. So of all due
-- turns the newest conversations are claimed first, whenever they were released; see turns_of_tenant.
create or replace function hybridflow.due_since(p_session_id bigint)
returns timestamptz
language sql
volatile
set search_path = ''
as $$
    select least(s.last_contact_at, hybridflow.clock()) from public.sessions as s where s.id = p_session_id
$$;

-- What turns wait for is back: they are due at once, the newest conversations first. A few are released now,
-- and more each time it works again. If p_tenant_id is given, only turns of that tenant are released. All
-- routers are notified.
create or replace function hybridflow.is_back(p_waits_for text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz;
    v_ids bigint[];
    v_waits record;
begin
    -- One query: nearly always nothing waits.
    select
        exists (
            select from public.outages as o
            where o.ended_at is null and o.about is not null and o.about = p_waits_for
        ) as outages,
        exists (
            select from public.media_jobs as j where j.waits_for is not null and j.waits_for = p_waits_for
        ) as media,
        exists (
            select from public.turns as t
            where t.waits_for is not null and (t.waiting or t.held) and t.waits_for = p_waits_for
        ) as turns
    into v_waits;
    if v_waits.outages then
        perform hybridflow.end_outages(p_waits_for, p_tenant_id);
    end if;
    if v_waits.media then
        perform hybridflow.senses_are_back(p_waits_for);
    end if;
    if not v_waits.turns then
        return;
    end if;
    v_now := hybridflow.clock();
    v_ids := hybridflow.newest_put_off(p_waits_for, p_tenant_id);
    if v_ids = '{}' then
        return;
    end if;
    update public.turns as t
    set waits_for = null,
        run_after = case
            when t.waiting then least(t.run_after, hybridflow.due_since(t.session_id)) else t.run_after
        end,
        lease_until = case
            when t.held and t.worker is null then least(t.lease_until, v_now) else t.lease_until
        end
    where t.id = any(v_ids);
    perform public.call_routers('{}');
end
$$;

-- ==================== 0436_replies.sql

-- HybridFlow: a turn's reply is made, and saved before any of it is sent.

-- save_reply({turn_id, token, parts: [part], handler, provider?, model?, tokens_in?, tokens_out?,
-- execution_id?, execution_url?})
-- Saves the reply before any of it is sent, so that a later attempt goes on with it instead of asking the LLM
-- again. If it is called again, or once a part of the reply has begun, nothing changes. A part is a text or
-- an object: another request to Evolution, or a handoff with the text that tells the customer about it; the
-- parts after that are the rest of the text. A handoff without a text is the last part. The execution is the
-- one that n8n named in its answer to the router, as in begin_flow. Returns {ok} or {refused: reason}:
-- 'has_spoken', its flow has sent something itself through the gateway, and also answers.
create or replace function public.save_reply(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_refused jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', nullif(p -> 'parts', 'null'), p ->> 'handler') > 0 then
        perform hybridflow.require_keys('save_reply', p, '{turn_id,token,parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_refused := hybridflow.write_reply(v_held.turn, p);
    perform hybridflow.settle_reply(v_held.turn, p);
    perform hybridflow.reply_was_made(v_held.turn, p)
    from public.turns as t
    where t.id = (v_held.turn).id and t.reply is distinct from (v_held.turn).reply;
    return coalesce(v_refused, '{"ok": true}');
end
$$;

-- Saves the reply p, as save_reply takes it, of turn p_turn, which its handler holds, and the reply's cost.
-- The caller settles the day's budget (see settle_reply), and then calls reply_was_made. Returns why the
-- reply is not saved, {refused: reason}; null: it is saved.
create or replace function hybridflow.write_reply(p_turn public.turns, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    if p_turn.reply is not null then
        if p_turn.reply = p -> 'parts' or exists (
            select from public.messages as m where m.turn_id = p_turn.id and m.part is not null
        ) then
            return null;  -- the saved reply may have grown meanwhile: see give_up
        end if;
    elsif p ->> 'handler' = 'n8n' then
        if exists (
            select from public.messages as m
            where m.turn_id = p_turn.id and m.part is not null and m.send_state <> 'failed'
        ) then
            return '{"refused": "has_spoken"}';
        end if;
    end if;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
    end if;
    v_turn := hybridflow.with_cost(p_turn, p);
    update public.turns
    set reserved_tokens = v_turn.reserved_tokens, provider = v_turn.provider, model = v_turn.model,
        tokens_in = v_turn.tokens_in, tokens_out = v_turn.tokens_out,
        reply = p -> 'parts', handler = p ->> 'handler', handler_since = hybridflow.clock(),
        execution_id = coalesce(p ->> 'execution_id', execution_id),
        execution_told_at = case
            when p ->> 'execution_id' is not null then hybridflow.clock() else execution_told_at
        end,
        execution_url = case
            when p ->> 'execution_id' is not null then p ->> 'execution_url' else execution_url
        end,
        updated_at = hybridflow.clock()
    where id = p_turn.id;
    return null;
end
$$;

-- The reply p was made (see write_reply): the LLM or flow that made it works, so turns that wait for it are
-- due. The day's budget is settled before this, because an attempt that fails also locks the budget before
-- the notices.
create or replace function hybridflow.reply_was_made(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_llm text := hybridflow.llm_of(p_turn.tenant_id);
begin
    if p ->> 'handler' = 'n8n' then
        -- A flow's answer need not come from the LLM: turns of other tenants are not released.
        perform hybridflow.is_back(v_llm, p_turn.tenant_id);
    elsif starts_with(v_llm, 'llm ' || (p ->> 'provider')) then
        perform hybridflow.is_back(v_llm, null);
    end if;
    if p ->> 'handler' = 'n8n' or p ->> 'provider' is not null then
        perform hybridflow.replies_are_made(p_turn.tenant_id);  -- not after a reply that needs no model
    end if;
end
$$;

-- ==================== 0440_turn_ends.sql

-- HybridFlow: how an attempt goes on and ends: failed, begun again, renewed, given back or done.

-- How many seconds to wait until something that failed p_times before is tried again: twice as long each
-- time, up to p_most, with jitter, so that what failed together is not tried again together.
create or replace function hybridflow.back_off(p_base numeric, p_times integer, p_most numeric)
returns numeric
language sql
volatile
set search_path = ''
as $$
    select least(p_base * power(2::numeric, least(p_times, 9)), p_most) * (0.75 + random() / 2)::numeric
$$;

-- An attempt at a held turn has failed: decides what becomes of the turn (see fail_turn).
create or replace function hybridflow.after_failure(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_away boolean := p ->> 'kind' = 'away';
    v_spoken boolean := exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'sent'
    );
    v_base numeric := (p ->> 'base_seconds')::numeric;
    v_due timestamptz := hybridflow.clock() + hybridflow.seconds(greatest(
        -- Perhaps nobody tells us when what is away is back, so it is tried at least every 30 seconds or so.
        case when v_away then hybridflow.back_off(v_base, p_turn.waits, 30)
            else hybridflow.back_off(v_base, p_turn.attempt - 1, 900)
        end,
        (p ->> 'retry_after')::numeric
    ));
    v_stopped text := hybridflow.stopped_for(p_turn, p_session);
    v_minutes numeric := (p ->> 'answer_within_minutes')::numeric;
    v_began boolean;
begin
    perform hybridflow.settle_budget(p_turn, (p ->> 'tokens')::bigint);
    update public.turns
    set error_kind = p ->> 'kind', error = left(p ->> 'error', 2000),
        reserved_tokens = case when p ->> 'tokens' is null then reserved_tokens end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        waits = case when v_away then waits + 1 else 0 end,
        worker = null,  -- the attempt has ended; end_attempt records it
        waits_for = case
            when not v_away then null
            when p ->> 'away' is distinct from 'llm' then hybridflow.line_of(p_turn.tenant_id)
            when p ->> 'retry_after' is null then hybridflow.llm_of(p_turn.tenant_id)
        end
    where id = p_turn.id;
    if hybridflow.await_settlement(p_turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('state', 'in_doubt');
    elsif p_turn.reply is null and v_spoken and not (v_away and exists (
        select from public.messages where turn_id = p_turn.id and send_state = 'failed' and part is not null
    )) then
        -- A flow that has said something and then failed is not started again: it would repeat itself.
        perform hybridflow.stop_turn(p_turn.id, 'flow_failed');
        perform hybridflow.note_unanswered(p_turn, 'half_said', p ->> 'error')
        where p ->> 'cause' is not null;
        return jsonb_build_object('state', 'sent');
    elsif v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('state', 'cancelled');
    elsif v_away and not v_spoken and hybridflow.is_too_old(p_turn, v_minutes) then
        perform hybridflow.close_turn(p_turn.id, 'dead', 'too_old');
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif p ->> 'kind' = 'permanent' or (not v_away and p_turn.attempt >= (p ->> 'max_attempts')::integer) then
        perform hybridflow.close_turn(p_turn.id, 'dead', p_turn.reason);
        return jsonb_build_object('state', 'dead')
            || hybridflow.after_unanswered(p_turn, p_session, p ->> 'cause', p ->> 'error', v_minutes);
    elsif v_spoken then
        perform hybridflow.put_aside(p_turn.id, v_due, null);
        update public.turns set state = 'sending' where id = p_turn.id;
    else
        perform hybridflow.requeue_turn(p_turn, v_due, null);
        -- If the line is down, another notice tells people, until it is too late for an answer.
        v_began := v_away and p ->> 'cause' <> 'line_away'
            and hybridflow.note_unanswered(p_turn, p ->> 'cause', p ->> 'error');
    end if;
    return jsonb_build_object('state', 'pending', 'run_after', v_due)
        || case when v_began then jsonb_build_object('outage', p ->> 'cause') else '{}' end;
end
$$;

-- Like after_failure; also records the attempt.
create or replace function hybridflow.end_attempt(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_result jsonb := hybridflow.after_failure(p_turn, p_session, p);
    v_turn public.turns;
begin
    select * into v_turn from public.turns where id = p_turn.id;
    perform hybridflow.note_attempt(
        p_turn,
        case
            when v_turn.finished_at is not null then v_turn.state
            when v_result ->> 'state' <> 'pending' then v_result ->> 'state'
            when p ->> 'kind' = 'away' then 'away'
            else 'failed'
        end,
        coalesce(v_turn.finished_at, hybridflow.clock()), v_turn.reason, p ->> 'kind', left(p ->> 'error', 2000)
    );
    return v_result;
end
$$;

-- fail_turn({turn_id, token, kind, error, away?, retry_after?, tokens?, message_id?, check_after?,
-- max_attempts, base_seconds, answer_within_minutes?, cause?, execution_id?, execution_url?})
-- Ends an attempt that failed. `kind` decides what follows. 'transient': the turn is tried again after an
-- exponential back-off with jitter (not before retry_after seconds), and is dead when the attempts are used
-- up. 'permanent': it is dead at once. 'away': the reply certainly did not leave, because Evolution or the
-- line is away, or there is no reply, because the LLM is away (`away` is then 'llm'). The turn is tried again
-- soon, and at once when the instance is connected again or the LLM has made another reply. No attempt is
-- used up. The turn is dead with the reason 'too_old' when its messages are older than answer_within_minutes.
-- tokens: what the attempt cost, if known. message_id: a part of the reply that certainly did not leave
-- (routers of 0.1.0 say it here). check_after: as in doubt_send. execution_id, execution_url: n8n's execution
-- that failed. It is named here and not earlier, because its crash is also reported, and would end the
-- attempt in another way than its answer did. A turn without a saved reply that has said something is closed
-- as sent, incomplete. `cause` decides who is told (see endings): `outage` names it if an outage begins with
-- this turn; `handoff`: the session is handed to a human. Returns {state, run_after?, outage?, handoff?} or
-- {refused: reason}.
create or replace function public.fail_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('fail_turn', p, '{turn_id,token,kind,error,max_attempts,base_seconds}');
    update public.messages set send_state = 'failed'
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint and send_state = 'sending';
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if p ->> 'execution_id' is not null then
        perform hybridflow.check_execution_id(p ->> 'execution_id');
        update public.turns
        set execution_id = p ->> 'execution_id', execution_url = p ->> 'execution_url',
            execution_told_at = hybridflow.clock()
        where id = v_turn.id
        returning * into v_turn;
    end if;
    return hybridflow.end_attempt(v_turn, v_held.session, p);
end
$$;

-- begin_anew({turn_id, token})
-- Nothing of the turn is on the phone or in doubt, and its reply is lost or outdated: the turn is pending
-- again, due now, together with the messages that came meanwhile, and its reply is made again. The attempt
-- does not count. Returns {ok} or {refused: reason}; 'has_spoken': something is on the phone, or may be.
create or replace function public.begin_anew(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('begin_anew', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif hybridflow.is_in_doubt((v_held.turn).id) or exists (
        select from public.messages where turn_id = (v_held.turn).id and send_state = 'sent'
    ) then
        return '{"refused": "has_spoken"}';
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
    perform hybridflow.discard_reply((v_held.turn).id);
    perform hybridflow.requeue_turn(v_held.turn, hybridflow.clock(), 'begun_anew');
    return '{"ok": true}';
end
$$;

-- renew_turns({turns: [{turn_id, token}], worker, lease_seconds})
-- The worker lives and works on these turns: their leases last for lease_seconds from now. Returns {lost:
-- [turn_id]}: those that are closed, or that another attempt has. Never waits for a lock.
create or replace function public.renew_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_lost bigint[];
begin
    perform hybridflow.require_keys('renew_turns', p, '{turns,worker,lease_seconds}');
    perform hybridflow.require_keys_of_each('renew_turns', p, 'turns', '{turn_id,token}');
    update public.turns set lease_until = greatest(lease_until, v_until)
    where id in (
        select t.id from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
        inner join public.turns as t on t.id = h.turn_id
        where t.state in ('running', 'sending') and t.worker = p ->> 'worker'
            and t.token_hash = hybridflow.hash_token(h.token)
        for update of t skip locked
    );
    select array_agg(h.turn_id) into v_lost
    from jsonb_to_recordset(p -> 'turns') as h (turn_id bigint, token uuid)
    left join public.turns as t on t.id = h.turn_id
        and t.state in ('running', 'sending') and t.token_hash = hybridflow.hash_token(h.token)
    where t.id is null;
    return jsonb_build_object('lost', coalesce(to_jsonb(v_lost), '[]'));
end
$$;

-- release_turn({turn_id, token})
-- Gives a turn back unharmed (the router stops). A turn that has said nothing is pending again; one that has
-- said a part of its reply can be claimed at once. The attempt does not count. Returns {ok} or {refused:
-- reason}.
create or replace function public.release_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_turn public.turns;
begin
    perform hybridflow.require_keys('release_turn', p, '{turn_id,token}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if v_turn.state = 'running' then
        perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), 'released');
    else
        perform hybridflow.put_aside(v_turn.id, hybridflow.clock(), 'released');
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    return jsonb_build_object('ok', true);
end
$$;

-- Whether a part of the turn certainly did not leave.
create or replace function hybridflow.has_unsent(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.part is not null
    )
$$;

-- Whether the rest of a text of turn p_turn_id must still be sent, because the send before it was in doubt
-- (see begin_flow_send). If that send failed, or if the rest was given up, the flow has been told so.
create or replace function hybridflow.is_cut_off(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        inner join public.messages as b on b.turn_id = m.turn_id and b.part = m.part - 1
        where m.turn_id = p_turn_id and m.send_state = 'failed' and m.given_up is null and m.sends = 0
            and b.send_state = 'sent'
    )
$$;

-- finish_turn({turn_id, token, reason?, unanswered?, check_after?, provider?, model?, tokens_in?,
-- tokens_out?})
-- Closes a turn that has nothing (more) to say, and records its cost. Called again with the same token it
-- gives the same answer, with `already`. With `unanswered`, a turn that has said nothing is cancelled, and
-- counts as no reply. While a send is in doubt, the turn stays open until that is settled (`in_doubt`); it is
-- looked up after check_after seconds. The turn also stays open while the rest of a text must be sent (see
-- is_cut_off). `silent`: nothing of it is on the phone; `incomplete`: a part of it is not. Returns {ok,
-- already?, in_doubt?, silent?, incomplete?} or {refused: reason}: 'not_sent', there was something to say,
-- and nothing of it has left.
create or replace function public.finish_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_unanswered constant boolean := coalesce((p ->> 'unanswered')::boolean, false);
    v_has_spoken boolean;
    v_told jsonb := '{}';
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token') > 0 then
        perform hybridflow.require_keys('finish_turn', p, '{turn_id,token}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if (v_held.turn).state = 'sent'
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    perform hybridflow.book_cost(v_held.turn, p);
    if hybridflow.await_settlement(v_held.turn, (p ->> 'check_after')::numeric) then
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    if hybridflow.is_cut_off((v_held.turn).id) then
        perform hybridflow.put_aside((v_held.turn).id, hybridflow.clock(), 'cut_off');
        -- The flow has done its work: sending the rest is not another attempt, and without this the rest of
        -- the last attempt would never be sent. If it is reported twice, it counts once.
        if (v_held.turn).lease_until > hybridflow.clock() then
            update public.turns set attempt = greatest(attempt - 1, 0) where id = (v_held.turn).id;
        end if;
        return jsonb_build_object('ok', true, 'in_doubt', true);
    end if;
    v_has_spoken := hybridflow.has_spoken((v_held.turn).id);
    if hybridflow.has_unsent((v_held.turn).id) then
        if not v_has_spoken and not v_unanswered then
            return '{"refused": "not_sent"}';
        end if;
        update public.turns set incomplete = true where id = (v_held.turn).id;
        v_told := '{"incomplete": true}';
    end if;
    perform hybridflow.close_turn(
        (v_held.turn).id,
        case when v_unanswered and not v_has_spoken then 'cancelled' else 'sent' end,
        coalesce(hybridflow.ends_as_handoff((v_held.turn).id), p ->> 'reason')
    );
    return v_told || jsonb_build_object('ok', true, 'silent', not v_has_spoken);
end
$$;

-- ==================== 0450_retries.sql

-- HybridFlow: dead turns that a person wants to be tried again, one or many.

-- Whether something of a turn is on the phone, or may be.
create or replace function hybridflow.is_begun(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.send_state in ('sent', 'sending', 'unknown')
    )
$$;

-- Why a turn cannot be retried now; null: it can. The turn and its session are locked.
create or replace function hybridflow.retry_refusal(p_turn public.turns, p_session public.sessions)
returns text
language sql
volatile
set search_path = ''
as $$
    select case
        when p_turn.state <> 'dead'
            then format('turn %s is %s, only a dead turn can be retried', p_turn.id, p_turn.state)
        when p_session.is_paused then format('session %s is paused: resume it first', p_session.id)
        when 'no-ai' = any(p_session.labels)
            then format('session %s has the label no-ai: remove it first', p_session.id)
        when not exists (select from public.messages as m where m.turn_id = p_turn.id and not m.from_me)
            then format('another turn answers the messages of turn %s', p_turn.id)
        when hybridflow.is_begun(p_turn.id)
            and exists (select from public.turns as o where o.session_id = p_session.id and o.held)
            then format(
                'session %s is being answered by another turn: retry when it is done', p_session.id
            )
    end
$$;

-- Gives a turn that may be retried fresh attempts: it is due since p_due_at, or goes on with what it has
-- begun. If it has only parts that were given up, its texts are tried again; if any of these is not a text,
-- the reply is made again, because there may be other media by now.
create or replace function hybridflow.revive_turn(p_turn public.turns, p_due_at timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.turns
    set attempt = 0, waits = 0, waits_for = null, outage_id = null, retried_at = v_now, reason = null, finished_at = null,
        updated_at = v_now
    where id = p_turn.id;
    if hybridflow.is_begun(p_turn.id) then
        update public.turns
        set state = 'sending', token_hash = hybridflow.hash_token(gen_random_uuid()), worker = null,
            lease_until = v_now, stop_reason = null
        where id = p_turn.id;
        perform hybridflow.after_settlement(p_turn.id, null);
        return;
    elsif exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.given_up is not null and m.kind <> 'text'
    ) then
        perform hybridflow.discard_reply(p_turn.id);
    end if;
    update public.messages set given_up = null
    where turn_id = p_turn.id and part is not null and given_up is not null;
    perform hybridflow.requeue_turn(p_turn, p_due_at, null);
end
$$;

-- retry_turn({tenant_id, turn_id})
-- Gives a dead turn a fresh set of attempts, due at once. Returns {turn}. PT404: not this tenant's.
-- PT409: it is not dead, its session is paused or without AI, or its messages were given to another turn.
create or replace function public.retry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_turn public.turns;
    v_refusal text;
begin
    perform hybridflow.require_keys('retry_turn', p, '{tenant_id,turn_id}');
    select s.* into v_session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.id = (p ->> 'turn_id')::bigint and t.tenant_id = (p ->> 'tenant_id')::bigint
    for update of s;
    if not found then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint for update;
    v_refusal := hybridflow.retry_refusal(v_turn, v_session);
    if v_refusal is not null then
        raise exception '%', v_refusal using errcode = 'PT409';
    end if;
    perform hybridflow.revive_turn(v_turn, hybridflow.clock());
    return jsonb_build_object('turn', hybridflow.turn_json(v_turn.id));
end
$$;

create index if not exists turns_dead on public.turns (tenant_id, finished_at desc, id desc)
where state = 'dead';

-- Whether a dead turn matches the filters of retry_turns, except for the time.
create or replace function hybridflow.is_to_be_retried(p_turn public.turns, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce((p ->> 'reason' = 'too_old') = (p_turn.reason is not distinct from 'too_old'), true)
        and (p ->> 'error_kind' is null or p_turn.error_kind is not distinct from p ->> 'error_kind')
$$;

-- Whether a message of the turn still waits for an answer: no later turn has answered it, and no human has
-- written since.
create or replace function hybridflow.is_still_wanted(p_turn public.turns)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_since timestamptz;
    v_human record;
begin
    select * into v_tenant from public.tenants where id = p_turn.tenant_id;
    select min(m.sent_at) into v_since from public.messages as m where m.turn_id = p_turn.id and not m.from_me;
    select m.sent_at, m.id into v_human from public.messages as m
    where m.session_id = p_turn.session_id and m.sent_at >= v_since
        and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
    order by m.sent_at desc, m.id desc limit 1;
    return exists (
        select from hybridflow.left_unanswered(p_turn.session_id, v_since) as u
        inner join public.messages as m on m.id = u.message_id
        where m.turn_id = p_turn.id and u.answered_by is null
            and (v_human.id is null or (u.sent_at, u.message_id) > (v_human.sent_at, v_human.id))
    );
end
$$;

-- Retries one turn for retry_turns. Returns whether it did: not if the turn cannot be retried, if its
-- messages have been answered since, or if somebody else holds it or its session. A call that retries many
-- turns holds many sessions, and so waits for none.
create or replace function hybridflow.retry_one_of_many(p_turn_id bigint)
returns boolean
language plpgsql
set search_path = ''
set lock_timeout = '50ms'
as $$
declare
    v_session public.sessions;
    v_turn public.turns;
begin
    select s.* into v_session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.id = p_turn_id
    for update of s skip locked;
    if not found then
        return false;
    end if;
    select * into v_turn from public.turns where id = p_turn_id for update;
    if hybridflow.retry_refusal(v_turn, v_session) is not null
        or not (hybridflow.is_begun(v_turn.id) or hybridflow.is_still_wanted(v_turn))
    then
        return false;
    end if;
    perform hybridflow.revive_turn(v_turn, hybridflow.due_since(v_session.id));
    return true;
exception
    when lock_not_available then
        return false;
end
$$;

-- retry_turns({tenant_id, reason?, error_kind?, since?, until?, limit?, cursor?})
-- Gives many dead turns fresh attempts, as retry_turn does; the newest conversations are answered first. It
-- takes those of the tenant's turns that died in [since, until), the last one first, with this error_kind,
-- and with this `reason`: 'too_old', or 'failed' (any other reason). One call looks at 1000 turns, and
-- retries at most limit (1 to 200; 50) of those that match; next_cursor is for the call that goes on from
-- there, and null if there are no more. Returns {retried, left, next_cursor, audit}: left is how many matched
-- and could not be retried (see retry_refusal; or somebody else holds them). PT404: there is no such tenant.
create or replace function public.retry_turns(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_limit integer := hybridflow.page_size(p);
    v_look integer := hybridflow.rows_to_look_at(v_limit, true);
    v_after jsonb := hybridflow.from_cursor('dead_turns', p);
    v_at timestamptz := coalesce((v_after ->> 0)::timestamptz, 'infinity');
    v_id bigint := coalesce((v_after ->> 1)::bigint, 9223372036854775807);
    v_since timestamptz := coalesce((p ->> 'since')::timestamptz, '-infinity');
    v_until timestamptz := coalesce((p ->> 'until')::timestamptz, 'infinity');
    v_turns jsonb[];
    v_last jsonb;
    v_retried integer;
begin
    perform hybridflow.require_keys('retry_turns', p, '{tenant_id}');
    perform hybridflow.require_own(jsonb_build_object('tenant_id', v_tenant_id));
    select
        array_agg(l.place order by l.finished_at desc, l.id desc) filter (where l.is_wanted),
        case when count(*) = v_look then (array_agg(l.place order by l.finished_at, l.id))[1] end
    into v_turns, v_last
    from (
        select
            t.id, t.finished_at, jsonb_build_array(t.finished_at, t.id) as place,
            hybridflow.is_to_be_retried(t, p) as is_wanted
        from public.turns as t
        where t.tenant_id = v_tenant_id and t.state = 'dead' and (t.finished_at, t.id) < (v_at, v_id)
            and t.finished_at >= v_since and t.finished_at < v_until
        order by t.finished_at desc, t.id desc limit v_look
    ) as l;
    if cardinality(v_turns) > v_limit then
        v_turns := v_turns[:v_limit];
        v_last := v_turns[v_limit];
    end if;
    select count(*) filter (where hybridflow.retry_one_of_many((w.place ->> 1)::bigint)) into v_retried
    from unnest(v_turns) as w (place);
    if v_retried > 0 then
        perform public.call_routers('{}');
    end if;
    return jsonb_build_object(
        'retried', v_retried,
        'left', coalesce(cardinality(v_turns), 0) - v_retried,
        'next_cursor', case when v_last is not null then hybridflow.to_cursor('dead_turns', v_last) end,
        'audit', jsonb_build_object('retried', v_retried) || jsonb_build_object(
            'reason', p -> 'reason', 'error_kind', p -> 'error_kind', 'since', p -> 'since', 'until', p -> 'until'
        )
    );
end
$$;

-- ==================== 0500_ids_of_sends.sql

-- HybridFlow: which message on the phone is a send of ours: that send has left, and gets its id.

-- A text with its white space folded, as texts are compared when a send of ours comes back.
create or replace function hybridflow.folded(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
    select btrim(regexp_replace(p_text, '\s+', ' ', 'g'))
$$;

-- Finds a send by its words while its id is not known; the hash is made once, when the send begins.
create index if not exists messages_by_words
on public.messages (tenant_id, md5(hybridflow.folded(body)))
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- One common spelling for all spellings of a phone's JID; null: it is not a phone. sendText rewrites only the
-- ninth digit of Brazil's mobile numbers (area codes from 31 on, followed by a 7, 8 or 9), and the prefixes
-- of Mexico and Argentina. Any other difference makes it another person's number, for example a landline with
-- the digits of a mobile number without the ninth.
create or replace function hybridflow.plain_number(p_jid text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_jid not like '%@s.whatsapp.net' then null
        when p_jid ~ '^55(3[1-9]|[4-9][0-9])9[789][0-9]{7}@' then left(p_jid, 4) || substr(p_jid, 6)
        when p_jid ~ '^(521|549)[0-9]{10}@' then left(p_jid, 2) || substr(p_jid, 4)
        else p_jid
    end
$$;

-- A send of ours was identified by its words, but another send with the same words turned out to own the id.
-- The first one gets its own id, if that was also recorded; otherwise it is in doubt until its id is
-- reported. The session is locked.
create or replace function hybridflow.give_up_id(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_own text;
begin
    delete from public.messages where id = (
        select m.id from public.messages as m
        where m.session_id = p_message.session_id and m.turn_id is not distinct from p_message.turn_id
            and m.from_me and m.send_state = 'sent' and m.send_began_at is null
            and m.sender = p_message.sender and m.identity is not distinct from p_message.identity and m.body = p_message.body
        limit 1
    )
    returning wa_id into v_own;
    update public.messages
    set wa_id = v_own, send_state = case when v_own is null then 'unknown' else 'sent' end
    where id = p_message.id;
end
$$;

-- A part was begun again, then its first try proved to have left, and the second certainly did not leave: the
-- first try is the part again.
create or replace function hybridflow.take_part_back(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_part integer;
begin
    if p_message.turn_id is null or p_message.part is not null or p_message.send_state <> 'failed' then
        return;
    end if;
    select m.part into v_part from public.messages as m
    where m.turn_id = p_message.turn_id and m.part is not null and m.send_state = 'failed'
        and m.identity is not distinct from p_message.identity and m.body = p_message.body
    order by m.part limit 1;
    update public.messages set part = null where turn_id = p_message.turn_id and part = v_part;
    update public.messages set part = v_part where id = p_message.id;
end
$$;

-- The words of p_message are on the phone a second time, as p_wa_id. If the same send was judged as not sent,
-- that is the one; otherwise nobody knows which send it was, and it gets a row of its own. The same words
-- from another sender are another send.
create or replace function hybridflow.record_twin(p_message public.messages, p_wa_id text, p_status text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    update public.messages
    set wa_id = p_wa_id, send_state = 'sent', status = hybridflow.later_status(status, p_status),
        told_as = null, late_until = null, check_at = null
    where id = (
        select m.id from public.messages as m
        where m.session_id = p_message.session_id and m.from_me and m.sender = p_message.sender
            and m.wa_id is null and m.send_state = 'failed' and m.late_until is not null
            and m.identity is not distinct from p_message.identity and m.body = p_message.body
            and m.send_began_at >= hybridflow.clock() - interval '1 day'
        order by m.turn_id is distinct from p_message.turn_id, m.send_began_at, m.id limit 1
    )
    returning id into v_id;
    if v_id is null then
        insert into public.messages (
            tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, status, sent_at, send_state,
            identity
        )
        values (
            p_message.tenant_id, p_message.session_id, p_message.turn_id, p_wa_id, true, p_message.sender,
            p_message.kind, p_message.body, p_status, p_message.sent_at, 'sent', p_message.identity
        )
        returning id into v_id;
        perform hybridflow.tell_change('message', p_message.tenant_id, p_message.session_id);
    end if;
    perform hybridflow.apply_waiting(p_message.tenant_id, v_id, p_wa_id);
end
$$;

-- The pattern of the ids of messages that were typed in WhatsApp's own apps on a phone or a computer. A send
-- by Evolution never has such an id.
create or replace function hybridflow.typed_by_hand()
returns text
language sql
immutable
set search_path = ''
as $$
    select '^(AC[0-9A-F]{30}|3[AF][0-9A-F]{18})$'
$$;

-- Whether p_other, recorded as another message of the same session, can be our send p_message. If p_other is
-- a send of ours, it must be the same request or have the same words. Otherwise it must be recorded after the
-- send, be of that time, and not be typed by hand (see typed_by_hand).
create or replace function hybridflow.can_be(p_other public.messages, p_message public.messages)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select p_other.session_id = p_message.session_id and p_other.from_me and p_other.id <> p_message.id
        and case
            when p_other.send_state is not null then
                p_other.identity = p_message.identity or coalesce(p_other.told_as && p_message.told_as, false)
                or hybridflow.folded(p_other.body) = hybridflow.folded(p_message.body)
            else
                p_other.id > p_message.id
                and p_other.sent_at >= p_message.send_began_at - interval '5 minutes'
                and p_other.wa_id !~ hybridflow.typed_by_hand()
        end
$$;

-- Whether p_wa_id belongs to another message, which cannot be our send p_message. A server that a tenant
-- named may answer anything, including ids of other conversations.
create or replace function hybridflow.id_is_taken(p_message public.messages, p_wa_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_message.wa_id is distinct from p_wa_id and exists (
        select from hybridflow.messages_called(p_wa_id) as m
        where m.tenant_id = p_message.tenant_id and m.id <> p_message.id
            and not coalesce(hybridflow.can_be(m, p_message), false)
    )
$$;

-- Our send left, but the id that was reported for it belongs to another message (see id_is_taken): it is
-- recorded without an id, until its echo brings its own. A send that already has an id keeps it.
create or replace function hybridflow.mark_sent_without_id(
    p_message public.messages, p_status text, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.messages
    set send_state = 'sent', status = hybridflow.later_status(status, p_status), check_at = null,
        late_until = p_message.send_began_at + interval '15 minutes'
    where id = p_message.id and wa_id is null;
    update public.sessions set last_message_at = greatest(last_message_at, p_message.sent_at)
    where id = p_message.session_id;
    perform hybridflow.after_settlement(p_message.turn_id, p_policy);
end
$$;

-- Records that message p_message_id left as p_wa_id. If somebody else's message of the same conversation was
-- recorded with that id, that record is deleted, and the pause that it caused is withdrawn; no other
-- conversation is touched. If the message had already left with another id, the second one is recorded as
-- well: the phone has both. Then calls after_settlement. The session is locked.
create or replace function hybridflow.mark_sent(
    p_message_id bigint, p_wa_id text, p_status text, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_twin public.messages;
    v_goes_on boolean := false;
begin
    select * into v_message from public.messages where id = p_message_id for update;
    if hybridflow.id_is_taken(v_message, p_wa_id) then
        perform hybridflow.take_part_back(v_message);
        perform hybridflow.mark_sent_without_id(v_message, p_status, p_policy);
        return;
    end if;
    select m.* into v_twin from hybridflow.messages_called(p_wa_id) as m
    where m.tenant_id = v_message.tenant_id and hybridflow.can_be(m, v_message)
    limit 1;
    if v_twin.send_state is not null then
        perform hybridflow.give_up_id(v_twin);
    elsif v_twin.id is not null then
        v_goes_on := hybridflow.withdraw_pause(v_twin.session_id, v_twin.id);
        delete from public.messages where id = v_twin.id;
    end if;
    perform hybridflow.take_part_back(v_message);

    if v_message.wa_id is not null and v_message.wa_id <> p_wa_id then
        perform hybridflow.record_twin(v_message, p_wa_id, p_status);
    else
        update public.messages
        set wa_id = p_wa_id, send_state = 'sent',
            status = hybridflow.later_status(hybridflow.later_status(status, v_twin.status), p_status),
            told_as = null, late_until = null, check_at = null
        where id = p_message_id;
        if v_twin.status = 'error' then
            perform hybridflow.note_failure(p_message_id, '{}');
        end if;
        perform hybridflow.apply_waiting(v_message.tenant_id, p_message_id, p_wa_id);
    end if;

    update public.sessions set last_message_at = greatest(last_message_at, v_message.sent_at)
    where id = v_message.session_id;
    if v_goes_on then
        perform hybridflow.undo_takeover(v_twin.session_id, v_twin.created_at, p_policy);
    end if;
    perform hybridflow.after_settlement(v_message.turn_id, p_policy);
end
$$;

-- ==================== 0503_fence.sql

-- HybridFlow: the fence: whether a message may be sent, and that its send has begun.

-- Records a send that is about to begin. p says what it is: {kind?, body, identity?, told_as?,
-- upload_seconds?}; upload_seconds is how much longer than others it may take. A part that was begun before
-- and certainly did not leave begins again in its own row. If a part was judged as not sent after a doubt,
-- that row stays for a late echo, and the part gets a new row.
create or replace function hybridflow.begin_message(
    p_session public.sessions, p_turn_id bigint, p_part integer, p_sender text, p jsonb
)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
begin
    update public.messages set part = null
    where turn_id = p_turn_id and part = p_part and late_until is not null;
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, told_as, chosen_id,
        sent_at, send_state, send_began_at, sends, upload_seconds
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_part, true, p_sender,
        coalesce(p ->> 'kind', 'text'), hybridflow.cut(p ->> 'body'), p ->> 'identity',
        case when p -> 'told_as' <> 'null' then array(select jsonb_array_elements_text(p -> 'told_as')) end,
        '3EB0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 18)),
        date_trunc('second', v_now), 'sending', v_now, 1, (p ->> 'upload_seconds')::numeric
    )
    on conflict (turn_id, part) where part is not null do update
        set body = excluded.body, kind = excluded.kind, identity = excluded.identity,
            told_as = excluded.told_as, chosen_id = excluded.chosen_id, sent_at = excluded.sent_at,
            send_state = 'sending', send_began_at = excluded.send_began_at, sends = messages.sends + 1,
            upload_seconds = excluded.upload_seconds, given_up = null
    returning * into v_message;
    return v_message;
end
$$;

-- The answer of begin_send for the turn and the session that it holds.
create or replace function hybridflow.pass_fence(p_turn public.turns, p_session public.sessions, p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_stopped text;
    v_message public.messages;
begin
    v_stopped := coalesce(
        hybridflow.stopped_for(p_turn, p_session), hybridflow.stopped_by_newer(p_turn)
    );
    if v_stopped is not null then
        perform hybridflow.stop_turn(p_turn.id, v_stopped);
        return jsonb_build_object('refused', case when v_stopped = 'new_message' then v_stopped else 'paused' end);
    elsif hybridflow.waits_for_stranger(p_turn, p_session) then
        return jsonb_build_object('refused', 'stale');
    end if;

    select * into v_message from public.messages
    where turn_id = p_turn.id and part = (p ->> 'part')::integer;
    if v_message.send_state = 'sent' then
        return jsonb_build_object('refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id);
    elsif v_message.send_state in ('sending', 'unknown') then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;

    v_message := hybridflow.begin_message(p_session, p_turn.id, (p ->> 'part')::integer, 'ai', p);
    if p_turn.reply -> (p ->> 'part')::integer -> 'handoff' is not null then
        perform hybridflow.hand_off_with(p_session, p_turn, (p ->> 'part')::integer);
    end if;
    update public.turns
    set state = 'sending', updated_at = v_message.send_began_at,
        said_so_far = coalesce(p ->> 'said_so_far', said_so_far),
        lease_until = greatest(
            lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        )
    where id = p_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid)
    );
end
$$;

-- begin_send({turn_id, token, part, body, kind?, identity?, told_as?: [hash], upload_seconds?, said_so_far?,
-- lease_seconds, reply?: {parts: [part], handler, provider?, model?, tokens_in?, tokens_out?, execution_id?,
-- execution_url?}})
-- The fence: every part of a reply passes it right before it is sent. Records the message as `sending`. If
-- nobody renews the turn's lease meanwhile, lease_seconds must be longer than the send. said_so_far: see
-- turns. reply is the whole reply, as save_reply takes it, if it is not saved yet: it is saved first,
-- whatever the fence says then. A part that hands off hands the conversation off in the same step. Returns
-- {ok, message_id, chosen_id, jid} or {refused: reason, message_id?, wa_id?}: 'stale', 'superseded' (see
-- turn_refusal), 'paused' (the turn is closed), 'new_message' (the turn is closed, see stopped_by_newer),
-- 'already_sent' (with message_id and wa_id), 'in_doubt' (with message_id: this part has begun and nobody
-- knows how it ended).
create or replace function public.begin_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_refused jsonb;
    v_held record;
    v_turn public.turns;
    v_answer jsonb;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'part', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_send', p, '{turn_id,token,part,body,lease_seconds}');
    end if;
    if coalesce(p -> 'reply', 'null') <> 'null'
        and num_nulls(nullif(p -> 'reply' -> 'parts', 'null'), p -> 'reply' ->> 'handler') > 0
    then
        perform hybridflow.require_keys('save_reply', p -> 'reply', '{parts,handler}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    if coalesce(p -> 'reply', 'null') <> 'null' then
        v_refused := hybridflow.write_reply(v_turn, p -> 'reply');
        if v_refused is not null then
            return v_refused;
        end if;
        select * into v_turn from public.turns where id = v_turn.id;
    end if;
    v_answer := hybridflow.pass_fence(v_turn, v_held.session, p);
    if coalesce(p -> 'reply', 'null') <> 'null' then
        perform hybridflow.settle_reply(v_held.turn, p -> 'reply');
        if v_turn.reply is distinct from (v_held.turn).reply then
            perform hybridflow.reply_was_made(v_held.turn, p -> 'reply');
        end if;
    end if;
    return v_answer;
end
$$;

-- What the router needs to carry out the send p_message, which has begun, to the contact of p_session.
create or replace function hybridflow.begun_send(p_message public.messages, p_session public.sessions)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'ok', true, 'message_id', p_message.id, 'chosen_id', p_message.chosen_id,
        'jid', coalesce(p_session.phone_jid, p_session.lid), 'tenant_id', t.id,
        'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key
    )
    from public.tenants as t
    where t.id = p_session.tenant_id
$$;

-- begin_human_send({tenant_id, session_id, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- seen_message_id?, knowingly?, author?, reason?})
-- The fence for a human of the business who writes through HybridFlow: a pause does not stop the message, and
-- the message takes over the session. Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name,
-- evo_server_url, evo_api_key} or {refused: 'human_wrote', message_id, by, at}. The first answer is for the
-- router only. The second one: another human wrote after seen_message_id, the last message that this human
-- has seen; called again with `knowingly`, it passes. PT404: the session was erased or merged, or is not this
-- tenant's.
create or replace function public.begin_human_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_tenant public.tenants;
    v_human public.messages;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_human_send', p, '{tenant_id,session_id,body}');
    v_session := hybridflow.session_of(p);
    select * into v_tenant from public.tenants where id = v_session.tenant_id;
    if not coalesce((p ->> 'knowingly')::boolean, false) then
        select m.* into v_human from public.messages as m
        where m.session_id = v_session.id and m.id > (p ->> 'seen_message_id')::bigint
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, v_tenant)
        order by m.id desc limit 1;
    end if;
    if v_human.id is not null then
        return jsonb_build_object(
            'refused', 'human_wrote', 'message_id', v_human.id, 'by', v_human.sender, 'at', v_human.sent_at
        );
    end if;
    v_message := hybridflow.begin_message(v_session, null, null, 'operator', p);
    update public.messages set author_name = p ->> 'author' where id = v_message.id;
    update public.sessions as s
    set is_paused = true, pause_source = 'operator', pause_message_id = null,
        pause_reason = coalesce(p ->> 'reason', 'an operator wrote'),
        paused_at = case when is_paused then paused_at else v_message.send_began_at end,
        paused_until = case when is_paused then paused_until end,
        pause_indefinite = is_paused and pause_indefinite,
        pause_asked_at = hybridflow.asked_at(s),
        pause_written_at = v_message.send_began_at, last_human_at = v_message.send_began_at,
        updated_at = v_message.send_began_at
    where id = v_session.id;
    perform hybridflow.take_handoff(
        v_session.id, 'operator', p ->> 'author', v_message.id, v_message.send_began_at
    );
    perform hybridflow.cancel_turns(v_session.id, 'takeover');
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- ==================== 0505_ends_of_sends.sql

-- HybridFlow: how a send ended: it left, it did not leave, or nobody knows.

-- Whether p names the message: by its tenant, or, as routers of 0.1.0 do, by its turn.
create or replace function hybridflow.is_named(p_message public.messages, p jsonb)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case
        when p ->> 'tenant_id' is null then p_message.turn_id = (p ->> 'turn_id')::bigint
        else p_message.tenant_id = (p ->> 'tenant_id')::bigint
    end;
end
$$;

-- The send that p names (see is_named), with its session locked; null: it was erased.
create or replace function hybridflow.send_of(p jsonb)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    loop
        perform from public.sessions as s
        where s.id = (
            select m.session_id from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        )
        for update;
        -- Not found although it exists: its session was merged away while we waited.
        exit when found;
        exit when not exists (
            select from public.messages as m
            where m.id = (p ->> 'message_id')::bigint and hybridflow.is_named(m, p)
        );
    end loop;
    select * into v_message from public.messages as m
    where m.id = (p ->> 'message_id')::bigint and m.from_me and m.send_state is not null and hybridflow.is_named(m, p);
    return v_message;
end
$$;

-- Makes p_jid an identity of the session, if the session still exists. A session that p_jid led to before is
-- merged.
create or replace function hybridflow.learn_identity(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_known text;
begin
    perform from public.sessions where id = p_session_id for update;
    if not found then
        return;
    end if;
    -- One of the session's identities says which session is meant.
    select i.jid into v_known from public.session_identities as i
    inner join public.sessions as s on s.id = i.session_id
    where i.session_id = p_session_id and i.jid <> p_jid
    order by i.jid = s.phone_jid desc nulls last, i.jid = s.lid desc nulls last, i.created_at, i.jid limit 1;
    perform hybridflow.resolve_session(p_tenant_id, array_remove(array[v_known, p_jid], null), 'contact', null);
end
$$;

-- Makes p_jid an identity of the session, if the session still exists and p_jid is nobody's yet: this never
-- merges.
create or replace function hybridflow.learn_other(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    -- A call that creates a session for this JID holds this lock, and may be waiting for the session that we
    -- hold.
    if pg_try_advisory_xact_lock(hashtextextended(p_tenant_id || ':' || p_jid, 0)) and not exists (
        select from public.session_identities as i where i.tenant_id = p_tenant_id and i.jid = p_jid
    ) then
        perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- Evolution's answer to a send named p_jid for a session. A server that a tenant named may answer anything,
-- so an answer cannot make the contact another person. It can only add another spelling of the contact's own
-- number and, if only the phone or only the LID is known, the other one, if that is nobody's yet.
create or replace function hybridflow.learn_answer(p_tenant_id bigint, p_session_id bigint, p_jid text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_session_id and chat = 'contact';
    if v_session.id is null or p_jid is null then
        return;
    elsif hybridflow.plain_number(p_jid) = hybridflow.plain_number(v_session.phone_jid) then
        if not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = p_jid and i.session_id = p_session_id
        ) then
            perform hybridflow.learn_identity(p_tenant_id, p_session_id, p_jid);
        end if;
    elsif (p_jid ~ '^[1-9][0-9]{4,19}@lid$' and v_session.lid is null)
        or (p_jid ~ '^[1-9][0-9]{4,19}@s[.]whatsapp[.]net$' and v_session.phone_jid is null)
    then
        perform hybridflow.learn_other(p_tenant_id, p_session_id, p_jid);
    end if;
end
$$;

-- What an answer says in addition if the id belongs to another message; otherwise nothing.
create or replace function hybridflow.told_taken(p_is_taken boolean)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case when p_is_taken then '{"id_taken": true}' else '{}' end;
end
$$;

-- finish_send({tenant_id | turn_id, message_id, wa_id, jid?, status?, policy?})
-- Evolution has accepted a message of ours, of any sender: records its id, even if its turn has ended
-- meanwhile (failing to record is not failing to send). The tenant's line works: see is_back. The JID that
-- Evolution says it sent to is recorded, as far as learn_answer allows. The send is named by its tenant, or,
-- by routers of 0.1.0, by its turn. Returns {turn_state, id_taken?, leaves_due?}: turn_state is null if there
-- is no turn, or if the contact was erased during the send (then nothing is recorded). id_taken: the id
-- belongs to another message, so the send was recorded without it. leaves_due, if the turn is closed: whether
-- a turn is due that nobody has; if not, the worker need not look for more.
create or replace function public.finish_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
    v_taken boolean;
    v_state text;
begin
    if num_nulls(coalesce(p ->> 'tenant_id', p ->> 'turn_id'), p ->> 'message_id', p ->> 'wa_id') > 0 then
        perform hybridflow.require_keys('finish_send', p, '{tenant_id|turn_id,message_id,wa_id}');
    end if;
    v_message := hybridflow.send_of(p);
    v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
    if v_message.id is null then
        perform hybridflow.bury_message(t.id, p ->> 'wa_id')
        from public.tenants as t
        where t.id = (p ->> 'tenant_id')::bigint and not exists (
            select from hybridflow.messages_called(p ->> 'wa_id') as m where m.tenant_id = t.id
        );
        return '{"turn_state": null}';
    end if;
    perform hybridflow.mark_sent(
        v_message.id, p ->> 'wa_id',
        case when hybridflow.status_rank(p ->> 'status') > 0 then p ->> 'status' end, p -> 'policy'
    );
    if not v_taken then
        perform hybridflow.learn_answer(v_message.tenant_id, v_message.session_id, p ->> 'jid');
    end if;
    perform hybridflow.is_back(hybridflow.line_of(v_message.tenant_id), v_message.tenant_id);
    select t.state into v_state from public.turns as t where t.id = v_message.turn_id;
    return jsonb_build_object('turn_state', v_state) || hybridflow.told_taken(v_taken) || case
        when v_state in ('sent', 'cancelled', 'dead')
            then jsonb_build_object('leaves_due', hybridflow.is_one_due())
        else '{}'
    end;
end
$$;

-- Records that a message certainly did not leave; it must have no wa_id. If it was of a notice, that may be
-- told again.
-- p_late_until: until when an echo of it would still be ours; null: Evolution refused it, so there will be no
-- echo.
create or replace function hybridflow.mark_not_sent(
    p_message_id bigint, p_late_until timestamptz, p_policy jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages;
    v_notice_id bigint;
begin
    update public.messages set send_state = 'failed', late_until = p_late_until, check_at = null
    where id = p_message_id and wa_id is null and send_state in ('sending', 'unknown')
    returning * into v_message;
    if v_message.id is null then
        return;
    end if;
    update public.notices
    set number_told_at = null, message_id = null, updated_at = hybridflow.clock()
    where message_id = p_message_id
    returning id into v_notice_id;
    if p_late_until is not null then
        update public.notices as n set state = 'pending', finished_at = null, next_at = hybridflow.clock()
        where n.id = v_notice_id and not exists (
            select from public.notices as o  -- of its kind, and newer: that one is told instead
            where o.tenant_id = n.tenant_id and o.kind = n.kind and o.waiting and o.kind <> 'handoff'
        );
    end if;
    perform hybridflow.after_settlement(v_message.turn_id, p_policy);
end
$$;

-- fail_send({tenant_id | turn_id, message_id, chosen_id?, given_up?, policy?})
-- Evolution certainly did not accept a message of ours: it may be begun again. `given_up`, for a part of a
-- turn: the reason why Evolution would never accept it, see give_up_part. Returns {ok}; a repeated call gives
-- the same answer, even if the message was begun again meanwhile, with another chosen_id.
create or replace function public.fail_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_message public.messages;
begin
    perform hybridflow.require_keys('fail_send', p, '{tenant_id|turn_id,message_id}');
    v_message := hybridflow.send_of(p);
    if coalesce(p ->> 'chosen_id' <> v_message.chosen_id, false) then
        return '{"ok": true}';
    end if;
    if p ->> 'given_up' is not null and v_message.part is not null and v_message.wa_id is null
        and v_message.send_state in ('sending', 'unknown')
    then
        perform hybridflow.give_up(v_message, p ->> 'given_up');
    end if;
    perform hybridflow.mark_not_sent(v_message.id, null, p -> 'policy');
    return '{"ok": true}';
end
$$;

-- doubt_send({tenant_id | turn_id, message_id, token?, error, check_after})
-- A send has begun and nobody knows how it ended (time-out, lost answer). The message is `unknown` until
-- evidence settles it, which is looked for after check_after seconds. If the message has a turn, its turn
-- looks for it; the turn's worker gives turn_id and token. Returns {ok} or {refused: reason}, see
-- turn_refusal; the message is `unknown` in both cases.
create or replace function public.doubt_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_check_at timestamptz := v_now + hybridflow.seconds((p ->> 'check_after')::numeric);
    v_held record;
begin
    perform hybridflow.require_keys('doubt_send', p, '{tenant_id|turn_id,message_id,error,check_after}');
    v_held := hybridflow.lock_turn(p);
    update public.messages as m
    set send_state = 'unknown', check_at = case when m.turn_id is null then v_check_at end
    where m.id = (p ->> 'message_id')::bigint and m.send_state = 'sending' and hybridflow.is_named(m, p);
    if p ->> 'turn_id' is null then
        return '{"ok": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
    where id = (v_held.turn).id;
    perform hybridflow.put_aside((v_held.turn).id, v_check_at, 'in_doubt');
    return '{"ok": true}';
end
$$;

-- ==================== 0507_doubts.sql

-- HybridFlow: sends in doubt, until it is found out how they ended.

-- From when on a send in doubt can no longer arrive late: late_seconds after it began, plus the time that it
-- may take longer than others.
create or replace function hybridflow.late_until(p_message public.messages, p jsonb)
returns timestamptz
language sql
immutable
set search_path = ''
as $$
    select p_message.send_began_at + hybridflow.seconds(
        coalesce((p ->> 'late_seconds')::numeric, 120) + coalesce(p_message.upload_seconds, 0)
    )
$$;

-- Whether this part of a reply is given up, because it was sent so often, and each time was in doubt and then
-- not there. Otherwise the parts after it, and the contact's new messages, would wait for ever.
create or replace function hybridflow.doubted_too_often(p_message public.messages)
returns boolean
language sql
stable
set search_path = ''
as $$
    select count(*) >= 4
    from public.messages as m
    where m.turn_id = p_message.turn_id and m.part is null and m.late_until is not null
        and m.send_state = 'failed' and m.kind = p_message.kind
        and m.identity is not distinct from p_message.identity and m.body is not distinct from p_message.body
$$;

-- settle_send({turn_id, token, message_id, outcome, wa_id?, error?, check_after, give_up_hours,
-- late_seconds?, policy?})
-- Records what was found out about a send in doubt. 'sent': it is on the phone as wa_id. 'not_sent': it never
-- left, and may be begun again; late_seconds (120) after it began it can no longer arrive late. 'unknown':
-- look again in check_after seconds; after give_up_hours the turn is dead, and is not sent again by itself. A
-- part that was not there five times is given up, and another attempt goes on. Returns {turn_state,
-- id_taken?, given_up?} or {refused: reason}.
create or replace function public.settle_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_message public.messages;
    v_taken boolean := false;
    v_given_up boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_send', p, '{turn_id,token,message_id,outcome,check_after,give_up_hours}'
    );
    v_held := hybridflow.lock_turn(p);
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and turn_id = (p ->> 'turn_id')::bigint;
    if p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_send', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif v_held.refused is not null then
        return v_held.refused;
    elsif v_message.send_state = 'sent' then
        null;  -- a webhook has settled it meanwhile
    elsif p ->> 'outcome' = 'not_sent' and hybridflow.doubted_too_often(v_message) then
        perform hybridflow.give_up(v_message, 'five times nobody knew how it ended, and it was not there');
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
        v_given_up := true;
        if exists (select from public.turns as t where t.id = v_message.turn_id and t.held) then
            -- The worker that holds it does not know what comes next: it may be a caption.
            perform hybridflow.put_aside(v_message.turn_id, v_now, 'in_doubt');
        end if;
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.close_turn((v_held.turn).id, 'dead', 'in_doubt');
        perform hybridflow.note_unanswered(v_held.turn, 'in_doubt', p ->> 'error');
    else
        update public.messages set send_state = 'unknown' where id = v_message.id;
        update public.turns set error_kind = 'in_doubt', error = left(p ->> 'error', 2000)
        where id = (v_held.turn).id;
        perform hybridflow.put_aside(
            (v_held.turn).id, v_now + hybridflow.seconds((p ->> 'check_after')::numeric), 'in_doubt'
        );
    end if;
    return jsonb_build_object(
        'turn_state', (select t.state from public.turns as t where t.id = (p ->> 'turn_id')::bigint)
    ) || hybridflow.told_taken(v_taken) || case when v_given_up then '{"given_up": true}' else '{}' end::jsonb;
end
$$;

-- A send in doubt, with what is needed to look it up.
create or replace function hybridflow.doubt_context(p_send public.messages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'message_id', p_send.id, 'tenant_id', t.id, 'instance_name', t.instance_name,
        'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key, 'session_id', p_send.session_id,
        'jids', (
            select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = p_send.session_id
        ),
        'kind', p_send.kind, 'body', hybridflow.cut(p_send.body), 'told_as', p_send.told_as,
        'chosen_id', p_send.chosen_id, 'identity', p_send.identity, 'send_began_at', p_send.send_began_at,
        'upload_seconds', p_send.upload_seconds,
        'ours', hybridflow.recent_wa_ids(p_send, true), 'theirs', hybridflow.recent_wa_ids(p_send, false)
    )
    from public.tenants as t
    where t.id = p_send.tenant_id
$$;

-- The contexts of these sends, read all at once. If that fails, each is read by itself, and one that fails is
-- left out.
create or replace function hybridflow.doubt_contexts(p_ids bigint[])
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_send public.messages;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.doubt_context(m) order by m.id) into v_contexts
        from public.messages as m where m.id = any(p_ids);
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_send in select m.* from public.messages as m where m.id = any(p_ids) order by m.id loop
        begin
            v_contexts := v_contexts || hybridflow.doubt_context(v_send);
        exception
            when others then
                null;  -- it is looked up again when its lease is over, or its echo settles it
        end;
    end loop;
    return v_contexts;
end
$$;

-- claim_doubts({limit, lease_seconds, after_seconds})
-- Claims sends in doubt that no turn looks up (of a notice, of a human), including sends that began more than
-- after_seconds ago and whose end nobody reported. Each is due again after lease_seconds. Never waits.
-- Returns {sends: [{message_id, tenant_id, instance_name, evo_server_url, evo_api_key, session_id, jids,
-- kind, body, told_as, chosen_id, identity, send_began_at, upload_seconds, ours, theirs}], now, next_due_at},
-- for the router only: `ours` are the ids of sends that are accounted for, `theirs` those of the contact's
-- messages.
create or replace function public.claim_doubts(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_before timestamptz := v_now - hybridflow.seconds((p ->> 'after_seconds')::numeric);
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
begin
    perform hybridflow.require_keys('claim_doubts', p, '{limit,lease_seconds,after_seconds}');
    with due as (
        select m.id from public.messages as m
        where m.turn_id is null and m.send_state in ('sending', 'unknown')
            and coalesce(m.check_at, m.send_began_at) <= v_now
            and (m.send_state = 'unknown' or m.send_began_at <= v_before)
        order by coalesce(m.check_at, m.send_began_at) limit (p ->> 'limit')::integer
        for update skip locked
    ),

    claimed as (
        update public.messages as m set check_at = v_until from due where m.id = due.id returning m.id
    )

    select array_agg(c.id) into v_ids from claimed as c;
    return jsonb_build_object(
        'sends', hybridflow.doubt_contexts(v_ids), 'now', v_now, 'next_due_at', (
            select nullif(min(coalesce(m.check_at, m.send_began_at)), 'infinity') from public.messages as m
            where m.turn_id is null and m.send_state in ('sending', 'unknown')
        )
    );
end
$$;

-- settle_doubt({tenant_id, message_id, outcome, wa_id?, check_after, give_up_hours, late_seconds, policy?})
-- Records what was found out about a send that belongs to no turn, as settle_send does. 'not_sent': a notice
-- is told again; a human's message stays failed, and its writer sees that. After give_up_hours it is no
-- longer looked up. Returns {ok, id_taken?}.
create or replace function public.settle_doubt(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_taken boolean := false;
begin
    perform hybridflow.require_keys(
        'settle_doubt', p, '{tenant_id,message_id,outcome,check_after,give_up_hours,late_seconds}'
    );
    v_message := hybridflow.send_of(p - 'turn_id');
    if v_message.id is null or v_message.send_state not in ('sending', 'unknown') then
        return '{"ok": true}';  -- erased, or settled by a webhook meanwhile
    elsif p ->> 'outcome' = 'sent' then
        perform hybridflow.require_keys('settle_doubt', p, '{wa_id}');
        v_taken := hybridflow.id_is_taken(v_message, p ->> 'wa_id');
        perform hybridflow.mark_sent(v_message.id, p ->> 'wa_id', null, p -> 'policy');
    elsif p ->> 'outcome' = 'not_sent' then
        perform hybridflow.mark_not_sent(v_message.id, hybridflow.late_until(v_message, p), p -> 'policy');
    elsif v_message.send_began_at < v_now - make_interval(hours => (p ->> 'give_up_hours')::integer) then
        update public.messages set send_state = 'unknown', check_at = 'infinity' where id = v_message.id;
    else
        update public.messages
        set send_state = 'unknown', check_at = v_now + hybridflow.seconds((p ->> 'check_after')::numeric)
        where id = v_message.id;
    end if;
    return '{"ok": true}'::jsonb || hybridflow.told_taken(v_taken);
end
$$;

-- ==================== 0510_away.sql

-- HybridFlow: the message that the business is closed.

-- begin_away_send({turn_id, token, opens_at, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence for the message that the business is closed until opens_at. An attempt at a turn sends it before
-- the reply is made. It is not a part of the turn: it answers nothing, and a doubt about it does not delay
-- the reply. Returns {ok, message_id, chosen_id, jid} or {refused: reason}: as begin_send, or 'told': the
-- contact was already told about this closed period, or about one that has not ended yet.
create or replace function public.begin_away_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_opens_at timestamptz;
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_told timestamptz;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_away_send', p, '{turn_id,token,opens_at,body,lease_seconds}');
    v_opens_at := (p ->> 'opens_at')::timestamptz;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
    if v_stopped is not null then
        perform hybridflow.stop_turn(v_turn.id, v_stopped);
        return jsonb_build_object('refused', 'paused');
    elsif hybridflow.waits_for_stranger(v_turn, v_held.session) then
        return jsonb_build_object('refused', 'stale');
    end if;
    v_told := hybridflow.told_away_until(v_held.session);
    if v_told = v_opens_at or v_told > hybridflow.clock() then
        return jsonb_build_object('refused', 'told');
    end if;

    v_message := hybridflow.begin_message(v_held.session, null, null, 'ai', p);
    update public.sessions set away_until = v_opens_at, away_message_id = v_message.id
    where id = v_turn.session_id;
    update public.turns
    set lease_until = greatest(
        lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    )
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;

-- ==================== 0520_given_up.sql

-- HybridFlow: parts of a reply that can never be sent: they are given up, and the parts after them are sent.
--
-- For example: media whose address answers 404, that is too large or unusable, or that Evolution refuses for
-- good. Another try would fail again, and would hold up the parts after it for ever.

-- Tells the people of the business that a part of a reply was given up; of many parts they are told once an
-- hour. Not while a notice waits about replies that WhatsApp does not deliver, because that is worse.
create or replace function hybridflow.notice_given_up(p_message public.messages, p_why text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    if exists (
        select from (
            select o.* from public.notices as o
            where o.tenant_id = p_message.tenant_id and o.kind = 'undelivered'
            order by o.id desc limit 10
        ) as n
        where n.waiting or (not n.facts ? 'since' and n.created_at > hybridflow.clock() - interval '1 hour')
    ) or not pg_try_advisory_xact_lock(hashtextextended('undelivered:' || p_message.tenant_id, 0))
    then
        return;
    end if;
    select * into v_session from public.sessions where id = p_message.session_id;
    perform hybridflow.make_notice(
        p_message.tenant_id, 'undelivered', v_session.id, jsonb_build_object(
            'reason', left(format('part %s (%s): %s', p_message.part + 1, p_message.kind, p_why), 500),
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'contact_name', v_session.contact_name
        ),
        hybridflow.clock()
    );
end
$$;

-- Gives up the part, and keeps p_why. If the part has a caption, that becomes the next part of the reply,
-- before everything after it. The caller sets the part's send_state. The session is locked.
create or replace function hybridflow.give_up(p_message public.messages, p_why text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_reply jsonb;
    v_caption text;
begin
    update public.messages set given_up = left(p_why, 1000) where id = p_message.id;
    select t.reply into v_reply from public.turns as t where t.id = p_message.turn_id for update;
    if v_reply is null then
        return;  -- a flow's part: the flow is told, and knows best what to say instead
    end if;
    v_caption := nullif(btrim(v_reply -> p_message.part -> 'body' ->> 'caption'), '');
    if v_caption is not null and v_reply -> (p_message.part + 1) is distinct from to_jsonb(v_caption)
        and not exists (
            select from public.messages as m where m.turn_id = p_message.turn_id and m.part > p_message.part
        )
    then
        update public.turns
        set reply = jsonb_insert(v_reply, array[p_message.part::text], to_jsonb(v_caption), true)
        where id = p_message.turn_id;
    end if;
    perform hybridflow.notice_given_up(p_message, p_why);
end
$$;

-- Records a part of a turn that was never begun, as one that certainly did not leave.
create or replace function hybridflow.never_begun(p_session public.sessions, p_part integer, p jsonb)
returns public.messages
language sql
volatile
set search_path = ''
as $$
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, sent_at, send_state,
        send_began_at, sends
    )
    values (
        p_session.tenant_id, p_session.id, (p ->> 'turn_id')::bigint, p_part, true, 'ai', p ->> 'kind',
        hybridflow.cut(p ->> 'body'), p ->> 'identity', date_trunc('second', hybridflow.clock()), 'failed',
        hybridflow.clock(), 0
    )
    returning *
$$;

-- give_up_part({turn_id, token, part?, kind, body, identity?, text?, error})
-- A part of the turn's reply can never be sent: its media cannot be fetched, or Evolution refuses it for
-- good. It is given up, with `error` as the reason; its caption is sent in its place, and then the parts
-- after it. Without `part`, it is what a flow asked the gateway for, named by its `identity`, with all its
-- `text`. The fence is passed as in begin_send. When all the rest is sent, the turn is closed as sent,
-- incomplete; if all parts are given up, it is dead. Returns {ok, turn_state, reply} or {refused: reason}: as
-- begin_send, and 'too_many_sends' as begin_flow_send. Called again with the same token, it gives the same
-- answer.
create or replace function public.give_up_part(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_message public.messages;
    v_part integer := (p ->> 'part')::integer;
begin
    perform hybridflow.require_keys('give_up_part', p, '{turn_id,token,kind,body,error}');
    v_held := hybridflow.hold_turn(p);
    v_turn := v_held.turn;  -- null if the token is not the turn's own
    select * into v_message from public.messages as m
    where m.turn_id = v_turn.id and m.part is not null
        and case when v_part is null then m.identity = p ->> 'identity' else m.part = v_part end
    order by m.part limit 1;
    if v_message.given_up is null or v_message.send_state <> 'failed' then
        v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
        if v_held.refused is not null then
            return v_held.refused;
        elsif v_stopped is not null then
            perform hybridflow.stop_turn(v_turn.id, v_stopped);
            return '{"refused": "paused"}';
        elsif v_part is null and v_turn.reply is not null then
            return '{"refused": "has_answered"}';
        elsif v_message.send_state = 'sent' then
            return '{"refused": "already_sent"}';
        elsif v_message.send_state = 'unknown' or (v_message.send_state = 'sending' and v_part is null) then
            return '{"refused": "in_doubt"}';
        end if;
        if v_message.late_until is not null then
            -- After a doubt it was judged as not sent: its row stays for a late echo.
            v_part := v_message.part;
            update public.messages set part = null where id = v_message.id;
            v_message := null;
        end if;
        if v_message.id is null then
            v_part := coalesce(v_part, hybridflow.next_part(v_turn.id));
            if v_part >= 500 then
                return '{"refused": "too_many_sends"}';
            end if;
            if p ->> 'part' is null then
                -- The guard has checked it. If it is asked for again its media may be there, and it is sent
                -- without another check.
                update public.turns
                set said_so_far = concat_ws(
                    E'\n\n', nullif(hybridflow.said_so_far(v_turn), ''),
                    nullif(coalesce(p ->> 'text', p ->> 'body'), '')
                )
                where id = v_turn.id;
            end if;
            v_message := hybridflow.never_begun(v_held.session, v_part, p);
        end if;
        perform hybridflow.give_up(v_message, p ->> 'error');
        update public.messages set send_state = 'failed', check_at = null where id = v_message.id;
        perform hybridflow.after_settlement(v_turn.id, null);
    end if;
    return (
        select jsonb_build_object('ok', true, 'turn_state', t.state, 'reply', t.reply)
        from public.turns as t where t.id = v_turn.id
    );
end
$$;

-- ==================== 0550_loops.sql

-- HybridFlow: two bots that talk to each other are detected, by how often and how alike they write.

-- The different words of a text. All numbers count as one word, because a bot's clock or ticket number
-- changes.
create or replace function hybridflow.words_of(p_text text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array(
        select distinct w
        from regexp_split_to_table(
            regexp_replace(lower(left(p_text, 1000)), '[0-9]+', '0', 'g'), '[^[:alnum:]]+'
        ) as w
        where w <> ''
    )
$$;

-- How alike two texts are, from 0 to 1: the share of their words that both have. Each text is given by its
-- words; p_is_same says whether the texts are equal, for texts without words.
create or replace function hybridflow.likeness_of(p_one text[], p_other text[], p_is_same boolean)
returns numeric
language sql
immutable
set search_path = ''
as $$
    with common as (
        select
            cardinality(p_one) + cardinality(p_other) as words,
            (
                select count(*)
                from (select unnest(p_one) intersect select unnest(p_other)) as w
            ) as shared
    )

    select case when words = 0 then p_is_same::integer else shared::numeric / (words - shared) end
    from common
$$;

-- The different sentences of a text that have three words or more, with numbers counted as in words_of. A
-- line of its own in bold is not a sentence: programs for a business's people, such as Chatwoot, put the
-- writer's name above each message.
create or replace function hybridflow.sentences_of(p_text text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array(
        select distinct s.words
        from (
            select btrim(regexp_replace(
                regexp_replace(p, '[0-9]+', '0', 'g'), '[^[:alnum:]]+', ' ', 'g'
            )) as words
            from regexp_split_to_table(
                regexp_replace(lower(left(p_text, 1000)), '^\s*\*[^*\n]{1,80}\*:?\s*$', '', 'gn'),
                '[.!?…\n]+'
            ) as p
        ) as s
        where s.words like '% % %'
    )
$$;

-- Whether p_replies of our replies since p_since were each answered as a machine answers, although it varies
-- its words: half of its last messages share a whole sentence with p_text, or all its answers came after
-- nearly the same time. People answer sometimes after a moment, sometimes after a minute: the spread of their
-- times is about as large as the mean.
create or replace function hybridflow.answers_evenly(
    p_session_id bigint, p_text text, p_since timestamptz, p_replies integer
)
returns boolean
language sql
stable
set search_path = ''
as $$
    with asked as materialized (
        select least(p_replies, 60) as few, hybridflow.sentences_of(p_text) as sentences
    ),

    lately as materialized (
        select m.from_me, m.kind, m.body, m.sent_at, m.id from public.messages as m
        where m.session_id = p_session_id and m.sent_at > p_since
        order by m.sent_at desc, m.id desc limit 360
    ),

    theirs as (
        select
            l.kind, l.body, row_number() over (order by l.sent_at desc, l.id desc) as nth,
            extract(epoch from l.sent_at - lag(l.sent_at) over (order by l.sent_at, l.id)) as pause
        from lately as l
        where not l.from_me
    ),

    counted as (
        select
            a.few, count(*) as messages,
            count(*) filter (where hybridflow.sentences_of(t.body) && a.sentences) as alike,
            count(t.pause) filter (where length(btrim(t.body)) >= 10) as pauses,
            avg(t.pause) as mean, stddev_pop(t.pause) as spread
        from asked as a
        inner join theirs as t on t.nth <= a.few
        where t.kind = 'text'
        group by a.few
    )

    select coalesce(bool_or(c.messages >= c.few and (
        c.alike * 2 >= c.few or (c.pauses >= c.few - 1 and c.mean >= 5 and c.spread < 0.2 * c.mean)
    )), false)
    from counted as c
$$;

-- Two bots talk to each other in the session: it is paused, and the people of the business are told.
create or replace function hybridflow.pause_for_loop(p_session public.sessions)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.cancel_turns(p_session.id, 'paused');
    perform hybridflow.begin_handoff(p_session, null, jsonb_build_object(
        'reason', 'other', 'why', 'two bots seem to talk to each other: the same again and again',
        'is_quiet', true
    ));
end
$$;

-- Whether one more message of the contact shows that a machine answers our replies. One of these is enough,
-- each counted from the last resume at the earliest:
-- - within loop_minutes there were loop_replies replies, and half as many of the contact's last messages were
--   nearly the same as this one;
-- - within loop_minutes there were five times as many replies, whatever was said;
-- - within six times as long there were three times as many replies, each answered as a machine does (see
--   answers_evenly).
-- Short messages never count as the same, and neither do messages that are not text: people say "yes" and
-- send pictures many times. If there were fewer replies, which is nearly always so, this costs a look at
-- loop_replies rows of an index. A loop_replies above a hundred counts as a hundred, whatever a tenant sets,
-- because each of its messages slows down others.
create or replace function hybridflow.is_loop(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_replies integer := least(
        coalesce(p_tenant.loop_replies, (p_policy ->> 'loop_replies')::numeric, 6), 100
    );
    v_minutes numeric := hybridflow.rule(p_tenant.loop_minutes, p_policy, 'loop_minutes', 10);
    v_since timestamptz;
    v_long_since timestamptz;
    v_ends timestamptz[];
    v_words text[];
begin
    if v_replies = 0 then
        return false;
    end if;
    select array_agg(e.finished_at order by e.id desc) into v_ends from (
        select t.id, t.finished_at
        from (
            select l.id, l.finished_at, l.undelivered from public.turns as l
            where l.session_id = p_session.id and l.state = 'sent'
            order by l.id desc limit v_replies * 5
        ) as t
        where t.undelivered = 0 or hybridflow.may_have_arrived(t.id)
        order by t.id desc limit v_replies * 3
    ) as e;
    if v_ends[v_replies] is null then
        return false;
    end if;
    v_since := greatest(hybridflow.clock() - hybridflow.seconds(60 * v_minutes), p_session.resumed_at);
    v_long_since := greatest(hybridflow.clock() - hybridflow.seconds(360 * v_minutes), p_session.resumed_at);
    if v_ends[v_replies * 3] > v_long_since and p_event ->> 'kind' = 'text'
        and length(btrim(p_event ->> 'text')) >= 10
        and hybridflow.answers_evenly(p_session.id, p_event ->> 'text', v_long_since, v_replies * 3)
    then
        return true;
    elsif v_ends[v_replies] <= v_since then
        return false;
    elsif p_event ->> 'kind' = 'text' and length(btrim(p_event ->> 'text')) >= 10 then
        v_words := hybridflow.words_of(p_event ->> 'text');
        if (
            select count(*) filter (
                where l.kind = 'text' and hybridflow.likeness_of(
                    hybridflow.words_of(l.body), v_words, l.body = p_event ->> 'text'
                ) >= 0.8
            ) * 2 >= v_replies
            from (
                select m.body, m.kind from public.messages as m
                where m.session_id = p_session.id and not m.from_me and m.sent_at > v_since
                order by m.sent_at desc, m.id desc limit v_replies
            ) as l
        ) then
            return true;
        end if;
    end if;
    return coalesce((
        select t.finished_at > v_since
        from (
            select l.id, l.finished_at, l.undelivered from public.turns as l
            where l.session_id = p_session.id and l.state = 'sent'
            order by l.id desc limit v_replies * 10
        ) as t
        where t.undelivered = 0 or hybridflow.may_have_arrived(t.id)
        order by t.id desc offset v_replies * 5 - 1 limit 1
    ), false);
end
$$;

-- ==================== 0580_waits.sql

-- HybridFlow: what an answer waits for, besides the end of a burst: the rest of an album, and whether a human
-- wrote to this contact under a LID. Each wait has an end.

create index if not exists sessions_known_by_lid_alone
on public.sessions (tenant_id, last_human_at)
where phone_jid is null and lid is not null and last_human_at is not null;

-- When a human of the business last wrote to a stranger who may be the session's contact; null: to none. A
-- chat of which only the LID is known, and in which the other side never wrote, may belong to a contact whose
-- LID is not known, if the contact's own conversation has a message in the half hour before. If several may,
-- the newest counts.
create or replace function hybridflow.stranger_wrote_at(p_tenant public.tenants, p_session public.sessions)
returns timestamptz
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    if p_session.lid is not null or p_session.chat <> 'contact' or p_tenant.unknown_lid_minutes = 0 then
        return null;
    end if;
    return (
        select s.last_human_at
        from (
            select l.last_human_at, l.last_contact_at from public.sessions as l
            where l.tenant_id = p_tenant.id and l.phone_jid is null and l.lid is not null
                and l.last_human_at > hybridflow.clock() - hybridflow.seconds(60 * p_tenant.unknown_lid_minutes)
            order by l.last_human_at desc limit 100
        ) as s
        where s.last_contact_at is null and exists (
            select from public.messages as m
            where m.session_id = p_session.id
                and m.sent_at between s.last_human_at - interval '30 minutes' and s.last_human_at
        )
        order by s.last_human_at desc limit 1
    );
end
$$;

-- Until when an answer waits, if a human wrote at p_wrote_at to a stranger who may be its contact: counted
-- from p_wrote_at or p_since, whichever is earlier. The wait ends before the newest message to be answered,
-- of p_newest, is too old for an answer.
create or replace function hybridflow.stranger_waits_until(
    p_tenant public.tenants, p_wrote_at timestamptz, p_since timestamptz, p_newest timestamptz, p_policy jsonb
)
returns timestamptz
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_within interval := hybridflow.seconds(
        60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
    );
begin
    return least(
        least(p_wrote_at, p_since) + hybridflow.seconds(60 * p_tenant.unknown_lid_minutes),
        p_newest + v_within - least(v_within / 2, interval '1 minute')
    );
end
$$;

-- How many seconds the answer to one more message, of p_at, waits; null: it need not wait. If a turn waits
-- already, or begins again with the message, the wait counts from when that turn was made. So it waits for
-- unknown_lid_minutes at most, however many messages join it and however much the human goes on writing. The
-- session is locked.
create or replace function hybridflow.stranger_wait(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz, p_policy jsonb
)
returns numeric
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_wrote_at timestamptz := hybridflow.stranger_wrote_at(p_tenant, p_session);
    v_since timestamptz := v_now;
begin
    if v_wrote_at is null then
        return null;
    end if;
    select least(v_now, min(t.created_at)) into v_since
    from (
        select w.created_at from public.turns as w where w.session_id = p_session.id and w.waiting
        union all
        select h.created_at from public.turns as h
        where h.session_id = p_session.id and h.held and not h.beside and h.state = 'running'
            and p_tenant.on_new_message = 'restart'
    ) as t;
    return extract(
        epoch from hybridflow.stranger_waits_until(p_tenant, v_wrote_at, v_since, p_at, p_policy) - v_now
    );
end
$$;

-- The wait at the fence: a turn that has said nothing, and whose contact may be the stranger that a human
-- wrote to, is pending again until the wait is over. Its reply is kept, and the attempt does not count. The
-- human may write long after the message, so the wait is counted from the claim, but only once: a turn that
-- has already waited, here or from its beginning (debounce_until shows it), has waited since it was made.
-- Returns whether it waits. Turn and session are locked.
create or replace function hybridflow.waits_for_stranger(p_turn public.turns, p_session public.sessions)
returns boolean
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant public.tenants;
    v_wrote_at timestamptz;
    v_until timestamptz;
    v_has_waited boolean;
begin
    if p_turn.state <> 'running' or p_session.lid is not null then
        return false;
    end if;
    select * into v_tenant from public.tenants where id = p_session.tenant_id;
    v_wrote_at := hybridflow.stranger_wrote_at(v_tenant, p_session);
    if v_wrote_at is null then
        return false;
    end if;
    v_has_waited := p_turn.debounce_until >= p_turn.created_at + hybridflow.seconds(30 * v_tenant.unknown_lid_minutes)
    or exists (
        select from public.turn_attempts as a where a.turn_id = p_turn.id and a.outcome = 'begun_anew'
    );
    v_until := hybridflow.stranger_waits_until(
        v_tenant, v_wrote_at, case when v_has_waited then p_turn.created_at else p_turn.claimed_at end,
        (
            select max(greatest(m.sent_at, case when m.edited_at <= hybridflow.clock() then m.edited_at end))
            from public.messages as m where m.turn_id = p_turn.id and not m.from_me
        ), null
    );
    if v_until is null or v_until <= hybridflow.clock() then
        return false;
    end if;
    update public.turns set attempt = greatest(attempt - 1, 0) where id = p_turn.id;
    perform hybridflow.requeue_turn(p_turn, v_until, 'begun_anew');
    return true;
end
$$;

-- The contact announced an album of p_pictures pictures: an answer waits for those that have not arrived, for
-- a minute at most. WhatsApp announces an album before its pictures or among them. Returns when the turn that
-- already waits is due; null: there is none. The session is locked.
create or replace function hybridflow.await_album(
    p_session public.sessions, p_pictures integer, p_at timestamptz, p_cap numeric
)
returns timestamptz
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + interval '1 minute';
    v_left integer := least(p_pictures, 100) - (
        select count(*) from (
            select m.kind, m.from_me from public.messages as m
            where m.session_id = p_session.id and m.sent_at >= p_at - interval '2 seconds'
            order by m.sent_at desc, m.id desc limit 100
        ) as l
        where l.kind in ('image', 'video') and not l.from_me
    );
    v_due timestamptz;
begin
    if p_at < v_now - interval '1 minute' or v_left <= 0 then
        return null;
    end if;
    update public.sessions set awaited_pictures = v_left, awaited_until = v_until where id = p_session.id;
    update public.turns
    set debounce_until = greatest(debounce_until, v_until),
        run_after = greatest(run_after, v_now + hybridflow.seconds(p_cap))
    where session_id = p_session.id and waiting and claimed_at is null
    returning run_after into v_due;
    return v_due;
end
$$;

-- One more message of the contact came while pictures are awaited. Returns for how many seconds its answer
-- waits for the next one: p_cap at most, and not beyond awaited_until; null: no longer than for any message.
-- With the last picture, the turn that waits is due as after any other message. The session is locked.
create or replace function hybridflow.await_next_picture(
    p_session public.sessions, p_kind text, p_debounce numeric, p_cap numeric
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_left integer := p_session.awaited_pictures - (p_kind in ('image', 'video'))::integer;
begin
    if coalesce(p_session.awaited_pictures, 0) = 0 or p_session.awaited_until <= v_now then
        return null;
    end if;
    update public.sessions set awaited_pictures = v_left where id = p_session.id and awaited_pictures <> v_left;
    if v_left = 0 then
        update public.turns set run_after = least(run_after, v_now + hybridflow.seconds(p_debounce))
        where session_id = p_session.id and waiting and claimed_at is null;
        return null;
    end if;
    update public.turns set debounce_until = greatest(debounce_until, p_session.awaited_until)
    where session_id = p_session.id and waiting and claimed_at is null;
    return greatest(p_debounce, least(p_cap, extract(epoch from p_session.awaited_until - v_now)));
end
$$;

-- ==================== 0600_message_changes.sql

-- HybridFlow: what happens to a message after it was recorded: an edit, a deletion, a delivery state.

-- The rank of a delivery state. A message's state only moves to a higher rank, because WhatsApp reports
-- states in any order. A state that means the message arrived ranks above 'error', and 'error' ranks above
-- the state that WhatsApp has accepted the message.
create or replace function hybridflow.status_rank(p_status text)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(array_position(
        array['pending', 'server_ack', 'error', 'delivery_ack', 'read', 'played'], lower(p_status)
    ), 0);
end
$$;

-- Returns the delivery state with the higher rank.
create or replace function hybridflow.later_status(p_one text, p_other text)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
    return case
        when hybridflow.status_rank(p_other) > hybridflow.status_rank(p_one) then p_other
        else coalesce(p_one, p_other)
    end;
end
$$;

-- Whether this delivery state means that the message is on the contact's phone.
create or replace function hybridflow.was_delivered(p_status text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select hybridflow.status_rank(p_status) > hybridflow.status_rank('error')
$$;

-- Applies one change (edit, delete or delivery state) to a message.
create or replace function hybridflow.change_message(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    case p_change ->> 'type'
        when 'edit' then
            update public.messages
            set body = p_change ->> 'text',
                edited_at = coalesce((p_change ->> 'edited_at')::timestamptz, hybridflow.clock())
            where id = p_message_id and not from_me
                and (edited_at is null or edited_at <= coalesce((p_change ->> 'edited_at')::timestamptz, edited_at));
        when 'delete' then
            update public.messages set deleted_at = hybridflow.clock()
            where id = p_message_id and deleted_at is null;
            update public.kept_files
            set state = 'deleted', content = null, next_at = hybridflow.clock(), updated_at = hybridflow.clock()
            where message_id = p_message_id and state in ('waiting', 'kept');
            perform hybridflow.forget_media(p_message_id);
        else
            perform hybridflow.change_status(p_message_id, p_change);
    end case;
end
$$;

-- Until the transaction ends, no other transaction can record message p_wa_id, or store a change that waits
-- for it. If two calls come at the same moment, the second one sees what the first one did.
create or replace function hybridflow.lock_message(p_tenant_id bigint, p_wa_id text)
returns void
language sql
set search_path = ''
as $$
    select pg_advisory_xact_lock(hashtextextended('message:' || p_tenant_id || ':' || p_wa_id, 0))
$$;

-- Applies the changes that arrived before the message itself. Returns whether there were any.
create or replace function hybridflow.apply_waiting(p_tenant_id bigint, p_message_id bigint, p_wa_id text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_event record;
    v_any boolean := false;
begin
    perform hybridflow.lock_message(p_tenant_id, p_wa_id);
    if not exists (
        select from public.processed_events where tenant_id = p_tenant_id and waiting_for = p_wa_id
    ) then
        return false;  -- nearly always; an update that finds nothing costs more than this check
    end if;
    for v_event in
        update public.processed_events set waiting_for = null
        where tenant_id = p_tenant_id and waiting_for = p_wa_id
        returning change
    loop
        perform hybridflow.change_message(p_message_id, v_event.change);
        v_any := true;
    end loop;
    return v_any;
end
$$;

-- Cancels a pending turn if all its messages are deleted: it has nothing to answer.
create or replace function hybridflow.cancel_deleted_turn(p_turn_id bigint)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.close_turn(t.id, 'cancelled', 'deleted') from public.turns as t
    where t.id = p_turn_id and t.state = 'pending' and not exists (
        select from public.messages as m
        where m.turn_id = t.id and not m.from_me and m.deleted_at is null
    )
$$;

-- Whether the running reply was already restarted ten times because its messages changed. If so, it is not
-- restarted again.
create or replace function hybridflow.began_anew_enough(p_turn public.turns)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_turn.state = 'running' and 10 <= (
        select count(*) from (
            select a.id from public.turn_attempts as a
            where a.turn_id = p_turn.id and a.outcome = 'restarted' limit 10
        ) as r
    )
$$;

-- A message that p_turn_id answers was edited or deleted. If its reply is being made and nothing of it has
-- been sent, the attempt starts again after the debounce, and does not count: it did not fail. If no message
-- is left to answer, the turn is cancelled. The reply of a pending turn, which waits to be tried again, is
-- thrown away. After ten restarts the reply is finished as it is. Returns the seconds until the turn is due,
-- or null if it was not restarted.
create or replace function hybridflow.reread_turn(
    p_turn_id bigint, p_tenant public.tenants, p_policy jsonb
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_debounce numeric := coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2);
begin
    select * into v_turn from public.turns where id = p_turn_id and state in ('pending', 'running') for update;
    if v_turn.id is null or hybridflow.has_spoken(v_turn.id) or hybridflow.is_in_doubt(v_turn.id) then
        return null;
    elsif not exists (
        select from public.messages as m where m.turn_id = v_turn.id and not m.from_me and m.deleted_at is null
    ) then
        perform hybridflow.close_turn(v_turn.id, 'cancelled', 'deleted');
        return null;
    end if;
    if hybridflow.began_anew_enough(v_turn) then
        return null;
    end if;
    if v_turn.claimed_at is not null then
        perform hybridflow.widen_turn(v_turn.id);
    end if;
    if v_turn.state = 'pending' then
        return null;
    end if;
    select * into v_turn from public.turns where id = p_turn_id;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock() + hybridflow.seconds(v_debounce), 'restarted');
    -- The attempt did not fail, so it does not count.
    update public.turns set attempt = greatest(attempt - 1, 0) where id = v_turn.id;
    return v_debounce;
end
$$;

-- The contact edited a message that was already answered, or whose turn ended without a reply. If the tenant
-- answers edits (answer_edits), the message gets a turn, like a new message. If its turn has not replied yet,
-- no new turn is needed, because that turn reads the new text; but if that turn was already restarted too
-- often, it goes on as it is, and the message gets the turn after it. Returns {turn_id?, due_in?, decision?}.
-- The caller has locked the session.
create or replace function hybridflow.answer_edit(
    p_tenant public.tenants, p_message_id bigint, p_event jsonb, p_policy jsonb
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_session public.sessions;
    v_turn record;
begin
    select * into v_message from public.messages where id = p_message_id;
    select * into v_session from public.sessions where id = v_message.session_id;
    if not p_tenant.is_active or v_session.is_paused or 'no-ai' = any(v_session.labels)
        or v_message.deleted_at is not null or not v_message.expects_reply
        or v_message.kind = any(p_tenant.unanswered_kinds)
        or v_message.edited_at < v_now - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
        or (hybridflow.has_staff(p_tenant) and hybridflow.is_staff(p_tenant, v_session.id))
        or not exists (
            select from public.turns as t
            where t.id = v_message.turn_id
                and (t.state not in ('pending', 'running') or hybridflow.began_anew_enough(t))
        )
    then
        return '{}';
    elsif hybridflow.is_loop(
        p_tenant, v_session, jsonb_build_object('kind', v_message.kind, 'text', v_message.body), p_policy
    ) then
        perform hybridflow.pause_for_loop(v_session);
        return '{"decision": "loop"}';
    end if;
    if exists (select from public.turns as t where t.id = v_message.turn_id and t.state = 'running') then
        p_tenant.on_new_message := 'queue';  -- its turn was restarted often enough
    end if;
    v_turn := hybridflow.join_turn(
        p_tenant, v_session.id,
        coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2),
        coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10), p_event ->> 'correlation_id', v_now
    );
    update public.messages set turn_id = v_turn.turn_id where id = p_message_id;
    return jsonb_build_object(
        'turn_id', v_turn.turn_id, 'due_in', extract(epoch from v_turn.due - v_now)
    );
end
$$;

-- Returns the message that a change is about. A change may report the wrong side as the sender, so a message
-- of the other side is taken if there is no better one.
create or replace function hybridflow.message_meant(p_tenant public.tenants, p_event jsonb)
returns public.messages
language sql
stable
set search_path = ''
as $$
    select m.* from hybridflow.messages_called(p_event ->> 'wa_id') as m
    where m.tenant_id = p_tenant.id
    order by m.from_me = coalesce((p_event ->> 'from_me')::boolean, m.from_me) desc, m.id limit 1
$$;

-- What is kept of a change that no longer counts: only the JIDs, so that it can be found with the other data
-- of that person.
create or replace function hybridflow.whose_change(p_change jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object('jids', coalesce(p_change -> 'jids', '[]'))
$$;

-- Decides about a change whose message is not recorded yet. Returns the decision with the `change` to store
-- for that message. Only one change of each type is kept: the newest edit, the first deletion, the delivery
-- state with the highest rank. So what is stored and applied stays small, however many changes come. The
-- caller has locked the message.
create or replace function hybridflow.await_message(p_tenant_id bigint, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_decision jsonb := '{"outcome": "recorded", "decision": "waiting_for_message"}';
    v_kept public.processed_events;
    v_counts boolean;
begin
    select * into v_kept from public.processed_events as e
    where e.tenant_id = p_tenant_id and e.waiting_for = p_event ->> 'wa_id'
        and e.change ->> 'type' = p_event ->> 'type'
    order by e.id desc limit 1;
    v_counts := v_kept.id is null or case p_event ->> 'type'
        when 'edit' then coalesce(
            (p_event ->> 'edited_at')::timestamptz >= (v_kept.change ->> 'edited_at')::timestamptz, true
        )
        when 'delete' then false
        else hybridflow.status_rank(p_event ->> 'status') > hybridflow.status_rank(v_kept.change ->> 'status')
    end;
    if not v_counts then
        return v_decision || jsonb_build_object('change', hybridflow.whose_change(p_event));
    end if;
    update public.processed_events set waiting_for = null, change = hybridflow.whose_change(v_kept.change)
    where id = v_kept.id;
    return v_decision || jsonb_build_object('change', p_event - 'hashes');
end
$$;

-- Takes an edit, a deletion or a delivery state. It is applied if the message is known; otherwise it is
-- stored until the message arrives. Only the id identifies the message, because Evolution reports a contact's
-- edit as ours. For the same reason edits of our own messages are not applied: the sender could be the
-- contact, who would change what the LLM reads. Returns the decision; its `change` is stored with the event.
create or replace function hybridflow.ingest_change(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.message_meant(p_tenant, p_event);
    v_reads_otherwise boolean := false;
    v_turn_id bigint;
    v_due_in numeric;
    v_answer jsonb := '{}';
begin
    if v_message.id is null then
        -- Lock the session first, as finish_send does when it learns the id of a send.
        perform from public.sessions where id in (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant.id
                and i.jid in (select jsonb_array_elements_text(coalesce(p_event -> 'jids', '[]')))
        ) order by id for update;
        perform hybridflow.lock_message(p_tenant.id, p_event ->> 'wa_id');
        v_message := hybridflow.message_meant(p_tenant, p_event);
    end if;
    if v_message.id is null then
        perform hybridflow.refuse_erased_change(p_tenant.id, p_event);
        return hybridflow.await_message(p_tenant.id, p_event);
    end if;
    perform from public.sessions where id = v_message.session_id for update;
    -- Read the message again: while we waited for the lock, another transaction may have changed it, or moved
    -- it to a session that is not locked.
    select * into v_message from public.messages where id = v_message.id and session_id = v_message.session_id;
    if not found then
        return hybridflow.ingest_change(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    perform hybridflow.change_message(v_message.id, p_event);
    if p_event ->> 'type' in ('edit', 'delete') and not v_message.from_me then
        v_reads_otherwise := exists (
            select from public.messages as m
            where m.id = v_message.id
                and (m.body, m.deleted_at) is distinct from (v_message.body, v_message.deleted_at)
                and v_message.deleted_at is null  -- nobody reads a deleted message, edited or not
        );
    end if;
    if v_reads_otherwise then
        select m.turn_id into v_turn_id from public.messages as m where m.id = v_message.id;
        v_due_in := hybridflow.reread_turn(v_turn_id, p_tenant, p_policy);
        if v_message.media is not null and v_due_in is null and p_event ->> 'type' = 'delete' then
            v_due_in := hybridflow.heard(v_turn_id);  -- the turn waited for the media of the deleted message
        end if;
        if p_tenant.answer_edits and p_event ->> 'type' = 'edit' and v_due_in is null then
            v_answer := hybridflow.answer_edit(p_tenant, v_message.id, p_event, p_policy);
        end if;
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', p_event ->> 'type' || '_applied',
        'session_id', v_message.session_id, 'message_id', v_message.id, 'due_in', v_due_in
    )) || v_answer;
end
$$;

-- ==================== 0605_connection.sql

-- HybridFlow: the state of an instance's connection to WhatsApp, and what happens when it changes.

-- The tenant's line is up, so what waits for it is due at once. Only the newest of the turns are released
-- now, and more after each send that succeeds (see is_back).
create or replace function hybridflow.hasten(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    perform hybridflow.is_back(hybridflow.line_of(p_tenant_id), p_tenant_id);
    update public.turns set lease_until = v_now
    where id = any(array(
        select t.id from public.turns as t
        where t.tenant_id = p_tenant_id and t.held and t.lease_until > v_now
            and t.state = 'sending' and t.worker is null
        order by t.lease_until limit 100 for update skip locked
    ));
    update public.notices set next_at = v_now
    where id = any(array(
        select n.id from public.notices as n
        where n.tenant_id = p_tenant_id and n.waiting and n.kind = 'handoff' and n.next_at > v_now
            and (n.lease_until is null or n.lease_until <= v_now)
        order by n.next_at limit 100 for update skip locked
    ));
    update public.relays set next_at = v_now
    where id = any(array(
        select r.id from public.relays as r
        where r.tenant_id = p_tenant_id and r.waiting and r.next_at > v_now
            and (r.lease_until is null or r.lease_until <= v_now)
        order by r.next_at limit 100 for update skip locked
    ));
end
$$;

-- Stores the state of the instance's connection. The operator gets a notice if the connection is lost or
-- waits for its QR code to be scanned. The decision says whether the connection has just come up (again).
create or replace function hybridflow.ingest_connection(p_tenant public.tenants, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_state text := case p_event ->> 'type'
        when 'logout' then 'logged_out' when 'removed' then 'removed' else p_event ->> 'state'
    end;
    -- Evolution reports `close` after a logout, and both after a removal. Keep the state that says most.
    v_weaker boolean := (p_tenant.connection_state = 'removed' and v_state in ('logged_out', 'close'))
        or (p_tenant.connection_state = 'logged_out' and v_state = 'close');
    v_lost boolean := v_state in ('close', 'refused', 'logged_out', 'removed');
begin
    if p_event ->> 'type' = 'qrcode' then
        perform hybridflow.notice_qr(p_tenant, p_event);
        update public.tenants
        set qr_code = p_event ->> 'code', pairing_code = p_event ->> 'pairing_code',
            qr_updated_at = hybridflow.clock(), updated_at = hybridflow.clock()
        where id = p_tenant.id;
        return jsonb_build_object('outcome', 'recorded', 'decision', 'qrcode_updated');
    end if;
    if v_weaker then
        return jsonb_build_object('outcome', 'recorded', 'decision', 'connection_unchanged');
    end if;
    update public.tenants
    set connection_state = v_state,
        connection_reason = (p_event ->> 'reason')::integer,
        connection_changed_at = case
            when connection_state is distinct from v_state then hybridflow.clock() else connection_changed_at
        end,
        connection_lost_at = case
            when v_lost then coalesce(connection_lost_at, hybridflow.clock()) when v_state <> 'open' then connection_lost_at
        end,
        owner_jid = coalesce(p_event ->> 'owner_jid', owner_jid),
        qr_code = case when v_state = 'open' then null else qr_code end,
        pairing_code = case when v_state = 'open' then null else pairing_code end,
        updated_at = hybridflow.clock()
    where id = p_tenant.id;
    perform hybridflow.notice_connection(p_tenant, v_state, p_event ->> 'reason');
    if v_state = 'open' then
        perform hybridflow.hasten(p_tenant.id);
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'connection_changed', 'state', v_state,
        'reconnected', v_state = 'open' and p_tenant.connection_state is distinct from 'open'
    );
end
$$;

-- ==================== 0610_spellings.sql

-- HybridFlow: the spellings of one phone number, as WhatsApp and as people write it.

-- Returns all JIDs that plain_number treats as the same number: p_jid itself and, if the number has one, its
-- other spelling.
create or replace function hybridflow.spellings(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, nullif(hybridflow.plain_number(p_jid), p_jid), case
        when p_jid ~ '^55(3[1-9]|[4-9][0-9])[789][0-9]{7}@s[.]whatsapp[.]net$'
            then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- Returns the JIDs under which WhatsApp may know the number that a person typed as p_jid; p_jid itself comes
-- first. People may leave out digits that WhatsApp uses, or add digits that it does not use.
-- router/whatsapp/numbers.py follows the same rules; a test compares the two.
create or replace function hybridflow.spellings_typed(p_jid text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_jid, case
        when p_jid ~ '^55[1-9]{2}9[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || substr(p_jid, 6)
        when p_jid ~ '^55[1-9]{2}[6-9][0-9]{7}@s[.]whatsapp[.]net$' then left(p_jid, 4) || '9' || substr(p_jid, 5)
        when p_jid ~ '^(521|549)[0-9]{10}@s[.]whatsapp[.]net$' then left(p_jid, 2) || substr(p_jid, 4)
        when p_jid ~ '^52[0-9]{10}@s[.]whatsapp[.]net$' then '521' || substr(p_jid, 3)
        when p_jid ~ '^54[0-9]{10}@s[.]whatsapp[.]net$' then '549' || substr(p_jid, 3)
    end], null)
$$;

-- Returns the JID under which the tenant knows the contact that a person typed as p_jid: p_jid itself, or its
-- other spelling.
create or replace function hybridflow.known_as(p_tenant_id bigint, p_jid text)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select i.jid from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid = any(hybridflow.spellings_typed(p_jid))
            order by i.jid <> p_jid limit 1
        ),
        p_jid
    )
$$;

-- ==================== 0615_own_messages.sql

-- HybridFlow: recognises our own sends when they come back as messages from the phone.

create index if not exists messages_not_known_of_session
on public.messages (session_id, send_began_at)
where wa_id is null and (send_state in ('sending', 'unknown') or late_until is not null);

-- Returns the tenant's sends around p_at whose id is unknown and that say the same as the event: they have
-- the same telling, or the same words if one of the two has no telling. Words are compared by their hash,
-- which has an index. A telling is searched in the sessions that the event names. If the event names only
-- LIDs and none of them is known, all sessions are searched, because an unknown LID may belong to any of
-- them. At most a thousand sends are read: the newest ones for a telling, any of them for words, because the
-- index of words has no order.
create or replace function hybridflow.sends_that_say(p_tenant_id bigint, p_event jsonb, p_at timestamptz)
returns setof public.messages
language plpgsql
stable
rows 1
set search_path = ''
set enable_seqscan = off
set enable_sort = off
as $$
declare
    v_telling text := p_event ->> 'telling';
    v_jids text[] := array(select jsonb_array_elements_text(p_event -> 'jids'));
    v_sessions bigint[];
    v_words text;
begin
    if not exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
            and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
    ) then
        return;  -- nearly always
    end if;
    if v_telling is not null then
        v_sessions := array(
            select i.session_id
            from unnest(v_jids) as j
            cross join lateral unnest(hybridflow.spellings(j)) as k (jid)
            inner join public.session_identities as i on i.tenant_id = p_tenant_id and i.jid = k.jid
        );
        return query select n.* from (select distinct unnest(v_sessions) as id) as s
        cross join lateral (
            select m.* from public.messages as m
            where m.session_id = s.id and m.wa_id is null
                and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
            order by m.send_began_at desc limit 1000
        ) as n
        where v_telling = any(n.told_as);
        if v_sessions = '{}' and not exists (select from unnest(v_jids) as j where j not like '%@lid') then
            return query select n.* from (
                select m.* from public.messages as m
                where m.tenant_id = p_tenant_id and m.wa_id is null
                    and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
                    and m.send_began_at between p_at - interval '1 day' and p_at + interval '1 minute'
                order by m.send_began_at desc limit 1000
            ) as n
            where v_telling = any(n.told_as);
        end if;
    end if;
    v_words := md5(hybridflow.folded(p_event ->> 'text'));
    return query select n.* from (
        select m.* from public.messages as m
        where m.tenant_id = p_tenant_id and md5(hybridflow.folded(m.body)) = v_words and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
        limit 1000
    ) as n
    where v_telling is null or n.told_as is null;
end
$$;

-- Returns the send of ours that the event shows. It is found by its id, by the id that we asked for, or,
-- while its id is unknown, by what it says. A send that Evolution refused never matches. A send that was in
-- doubt and was judged as not sent matches an event that comes from an API client (most likely ourselves); it
-- matches an event that looks like the owner's only as long as it can still be late. What a person typed in
-- WhatsApp's own apps never matches, whatever it says.
create or replace function hybridflow.find_own(p_tenant public.tenants, p_event jsonb)
returns public.messages
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
    v_at timestamptz := coalesce((p_event ->> 'sent_at')::timestamptz, hybridflow.clock());
    v_is_send boolean := p_event ->> 'origin' = 'send';
begin
    select * into v_message from hybridflow.messages_called(p_event ->> 'wa_id')
    where tenant_id = p_tenant.id and from_me limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select * into v_message from public.messages
    where chosen_id = p_event ->> 'wa_id' and wa_id is null and tenant_id = p_tenant.id limit 1;
    if v_message.id is not null then
        return v_message;
    end if;
    select m.* into v_message
    from hybridflow.sends_that_say(p_tenant.id, p_event, v_at) as m
    inner join public.sessions as s on s.id = m.session_id
    where m.send_began_at between v_at - interval '1 day' and v_at + interval '1 minute'
        and (
            (m.send_state in ('sending', 'unknown') and m.send_began_at >= v_at - interval '15 minutes')
            or (m.late_until is not null and (v_is_send or v_at <= m.late_until))
        )
        and exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where exists (
                    select from public.session_identities as i
                    where i.tenant_id = p_tenant.id and i.jid = j and i.session_id = s.id
                )
                or hybridflow.plain_number(j) = hybridflow.plain_number(s.phone_jid)
                -- A LID that nobody has yet may be this contact's. A LID that comes with a phone number
                -- belongs to that number.
                or (
                    j like '%@lid' and s.lid is null
                    and not exists (
                        select from jsonb_array_elements_text(p_event -> 'jids') as o where o not like '%@lid'
                    )
                    and not exists (
                        select from public.session_identities as i where i.tenant_id = p_tenant.id and i.jid = j
                    )
                )
        )
        and p_event ->> 'wa_id' !~ hybridflow.typed_by_hand()
    order by m.late_until is not null, m.send_began_at, m.id limit 1;
    return v_message;
end
$$;

-- If the event shows one of our own sends (see find_own), records that. Returns the decision, or null if
-- somebody else wrote the message.
create or replace function hybridflow.recognise_own(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message public.messages := hybridflow.find_own(p_tenant, p_event);
begin
    if v_message.id is null then
        return null;
    end if;
    perform from public.sessions where id = v_message.session_id for update;
    if not found then
        return hybridflow.recognise_own(p_tenant, p_event, p_policy);  -- erased or merged while we waited
    end if;
    v_message := hybridflow.find_own(p_tenant, p_event);  -- its id may have become known while we waited
    if v_message.id is null then
        return null;
    elsif v_message.wa_id is not null then
        return hybridflow.known_own(p_tenant, v_message, p_event, p_policy);
    end if;
    perform hybridflow.mark_sent(v_message.id, p_event ->> 'wa_id', lower(p_event ->> 'status'), p_policy);
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', v_message.session_id,
        'message_id', v_message.id, 'turn_id', v_message.turn_id
    );
end
$$;

-- Takes an event about a message of our side that is already recorded. Gap repair sees only the message, so
-- it may have recorded an API client's message as the owner's or as a greeting. The client's own event
-- corrects that: the takeover is undone if the client's messages are no takeover, or made now if they are.
create or replace function hybridflow.known_own(
    p_tenant public.tenants, p_message public.messages, p_event jsonb, p_policy jsonb
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn_id bigint := p_message.turn_id;
    v_session public.sessions;
begin
    select * into v_session from public.sessions where id = p_message.session_id;
    if p_event ->> 'origin' = 'send' and p_message.sender in ('owner', 'auto')
        and not hybridflow.is_greeting(p_tenant, v_session, p_message.sent_at)
    then
        update public.messages set sender = 'client' where id = p_message.id;
        if p_message.sender = 'auto' and p_tenant.other_client_takeover
            and p_message.kind not in ('reaction', 'poll_vote')
        then
            perform hybridflow.take_over(
                s, p_tenant, p_policy, p_message.sent_at, p_message.id, 'another client of Evolution wrote'
            )
            from public.sessions as s where s.id = p_message.session_id;
        elsif not p_tenant.other_client_takeover and hybridflow.withdraw_pause(p_message.session_id, p_message.id) then
            v_turn_id := hybridflow.undo_takeover(p_message.session_id, p_message.created_at, p_policy);
        end if;
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', 'own_message', 'session_id', p_message.session_id,
        'message_id', p_message.id, 'turn_id', v_turn_id
    );
end
$$;

-- ==================== 0620_business_messages.sql

-- HybridFlow: records a message, and decides whether a message of the business is a takeover or automatic.

-- Records the event's message in its session, which the caller has locked. p_turn_id is the turn that answers
-- it, or null.
create or replace function hybridflow.insert_message(
    p_session public.sessions, p_event jsonb, p_sender text, p_at timestamptz, p_turn_id bigint
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, media, quoted, author_name,
        expects_reply, status, sent_at, transcript
    )
    values (
        p_session.tenant_id, p_session.id, p_turn_id, p_event ->> 'wa_id', (p_event ->> 'from_me')::boolean,
        p_sender, p_event ->> 'kind', coalesce(p_event ->> 'text', ''),
        nullif(p_event -> 'media', 'null'), nullif(p_event -> 'quoted', 'null'),
        coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'),
        coalesce((p_event ->> 'expects_reply')::boolean, false), lower(p_event ->> 'status'), p_at,
        p_event ->> 'transcript'
    )
    returning id into v_id;
    -- Report the change in one statement with the update, and not by a trigger, because a trigger would
    -- double the cost for each webhook.
    with told as (
        insert into public.changes (tenant_id, session_id, turn_id, kind)
        values (p_session.tenant_id, p_session.id, p_turn_id, 'message')
    )

    update public.sessions
    set last_message_at = greatest(last_message_at, p_at),
        last_contact_at = case when p_sender = 'contact' then greatest(last_contact_at, p_at) else last_contact_at end
    where id = p_session.id;
    if hybridflow.apply_waiting(p_session.tenant_id, v_id, p_event ->> 'wa_id') and p_turn_id is not null then
        perform hybridflow.cancel_deleted_turn(p_turn_id);
    end if;
    return v_id;
end
$$;

-- Whether a message of the business at p_at may be a greeting or away message of WhatsApp Business, or of
-- another client of Evolution's API. It may be one if it came within auto_reply_seconds after any message of
-- the contact, or after our first send into the chat, which also triggers greetings. WhatsApp reports times
-- in whole seconds. It greets again after 14 days of silence. At most the newest hundred messages of that
-- time are read.
create or replace function hybridflow.is_greeting(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz
)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
    v_from timestamptz := p_at - hybridflow.seconds(p_tenant.auto_reply_seconds);
    v_ours timestamptz;
    v_any boolean;
begin
    if p_tenant.auto_reply_seconds = 0 then
        return false;
    elsif p_session.last_contact_at between v_from and p_at then
        return true;
    end if;
    select bool_or(w.sender = 'contact'), min(w.sent_at) filter (where w.sender in ('ai', 'operator'))
    into v_any, v_ours
    from (
        select m.sender, m.sent_at from public.messages as m
        where m.session_id = p_session.id
            and m.sent_at >= date_trunc('second', v_from) and m.sent_at < date_trunc('second', p_at) + interval '1 second'
        order by m.sent_at desc, m.id desc limit 100
    ) as w
    where w.sender <> 'contact' or w.sent_at between v_from and p_at;
    if p_tenant.pruned_before > v_ours - interval '14 days' and p_session.created_at < p_tenant.pruned_before then
        v_ours := null;  -- earlier messages may be pruned: nobody knows whether this was the first
    end if;
    return coalesce(v_any, false) or (v_ours is not null and not exists (
        select from (
            select m.from_me from public.messages as m
            where m.session_id = p_session.id
                and m.sent_at < v_ours and m.sent_at > v_ours - interval '14 days'
            order by m.sent_at desc, m.id desc limit 100
        ) as b
        where b.from_me
    ));
end
$$;

-- A message of the contact, written at p_at, is recorded late. If a message within auto_reply_seconds after
-- it was taken for a human's takeover, it was a greeting: its takeover is undone.
create or replace function hybridflow.judge_greetings_again(
    p_tenant public.tenants, p_session public.sessions, p_at timestamptz, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_greeting record;
    v_since timestamptz;
begin
    if p_tenant.auto_reply_seconds = 0 or p_session.last_human_at is null or p_session.last_human_at < p_at then
        return false;
    end if;
    for v_greeting in
        update public.messages set sender = 'auto'
        where id = any(array(
            select m.id from public.messages as m
            where m.session_id = p_session.id and m.from_me and m.sender in ('owner', 'operator', 'client')
                and m.sent_at between p_at and p_at + hybridflow.seconds(p_tenant.auto_reply_seconds)
            order by m.sent_at desc, m.id desc limit 100
        )) and sender <> 'operator' and kind not in ('reaction', 'poll_vote')
        returning id, created_at
    loop
        if hybridflow.withdraw_pause(p_session.id, v_greeting.id) then
            v_since := v_greeting.created_at;
        end if;
    end loop;
    if v_since is null then
        return false;
    end if;
    perform hybridflow.undo_takeover(p_session.id, v_since, p_policy);
    return true;
end
$$;

-- Decides who on the business's side wrote this, and whether that is a takeover. Returns `sender`, and
-- `takeover`, which is true for a human.
create or replace function hybridflow.judge_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_at timestamptz,
    out sender text, out takeover boolean
)
language plpgsql
stable
set search_path = ''
as $$
begin
    takeover := p_event ->> 'kind' not in ('reaction', 'poll_vote');
    if p_event ->> 'origin' <> 'send' and p_event ->> 'status' = 'PENDING' then
        sender := 'auto';  -- Evolution's own message, such as its reply to a call
        takeover := false;
    elsif hybridflow.is_greeting(p_tenant, p_session, p_at) then
        sender := 'auto';
        takeover := false;
    elsif p_event ->> 'origin' = 'send' then
        sender := 'client';
        takeover := takeover and p_tenant.other_client_takeover;
    else
        sender := 'owner';
    end if;
end
$$;

-- Takes a message from the business's side that is not a send of ours.
create or replace function hybridflow.ingest_business_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_judged record;
    v_message_id bigint;
    v_decision text := 'recorded';
begin
    v_judged := hybridflow.judge_business_message(p_tenant, p_session, p_event, p_at);
    v_message_id := hybridflow.insert_message(p_session, p_event, v_judged.sender, p_at, null);
    if v_judged.takeover then
        v_decision := hybridflow.take_over(
            p_session, p_tenant, p_policy, p_at, v_message_id,
            case v_judged.sender when 'client' then 'another client of Evolution wrote' else 'the owner wrote' end
        );
    elsif v_judged.sender = 'auto' then
        v_decision := 'automatic_reply';
    end if;
    return jsonb_build_object(
        'outcome', 'recorded', 'decision', v_decision, 'sender', v_judged.sender,
        'session_id', p_session.id, 'message_id', v_message_id
    ) || case
        when v_decision = 'takeover' and p_session.phone_jid is null and p_session.last_contact_at is null
            and p_session.lid is not null then '{"stranger": true}'
        else '{}'
    end::jsonb;
end
$$;

-- ==================== 0625_contact_messages.sql

-- HybridFlow: a message of a contact: always recorded, and answered by a turn if it should be.

-- Takes a message of a contact. It is always recorded. A turn answers it, except if the contact belongs to
-- the tenant's staff, the session is paused, the message is hours old, its kind needs no answer, the router
-- marked it as part of a flood, or it shows that two bots talk to each other. In the last case the session is
-- paused.
create or replace function hybridflow.ingest_contact_message(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_paused boolean := p_session.is_paused
        and not hybridflow.end_expired_pause(p_session, p_tenant.resume_after_hours, p_policy);
    -- A reaction or vote on a message of ours may be an answer to it.
    v_expects_reply boolean := coalesce(
        (p_event ->> 'expects_reply')::boolean
        or ((p_event ->> 'about_ours')::boolean and p_event ->> 'kind' = any(p_tenant.answered_kinds)),
        false
    );
    v_decision text := case
        when (p_tenant.notify_number is not null or p_tenant.notify_number_next is not null)
            and hybridflow.is_staff(p_tenant, p_session.id) then 'staff'
        when not p_tenant.is_active then 'tenant_inactive'
        when v_paused then 'paused'
        when 'no-ai' = any(p_session.labels) then 'no_ai'
        when not v_expects_reply or p_event ->> 'kind' = any(p_tenant.unanswered_kinds) then 'no_reply_needed'
        when p_at < v_now - make_interval(secs => 60 * coalesce(
            p_tenant.answer_within_minutes, (p_policy ->> 'answer_within_minutes')::numeric, 60
        )::double precision) then 'too_old'
        when (p_event ->> 'flood')::boolean then 'flood'
        when hybridflow.is_loop(p_tenant, p_session, p_event, p_policy) then 'loop'
        else 'turn_pending'
    end;
    v_debounce numeric := coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2);
    v_cap numeric := coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10);
    v_wait numeric;
    v_turn record;
    v_turn_id bigint;
    v_due_in numeric;
    v_message_id bigint;
    v_relayed boolean;
begin
    if v_decision = 'turn_pending' then
        if p_session.awaited_pictures > 0 then
            v_wait := hybridflow.await_next_picture(p_session, p_event ->> 'kind', v_debounce, v_cap);
        end if;
        if p_session.lid is null then
            v_wait := greatest(v_wait, hybridflow.stranger_wait(p_tenant, p_session, p_at, p_policy));
        end if;
        v_turn := hybridflow.join_turn(
            p_tenant, p_session.id, greatest(v_debounce, v_wait), v_cap, p_event ->> 'correlation_id', v_now
        );
        v_turn_id := v_turn.turn_id;
        v_due_in := extract(epoch from v_turn.due - v_now);
    elsif p_event ->> 'pictures' is not null then
        v_due_in := extract(epoch from hybridflow.await_album(
            p_session, (p_event ->> 'pictures')::integer, p_at, greatest(v_debounce, v_cap)
        ) - v_now);
    end if;
    if p_session.is_paused and not v_paused then
        -- No other code path answers what was written during the pause.
        perform hybridflow.answer_unanswered(p_session.id, p_policy);
    end if;
    if v_decision = 'staff' then
        v_expects_reply := false;  -- so it is not answered after a pause either
    end if;
    if v_expects_reply is distinct from (p_event ->> 'expects_reply')::boolean then  -- rebuilding it is slow
        p_event := p_event || jsonb_build_object('expects_reply', v_expects_reply);
    end if;
    v_message_id := hybridflow.insert_message(p_session, p_event, 'contact', p_at, v_turn_id);
    if p_policy ? 'senses' and v_decision <> 'staff' and coalesce(p_event -> 'media', 'null') <> 'null'
        and (v_decision in ('turn_pending', 'paused') or p_tenant.keep_media_days > 0)
    then
        v_due_in := coalesce(extract(epoch from hybridflow.await_media(
            p_tenant, v_message_id, v_turn_id, p_event || jsonb_build_object('decision', v_decision), p_policy
        ) - v_now), v_due_in);
    end if;
    if v_decision = 'loop' then
        perform hybridflow.pause_for_loop(p_session);
    elsif v_decision = 'staff' then
        v_relayed := nullif(hybridflow.note_staff_words(p_tenant, p_session, p_event, p_at, p_policy), false);
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', v_decision, 'session_id', p_session.id,
        'message_id', v_message_id, 'turn_id', v_turn_id, 'due_in', v_due_in, 'relayed', v_relayed
    ));
end
$$;

-- ==================== 0630_messages.sql

-- HybridFlow: a message from either side: finds its session, and the function that judges it.

-- Whether the event comes from the group in which the tenant's staff get their notices, and quotes something
-- there. Other messages of that group are ignored.
create or replace function hybridflow.answers_a_notice(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event -> 'quoted' ->> 'wa_id' is null then
        return false;
    end if;
    return exists (
        select from jsonb_array_elements_text(p_event -> 'jids') as j
        where j.value = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- Whether the event comes from the chat with the business's own number. WhatsApp may report that chat under
-- the business's own LID (own_lid). An event that reports another chat that way is accepted only if it quotes
-- a message from the chat with the own number.
create or replace function hybridflow.is_to_self(p_tenant public.tenants, p_event jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_event ->> 'chat' = 'self' then
        return true;
    elsif not hybridflow.has_staff(p_tenant) or not coalesce((p_event ->> 'own_lid')::boolean, false) then
        return false;
    end if;
    return exists (
        select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
        inner join public.session_identities as i on i.session_id = m.session_id
        where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    );
end
$$;

-- The owner, on the business's own phone, quoted a notice in the group or in the chat with the business's own
-- number, or wrote a command in that chat: see note_staff_words. Everything else in that chat is a note to
-- oneself.
create or replace function hybridflow.ingest_note_to_self(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb, p_at timestamptz
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_message_id bigint := hybridflow.insert_message(p_session, p_event, 'owner', p_at, null);
    v_relayed boolean := hybridflow.note_staff_words(p_tenant, p_session, p_event, p_at, p_policy);
begin
    return jsonb_strip_nulls(jsonb_build_object(
        'outcome', 'recorded', 'decision', 'staff', 'session_id', p_session.id, 'message_id', v_message_id,
        'relayed', nullif(v_relayed, false)
    ));
end
$$;

-- Takes a message from either side.
create or replace function hybridflow.ingest_message(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_jids text[];
    v_now timestamptz := hybridflow.clock();
    v_at timestamptz := least(coalesce((p_event ->> 'sent_at')::timestamptz, v_now), v_now);
    v_is_self constant boolean := (
        p_event ->> 'chat' = 'self' or coalesce((p_event ->> 'own_lid')::boolean, false)
    ) and hybridflow.is_to_self(p_tenant, p_event);
    v_staff_jid text;
    v_own jsonb;
begin
    if p_event ->> 'chat' = 'group' and not p_tenant.answer_groups
        and not hybridflow.answers_a_notice(p_tenant, p_event)
    then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'group');
    end if;
    if (p_event ->> 'from_me')::boolean then
        v_own := hybridflow.recognise_own(p_tenant, p_event, p_policy);
        if v_own is not null then
            return v_own;
        end if;
    end if;
    if v_is_self then
        v_staff_jid := hybridflow.own_staff_jid(p_tenant, p_event);
        if v_staff_jid is null or (
            p_event -> 'quoted' ->> 'wa_id' is null and not coalesce((p_event ->> 'is_command')::boolean, false)
        ) then
            return jsonb_build_object('outcome', 'ignored', 'decision', 'note_to_self');
        end if;
        v_jids := array[hybridflow.known_as(p_tenant.id, v_staff_jid)];
        p_event := p_event || '{"chat": "contact"}';
    elsif jsonb_array_length(p_event -> 'jids') = 1 then
        v_jids := array[p_event -> 'jids' ->> 0];
    else
        v_jids := array(select jsonb_array_elements_text(p_event -> 'jids'));
    end if;
    v_session := hybridflow.resolve_session(
        p_tenant.id, v_jids, p_event ->> 'chat',
        case when p_event ->> 'chat' = 'contact' and not (p_event ->> 'from_me')::boolean
            then p_event ->> 'author_name' end
    );
    if not v_session.erasure_checked or v_session.erased_before is not null then
        perform hybridflow.refuse_erased(v_session, p_event, v_at);
        if not v_session.erasure_checked then
            v_session := hybridflow.taken_over_meanwhile(p_tenant, v_session, p_event, p_policy);
        end if;
    end if;
    -- As in messages_called, `offset 0` stops the planner from reading all messages of the session instead.
    if exists (
        select from (
            select m.session_id, m.from_me from public.messages as m where m.wa_id = p_event ->> 'wa_id' offset 0
        ) as m
        where m.session_id = v_session.id and m.from_me = (p_event ->> 'from_me')::boolean
    ) then
        return jsonb_build_object('outcome', 'recorded', 'decision', 'known_message', 'session_id', v_session.id);
    elsif v_at <= v_now - interval '1 day' and hybridflow.was_pruned(p_tenant.id, v_at) then
        return jsonb_build_object('outcome', 'ignored', 'decision', 'too_old');  -- store nothing about them
    elsif v_is_self or (
        (p_event ->> 'from_me')::boolean and p_event ->> 'chat' = 'group'
        and hybridflow.answers_a_notice(p_tenant, p_event)
    ) then
        return hybridflow.ingest_note_to_self(p_tenant, v_session, p_event, p_policy, v_at);
    elsif (p_event ->> 'from_me')::boolean then
        return hybridflow.ingest_business_message(p_tenant, v_session, p_event, p_policy, v_at);
    end if;
    if hybridflow.judge_greetings_again(p_tenant, v_session, v_at, p_policy) then
        select * into v_session from public.sessions where id = v_session.id;
    end if;
    return hybridflow.ingest_contact_message(p_tenant, v_session, p_event, p_policy, v_at);
end
$$;

-- ==================== 0640_ingest.sql

-- HybridFlow: the way in. One call takes many events and decides about each of them once.

-- Takes an event that was already recorded. If it is a message that came under a LID first and now comes
-- under a phone number (or the other way round), both belong to one person. They are not joined if the other
-- identity already belongs to somebody, because the sender chooses a message's id, so the id proves nothing
-- about two people. Returns the stored decision, or null if the event was pruned or erased while we waited
-- for the lock.
create or replace function hybridflow.ingest_again(p_tenant public.tenants, p_event jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_decision jsonb;
    v_session public.sessions;
    v_jid text := p_event -> 'jids' ->> 0;
begin
    select decision into v_decision from public.processed_events
    where tenant_id = p_tenant.id and event_key = p_event ->> 'key' for key share;
    if not found then
        return null;
    end if;
    select * into v_session from public.sessions where id = (v_decision ->> 'session_id')::bigint;
    if p_event ->> 'type' = 'message' and v_session.id is not null
        and (
            (v_jid like '%@lid' and v_session.lid is null)
            or (v_jid like '%@s.whatsapp.net' and v_session.phone_jid is null)
        )
    then
        perform hybridflow.learn_other(p_tenant.id, v_session.id, v_jid);
    end if;
    return coalesce(v_decision, '{"outcome": "recorded"}') || '{"duplicate": true}';
end
$$;

-- Whether an event is older than the events that processed_events remembers (7 days), so that it cannot be
-- told from a repetition. A message has its own time (sent_at), which is used instead.
create or replace function hybridflow.is_forgotten(p_event jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_event ->> 'sent_at' is null
        and coalesce((p_event ->> 'made_at')::timestamptz < hybridflow.clock() - interval '6 days', false)
$$;

-- Raises PT422 and names what the event lacks: a key that every event needs, or one that its type needs.
-- Called only if something is missing.
create or replace function hybridflow.refuse_event(p_event jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('an event', p_event, '{instance,event,type,key}');
    perform hybridflow.require_keys(format('an event of the type %s', p_event ->> 'type'), p_event, case
        p_event ->> 'type'
        when 'message' then array['wa_id', 'from_me', 'chat', 'jids', 'kind']
        when 'edit' then array['wa_id', 'text']
        when 'delete' then array['wa_id']
        when 'status' then array['wa_id', 'status']
        when 'connection' then array['state']
        else '{}'
    end);
    raise exception 'an event needs "jids": it must name somebody' using errcode = 'PT422';
end
$$;

-- Takes one event: makes the decision, and stores it with the event in one write at the end. If two calls
-- take the same event at the same moment, the second one waits at that write for the first one, and then
-- raises PT412: ingest_events undoes its work and takes the event again.
create or replace function hybridflow.ingest_event(p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_known record;
    v_decision jsonb;
    v_change jsonb;
begin
    if num_nulls(p_event ->> 'instance', p_event ->> 'event', p_event ->> 'type', p_event ->> 'key') > 0
        or (case p_event ->> 'type'
            when 'message' then num_nulls(
                p_event ->> 'wa_id', p_event ->> 'from_me', p_event ->> 'chat', p_event -> 'jids' ->> 0,
                p_event ->> 'kind'
            )
            when 'edit' then num_nulls(p_event ->> 'wa_id', p_event ->> 'text')
            when 'delete' then num_nulls(p_event ->> 'wa_id')
            when 'status' then num_nulls(p_event ->> 'wa_id', p_event ->> 'status')
            when 'connection' then num_nulls(p_event ->> 'state')
            else 0
        end) > 0
    then
        perform hybridflow.refuse_event(p_event);
    end if;
    if pg_column_size(p_event) > 1000 then
        p_event := hybridflow.cut_fields(p_event);
    end if;
    select
        t as tenant,
        exists (
            select from public.processed_events as e where e.tenant_id = t.id and e.event_key = p_event ->> 'key'
        ) as event
    into v_known from public.tenants as t where t.instance_name = p_event ->> 'instance';
    if not found then
        return '{"outcome": "unknown_instance"}';
    elsif p_event ->> 'sent_at' is null and hybridflow.is_forgotten(p_event) then
        return '{"outcome": "ignored", "decision": "too_old"}';
    elsif v_known.event then
        v_decision := hybridflow.ingest_again(v_known.tenant, p_event);
        if v_decision is not null then
            return v_decision;
        end if;
    end if;

    v_decision := case p_event ->> 'type'
        when 'message' then hybridflow.ingest_message(v_known.tenant, p_event, p_policy)
        when 'edit' then hybridflow.ingest_change(v_known.tenant, p_event, p_policy)
        when 'delete' then hybridflow.ingest_change(v_known.tenant, p_event, p_policy)
        when 'status' then hybridflow.ingest_status(v_known.tenant, p_event, p_policy)
        when 'probe' then '{"outcome": "ignored", "decision": "probe"}'
        else hybridflow.ingest_connection(v_known.tenant, p_event)
    end || jsonb_build_object('tenant_id', (v_known.tenant).id);
    if v_decision ? 'change' then
        v_change := v_decision -> 'change';
        v_decision := v_decision - 'change';
    end if;
    insert into public.processed_events (tenant_id, event_key, event, decision, waiting_for, change)
    values (
        (v_known.tenant).id, p_event ->> 'key',
        -- An event that gap repair fetched did not come by a webhook.
        case when p_event ? 'fetched' then 'gap_repair' else p_event ->> 'event' end,
        v_decision, case when v_change ? 'type' then p_event ->> 'wa_id' end, v_change
    )
    on conflict do nothing;
    if not found then
        raise exception 'the same event was taken at the same moment' using errcode = 'PT412';
    end if;
    return v_decision;
end
$$;

-- ingest_events({events: [{instance, event, type, key, wa_id?, from_me?, chat?, jids?: [jid], kind?, text?,
-- expects_reply?, about_ours?, pictures?, is_command?, own_lid?, media?, transcript?, carried?, quoted?,
-- origin?, status?, telling?, author_name?, participant_name?, sent_at?, edited_at?, made_at?, code?,
-- pairing_code?, state?, reason?, owner_jid?, correlation_id?, hashes?: [hash], flood?, fetched?}], policy,
-- patience_ms?, at_most_ms?})
-- Takes any number of webhook events of any tenants in one transaction. For each event it recognises
-- duplicates, finds the session, records the message, judges takeover, and makes or moves the turn. Returns
-- {decisions: [{outcome, decision?, tenant_id?, session_id?, message_id?, turn_id?, due_in?, sender?, state?,
-- reconnected?, stranger?, relayed?, duplicate?, code?, constraint?, detail?, error?}]} in the order of the
-- events. `stranger`: a human wrote to a LID that nobody knows. `relayed`: one of the staff quoted a notice,
-- see note_staff_words.
-- A bad event does not affect the others: {outcome: 'failed', code, constraint}, without the database's error
-- text. An event that lacks a key that its type needs (see refuse_event) has the code PT422 and an `error`
-- that names the key. The decision is stored: the same event again gets the same answer with `duplicate`. If
-- no tenant has the instance, the answer is {outcome: 'unknown_instance'}, and nothing is stored. `hashes` of
-- an event stand for its contact. What an erased contact wrote before the erasure is {outcome: 'ignored',
-- decision: 'erased'}, and nothing of it is stored.
--
-- A caller with many events also gives patience_ms: the longest wait for a lock. After the first wait that
-- fails, later waits are only 1 ms. An event that got no lock is {outcome: 'busy'}: nothing was done for it,
-- nor for later events of the same contact, and the caller sends them again. So a call that holds the locks
-- of some contacts never keeps waiting for another lock: two calls cannot block each other (PostgreSQL would
-- look for a deadlock only after a second), and a contact whose session is locked does not delay the messages
-- of others. Such a call also ends after at_most_ms (3 seconds by default). Events that are not decided by
-- then are busy, too, except the first one, so that each call makes progress. Decisions that were made are
-- kept, because the call ends long before its caller gives up.
create or replace function public.ingest_events(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_events jsonb := p -> 'events';
    v_places integer[] := '{1}';
    v_place integer;
    v_event jsonb;
    v_busy text;
    v_constraint text;
    v_ends timestamptz;
    v_decided integer := 0;
    v_is_erased boolean;
    v_decisions jsonb[];
begin
    if jsonb_typeof(p -> 'events') is distinct from 'array'
        or jsonb_typeof(p -> 'policy') is distinct from 'object'
    then
        perform hybridflow.require_keys('ingest_events', p, '{events,policy}');
        raise exception 'ingest_events needs "events", a list, and "policy", an object'
            using errcode = 'PT422';
    end if;
    v_decisions := array_fill(null::jsonb, array[jsonb_array_length(v_events)]);
    if p ->> 'patience_ms' is not null then
        perform set_config('lock_timeout', p ->> 'patience_ms', true);
        v_ends := clock_timestamp() + coalesce((p ->> 'at_most_ms')::integer, 3000) * interval '1 ms';
    end if;
    if jsonb_array_length(v_events) <> 1 then
        v_places := array(
            select c.place
            from (
                select
                    e.place, e.event ->> 'instance' as instance, e.event -> 'jids' ->> 0 as jid,
                    -- A caller that waits for no lock needs no order of locks. Sorted by name, the contacts
                    -- late in the alphabet would always be the ones left over when time runs out.
                    case when v_ends is not null then min(e.place) over (
                        partition by e.event ->> 'instance', e.event -> 'jids' ->> 0
                    ) end as first_place
                from jsonb_array_elements(v_events) with ordinality as e (event, place)
            ) as c
            order by c.first_place, c.instance, c.jid, c.place
        );
    end if;
    foreach v_place in array v_places loop
        v_event := v_events -> (v_place - 1);
        if v_busy = concat(v_event ->> 'instance', '/', v_event -> 'jids' ->> 0)
            or (v_decided > 0 and clock_timestamp() >= v_ends)
        then
            v_decisions[v_place] := '{"outcome": "busy"}';
            continue;
        end if;
        v_decided := v_decided + 1;
        v_is_erased := false;
        loop
            begin
                v_decisions[v_place] := case
                    when v_is_erased then hybridflow.note_who_wrote_meanwhile(v_event, p -> 'policy')
                    else hybridflow.ingest_event(v_event, p -> 'policy')
                end;
                exit;
            exception
                when sqlstate 'PT412' then
                    continue;
                when deadlock_detected then
                    raise;
                when lock_not_available then
                    v_decisions[v_place] := '{"outcome": "busy"}';
                    v_busy := concat(v_event ->> 'instance', '/', v_event -> 'jids' ->> 0);
                    perform set_config('lock_timeout', '1', true);
                when sqlstate 'PT410' then
                    v_is_erased := true;
                    continue;
                when sqlstate 'PT422' then  -- its error text is our own
                    v_decisions[v_place] := jsonb_build_object(
                        'outcome', 'failed', 'code', sqlstate, 'constraint', '', 'detail', '',
                        'error', sqlerrm
                    );
                when others then
                    get stacked diagnostics v_constraint = constraint_name;
                    v_decisions[v_place] := jsonb_build_object(
                        'outcome', 'failed', 'code', sqlstate, 'constraint', v_constraint,
                        'detail', ''  -- routers of 0.1.0 read it
                    );
            end;
            exit;
        end loop;
    end loop;
    return jsonb_build_object('decisions', to_jsonb(v_decisions));
end
$$;

-- ==================== 0650_delivery.sql

-- HybridFlow: what WhatsApp reports about our replies later: delivered, or (status `error`) never.
--
-- Evolution answers that it accepted a message before WhatsApp has accepted it. A refusal (463 on Baileys,
-- FAILED on the Cloud channel) comes later, as a delivery state. States come in any order.

comment on column public.messages.failed_at is
'When WhatsApp reported that it did not deliver this part of a reply; null: it delivered it, or has'
' reported nothing yet.';
comment on column public.messages.failed_since is
'The failed_at of the first of the replies, to any contacts, that failed in a row with this one.';
comment on column public.messages.error_code is
'WhatsApp''s error code for a failed delivery, if Evolution passes it on.';
comment on column public.messages.undelivered_turns is
'On a contact''s message: the turns whose reply to it was not delivered, so that another turn answers it.';

create index if not exists messages_failed
on public.messages (tenant_id, failed_at desc, id desc) where failed_at is not null;

-- Stores in the turn how many parts of its reply were not delivered.
create or replace function hybridflow.count_failed_parts(p_turn_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.turns as t
    set undelivered = c.failed,
        error_kind = case
            when c.failed > 0 then 'undelivered' when t.error_kind <> 'undelivered' then t.error_kind
        end,
        error = case
            when c.failed > 0 then
                format('WhatsApp did not deliver %s of %s messages of the reply', c.failed, c.parts)
                || coalesce(' (' || c.codes || ')', '')
            when t.error_kind <> 'undelivered' then t.error
        end,
        updated_at = hybridflow.clock()
    from (
        select count(*) filter (where m.failed_at is not null) as failed, count(*) as parts,
            string_agg(distinct m.error_code, ', ') filter (where m.failed_at is not null) as codes
        from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and m.send_state = 'sent'
    ) as c
    where t.id = p_turn_id
$$;

-- WhatsApp reported that it did not deliver this part of a reply. The caller has locked the session.
-- `answer_since` in p_change: messages of the contact from before that time are too old to be answered again.
create or replace function hybridflow.note_failure(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
    v_since timestamptz;
begin
    select * into v_message from public.messages where id = p_message_id;
    if not v_message.from_me or v_message.turn_id is null then
        return;
    end if;
    select f.since into v_since from hybridflow.failed_in_a_row(v_message.tenant_id) as f;
    update public.messages
    set failed_at = v_now, failed_since = coalesce(v_since, v_now), error_code = left(p_change ->> 'code', 20)
    where id = v_message.id;
    perform hybridflow.count_failed_parts(v_message.turn_id);
    perform hybridflow.notice_undelivered(v_message.tenant_id);
    perform hybridflow.answer_undelivered(
        v_message.turn_id, coalesce((p_change ->> 'answer_since')::timestamptz, '-infinity')
    );
end
$$;

-- A part of a reply arrived although WhatsApp had reported that it did not. The caller has locked the
-- session.
create or replace function hybridflow.take_back_failure(p_message public.messages)
returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.messages set failed_at = null, failed_since = null, error_code = null
    where id = p_message.id;
    perform hybridflow.count_failed_parts(p_message.turn_id);
    perform hybridflow.call_off_answer(p_message.turn_id, p_message.session_id);
    if (select f.replies from hybridflow.failed_in_a_row(p_message.tenant_id) as f)
        < hybridflow.many_in_a_row()
    then
        perform hybridflow.drop_notices(p_message.tenant_id, array['undelivered'], 'recovered');
    end if;
end
$$;

-- Applies a delivery state to a message. The caller has locked the session.
create or replace function hybridflow.change_status(p_message_id bigint, p_change jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before public.messages;
    v_status text := lower(p_change ->> 'status');
begin
    select * into v_before from public.messages where id = p_message_id for update;
    if v_status is not distinct from v_before.status
        or hybridflow.later_status(v_before.status, v_status) is distinct from v_status
    then
        return;
    end if;
    update public.messages set status = v_status where id = p_message_id;
    if v_status = 'error' then
        perform hybridflow.note_failure(p_message_id, p_change);
    elsif v_before.failed_at is not null then
        perform hybridflow.take_back_failure(v_before);
    end if;
end
$$;

-- Takes an event with a delivery state. A message that is now too old to be answered is not answered again
-- either.
create or replace function hybridflow.ingest_status(p_tenant public.tenants, p_event jsonb, p_policy jsonb)
returns jsonb
language sql
set search_path = ''
as $$
    select hybridflow.ingest_change(p_tenant, p_event || jsonb_build_object(
        'answer_since', hybridflow.clock() - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
    ), p_policy)
$$;

-- ==================== 0653_answered_again.sql

-- HybridFlow: if no part of a reply arrived, and none can arrive any more, the reply counts as not sent: its
-- messages are answered again, a few times.

-- Whether the message may arrive if it is sent again. Of the Cloud API's codes (five digits and more), only
-- those that name a temporary problem (its own fault, or a rate limit) say so; others, such as 131026 and
-- 131047, are final. WhatsApp's own code 463 may pass: it asks for a token that comes when the contact is
-- active again.
create or replace function hybridflow.may_pass(p_error_code text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(
        length(p_error_code) < 5
        or p_error_code in ('80007', '130429', '131000', '131016', '131056', '131057'), true
    )
$$;

-- Whether a part of the turn's reply is on the contact's phone or may be on its way there: it left and
-- WhatsApp has not reported a failure, or nobody knows yet how its send ended.
create or replace function hybridflow.may_have_arrived(p_turn_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.messages as m
        where m.turn_id = p_turn_id and m.from_me and (
            m.send_state in ('sending', 'unknown')
            or (m.send_state = 'sent' and m.status is distinct from 'error')
        )
    )
$$;

-- Returns the contact's messages of the turn that are worth answering again: they were sent since p_since,
-- nobody of the business wrote after them, and they were answered again in vain fewer than two times. Two
-- repetitions are enough to get past a temporary refusal; a restricted number stays restricted for longer the
-- more it tries.
create or replace function hybridflow.messages_to_answer_again(p_turn public.turns, p_since timestamptz)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    with last_human as materialized (
        select h.sent_at, h.id
        from public.messages as h
        inner join public.tenants as t on t.id = h.tenant_id
        where h.session_id = p_turn.session_id and h.from_me and h.sender in ('owner', 'operator', 'client')
            and (h.sender <> 'client' or t.other_client_takeover) and h.kind <> 'reaction'
        order by h.sent_at desc, h.id desc limit 1
    )

    select array_agg(m.id)
    from public.messages as m
    where m.turn_id = p_turn.id and not m.from_me and m.expects_reply and m.deleted_at is null
        and m.sent_at >= p_since and cardinality(m.undelivered_turns) < 2
        and not exists (select from last_human as h where (h.sent_at, h.id) > (m.sent_at, m.id))
$$;

-- The turn is over and no part of its reply arrived. Its messages move to another turn, which is due in five
-- seconds, so that a delivery state that comes late can still call it off. Does nothing if another answer
-- cannot help, or is not ours to give. The caller has locked the session.
create or replace function hybridflow.answer_undelivered(p_turn_id bigint, p_since timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_wait constant numeric := 5;
    v_turn public.turns;
    v_tenant public.tenants;
    v_ids bigint[];
    v_next_id bigint;
begin
    select * into v_turn from public.turns where id = p_turn_id;
    if v_turn.state <> 'sent' or v_turn.undelivered = 0 or hybridflow.may_have_arrived(v_turn.id)
        or exists (
            select from public.messages as m
            where m.turn_id = v_turn.id and m.from_me and not hybridflow.may_pass(m.error_code)
        )
        or (select s.is_paused from public.sessions as s where s.id = v_turn.session_id)
        or (select f.replies from hybridflow.failed_in_a_row(v_turn.tenant_id) as f)
            >= hybridflow.many_in_a_row()
    then
        return;
    end if;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    v_ids := hybridflow.messages_to_answer_again(v_turn, p_since);
    if v_ids is null or not v_tenant.is_active or hybridflow.is_without_ai(v_turn.session_id) then
        return;
    end if;
    v_next_id := (hybridflow.join_turn(
        v_tenant, v_turn.session_id, v_wait, v_wait, v_turn.correlation_id, hybridflow.clock()
    )).turn_id;
    update public.messages
    set turn_id = v_next_id, undelivered_turns = undelivered_turns || v_turn.id
    where id = any(v_ids);
end
$$;

-- A part of the turn's reply arrived after all. The turn that was to answer its messages again is called off,
-- unless it has already said something. The caller has locked the session.
create or replace function hybridflow.call_off_answer(p_turn_id bigint, p_session_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_next public.turns;
begin
    for v_next in
        select * from public.turns
        where id in (
            select w.id from public.turns as w where w.session_id = p_session_id and w.waiting
            union all
            select h.id from hybridflow.held_turns(p_session_id) as h where h.state = 'running'
        ) and state in ('pending', 'running')
        order by id for update
    loop
        update public.messages
        set turn_id = p_turn_id, undelivered_turns = array_remove(undelivered_turns, p_turn_id)
        where turn_id = v_next.id and not from_me and p_turn_id = any(undelivered_turns);
        if found and not exists (
            select from public.messages
            where turn_id = v_next.id and not from_me and deleted_at is null
        ) then
            perform hybridflow.close_turn(v_next.id, 'cancelled', 'delivered');
        end if;
    end loop;
end
$$;

-- A turn ended, and a part of its reply had failed before that (a flow in n8n reports later that it is done).
-- If the turn ends without its session's lock (its flow died) and another transaction holds that lock,
-- nothing is done.
create or replace function hybridflow.look_at_ended_turn()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.state <> 'sent' or old.state = 'sent' or new.reason is not distinct from 'handoff' then
        return null;
    end if;
    perform from public.sessions where id = new.session_id for update skip locked;
    if found then
        perform hybridflow.answer_undelivered(new.id, '-infinity');
    end if;
    return null;
end
$$;

create or replace trigger turns_undelivered
after update of state on public.turns
for each row
when (new.undelivered > 0)
execute function hybridflow.look_at_ended_turn();

-- ==================== 0656_failures_in_a_row.sql

-- HybridFlow: if many replies fail in a row, the line itself may be the problem: people are told.

create index if not exists notices_undelivered
on public.notices (tenant_id, id desc) where kind = 'undelivered';
create index if not exists notices_flow_failing
on public.notices (tenant_id, id desc) where kind = 'flow_failing';

-- The tenant's latest replies that failed in a row, to any contacts: how many, to how many contacts (of the
-- last 100), when the first one and when the last one. None (0) if a reply that was sent after them was
-- delivered.
create or replace function hybridflow.failed_in_a_row(
    p_tenant_id bigint,
    out replies integer, out contacts integer, out since timestamptz, out last_at timestamptz
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_last public.messages;
begin
    replies := 0;
    contacts := 0;
    select * into v_last from public.messages as m
    where m.tenant_id = p_tenant_id and m.failed_at is not null
    order by m.failed_at desc, m.id desc limit 1;
    if v_last.id is null or exists (
        select from public.messages as m
        where m.tenant_id = p_tenant_id and m.created_at >= v_last.created_at and m.id > v_last.id
            and m.from_me and m.turn_id is not null and hybridflow.was_delivered(m.status)
    ) then
        return;
    end if;
    since := v_last.failed_since;
    last_at := v_last.failed_at;
    select count(*), count(distinct f.session_id) into replies, contacts from (
        select m.session_id from public.messages as m
        where m.tenant_id = p_tenant_id and m.failed_at is not null and m.failed_at >= v_last.failed_since
        order by m.failed_at desc, m.id desc limit 100
    ) as f;
end
$$;

-- The number of failed replies in a row that casts doubt on the line itself, not only on one contact. From
-- then on people are told, and nothing is answered again until a reply arrives. It is three: one contact's
-- reply and both of its repetitions.
create or replace function hybridflow.many_in_a_row()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 3
$$;

-- Tells the people of the business, once, that so many replies have failed in a row. The notice waits twenty
-- seconds, because the problem may be over by then.
create or replace function hybridflow.notice_undelivered(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_row record;
begin
    select * into v_row from hybridflow.failed_in_a_row(p_tenant_id);
    if v_row.replies < hybridflow.many_in_a_row()
        or v_row.since = (
            select (n.facts ->> 'since')::timestamptz from public.notices as n
            where n.tenant_id = p_tenant_id and n.kind = 'undelivered' and n.reason is distinct from 'recovered'
                and n.facts ? 'since'  -- without `since` it tells of a part that was given up
            order by n.id desc limit 1
        )
        or not pg_try_advisory_xact_lock(hashtextextended('undelivered:' || p_tenant_id, 0))
    then
        return;  -- too few, already told, or another transaction is telling it
    end if;
    perform hybridflow.make_notice(
        p_tenant_id, 'undelivered', null, jsonb_build_object(
            'replies', v_row.replies, 'contacts', v_row.contacts, 'since', v_row.since
        ),
        hybridflow.clock() + interval '20 seconds'
    );
end
$$;

-- The failures in a row, as the API and notices show them; null if there are none.
create or replace function hybridflow.failures_json(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(f) from hybridflow.failed_in_a_row(p_tenant_id) as f where f.replies > 0
$$;

-- count_undelivered({})
-- For the health check: the number of tenants that have too many failed replies in a row (many_in_a_row), the
-- last one within a day. Returns {tenants}.
create or replace function public.count_undelivered(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_after timestamptz := hybridflow.clock() - interval '1 day';
    v_ids bigint[] := array(
        select l.tenant_id from public.tenants as t
        cross join lateral (
            select m.tenant_id from public.messages as m
            where m.tenant_id = t.id and m.failed_at is not null and m.failed_at > v_after
            limit 1
        ) as l
    );
begin
    return jsonb_build_object('tenants', (
        select count(*) from unnest(v_ids) as i
        cross join lateral hybridflow.failed_in_a_row(i) as f
        where f.replies >= hybridflow.many_in_a_row()
    ));
end
$$;

-- ==================== 0660_media.sql

-- HybridFlow: puts into words what a contact sent as media, while the turn that answers it waits.
--
-- A job is made in the transaction that records its message. The turn waits for its jobs, up to a limit.
-- Media that is not in words by then is reported to the LLM as not heard. Words that come later are in the
-- history. They cause a second turn only if the tenant wants that (answer_late_words).

alter table public.turns
add column if not exists due_when_heard timestamptz;
comment on column public.turns.due_when_heard is
'When the turn is due once its media is in words. Null: it does not wait for media.';

-- A message with media of a contact was recorded. If the router can put its kind into words (the kind is in
-- p_policy's `senses`), makes a job for it. The turn that answers the message waits for the job for up to
-- media_wait_seconds, and no longer than that after its debounce must end. Returns when the turn is due, or
-- null if it does not wait. If files are kept (the policy's `keeps_files` and the tenant's keep_media_days),
-- a job is made in any case.
create or replace function hybridflow.await_media(
    p_tenant public.tenants, p_message_id bigint, p_turn_id bigint, p_event jsonb, p_policy jsonb
)
returns timestamptz
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_wait interval := hybridflow.seconds(
        hybridflow.rule(p_tenant.media_wait_seconds, p_policy, 'media_wait_seconds', 20)
    );
    v_due timestamptz;
    v_understood boolean := coalesce(p_policy -> 'senses' ? (p_event ->> 'kind'), false)
        and p_tenant.understand_media and p_event ->> 'transcript' is null
        and p_event ->> 'decision' in ('turn_pending', 'paused');
begin
    if nullif(p_event -> 'media', 'null') is null or p_event -> 'media' ->> 'too_large' is not null
        or exists (select from public.messages as m where m.id = p_message_id and m.deleted_at is not null)
        or not (v_understood or (
            coalesce((p_policy ->> 'keeps_files')::boolean, false) and p_tenant.keep_media_days > 0
        ))
    then
        return null;
    end if;
    insert into public.media_jobs (tenant_id, message_id, keep_only, next_at)
    values (
        p_tenant.id, p_message_id, not v_understood,
        -- Media that came inside the webhook is stored soon, but by another call: see give_media.
        case when (p_event ->> 'carried')::boolean then v_now + interval '30 seconds' else v_now end
    );
    if not v_understood then
        return null;
    end if;
    update public.turns
    set due_when_heard = coalesce(due_when_heard, run_after),
        run_after = greatest(run_after, least(v_now + v_wait, debounce_until + v_wait)), updated_at = v_now
    where id = p_turn_id and waiting
    returning run_after into v_due;
    return v_due;
end
$$;

-- A media job of the turn has ended, or its message was deleted. If the turn waits for no other job, it is
-- due at the time that its debounce says. Returns in how many seconds, or null if it still waits or did not
-- wait. The caller has locked the session.
create or replace function hybridflow.heard(p_turn_id bigint)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_due timestamptz;
begin
    update public.turns
    set run_after = greatest(due_when_heard, v_now), due_when_heard = null, updated_at = v_now
    where id = p_turn_id and waiting and due_when_heard is not null and not exists (
        select from public.messages as m
        inner join public.media_jobs as j on j.message_id = m.id
        where m.turn_id = p_turn_id and not m.from_me and m.deleted_at is null
            and j.waiting and not j.keep_only
    )
    returning run_after into v_due;
    return extract(epoch from v_due - v_now);
end
$$;

-- The contact deleted the message of this media: nobody is asked any more what it contains, and nothing of it
-- is kept. An attempt that is running goes on, because it may already cost something, but it stores nothing:
-- see finish_media_job.
create or replace function hybridflow.forget_media(p_message_id bigint)
returns void
language sql
set search_path = ''
as $$
    update public.media_jobs
    set state = case when lease_until is null and waiting then 'failed' else state end,
        error = case when lease_until is null and waiting then 'it was deleted by who sent it' else error end,
        finished_at = case when lease_until is null and waiting then hybridflow.clock() else finished_at end,
        waits_for = case when lease_until is null then null else waits_for end,
        pictures = null, pictures_until = null, content = null, updated_at = hybridflow.clock()
    where message_id = p_message_id
$$;

-- ==================== 0660_media_claims.sql

-- HybridFlow: workers claim media jobs, in rounds over the tenants.

-- Returns what a worker needs for the job, including its token.
create or replace function hybridflow.media_job_context(p_job public.media_jobs, p_token uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'job_id', p_job.id, 'token', p_token, 'attempt', p_job.attempt, 'message_id', m.id,
        'session_id', m.session_id, 'wa_id', m.wa_id, 'kind', m.kind,
        'seconds', m.media -> 'seconds', 'bytes', m.media -> 'bytes',
        'language', t.speech_language, 'has_content', p_job.content is not null,
        'keeps', t.keep_media_days > 0, 'keep_only', p_job.keep_only,
        'tenant_id', t.id, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url,
        'evo_api_key', t.evo_api_key
    )
    from public.messages as m
    inner join public.tenants as t on t.id = m.tenant_id
    where m.id = p_job.message_id
$$;

-- Returns the contexts of jobs that were just claimed. All are built in one query. If that fails, each one is
-- built alone, and a job whose context fails is not given out; once its attempts are used up, the job fails
-- with that error.
create or replace function hybridflow.media_job_contexts(p_ids bigint[], p_tokens uuid[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.media_job_context(j, c.token) order by j.id) into v_contexts
        from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.media_jobs as j on j.id = c.id;
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_claim in
        select j as job, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.media_jobs as j on j.id = c.id
        order by j.id
    loop
        begin
            v_contexts := v_contexts || hybridflow.media_job_context(v_claim.job, v_claim.token);
        exception
            when others then
                update public.media_jobs set error = 'what is to be heard could not be read: SQLSTATE ' || sqlstate
                where id = (v_claim.job).id;
        end;
    end loop;
    return v_contexts;
end
$$;

-- Returns the next tenants, in rounds, that have a due job and room for it. It works like next_to_tell; see
-- there.
create or replace function hybridflow.next_to_hear(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
    v_next record;
    v_from_start boolean := false;
begin
    select array_agg(d.tenant_id), count(*) < c_few into tenants, is_whole from (
        select j.tenant_id from public.media_jobs as j
        where j.waiting and j.attempt >= 0 and j.next_at <= p_now
        order by j.next_at limit c_few
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        last := p_after;
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select j.tenant_id, j.next_at into v_next from public.media_jobs as j
        where j.waiting and j.tenant_id > last
        order by j.tenant_id, j.next_at limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select j.tenant_id, j.next_at into v_next from public.media_jobs as j
            where j.waiting
            order by j.tenant_id, j.next_at limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.next_at <= p_now and v_next.tenant_id <> all(p_full) then
            tenants := tenants || v_next.tenant_id;
            is_whole := cardinality(tenants) < p_enough;
            exit when not is_whole;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

-- Returns the due jobs in their order. There are more than p_limit, because some may be locked. It works like
-- claimable_notices.
create or replace function hybridflow.claimable_media_jobs(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (job_id bigint, place bigint, was_cut boolean)
language sql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.id, r.place, r.was_cut
    from (
        select
            d.id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.own + d.place, w.nth, d.id) as place,
            w.own + d.place - 1 as has
        from (
            select
                a.tenant_id, a.nth, coalesce((p -> 'own' ->> a.tenant_id::text)::integer, 0) as own,
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_for(a.tenant_id, null, p_limit, p)) as room
            from unnest(p_tenants) with ordinality as a (tenant_id, nth)
        ) as w
        cross join lateral (
            select f.id, row_number() over (order by f.next_at, f.id) as place
            from (
                select j.id, j.next_at from public.media_jobs as j
                where j.tenant_id = w.tenant_id and j.waiting and j.next_at <= p_now
                order by j.next_at limit least(w.enough, w.room)
            ) as f
        ) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- claim_media_jobs({limit, lease_seconds, max_attempts, after_tenant?, tenant_max?, own?: {<tenant_id>:
-- jobs}, own_max?, sitting?: {<tenant_id>: jobs}, own_times?})
-- Gives out due jobs, each with a token that is valid for lease_seconds. After that the job is due again, or
-- has failed if it was given out max_attempts times. The tenants take turns, starting with those after
-- after_tenant. The limits for one tenant (tenant_max, own, own_max, sitting, own_times) are the same as for
-- claim_turns. Never waits for a lock. Returns {jobs: [{job_id, token, attempt, message_id, session_id,
-- wa_id, kind, seconds, bytes, language, has_content, keeps, keep_only, tenant_id, instance_name,
-- evo_server_url, evo_api_key}], now, after_tenant, more, next_due_at}, as claim_turns does.
create or replace function public.claim_media_jobs(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_round record;
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_tokens uuid[];
    v_claimed bigint[];
    v_last bigint;
begin
    perform hybridflow.require_keys('claim_media_jobs', p, '{limit,lease_seconds,max_attempts}');
    update public.media_jobs set pictures = null, pictures_until = null
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.pictures_until <= v_now
        order by j.pictures_until limit 20 for update skip locked
    ));
    v_round := hybridflow.next_to_hear(v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 100), array(
        select o.key::bigint from jsonb_each_text(nullif(p -> 'own', 'null')) as o
        where hybridflow.room_for(o.key::bigint, null, v_limit, p) = 0
    ));
    select coalesce(array_agg(f.job_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_media_jobs(v_round.tenants, v_now, v_limit, p) as f;
    v_ids := array(
        select j.id
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.media_jobs as j on j.id = f.id
        where j.state = 'pending' and j.next_at <= v_now
        order by f.place limit v_limit for update of j skip locked
    );
    update public.media_jobs
    set state = 'failed', lease_until = null, finished_at = v_now, updated_at = v_now, content = null,
        waits_for = null, error = coalesce(error, 'every attempt ended without a word: the lease ran out each time')
    where id = any(v_ids) and attempt >= (p ->> 'max_attempts')::integer;

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
    ),

    claimed as (
        update public.media_jobs as j
        set attempt = j.attempt + 1, token_hash = hybridflow.hash_token(f.token), updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            next_at = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        from fresh as f
        where j.id = f.id and j.state = 'pending'
        returning j.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select o.tenant_id from public.media_jobs as o where o.id = any(v_ids))
    order by n.nth desc limit 1;
    return jsonb_build_object(
        'jobs', hybridflow.media_job_contexts(v_claimed, v_tokens),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', cardinality(v_ids) = v_limit or v_more or not v_round.is_whole,
        'next_due_at', case
            when cardinality(v_ids) < least(v_limit, cardinality(v_offered)) then v_now
            else (
                select j.next_at from public.media_jobs as j
                where j.waiting and j.attempt >= 0 and j.next_at > v_now
                order by j.next_at limit 1
            )
        end
    );
end
$$;

-- ==================== 0661_media_jobs.sql

-- HybridFlow: a media job while it is worked on, and its end: what it costs, waiting for services, success,
-- failure.

-- Returns the job that p names, with its message and its session, all locked (the session first). `refused`
-- says why p.token may not act on the job: 'stale' (it was given out again, or deleted with its message) or
-- 'superseded' (it is closed).
create or replace function hybridflow.hold_media_job(
    p jsonb, out job public.media_jobs, out message public.messages, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
begin
    loop
        perform from public.sessions as s
        inner join public.messages as m on m.session_id = s.id
        inner join public.media_jobs as j on j.message_id = m.id
        where j.id = (p ->> 'job_id')::bigint
        for update of s;
        -- If the job exists but was not found, its session was merged while we waited: look again.
        exit when found or not exists (
            select from public.media_jobs as j where j.id = (p ->> 'job_id')::bigint
        );
    end loop;
    select * into job from public.media_jobs where id = (p ->> 'job_id')::bigint for update;
    if job.id is null or job.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        refused := '{"refused": "stale"}';
        return;
    elsif job.state <> 'pending' then
        refused := '{"refused": "superseded"}';
        return;
    end if;
    select * into message from public.messages where id = job.message_id for update;
end
$$;

-- Returns the name, as in waits_for, of what a media job needs. 'line' becomes the line of its tenant, for
-- which turns wait, too.
create or replace function hybridflow.sense_of(p_tenant_id bigint, p_name text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_name = 'line' then hybridflow.line_of(p_tenant_id) else p_name end
$$;

-- What media jobs were waiting for works again. The newest jobs that wait for it are due at once; some more
-- of the others follow each time it works. A job that fails with it again uses up an attempt: see
-- fail_media_job.
create or replace function hybridflow.senses_are_back(p_waits_for text)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_ids bigint[] := array(
        select j.id from public.media_jobs as j
        where j.waits_for is not null and j.waits_for = p_waits_for
        order by j.id desc limit 50 for update skip locked
    );
begin
    if v_ids <> '{}' then
        update public.media_jobs
        set waits_for = null,
            next_at = case when lease_until is null then least(next_at, v_now) else next_at end
        where id = any(v_ids);
    end if;
end
$$;

-- Adds the tokens that an attempt at this job used to what was spent. The caller has locked the job.
create or replace function hybridflow.spend_on_media(
    p_job public.media_jobs, p_message public.messages, p_tokens bigint
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_all public.spending;
    v_own public.spending;
begin
    if coalesce(p_tokens, 0) <= 0 then
        return;
    end if;
    v_all := hybridflow.spending_of(p_job.tenant_id, null, v_day);
    v_own := hybridflow.spending_of(p_job.tenant_id, p_message.session_id, v_day);
    update public.spending set tokens = tokens + p_tokens where id in (v_all.id, v_own.id);
    update public.media_jobs set tokens = tokens + p_tokens where id = p_job.id;
end
$$;

-- Closes a job as done, or as failed with p_error. Returns in how many seconds its turn is due, or null if no
-- turn waited for this job alone. The caller has locked the job.
create or replace function hybridflow.close_media_job(
    p_job public.media_jobs, p_message public.messages, p_error text, p_tokens bigint
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.media_jobs
    set state = case when p_error is null then 'done' else 'failed' end, error = left(p_error, 2000),
        waits_for = null, lease_until = null, content = null, finished_at = v_now, updated_at = v_now
    where id = p_job.id;
    perform hybridflow.spend_on_media(p_job, p_message, p_tokens);
    perform hybridflow.tell_change(
        'message', p_message.tenant_id, p_message.session_id, p_message.turn_id
    );
    return hybridflow.heard(p_message.turn_id);
end
$$;

-- renew_media_job({job_id, token, lease_seconds})
-- The worker of the job is alive: its lease lasts for lease_seconds from now. Returns {ok} or {refused:
-- reason}.
create or replace function public.renew_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
begin
    perform hybridflow.require_keys('renew_media_job', p, '{job_id,token,lease_seconds}');
    update public.media_jobs
    set lease_until = v_until, next_at = v_until
    where id = (p ->> 'job_id')::bigint and state = 'pending'
        and token_hash = hybridflow.hash_token((p ->> 'token')::uuid) and lease_until is not null;
    return case when found then '{"ok": true}' else '{"refused": "stale"}' end::jsonb;
end
$$;

-- begin_media_job({job_id, token, policy, tokens?})
-- Called before an attempt asks a service that costs money. tokens: what the attempt has used so far and has
-- not yet reported. Returns {ok} or {refused: reason}: 'stale', 'superseded' (also if the message was
-- deleted: the job is over), or 'budget' (the budget of the tenant or the contact is used up: the job has
-- failed for that).
create or replace function public.begin_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_tenant public.tenants;
    v_all public.spending;
    v_own public.spending;
    v_used_up text;
begin
    perform hybridflow.require_keys('begin_media_job', p, '{job_id,token,policy}');
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif (v_held.message).deleted_at is not null then
        perform hybridflow.close_media_job(
            v_held.job, v_held.message, 'it was deleted by who sent it', coalesce((p ->> 'tokens')::bigint, 0)
        );
        v_held := hybridflow.hold_media_job(p);
        return v_held.refused;
    end if;
    select * into v_tenant from public.tenants where id = (v_held.job).tenant_id;
    select * into v_all from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id is null;
    select * into v_own from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id = (v_held.message).session_id;
    v_used_up := hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', 0, 1);
    if v_used_up is not null then
        perform hybridflow.close_media_job(
            v_held.job, v_held.message, 'the budget is used up: ' || v_used_up,
            coalesce((p ->> 'tokens')::bigint, 0)
        );
        return '{"refused": "budget"}';
    end if;
    return '{"ok": true}';
end
$$;

-- The words of a message came too late for its turn. If the tenant answers that (answer_late_words) and
-- nobody of the business has written since, the message gets a turn, like a new message. Returns in how many
-- seconds that turn is due, or null if there is none. The caller has locked the session.
create or replace function hybridflow.answer_late_words(
    p_tenant public.tenants, p_message public.messages, p_policy jsonb
)
returns numeric
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_turn record;
begin
    select * into v_session from public.sessions where id = p_message.session_id;
    if not p_tenant.answer_late_words or not p_tenant.is_active
        or v_session.is_paused or 'no-ai' = any(v_session.labels)
        or p_message.deleted_at is not null or not p_message.expects_reply
        or p_message.kind = any(p_tenant.unanswered_kinds)
        or p_message.sent_at < v_now - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
        )
        or not exists (
            select from public.turns as t
            where t.id = p_message.turn_id and t.state not in ('pending', 'cancelled')
        )
        or exists (
            select from public.messages as m
            where m.session_id = p_message.session_id and m.sent_at >= p_message.sent_at
                and m.from_me and m.sender in ('owner', 'operator', 'client')
                and hybridflow.is_by_human(m, p_tenant)
        )
        or (hybridflow.has_staff(p_tenant) and hybridflow.is_staff(p_tenant, v_session.id))
    then
        return null;
    end if;
    v_turn := hybridflow.join_turn(
        p_tenant, v_session.id,
        coalesce(p_tenant.debounce_seconds, (p_policy ->> 'debounce_seconds')::numeric, 2),
        coalesce((p_policy ->> 'debounce_cap_seconds')::numeric, 10), null, v_now
    );
    update public.messages set turn_id = v_turn.turn_id where id = p_message.id;
    return extract(epoch from v_turn.due - v_now);
end
$$;

-- finish_media_job({job_id, token, transcript?, description?, pictures?: [jpeg], tokens?, used?: [name],
-- policy?})
-- The media was put into words. The words are stored with the message, the pictures for the LLM are kept for
-- a day, and the turn does not wait for this job any more. An empty transcript means that there was nothing
-- to hear. used: the services that were used and work: 'line', 'speech', 'describer'; jobs that wait for them
-- are due. policy: the deployment's policy, which decides whether late words are answered. Returns {ok,
-- due_in?} or {refused: reason}; due_in: seconds until the turn is due.
create or replace function public.finish_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_tenant public.tenants;
    v_due_in numeric;
begin
    perform hybridflow.require_keys('finish_media_job', p, '{job_id,token}');
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.messages
    set transcript = hybridflow.cut(p ->> 'transcript'), description = hybridflow.cut(p ->> 'description')
    where id = (v_held.message).id and deleted_at is null
        and not (v_held.job).keep_only;  -- it may already have Evolution's words
    if jsonb_array_length(nullif(p -> 'pictures', 'null')) > 0 and (v_held.message).deleted_at is null then
        update public.media_jobs
        set pictures = p -> 'pictures', pictures_until = hybridflow.clock() + interval '1 day'
        where id = (v_held.job).id;
    end if;
    perform hybridflow.senses_are_back(hybridflow.sense_of((v_held.job).tenant_id, u.name))
    from jsonb_array_elements_text(nullif(p -> 'used', 'null')) as u (name);
    v_due_in := hybridflow.close_media_job(
        v_held.job, v_held.message, null, coalesce((p ->> 'tokens')::bigint, 0)
    );
    if not (v_held.job).keep_only and (
        coalesce(p ->> 'transcript', '') <> '' or coalesce(p ->> 'description', '') <> ''
        or jsonb_array_length(nullif(p -> 'pictures', 'null')) > 0
    ) then
        select * into v_tenant from public.tenants where id = (v_held.job).tenant_id;
        v_due_in := coalesce(
            hybridflow.answer_late_words(v_tenant, v_held.message, coalesce(p -> 'policy', '{}')), v_due_in
        );
    end if;
    return jsonb_strip_nulls(jsonb_build_object('ok', true, 'due_in', v_due_in));
end
$$;

-- fail_media_job({job_id, token, error, final, max_attempts, base_seconds, given_back?, wait_seconds?,
-- tokens?, away?, retry_after?, keep_trying_seconds?})
-- The attempt could not put the media into words. The job is tried again after an exponential back-off with
-- jitter. If the failure is `final` or the attempts are used up, the job has failed, and its turn does not
-- wait for it any more. given_back: the attempt found nothing out; the job is due in wait_seconds (default
-- 0), and the attempt does not count. away: 'line', 'speech' or 'describer' cannot be reached (not before
-- retry_after). The attempt does not count, and the job is tried until it is keep_trying_seconds old or
-- was paid for twenty times. tokens: what the attempt used even so. Returns {state, due_in?} or {refused:
-- reason}; due_in as in finish_media_job.
create or replace function public.fail_media_job(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_back boolean := coalesce((p ->> 'given_back')::boolean, false);
    v_away boolean := p ->> 'away' is not null;
    v_tokens bigint := coalesce((p ->> 'tokens')::bigint, 0);
    v_counts boolean;
    v_job public.media_jobs;
begin
    perform hybridflow.require_keys(
        'fail_media_job', p, '{job_id,token,error,final,max_attempts,base_seconds}'
    );
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_job := v_held.job;
    -- The job was released because the service worked for another job. If it fails again, the job itself may
    -- be the cause, so the attempt counts.
    v_counts := not v_back and not (v_away and (v_job.waits = 0 or v_job.waits_for is not null));
    if not v_back and (
        (p ->> 'final')::boolean or (v_held.message).deleted_at is not null
        or (v_counts and v_job.attempt >= (p ->> 'max_attempts')::integer)
        or (v_away and v_job.created_at <= v_now - hybridflow.seconds((p ->> 'keep_trying_seconds')::numeric))
        -- A service that is away for so long, and charges for each attempt, would use up the tenant's budget
        -- for the day.
        or (v_away and v_tokens > 0 and v_job.tokens >= 19 * v_tokens)
    ) then
        return jsonb_strip_nulls(jsonb_build_object('state', 'failed', 'due_in', hybridflow.close_media_job(
            v_held.job, v_held.message, p ->> 'error', v_tokens
        )));
    end if;
    perform hybridflow.spend_on_media(v_held.job, v_held.message, v_tokens);
    update public.media_jobs
    set error = left(p ->> 'error', 2000), lease_until = null, updated_at = v_now,
        attempt = case when v_counts then attempt else greatest(attempt - 1, 0) end,
        waits = case when v_back then waits when v_away then waits + 1 else 0 end,
        waits_for = case
            when v_back then waits_for
            when v_away then hybridflow.sense_of(v_job.tenant_id, p ->> 'away')
        end,
        next_at = case
            when v_back then v_now + hybridflow.seconds(coalesce((p ->> 'wait_seconds')::numeric, 0))
            when v_away then v_now + hybridflow.seconds(greatest(
                hybridflow.back_off((p ->> 'base_seconds')::numeric, v_job.waits, 300),
                (p ->> 'retry_after')::numeric
            ))
            else v_now + hybridflow.seconds(
                hybridflow.back_off((p ->> 'base_seconds')::numeric, (v_held.job).attempt - 1, 900)
            )
        end
    where id = v_job.id;
    return '{"state": "pending"}';
end
$$;

-- ==================== 0661_media_read.sql

-- HybridFlow: reads media: the pictures for the LLM, and the media that came inside a webhook.

-- read_pictures({turn_id, token, most})
-- The pictures that the LLM sees for a turn, at most the `most` newest, the oldest of them first: those of
-- the messages that it answers, and those that the contact sent within the last day. left_out: how many more
-- pictures the turn's own messages have. Returns {pictures: [{message_id, kind, jpeg}], left_out} or
-- {refused: reason}, as turn_refusal does.
create or replace function public.read_pictures(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_refused jsonb;
    v_most integer;
    v_answer jsonb;
begin
    perform hybridflow.require_keys('read_pictures', p, '{turn_id,token,most}');
    v_most := (p ->> 'most')::integer;
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    if v_refused is not null then
        return v_refused;
    end if;
    select jsonb_build_object(
        'pictures', coalesce(jsonb_agg(jsonb_build_object(
            'message_id', r.id, 'kind', r.kind, 'jpeg', r.jpeg
        ) order by r.sent_at, r.id, r.place) filter (where r.nth <= v_most), '[]'),
        'left_out', count(*) filter (where r.nth > v_most and r.in_turn)
    )
    into v_answer
    from (
        select
            m.id, m.kind, m.sent_at, m.in_turn, e.jpeg, e.place,
            row_number() over (order by m.in_turn desc, m.sent_at desc, m.id desc, e.place) as nth
        from (
            select l.id, l.kind, l.sent_at, l.deleted_at, l.turn_id is not distinct from v_turn.id as in_turn
            from public.messages as l
            where l.session_id = v_turn.session_id and not l.from_me
            order by l.sent_at desc, l.id desc limit 100
        ) as m
        inner join public.media_jobs as j on j.message_id = m.id and j.pictures_until > v_now
        cross join lateral jsonb_array_elements_text(j.pictures) with ordinality as e (jpeg, place)
        where m.deleted_at is null
    ) as r;
    return v_answer;
end
$$;

-- give_media({tenant_id, message_id, content})
-- Stores the media (in base64) that came inside the webhook of a message, for the job of that message. If the
-- job is not done, it is due at once. Returns {ok, taken}; taken is false if there is no such job.
create or replace function public.give_media(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('give_media', p, '{tenant_id,message_id,content}');
    update public.media_jobs
    set content = decode(p ->> 'content', 'base64'), next_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where message_id = (p ->> 'message_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
        and state = 'pending' and content is null and lease_until is null;
    return jsonb_build_object('ok', true, 'taken', found);
end
$$;

-- read_media({job_id, token})
-- The media that was stored for a job. Returns {content}, in base64 (null: there is none), or {refused:
-- reason}.
create or replace function public.read_media(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_job public.media_jobs;
begin
    perform hybridflow.require_keys('read_media', p, '{job_id,token}');
    select * into v_job from public.media_jobs where id = (p ->> 'job_id')::bigint;
    if v_job.id is null or v_job.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    end if;
    return jsonb_build_object('content', translate(encode(v_job.content, 'base64'), E'\n', ''));
end
$$;

-- ==================== 0662_kept_files.sql

-- HybridFlow: kept files of contacts: stored by the media job that fetched the media, read by operators, and
-- removed when their days are over or their message is gone.

-- begin_keeping({job_id, token, store, media_type, bytes, sha256, most_bytes})
-- Called before the media of a job is written to the store: makes a row for the file, with the name under
-- which it is written. most_bytes: the limit for all files of the tenant together. Returns {file_id, name} or
-- {refused: reason}: 'stale' or 'superseded' as in begin_media_job, 'not_wanted' (the tenant keeps no files,
-- or the message was deleted), 'kept' (already in the store, or in the row), 'full'.
create or replace function public.begin_keeping(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
    v_tenant public.tenants;
    v_message public.messages;
    v_file public.kept_files;
    v_full boolean;
begin
    perform hybridflow.require_keys(
        'begin_keeping', p, '{job_id,token,store,media_type,bytes,sha256,most_bytes}'
    );
    v_held := hybridflow.hold_media_job(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_message := v_held.message;
    select * into v_tenant from public.tenants where id = v_message.tenant_id;
    if v_tenant.keep_media_days = 0 or v_message.deleted_at is not null then
        return '{"refused": "not_wanted"}';
    end if;
    select * into v_file from public.kept_files where message_id = v_message.id for update;
    if v_file.state in ('kept', 'waiting', 'expired', 'deleted') then
        return '{"refused": "kept"}';
    elsif v_file.id is not null then
        -- An earlier attempt began to keep this file, and may have written something: remove that.
        update public.kept_files
        set message_id = null, content = null, removal_at = greatest(removal_at, v_now), updated_at = v_now
        where id = v_file.id;
    end if;
    v_full := (p ->> 'bytes')::bigint + coalesce((
        select sum(f.bytes) from public.kept_files as f
        where f.tenant_id = v_tenant.id and f.name is not null
    ), 0) > (p ->> 'most_bytes')::bigint;
    insert into public.kept_files (
        tenant_id, message_id, state, store, name, media_type, bytes, sha256, expires_at, next_at, removal_at,
        error, created_at, updated_at
    )
    values (
        v_tenant.id, v_message.id, case when v_full then 'failed' else 'writing' end, p ->> 'store',
        case when not v_full then
            v_tenant.id || '/' || v_message.session_id || '/' || v_message.id || '-'
            || substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
        end,
        left(p ->> 'media_type', 100), (p ->> 'bytes')::bigint, p ->> 'sha256',
        v_now + make_interval(days => v_tenant.keep_media_days), v_now + interval '1 hour',
        v_now + interval '10 minutes', case when v_full then 'the tenant''s files take all the room they may have' end,
        v_now, v_now
    )
    returning * into v_file;
    return case
        when v_full then '{"refused": "full"}'::jsonb
        else jsonb_build_object('file_id', v_file.id, 'name', v_file.name)
    end;
end
$$;

-- begin_own_file({tenant_id, store, media_type, bytes, sha256})
-- Called before one of the business's own files is written to the store: makes a row for it, with the name
-- under which it is written. set_file then takes the file; if it does not within ten minutes, the file is
-- removed. Returns {file_id, name}. PT404: no such tenant.
create or replace function public.begin_own_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('begin_own_file', p, '{tenant_id,store,media_type,bytes,sha256}');
    perform from public.tenants where id = v_tenant_id for key share;
    if not found then
        raise exception 'there is no tenant %', v_tenant_id using errcode = 'PT404';
    end if;
    insert into public.kept_files (
        tenant_id, store, name, media_type, bytes, sha256, expires_at, next_at, removal_at, created_at, updated_at
    )
    values (
        v_tenant_id, p ->> 'store',
        v_tenant_id || '/0/0-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 16),
        left(p ->> 'media_type', 100), (p ->> 'bytes')::bigint, p ->> 'sha256', 'infinity', 'infinity',
        v_now + interval '10 minutes', v_now, v_now
    )
    returning * into v_file;
    return jsonb_build_object('file_id', v_file.id, 'name', v_file.name);
end
$$;

-- finish_keeping({file_id, error?, content?, most_waiting?})
-- The file was written, or `error` says why not. After an error it is tried again for a day, if `content`
-- (base64) is given, and the tenant's waiting files together with this one are smaller than most_waiting
-- bytes. Returns {state}: the state of the file from now on; 'gone': there is no such row.
create or replace function public.finish_keeping(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_file public.kept_files;
    v_content bytea;
    v_state text;
begin
    perform hybridflow.require_keys('finish_keeping', p, '{file_id}');
    select * into v_file from public.kept_files where id = (p ->> 'file_id')::bigint for update;
    if v_file.id is null then
        return '{"state": "gone"}';
    elsif not v_file.has_owner then
        update public.kept_files set removal_at = v_now, updated_at = v_now where id = v_file.id;
        return jsonb_build_object('state', v_file.state);
    end if;
    if p ->> 'error' is not null and p ->> 'content' is not null and v_file.bytes + coalesce((
        select sum(f.bytes) from public.kept_files as f
        where f.tenant_id = v_file.tenant_id and f.state = 'waiting'
    ), 0) <= (p ->> 'most_waiting')::bigint
    then
        v_content := decode(p ->> 'content', 'base64');
    end if;
    v_state := case
        when v_file.state <> 'writing' then v_file.state
        when exists (
            select from public.messages as m where m.id = v_file.message_id and m.deleted_at is not null
        ) then 'deleted'
        when p ->> 'error' is null then 'kept'
        when v_content is not null then 'waiting'
        else 'failed'
    end;
    update public.kept_files
    set state = v_state, error = left(p ->> 'error', 500), updated_at = v_now, removal_at = v_now,
        content = case when v_state = 'waiting' then v_content end,
        next_at = case v_state
            when 'kept' then expires_at when 'waiting' then v_now + interval '30 seconds' else v_now
        end
    where id = v_file.id;
    return jsonb_build_object('state', v_state);
end
$$;

-- claim_kept_files({stores: [store], limit, retry_seconds})
-- Returns the work that is due for files in these stores. A file is to be written if the row has its content
-- because the store was away (for up to a day). It is to be removed if its days are over, its message is gone
-- or was deleted, or a crash left it half written. Each file is due again after retry_seconds, unless it is
-- settled. Never waits for a lock. Returns {files: [{file_id, store, name, wanted: 'write' or 'remove'}],
-- more}.
create or replace function public.claim_kept_files(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_again timestamptz;
    v_limit integer := (p ->> 'limit')::integer;
    v_ids bigint[];
    v_files jsonb;
begin
    perform hybridflow.require_keys('claim_kept_files', p, '{stores,limit,retry_seconds}');
    v_again := v_now + hybridflow.seconds((p ->> 'retry_seconds')::numeric);
    v_ids := array(
        select d.id from jsonb_array_elements_text(p -> 'stores') as s (store)
        cross join lateral (
            select f.id from public.kept_files as f
            where f.store = s.store and f.due_at <= v_now
            order by f.due_at limit v_limit for update skip locked
        ) as d
    );
    delete from public.kept_files where id = any(v_ids) and not has_owner and name is null;
    with claimed as (
        update public.kept_files as f
        set state = n.state, attempt = f.attempt + 1, updated_at = v_now,
            content = case when n.state = 'waiting' and f.has_owner then f.content end,
            next_at = v_again, removal_at = greatest(f.removal_at, v_again)
        from (
            select k.id, case
                when k.state = 'writing' or (k.state = 'waiting' and k.created_at <= v_now - interval '1 day')
                    then 'failed'
                when k.state = 'kept' and k.expires_at <= v_now then 'expired'
                else k.state
            end as state
            from public.kept_files as k where k.id = any(v_ids)
        ) as n
        where f.id = n.id
        returning f.id, f.store, f.name, f.state, f.has_owner
    )

    select coalesce(jsonb_agg(jsonb_build_object(
        'file_id', c.id, 'store', c.store, 'name', c.name,
        'wanted', case when c.state = 'waiting' and c.has_owner then 'write' else 'remove' end
    )), '[]')
    into v_files from claimed as c;
    return jsonb_build_object('files', v_files, 'more', cardinality(v_ids) >= v_limit);
end
$$;

-- read_waiting_file({file_id})
-- The content of a file that waits for its store. Returns {content}, in base64; null: it does not wait any
-- more.
create or replace function public.read_waiting_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('read_waiting_file', p, '{file_id}');
    return jsonb_build_object('content', (
        select translate(encode(f.content, 'base64'), E'\n', '')
        from public.kept_files as f
        where f.id = (p ->> 'file_id')::bigint and f.state = 'waiting' and f.has_owner
    ));
end
$$;

-- settle_kept_file({file_id, done, error?})
-- Reports the result for a claimed file: done is 'written' or 'removed', or `error` says why it failed.
-- Returns {known}.
create or replace function public.settle_kept_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('settle_kept_file', p, '{file_id,done}');
    select * into v_file from public.kept_files where id = (p ->> 'file_id')::bigint for update;
    if v_file.id is null then
        return '{"known": false}';
    elsif p ->> 'error' is not null then
        update public.kept_files
        set error = left(p ->> 'error', 500), updated_at = v_now,
            next_at = case
                when state = 'waiting' then v_now + hybridflow.seconds(hybridflow.back_off(30, attempt, 900))
                else next_at
            end
        where id = v_file.id;
    elsif p ->> 'done' = 'removed' and not v_file.has_owner then
        delete from public.kept_files where id = v_file.id;
    elsif p ->> 'done' = 'removed' then
        update public.kept_files set name = null, sha256 = null, updated_at = v_now where id = v_file.id;
    else
        update public.kept_files
        set state = case when state = 'waiting' then 'kept' else state end, content = null, error = null,
            next_at = case when state = 'waiting' then expires_at else v_now end, removal_at = v_now,
            updated_at = v_now
        where id = v_file.id;
    end if;
    return '{"known": true}';
end
$$;

-- find_kept_file({tenant_id, message_id})
-- Where the file of a message is stored. Returns {file: {file_id, store, name, media_type, bytes, sha256,
-- expires_at}} or {refused: reason}: 'not_kept', 'not_yet' (its store is away), 'failed', 'expired',
-- 'deleted' (by the person who sent the message). PT404: the tenant has no such message.
create or replace function public.find_kept_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
    v_file public.kept_files;
begin
    perform hybridflow.require_keys('find_kept_file', p, '{tenant_id,message_id}');
    select * into v_message from public.messages
    where id = (p ->> 'message_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint;
    if v_message.id is null then
        raise exception 'tenant % has no message %', p ->> 'tenant_id', p ->> 'message_id' using errcode = 'PT404';
    end if;
    select * into v_file from public.kept_files where message_id = v_message.id;
    if v_message.deleted_at is not null then
        return '{"refused": "deleted"}';
    elsif v_file.id is null then
        return '{"refused": "not_kept"}';
    elsif v_file.state = 'kept' and v_file.expires_at > hybridflow.clock() then
        return jsonb_build_object('file', jsonb_build_object(
            'file_id', v_file.id, 'store', v_file.store, 'name', v_file.name, 'media_type', v_file.media_type,
            'bytes', v_file.bytes, 'sha256', v_file.sha256, 'expires_at', v_file.expires_at
        ));
    end if;
    return jsonb_build_object('refused', case
        when v_file.state = 'kept' then 'expired'
        when v_file.state in ('writing', 'waiting') then 'not_yet'
        else v_file.state
    end);
end
$$;

-- A kept file as an export shows it. Its content is not included; `left_out` says so.
create or replace function hybridflow.exported_kept_file(p_file public.kept_files)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_file) - '{content,store,name,own_file_id,next_at,removal_at,due_at,has_owner,attempt}'::text[]
        || jsonb_build_object('left_out', case when p_file.state in ('writing', 'waiting', 'kept') then
            'An export is text and has no files: this one is given out by GET /api/messages/'
            || p_file.message_id || '/media until it expires.'
        end)
$$;

-- ==================== 0700_pages.sql

-- HybridFlow: the pages of the lists that operators read.
--
-- Every list answers {items, next_cursor}. `cursor` takes the next_cursor of the page before; it is null on
-- the last page. A cursor names the last item of the page, not a count, so that rows recorded meanwhile
-- neither repeat nor hide an item. `limit` is 1 to 200, and 50 by default. The number of rows that a page
-- reads is limited.

-- Makes the cursor for a place in the list p_list: the list's name and the key of the last item. Callers
-- treat it as opaque.
create or replace function hybridflow.to_cursor(p_list text, p_key jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
    select translate(
        encode(convert_to(jsonb_build_array(p_list, p_key)::text, 'UTF8'), 'base64'), e'+/=\n', '-_'
    )
$$;

-- Returns the key in p's cursor, or null if p has no cursor. Raises PT422 for a cursor of another list.
create or replace function hybridflow.from_cursor(p_list text, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_text text := translate(p ->> 'cursor', '-_', '+/');
    v_place jsonb;
begin
    if v_text is null then
        return null;
    end if;
    begin
        v_place := convert_from(
            decode(rpad(v_text, (length(v_text) + 3) / 4 * 4, '='), 'base64'), 'UTF8'
        )::jsonb;
    exception
        when data_exception then
            null;
    end;
    if v_place ->> 0 is distinct from p_list or jsonb_typeof(v_place -> 1) is distinct from 'array' then
        raise exception 'cursor must be the next_cursor of a page of %, not %', p_list, p ->> 'cursor'
            using errcode = 'PT422';
    end if;
    return v_place -> 1;
end
$$;

-- Returns how many items a page may have.
create or replace function hybridflow.page_size(p jsonb)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_limit integer := coalesce((p ->> 'limit')::integer, 50);
begin
    if v_limit not between 1 and 200 then
        raise exception 'limit must be from 1 to 200, not %', v_limit using errcode = 'PT422';
    end if;
    return v_limit;
end
$$;

-- Makes a page of p_rows (an ordered list of {key, item}, with one row more than p_limit if there are more).
-- A large page ends earlier, with the row that reaches 500,000 bytes, because the router keeps whole pages in
-- memory.
create or replace function hybridflow.page(p_list text, p_rows jsonb[], p_limit integer)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'items', coalesce(jsonb_agg(r.item order by r.place) filter (where r.fits), '[]'),
        'next_cursor', case
            when count(*) > count(*) filter (where r.fits)
                then hybridflow.to_cursor(p_list, p_rows[count(*) filter (where r.fits)] -> 'key')
        end
    )
    from (
        select
            e.entry -> 'item' as item, e.place,
            e.place <= p_limit and coalesce(
                sum(octet_length((e.entry -> 'item')::text)) over before, 0
            ) < 500000 as fits
        from unnest(p_rows) with ordinality as e (entry, place)
        window before as (order by e.place rows between unbounded preceding and 1 preceding)
    ) as r
$$;

-- Returns how many rows a page reads. Without a filter, that is one more than its limit. With a filter, it is
-- a fixed number, so that a search without results costs no more than any other.
create or replace function hybridflow.rows_to_look_at(p_limit integer, p_searches boolean)
returns integer
language sql
immutable
set search_path = ''
as $$
    select case when p_searches then 1000 else p_limit + 1 end
$$;

-- Makes a page of p_rows (see page): the rows that match a filter, out of all rows read. p_last is the key of
-- the last row read, or null if no rows are left after it. With p_last, the next page goes on after that row;
-- so a page may have few items or none, and still a next_cursor.
create or replace function hybridflow.page_of_search(
    p_list text, p_rows jsonb[], p_limit integer, p_last jsonb
)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select f.page || case
        when f.page ->> 'next_cursor' is null and p_last is not null
            then jsonb_build_object('next_cursor', hybridflow.to_cursor(p_list, p_last))
        else '{}'
    end
    from (select hybridflow.page(p_list, p_rows, p_limit) as page) as f
$$;

-- Raises PT404 if there is no tenant p.tenant_id, or if the session p.session_id does not belong to it.
create or replace function hybridflow.require_own(p jsonb)
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
    if not exists (select from public.tenants where id = (p ->> 'tenant_id')::bigint) then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    end if;
    if p ->> 'session_id' is not null and not exists (
        select from public.sessions
        where id = (p ->> 'session_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
    ) then
        raise exception 'tenant % has no session %', p ->> 'tenant_id', p ->> 'session_id'
            using errcode = 'PT404';
    end if;
end
$$;

-- ==================== 0705_shown.sql

-- HybridFlow: a session, a turn and a message as operators see them.

-- A session as the API shows it. If p_policy is given, with pause_ends_at, which depends on the policy.
create or replace function hybridflow.session_json(p_session_id bigint, p_policy jsonb default null)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(s) - array[
        'pause_message_id', 'pause_asked_at', 'pause_written_at', 'merged_at', 'erased_before', 'erasure_checked',
        'awaited_pictures', 'awaited_until', 'away_until', 'away_message_id',
        'fallback_told_at', 'fallback_message_id'
    ] || jsonb_build_object(
        'contact_name', hybridflow.cut(s.contact_name, 256),
        'identities', (
            select coalesce(jsonb_agg(i.jid order by i.jid), '[]')
            from public.session_identities as i where i.session_id = s.id
        ),
        'handoff', hybridflow.open_handoff_json(s.id)
    ) || case when p_policy is null then '{}' else jsonb_build_object(
        'pause_ends_at', hybridflow.pause_ends_at(s, t.resume_after_hours, p_policy)
    ) end
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = p_session_id
$$;

-- A turn as the API shows it: without its token.
create or replace function hybridflow.turn_json(p_turn_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(t)
        - '{token_hash,beside,seen_at,said_so_far,waiting,held,due_when_heard,outage_id}'::text[]
    from public.turns as t where t.id = p_turn_id
$$;

-- A message as the API shows it.
create or replace function hybridflow.message_json(p_message public.messages)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_message)
        - '{send_began_at,identity,told_as,chosen_id,late_until,check_at,upload_seconds}'::text[]
$$;

-- A message as the API shows it, cut if it was stored when messages could be longer.
create or replace function hybridflow.short_message_json(p_message public.messages)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    p_message.body := hybridflow.cut(p_message.body);
    p_message.quoted := hybridflow.cut_fields(p_message.quoted);
    p_message.media := hybridflow.cut_fields(p_message.media);
    p_message.transcript := hybridflow.cut(p_message.transcript);
    p_message.description := hybridflow.cut(p_message.description);
    p_message.author_name := hybridflow.cut(p_message.author_name, 256);
    return hybridflow.message_json(p_message);
end
$$;

-- get_session({tenant_id, session_id, policy?})
-- Returns {session}. PT404: the tenant has no such session.
create or replace function public.get_session(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_session', p, '{tenant_id,session_id}');
    perform hybridflow.require_own(p);
    return jsonb_build_object(
        'session', hybridflow.session_json((p ->> 'session_id')::bigint, p -> 'policy')
    );
end
$$;

-- ==================== 0710_sessions_listed.sql

-- HybridFlow: operators list sessions, and find them by name or number.

-- Returns the sessions that `contact` names exactly, as a JID or a whole phone number in any spelling. One
-- contact may have two sessions, if nobody knew that they belong together. Returns {0} for a JID that no
-- session has, and null if `contact` is not an exact name but a text to search for.
create or replace function hybridflow.sessions_called(p_tenant_id bigint, p_contact text)
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_contact text := lower(btrim(p_contact));
    v_jid text := case
        when v_contact like '%@%' then v_contact
        else regexp_replace(v_contact, '[\s()+./-]', '', 'g') || '@s.whatsapp.net'
    end;
    v_ids bigint[] := array(
        select distinct i.session_id from public.session_identities as i
        where i.tenant_id = p_tenant_id and i.jid = any(hybridflow.spellings_typed(v_jid))
    );
begin
    return case
        when v_ids <> '{}' then v_ids
        when v_contact like '%@%' then '{0}'
    end;
end
$$;

-- Returns the digits of a part of a phone number in any spelling; null if the text is not part of a number.
create or replace function hybridflow.digits_of(p_contact text)
returns text
language sql
immutable
set search_path = ''
as $$
    select substring(regexp_replace(p_contact, '[\s()+./-]', '', 'g') from '^[0-9]+$')
$$;

-- Returns the ways in which a number may begin (or end, in ends_typed) if a person typed these digits;
-- p_digits itself comes first. People may leave out digits that WhatsApp uses, or add digits that it does not
-- use (see spellings_typed).
create or replace function hybridflow.beginnings_typed(p_digits text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_digits, case
        when p_digits ~ '^55[1-9]{2}9[6-9]' then left(p_digits, 4) || substr(p_digits, 6)
        when p_digits ~ '^55[1-9]{2}[6-9]' then left(p_digits, 4) || '9' || substr(p_digits, 5)
        when p_digits ~ '^(521|549)[0-9]' then left(p_digits, 2) || substr(p_digits, 4)
        when p_digits ~ '^52[0-9]' then '521' || substr(p_digits, 3)
        when p_digits ~ '^54[0-9]' then '549' || substr(p_digits, 3)
    end], null)
$$;

create or replace function hybridflow.ends_typed(p_digits text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array_remove(array[p_digits, case
        when p_digits ~ '^9[6-9][0-9]{7}$' then substr(p_digits, 2)
        when p_digits ~ '^[1-9]{2}9[6-9][0-9]{7}$' then left(p_digits, 2) || substr(p_digits, 4)
        when p_digits ~ '^[1-9]{2}[6-9][0-9]{7}$' then left(p_digits, 2) || '9' || substr(p_digits, 3)
    end], null)
$$;

-- Returns the sessions of contacts whose number begins or ends with these digits, in any spelling, found by
-- indexes. Returns none if there are more than 200, or if there are no digits.
create or replace function hybridflow.sessions_numbered(p_tenant_id bigint, p_digits text)
returns bigint[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[];
begin
    if p_digits is null then
        return '{}';
    end if;
    select array_agg(h.session_id) into v_ids
    from (
        select b.session_id
        from unnest(hybridflow.beginnings_typed(p_digits)) as t (digits)
        cross join lateral (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id and i.jid ~>=~ t.digits and i.jid ~<~ (t.digits || '~')
            limit 201
        ) as b
        union
        select e.session_id
        from unnest(hybridflow.ends_typed(p_digits)) as t (digits)
        cross join lateral (
            select i.session_id from public.session_identities as i
            where i.tenant_id = p_tenant_id
                and reverse(split_part(i.jid, '@', 1)) ~>=~ reverse(t.digits)
                and reverse(split_part(i.jid, '@', 1)) ~<~ (reverse(t.digits) || '~')
            limit 201
        ) as e
    ) as h;
    return case when cardinality(v_ids) <= 200 then v_ids else '{}' end;
end
$$;

-- list_sessions({tenant_id, paused?, label?, owner?, contact?, active_since?, policy?, limit?, cursor?})
-- Returns {items: [session], next_cursor}: the tenant's sessions, newest activity first. Sessions without any
-- message (they were paused first) come last. `contact` is a JID or number (see sessions_called), the
-- beginning or end of a number (see sessions_numbered), or else any part of a number, in any spelling, or of
-- the name. Parts are searched in the newest sessions first, 1000 of them for each page (see page_of_search).
create or replace function public.list_sessions(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_since timestamptz := (p ->> 'active_since')::timestamptz;
    v_contact text := lower(btrim(p ->> 'contact'));
    v_digits text := hybridflow.digits_of(v_contact);
    v_called bigint[] := hybridflow.sessions_called(v_tenant_id, p ->> 'contact');
    v_known bigint[] := case
        when v_called is null then nullif(hybridflow.sessions_numbered(v_tenant_id, v_digits), '{}')
        else v_called
    end;
    v_paused boolean := (p ->> 'paused')::boolean;
    v_limit integer := hybridflow.page_size(p);
    v_look integer := hybridflow.rows_to_look_at(
        v_limit,
        coalesce(v_contact, p ->> 'label', p ->> 'owner') is not null or coalesce(not v_paused, false)
    );
    v_after jsonb := hybridflow.from_cursor('sessions', p);
    -- There are three places to start: at the top, after a session with messages, and after one without.
    v_at timestamptz := case
        when v_after is null then 'infinity' else coalesce((v_after ->> 0)::timestamptz, '-infinity')
    end;
    v_id bigint := coalesce((v_after ->> 1)::bigint, 9223372036854775807);
    v_silent_id bigint := case when v_after ->> 0 is null then v_id else 9223372036854775807 end;
    v_rows jsonb[];
    v_keys jsonb[];
begin
    perform hybridflow.require_keys('list_sessions', p, '{tenant_id}');
    perform hybridflow.require_own(jsonb_build_object('tenant_id', v_tenant_id));
    with looked as materialized (
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_paused is not true
                and s.tenant_id = v_tenant_id and (s.last_message_at, s.id) < (v_at, v_id)
                and s.last_message_at >= coalesce(v_since, '-infinity')
            order by s.last_message_at desc nulls last, s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_paused and s.is_paused
                and s.tenant_id = v_tenant_id and (s.last_message_at, s.id) < (v_at, v_id)
                and s.last_message_at >= coalesce(v_since, '-infinity')
            order by s.last_message_at desc nulls last, s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where v_known is null and v_since is null
                and s.tenant_id = v_tenant_id and s.last_message_at is null and s.id < v_silent_id
            order by s.id desc limit v_look
        )
        union all
        (
            select s.id, s.last_message_at, s.is_paused, s.contact_name, s.labels, s.owner from public.sessions as s
            where s.id = any(v_known)
                and coalesce((s.last_message_at, s.id) < (v_at, v_id), s.id < v_silent_id)
                and coalesce(s.last_message_at >= v_since, v_since is null)
        )
        order by last_message_at desc nulls last, id desc limit v_look
    ),

    found as (
        select l.id, l.last_message_at from looked as l
        where l.is_paused = coalesce(v_paused, l.is_paused)
            and (p ->> 'label' is null or p ->> 'label' = any(l.labels))
            and (p ->> 'owner' is null or l.owner is not distinct from p ->> 'owner') and case
            when v_contact is null or v_known is not null then true
            when v_digits is null then coalesce(position(v_contact in lower(l.contact_name)) > 0, false)
            else (  -- with exists, PostgreSQL would search all identities at once
                select coalesce(bool_or(split_part(i.jid, '@', 1) like '%' || v_digits || '%'), false)
                from public.session_identities as i where i.session_id = l.id
            )
        end
        order by l.last_message_at desc nulls last, l.id desc limit v_limit + 1
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.last_message_at, f.id),
                'item', hybridflow.session_json(f.id, p -> 'policy')
            ) order by f.last_message_at desc nulls last, f.id desc)
            from found as f
        ),
        (
            select array_agg(
                jsonb_build_array(l.last_message_at, l.id)
                order by l.last_message_at desc nulls last, l.id desc
            )
            from looked as l
        )
    into v_rows, v_keys;
    return hybridflow.page_of_search('sessions', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- ==================== 0715_messages_listed.sql

-- HybridFlow: operators list messages, of one session or of all, and search in them.

-- Whether a message matches the filters `sender` and `from_me`. This is a function of its own because the
-- planner would otherwise assume that a filter that is not set leaves few rows.
create or replace function hybridflow.message_matches(p_message public.messages, p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.sender = (p ->> 'sender'), true)
        and coalesce(p_message.from_me = (p ->> 'from_me')::boolean, true)
$$;

-- Whether one of the filters `sender` and `from_me` is set.
create or replace function hybridflow.picks_messages(p jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p ->> 'sender', p ->> 'from_me') is not null
$$;

-- A page of a session's messages in the order of the conversation, newest first.
create or replace function hybridflow.messages_of_session(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('session_messages', p);
    v_look integer := hybridflow.rows_to_look_at(v_limit, hybridflow.picks_messages(p));
    v_rows jsonb[];
    v_fit integer;
    v_keys jsonb[];
begin
    with looked as materialized (
        select m.id, m.sent_at, hybridflow.message_matches(m, p) as is_asked_for from public.messages as m
        where m.session_id = (p ->> 'session_id')::bigint
            and (m.sent_at, m.id) < (
                coalesce((v_after ->> 0)::timestamptz, 'infinity'),
                coalesce((v_after ->> 1)::bigint, 9223372036854775807)
            )
            and m.sent_at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
        order by m.sent_at desc, m.id desc limit v_look
    ),

    found as (
        select l.id, l.sent_at from looked as l where l.is_asked_for
        order by l.sent_at desc, l.id desc limit v_limit + 1
    ),

    measured as (
        select f.id, f.sent_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
            order by f.sent_at desc, f.id desc rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from found as f
        inner join public.messages as m on m.id = f.id
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.sent_at, f.id), 'item', case when f.fits then (
                    select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
                ) end
            ) order by f.sent_at desc, f.id desc)
            from measured as f
        ),
        (select least(v_limit, count(*) filter (where f.fits)) from measured as f),
        (
            select array_agg(jsonb_build_array(l.sent_at, l.id) order by l.sent_at desc, l.id desc)
            from looked as l
        )
    into v_rows, v_fit, v_keys;
    if v_fit < v_limit and v_fit < cardinality(v_rows) then
        return hybridflow.page('session_messages', v_rows, v_fit);
    end if;
    return hybridflow.page_of_search('session_messages', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- A page of a tenant's messages in the order in which they were recorded, newest first. A message from a late
-- webhook or from gap repair is new here, however old it is.
create or replace function hybridflow.messages_of_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('tenant_messages', p);
    v_before timestamptz := coalesce((v_after ->> 0)::timestamptz, 'infinity');
    v_look integer := hybridflow.rows_to_look_at(v_limit, hybridflow.picks_messages(p));
    v_rows jsonb[];
    v_fit integer;
    v_keys jsonb[];
begin
    with looked as materialized (
        select m.id, m.created_at, hybridflow.message_matches(m, p) as is_asked_for from public.messages as m
        where m.tenant_id = (p ->> 'tenant_id')::bigint
            and m.created_at <= v_before
            and (m.created_at, m.id) < (v_before, coalesce((v_after ->> 1)::bigint, 9223372036854775807))
            and m.created_at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
        order by m.created_at desc, m.id desc limit v_look
    ),

    found as (
        select l.id, l.created_at from looked as l where l.is_asked_for
        order by l.created_at desc, l.id desc limit v_limit + 1
    ),

    measured as (
        select f.id, f.created_at, coalesce(sum(hybridflow.characters_of(m.body, m.quoted, m.media)) over (
            order by f.created_at desc, f.id desc rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from found as f
        inner join public.messages as m on m.id = f.id
    )

    select
        (
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.created_at, f.id), 'item', case when f.fits then (
                    select hybridflow.short_message_json(m) from public.messages as m where m.id = f.id
                ) end
            ) order by f.created_at desc, f.id desc)
            from measured as f
        ),
        (select least(v_limit, count(*) filter (where f.fits)) from measured as f),
        (
            select array_agg(jsonb_build_array(l.created_at, l.id) order by l.created_at desc, l.id desc)
            from looked as l
        )
    into v_rows, v_fit, v_keys;
    if v_fit < v_limit and v_fit < cardinality(v_rows) then
        return hybridflow.page('tenant_messages', v_rows, v_fit);
    end if;
    return hybridflow.page_of_search('tenant_messages', v_rows, v_limit, v_keys[v_look]);
end
$$;

-- list_messages({tenant_id, session_id?, sender?, from_me?, since?, limit?, cursor?})
-- Returns {items: [message], next_cursor}: the messages of a session by sent_at, or of all the tenant's
-- sessions by created_at, newest first. `since` refers to the same time as the order. With a filter, a page
-- reads 1000 messages (see page_of_search). A page ends before its `limit` if it reaches 500,000 characters.
-- PT404: no such tenant, or the session is not the tenant's.
create or replace function public.list_messages(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('list_messages', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    if p ->> 'session_id' is not null then
        return hybridflow.messages_of_session(p);
    end if;
    return hybridflow.messages_of_tenant(p);
end
$$;

-- ==================== 0718_turns_listed.sql

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

-- ==================== 0720_kept_by_people.sql

-- HybridFlow: labels, owners and notes, as people set them.

-- set_labels({tenant_id, session_id, add?: [label], remove?: [label], policy?})
-- Adds labels to the session and removes labels from it. With 'no-ai' the AI does not write there any more:
-- its turns that have not ended are cancelled. Returns {session, cancelled_turns}. PT404: the tenant has no
-- such session. PT422: a label is not valid, or there are more than twenty.
create or replace function public.set_labels(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_add text[] := array(select jsonb_array_elements_text(coalesce(nullif(p -> 'add', 'null'), '[]')));
    v_remove text[] := array(select jsonb_array_elements_text(coalesce(nullif(p -> 'remove', 'null'), '[]')));
    v_labels text[];
    v_cancelled integer := 0;
begin
    perform hybridflow.require_keys('set_labels', p, '{tenant_id,session_id}');
    -- A null in `remove` would remove all labels, because no comparison with null is true.
    if exists (select from unnest(v_add) as l where l is null or l !~ '^[a-z0-9][a-z0-9-]{0,39}$')
        or exists (select from unnest(v_remove) as l where l is null)
    then
        raise exception 'a label has 1 to 40 small letters, digits and hyphens, such as no-ai'
            using errcode = 'PT422';
    end if;
    v_session := hybridflow.session_of(p);
    v_labels := array(
        select distinct l from unnest(v_session.labels || v_add) as l where l <> all(v_remove) order by l
    );
    -- A session that was merged from two may have more.
    if cardinality(v_labels) > greatest(20, cardinality(v_session.labels)) then
        raise exception 'a session may have 20 labels, not %', cardinality(v_labels) using errcode = 'PT422';
    end if;
    update public.sessions set labels = v_labels, updated_at = hybridflow.clock() where id = v_session.id;
    if 'no-ai' = any(v_labels) then
        v_cancelled := hybridflow.cancel_turns(v_session.id, 'no_ai');
    end if;
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'), 'cancelled_turns', v_cancelled
    );
end
$$;

-- set_owner({tenant_id, session_id, owner?, policy?})
-- Sets who of the business looks after the session; null: nobody in particular. Returns {session}. PT404: the
-- tenant has no such session. PT422: the name is not valid.
create or replace function public.set_owner(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    perform hybridflow.require_keys('set_owner', p, '{tenant_id,session_id}');
    if not coalesce(length(p ->> 'owner') between 1 and 100, true) then
        raise exception 'owner must have from 1 to 100 characters' using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('owner', p ->> 'owner');
    v_session := hybridflow.session_of(p);
    update public.sessions set owner = p ->> 'owner', updated_at = hybridflow.clock() where id = v_session.id;
    return jsonb_build_object('session', hybridflow.session_json(v_session.id, p -> 'policy'));
end
$$;

-- add_note({caller?, tenant_id, session_id, body, author?})
-- Adds a note to the session, for the people of the business. `author` is used only if the caller is not
-- known. Returns {note}. PT404: the tenant has no such session. PT422: the note is empty or too long, or
-- there are 500 already.
create or replace function public.add_note(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_note public.session_notes;
begin
    perform hybridflow.require_keys('add_note', p, '{tenant_id,session_id,body}');
    if length(btrim(p ->> 'body')) = 0 or length(p ->> 'body') > 4000 then
        raise exception 'a note must have from 1 to 4000 characters' using errcode = 'PT422';
    end if;
    v_session := hybridflow.session_of(p);
    if (select count(*) from public.session_notes as n where n.session_id = v_session.id) >= 500 then
        raise exception 'a session may have 500 notes: remove some' using errcode = 'PT422';
    end if;
    insert into public.session_notes (tenant_id, session_id, body, author, created_at)
    values (
        v_session.tenant_id, v_session.id, p ->> 'body',
        left(coalesce(p -> 'caller' ->> 'name', p ->> 'author', '?'), 100), hybridflow.clock()
    )
    returning * into v_note;
    perform hybridflow.tell_change('note', v_note.tenant_id, v_note.session_id);
    return jsonb_build_object('note', to_jsonb(v_note));
end
$$;

-- list_notes({tenant_id, session_id, limit?, cursor?})
-- Returns {items, next_cursor}: the notes of a session, the newest first. PT404: the tenant has no such
-- session.
create or replace function public.list_notes(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('notes', p) ->> 0)::bigint, 9223372036854775807);
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_notes', p, '{tenant_id,session_id}');
    perform hybridflow.require_own(p);
    select array_agg(
        jsonb_build_object('key', jsonb_build_array(f.id), 'item', to_jsonb(f)) order by f.id desc
    )
    into v_rows
    from (
        select n.* from public.session_notes as n
        where n.session_id = (p ->> 'session_id')::bigint and n.id < v_before
        order by n.id desc limit v_limit + 1
    ) as f;
    return hybridflow.page('notes', v_rows, v_limit);
end
$$;

-- remove_note({tenant_id, session_id, note_id})
-- Returns {removed}: false if there is no such note. PT404: the tenant has no such session.
create or replace function public.remove_note(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_removed public.session_notes;
begin
    perform hybridflow.require_keys('remove_note', p, '{tenant_id,session_id,note_id}');
    perform hybridflow.require_own(p);
    delete from public.session_notes
    where id = (p ->> 'note_id')::bigint and session_id = (p ->> 'session_id')::bigint
    returning * into v_removed;
    if v_removed.id is not null then
        perform hybridflow.tell_change('note', v_removed.tenant_id, v_removed.session_id);
    end if;
    return jsonb_build_object('removed', v_removed.id is not null);
end
$$;

-- ==================== 0725_files.sql

-- HybridFlow: the business's own files: people add and remove them, and the router sends them.

-- set_file({caller?, tenant_id, name, description, kind, file_name, content | kept_file_id})
-- Stores a file under its name, and replaces the file that had the name. Its content is given in base64, or
-- was written to the store before (begin_own_file). Returns {file}. PT404: no such tenant. PT409: the file in
-- the store is gone. PT422: the name or description is not valid, the file is too large, or there are 50
-- already.
create or replace function public.set_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_content bytea;
    v_kept public.kept_files;
    v_bytes bigint;
    v_file public.tenant_files;
begin
    perform hybridflow.require_keys(
        'set_file', p, '{tenant_id,name,description,kind,file_name,content|kept_file_id}'
    );
    perform from public.tenants where id = (p ->> 'tenant_id')::bigint for key share;
    if not found then
        raise exception 'there is no tenant %', p ->> 'tenant_id' using errcode = 'PT404';
    elsif p ->> 'name' !~ '^[a-z0-9][a-z0-9-]{0,39}$' then
        raise exception 'a name has 1 to 40 small letters, digits and hyphens, such as cake-menu'
            using errcode = 'PT422';
    elsif length(btrim(p ->> 'description')) = 0 or length(p ->> 'description') > 300 then
        raise exception 'a description must have from 1 to 300 characters' using errcode = 'PT422';
    end if;
    if p ->> 'kept_file_id' is null then
        v_content := decode(p ->> 'content', 'base64');
        v_bytes := octet_length(v_content);
    else
        select * into v_kept from public.kept_files
        where id = (p ->> 'kept_file_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
            and state = 'writing' and not has_owner and name is not null
            and removal_at > hybridflow.clock()
        for update;
        if v_kept.id is null then
            raise exception 'the stored file is missing: upload the file again' using errcode = 'PT409';
        end if;
        v_bytes := v_kept.bytes;
    end if;
    if v_bytes not between 1 and 16000000 then
        raise exception 'a file must have from 1 to 16,000,000 bytes' using errcode = 'PT422';
    end if;
    if (
        select count(*) from public.tenant_files as f
        where f.tenant_id = (p ->> 'tenant_id')::bigint and f.name <> p ->> 'name'
    ) >= 50 then
        raise exception 'a tenant may have 50 files: remove some' using errcode = 'PT422';
    end if;
    insert into public.tenant_files (
        tenant_id, name, description, kind, file_name, bytes, content, created_by, created_at
    )
    values (
        (p ->> 'tenant_id')::bigint, p ->> 'name', p ->> 'description', p ->> 'kind', p ->> 'file_name',
        v_bytes, v_content, left(coalesce(p -> 'caller' ->> 'name', '?'), 100), hybridflow.clock()
    )
    on conflict (tenant_id, name) do update
        set description = excluded.description, kind = excluded.kind, file_name = excluded.file_name,
            bytes = excluded.bytes, content = excluded.content, created_by = excluded.created_by,
            created_at = excluded.created_at
    returning * into v_file;
    -- The file that had this name or this place before is removed from the store.
    update public.kept_files
    set own_file_id = null, removal_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where own_file_id = v_file.id;
    update public.kept_files set own_file_id = v_file.id, state = 'kept', updated_at = hybridflow.clock()
    where id = v_kept.id;
    return jsonb_build_object('file', hybridflow.file_json(v_file));
end
$$;

-- list_files({tenant_id})
-- Returns {items}: the tenant's files by name, without their content; at most 50.
create or replace function public.list_files(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('list_files', p, '{tenant_id}');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(hybridflow.file_json(f) order by f.name), '[]')
        from public.tenant_files as f
        where f.tenant_id = (p ->> 'tenant_id')::bigint
    ));
end
$$;

-- remove_file({tenant_id, name})
-- Returns {removed}: false if there is no such file.
create or replace function public.remove_file(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('remove_file', p, '{tenant_id,name}');
    delete from public.tenant_files where tenant_id = (p ->> 'tenant_id')::bigint and name = p ->> 'name';
    return jsonb_build_object('removed', found);
end
$$;

-- read_file({tenant_id, name})
-- For the router, which sends the file. Returns {content, stored?: {store, name, bytes}}: content in base64,
-- or where it is stored; neither if there is no such file.
create or replace function public.read_file(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_file public.tenant_files;
begin
    perform hybridflow.require_keys('read_file', p, '{tenant_id,name}');
    select * into v_file from public.tenant_files as f
    where f.tenant_id = (p ->> 'tenant_id')::bigint and f.name = p ->> 'name';
    return jsonb_build_object('content', translate(encode(v_file.content, 'base64'), E'\n', ''))
        || jsonb_strip_nulls(jsonb_build_object('stored', (
            select jsonb_build_object('store', k.store, 'name', k.name, 'bytes', k.bytes)
            from public.kept_files as k where k.own_file_id = v_file.id
        )));
end
$$;

-- ==================== 0790_tenant_settings.sql

-- HybridFlow: the settings of tenants. Made by `python -m scripts.build_schema` from
-- router/configuration/tenant_settings.py; change that, not this.

-- The settings of a tenant.
create or replace function hybridflow.tenant_settings()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'instance_name', 'evo_server_url', 'is_active', 'webhook_networks', 'shared_webhook_secret',
        'n8n_flow', 'n8n_contract', 'debounce_seconds', 'resume_after_hours', 'answer_within_minutes',
        'auto_reply_seconds', 'other_client_takeover', 'answer_groups', 'unanswered_kinds', 'answered_kinds',
        'answer_edits', 'unknown_lid_minutes', 'on_new_message', 'timezone', 'opening_hours', 'away_message',
        'answer_when_closed', 'system_prompt', 'facts', 'llm_provider', 'llm_model', 'llm_max_tokens',
        'notes_to_llm', 'understand_media', 'media_wait_seconds', 'answer_late_words', 'speech_language',
        'keep_media_days', 'max_bubbles', 'new_message_stops', 'quote_replies', 'thanks_reaction',
        'voice_replies', 'tts_voice', 'tts_instructions', 'mark_as_read', 'forbidden_patterns',
        'max_reply_characters', 'leak_characters', 'moderation_url', 'on_refused_reply', 'fallback_message',
        'loop_replies', 'loop_minutes', 'daily_turns', 'daily_tokens', 'contact_daily_turns',
        'contact_daily_tokens', 'retention_days', 'on_retention', 'notify_number', 'notify_url',
        'handoff_message', 'handoff_words', 'handoff_on_promise', 'handoff_remind_minutes', 'handoff_untaken',
        'notify_number_next', 'language', 'evo_api_key', 'llm_api_key'
    ]::text[]
$$;

-- Keys. They are never shown; only whether they are set.
create or replace function hybridflow.tenant_keys()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'evo_api_key', 'llm_api_key'
    ]::text[]
$$;

-- Shown only to the tenant's admins; others see whether they are set.
create or replace function hybridflow.settings_for_admins()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'moderation_url', 'notify_url'
    ]::text[]
$$;

-- Only the deployment may change these.
create or replace function hybridflow.settings_of_deployment()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'instance_name', 'n8n_flow', 'n8n_contract'
    ]::text[]
$$;

-- The audit log shows only that these have changed.
create or replace function hybridflow.untold_settings()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'evo_server_url', 'moderation_url', 'notify_url', 'evo_api_key', 'llm_api_key'
    ]::text[]
$$;

-- Members may also read these directly (row security).
create or replace function hybridflow.settings_followed()
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array[
        'instance_name', 'is_active', 'debounce_seconds', 'resume_after_hours', 'answer_within_minutes',
        'timezone', 'opening_hours', 'away_message', 'answer_when_closed', 'system_prompt', 'facts',
        'llm_provider', 'llm_model', 'notes_to_llm', 'max_bubbles', 'new_message_stops', 'quote_replies',
        'thanks_reaction', 'voice_replies', 'mark_as_read', 'handoff_message', 'handoff_words',
        'handoff_on_promise'
    ]::text[]
$$;

-- How many names a list may have, and how long each may be.
create or replace function hybridflow.list_bounds()
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'webhook_networks', array[50, 60], 'unanswered_kinds', array[50, 60], 'answered_kinds', array[2, 60]
    )
$$;

-- How many characters a text may have.
create or replace function hybridflow.text_bounds()
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select jsonb_build_object(
        'away_message', 2000, 'system_prompt', 100000, 'facts', 100000
    )
$$;

-- What a tenant's value must be, by the name of the constraint that it broke.
create or replace function hybridflow.tenant_rule(p_constraint text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case p_constraint
        when 'tenants_instance_name_check'
            then 'instance_name must not be empty or have a slash in it'
        when 'tenants_evo_server_url_check'
            then 'evo_server_url must begin with http:// or https://'
        when 'tenants_webhook_networks_check'
            then 'webhook_networks must name a network, or be null: any'
        when 'tenants_n8n_flow_check'
            then 'n8n_flow must be the path of a webhook in n8n: letters, digits, - and _, with / between'
        when 'tenants_n8n_contract_check'
            then 'n8n_contract must be answer or gateway'
        when 'tenants_debounce_seconds_check'
            then 'debounce_seconds must be from 0 to 3600'
        when 'tenants_resume_after_hours_check'
            then 'resume_after_hours must be more than 0 and at most 87600'
        when 'tenants_answer_within_minutes_check'
            then 'answer_within_minutes must be more than 0 and at most 525600'
        when 'tenants_auto_reply_seconds_check'
            then 'auto_reply_seconds must be from 0 to 86400'
        when 'tenants_answered_kinds_check'
            then 'answered_kinds must name reaction or poll_vote'
        when 'tenants_unknown_lid_minutes_check'
            then 'unknown_lid_minutes must be from 0 to 60'
        when 'tenants_on_new_message_check'
            then 'on_new_message must be queue or restart'
        when 'tenants_timezone_check'
            then 'timezone must be the IANA name of a time zone'
        when 'tenants_opening_hours_check'
            then 'opening_hours must be an object of at most 20000 bytes'
        when 'tenants_away_message_check'
            then 'away_message must have from 1 to 2000 characters, and {time} among them'
        when 'tenants_llm_provider_check'
            then 'llm_provider must be anthropic or openai'
        when 'tenants_llm_max_tokens_check'
            then 'llm_max_tokens must be more than 0'
        when 'tenants_media_wait_seconds_check'
            then 'media_wait_seconds must be from 0 to 120'
        when 'tenants_speech_language_check'
            then 'speech_language must be a language''s code of two or three small letters'
        when 'tenants_keep_media_days_check'
            then 'keep_media_days must be from 0 to 3650'
        when 'tenants_max_bubbles_check'
            then 'max_bubbles must be from 1 to 10'
        when 'tenants_thanks_reaction_check'
            then 'thanks_reaction must be an emoji'
        when 'tenants_voice_replies_check'
            then 'voice_replies must be never or mirror or always'
        when 'tenants_tts_voice_check'
            then 'tts_voice must have from 1 to 100 characters'
        when 'tenants_tts_instructions_check'
            then 'tts_instructions must have from 1 to 500 characters'
        when 'tenants_forbidden_patterns_check'
            then 'forbidden_patterns must be 50 at most, of 10000 characters together'
        when 'tenants_max_reply_characters_check'
            then 'max_reply_characters must be more than 0'
        when 'tenants_leak_characters_check'
            then 'leak_characters must not be negative'
        when 'tenants_moderation_url_check'
            then 'moderation_url must begin with http:// or https://'
        when 'tenants_on_refused_reply_check'
            then 'on_refused_reply must be handoff or fallback_message'
        when 'tenants_fallback_message_check'
            then 'fallback_message must have from 1 to 4096 characters'
        when 'tenants_loop_replies_check'
            then 'loop_replies must not be negative'
        when 'tenants_loop_minutes_check'
            then 'loop_minutes must be more than 0 and at most 1440'
        when 'tenants_daily_turns_check'
            then 'daily_turns must not be negative'
        when 'tenants_daily_tokens_check'
            then 'daily_tokens must not be negative'
        when 'tenants_contact_daily_turns_check'
            then 'contact_daily_turns must not be negative'
        when 'tenants_contact_daily_tokens_check'
            then 'contact_daily_tokens must not be negative'
        when 'tenants_retention_days_check'
            then 'retention_days must be from 1 to 36500'
        when 'tenants_on_retention_check'
            then 'on_retention must be archive or delete'
        when 'tenants_notify_number_check'
            then 'notify_number must be a phone number with its country code, or the JID of a person or a group'
        when 'tenants_notify_url_check'
            then 'notify_url must begin with http:// or https://'
        when 'tenants_handoff_message_check'
            then 'handoff_message must have from 1 to 2000 characters'
        when 'tenants_handoff_words_check'
            then 'handoff_words must be 100 at most, of 5000 characters together'
        when 'tenants_handoff_remind_minutes_check'
            then 'handoff_remind_minutes must be from 1 to 1440'
        when 'tenants_handoff_untaken_check'
            then 'handoff_untaken must be return or wait'
        when 'tenants_notify_number_next_check'
            then 'notify_number_next must be a phone number with its country code, or the JID of a person or a group'
        when 'tenants_language_check'
            then 'language must be en or pt or es'
        else 'a value breaks the rule ' || p_constraint
    end
$$;

-- Stores all settings of an existing tenant. Returns the stored row.
create or replace function hybridflow.store_settings(p_new public.tenants)
returns public.tenants
language plpgsql
set search_path = ''
as $$
declare
    v_stored public.tenants;
begin
    update public.tenants
    set
        instance_name = p_new.instance_name, evo_server_url = p_new.evo_server_url,
        is_active = p_new.is_active, webhook_networks = p_new.webhook_networks,
        shared_webhook_secret = p_new.shared_webhook_secret, n8n_flow = p_new.n8n_flow,
        n8n_contract = p_new.n8n_contract, debounce_seconds = p_new.debounce_seconds,
        resume_after_hours = p_new.resume_after_hours, answer_within_minutes = p_new.answer_within_minutes,
        auto_reply_seconds = p_new.auto_reply_seconds, other_client_takeover = p_new.other_client_takeover,
        answer_groups = p_new.answer_groups, unanswered_kinds = p_new.unanswered_kinds,
        answered_kinds = p_new.answered_kinds, answer_edits = p_new.answer_edits,
        unknown_lid_minutes = p_new.unknown_lid_minutes, on_new_message = p_new.on_new_message,
        timezone = p_new.timezone, opening_hours = p_new.opening_hours, away_message = p_new.away_message,
        answer_when_closed = p_new.answer_when_closed, system_prompt = p_new.system_prompt,
        facts = p_new.facts, llm_provider = p_new.llm_provider, llm_model = p_new.llm_model,
        llm_max_tokens = p_new.llm_max_tokens, notes_to_llm = p_new.notes_to_llm,
        understand_media = p_new.understand_media, media_wait_seconds = p_new.media_wait_seconds,
        answer_late_words = p_new.answer_late_words, speech_language = p_new.speech_language,
        keep_media_days = p_new.keep_media_days, max_bubbles = p_new.max_bubbles,
        new_message_stops = p_new.new_message_stops, quote_replies = p_new.quote_replies,
        thanks_reaction = p_new.thanks_reaction, voice_replies = p_new.voice_replies,
        tts_voice = p_new.tts_voice, tts_instructions = p_new.tts_instructions,
        mark_as_read = p_new.mark_as_read, forbidden_patterns = p_new.forbidden_patterns,
        max_reply_characters = p_new.max_reply_characters, leak_characters = p_new.leak_characters,
        moderation_url = p_new.moderation_url, on_refused_reply = p_new.on_refused_reply,
        fallback_message = p_new.fallback_message, loop_replies = p_new.loop_replies,
        loop_minutes = p_new.loop_minutes, daily_turns = p_new.daily_turns, daily_tokens = p_new.daily_tokens,
        contact_daily_turns = p_new.contact_daily_turns, contact_daily_tokens = p_new.contact_daily_tokens,
        retention_days = p_new.retention_days, on_retention = p_new.on_retention,
        notify_number = p_new.notify_number, notify_url = p_new.notify_url,
        handoff_message = p_new.handoff_message, handoff_words = p_new.handoff_words,
        handoff_on_promise = p_new.handoff_on_promise, handoff_remind_minutes = p_new.handoff_remind_minutes,
        handoff_untaken = p_new.handoff_untaken, notify_number_next = p_new.notify_number_next,
        language = p_new.language, evo_api_key = p_new.evo_api_key, llm_api_key = p_new.llm_api_key,
        updated_at = hybridflow.clock()
    where id = p_new.id
    returning * into v_stored;
    return v_stored;
end
$$;

comment on column public.tenants.instance_name is
'The exact name of the instance in Evolution: the tenant gets its webhooks';
comment on column public.tenants.evo_server_url is
'Where Evolution runs: scheme, host and port';
comment on column public.tenants.is_active is
'false: record everything, answer nothing';
comment on column public.tenants.webhook_networks is
'Networks that its webhooks may come from, within WEBHOOK_NETWORKS';
comment on column public.tenants.shared_webhook_secret is
'false: EVOLUTION_WEBHOOK_SHARED_SECRET is refused, only its own secrets are accepted';
comment on column public.tenants.n8n_flow is
'The flow in n8n that makes its replies: its webhook''s path, below N8N_WEBHOOK_URL';
comment on column public.tenants.n8n_contract is
'How that flow replies: it returns what to say (answer), or sends by itself (gateway)';
comment on column public.tenants.debounce_seconds is
'Seconds of quiet that end a customer''s burst of messages';
comment on column public.tenants.resume_after_hours is
'Hours after the business''s last own message until the AI answers again';
comment on column public.tenants.answer_within_minutes is
'Minutes after which an unanswered message is too old to be answered';
comment on column public.tenants.auto_reply_seconds is
'Seconds after a customer''s message, or after our first send into the chat, in which a '
'message from the business''s side counts as an automatic greeting or away message (of '
'WhatsApp Business, or of another client of Evolution), not as a takeover; 0: never';
comment on column public.tenants.other_client_takeover is
'A send by another client of Evolution''s API (Chatwoot, the Manager) counts as a takeover';
comment on column public.tenants.answer_groups is
'Groups are answered, too';
comment on column public.tenants.unanswered_kinds is
'Kinds of message that are recorded but start no turn';
comment on column public.tenants.answered_kinds is
'Which of reaction and poll_vote start a turn, if they concern a message or a poll of the '
'business';
comment on column public.tenants.answer_edits is
'A message that the contact edits after it was answered is answered again';
comment on column public.tenants.unknown_lid_minutes is
'After a human wrote to a chat known only by its LID, the most minutes that answers wait in '
'recent conversations whose LID is not known; 0: they do not wait';
comment on column public.tenants.on_new_message is
'A message during a running turn waits for the next turn (queue), or restarts the running '
'one (restart)';
comment on column public.tenants.timezone is
'The business''s time zone, by its IANA name';
comment on column public.tenants.opening_hours is
'When it is open: weekly hours, exceptions and public holidays, in the format of '
'docs/context.md';
comment on column public.tenants.away_message is
'Sent once to a contact who writes while the business is closed. It must contain {time}, '
'when the business opens; it may contain {weekday} (also {weekday:pt}, es, de, fr, it) and '
'{date} ({date:mdy}, {date:iso})';
comment on column public.tenants.answer_when_closed is
'false: while the business is closed the AI answers nothing; the away_message is sent';
comment on column public.tenants.system_prompt is
'The instructions for the AI, before the conversation';
comment on column public.tenants.facts is
'Facts that the AI may quote, such as prices and addresses; unlike system_prompt, they '
'never count as a leak';
comment on column public.tenants.llm_provider is
'The provider of the model that makes the replies';
comment on column public.tenants.llm_model is
'The model; without an llm_api_key of its own, one that the deployment allows';
comment on column public.tenants.llm_max_tokens is
'The most tokens of a reply; with an llm_api_key of its own, it may exceed LLM_MAX_TOKENS';
comment on column public.tenants.notes_to_llm is
'The AI gets the notes of a conversation, and may not repeat them';
comment on column public.tenants.understand_media is
'The AI hears voice messages and sees pictures and documents, if the deployment supports '
'it; false: it only knows that there were some';
comment on column public.tenants.media_wait_seconds is
'The most seconds that an answer waits until a contact''s media is turned into words';
comment on column public.tenants.answer_late_words is
'Media that was answered before it was turned into words is answered again afterwards';
comment on column public.tenants.speech_language is
'The language that its contacts speak, as a hint for recognising speech';
comment on column public.tenants.keep_media_days is
'Days that files from contacts are kept (in MEDIA_FOLDER or MEDIA_BUCKET); 0: they are not '
'kept';
comment on column public.tenants.max_bubbles is
'The most messages that a reply is split into, between paragraphs; 1: never split. A short '
'reply is one message, and lists, links, prices, quotes and code are not split';
comment on column public.tenants.new_message_stops is
'If the customer writes again while a reply in several messages is being sent, the rest is '
'not sent: the next reply answers both';
comment on column public.tenants.quote_replies is
'A reply quotes the message that it answers if that is not obvious: several are answered '
'together, it is old, or we have sent something since; and in groups';
comment on column public.tenants.thanks_reaction is
'The emoji that answers a customer who only says thanks, instead of a sentence';
comment on column public.tenants.voice_replies is
'Replies are voice messages, if the deployment has a voice (TTS_API_KEY): never, after a '
'voice message of the customer (mirror), or always';
comment on column public.tenants.tts_voice is
'The voice for its replies, by its name at the deployment''s speech service; many voices '
'speak one language only';
comment on column public.tenants.tts_instructions is
'How that voice speaks (language, accent, tone), for a model that reads instructions';
comment on column public.tenants.mark_as_read is
'A customer''s message is marked as read when its reply is there; false: never. Messages '
'that nobody answers stay unread on the phone';
comment on column public.tenants.forbidden_patterns is
'Regular expressions (RE2, ignoring case) that no reply may match; they must be few and '
'simple enough to search quickly';
comment on column public.tenants.max_reply_characters is
'The most characters of a whole reply; it may exceed MAX_REPLY_CHARACTERS, up to 100,000';
comment on column public.tenants.leak_characters is
'A reply with this many characters of the system prompt in one piece is a leak; 0: no check';
comment on column public.tenants.moderation_url is
'A service that is asked whether a reply may be sent, in addition to MODERATION_URL';
comment on column public.tenants.on_refused_reply is
'What happens to a reply that may not be sent: a human is called, or the fallback_message '
'is sent instead';
comment on column public.tenants.fallback_message is
'Sent instead of a refused reply; once a day when a budget is used up; and once per outage '
'in which the AI cannot answer';
comment on column public.tenants.loop_replies is
'This many replies within loop_minutes to similar messages count as a loop of two bots; 0: '
'no check; more than 100 count as 100';
comment on column public.tenants.loop_minutes is
'The minutes in which loop_replies are counted';
comment on column public.tenants.daily_turns is
'The most turns in a day (UTC)';
comment on column public.tenants.daily_tokens is
'The most tokens in a day (UTC)';
comment on column public.tenants.contact_daily_turns is
'The most turns in a day (UTC) for each of its contacts';
comment on column public.tenants.contact_daily_tokens is
'The most tokens in a day (UTC) for each of its contacts';
comment on column public.tenants.retention_days is
'Days that messages and turns are kept';
comment on column public.tenants.on_retention is
'Older messages are moved to messages_archive (archive) or deleted (delete); older turns '
'are deleted';
comment on column public.tenants.notify_number is
'The staff''s number or group JID, which gets notices by WhatsApp: handoffs, replies that '
'are not delivered, outages. The AI answers nothing that comes from there; a reply to a '
'notice goes to its customer';
comment on column public.tenants.notify_url is
'A webhook that gets every notice: a handoff, a lost connection, an outage';
comment on column public.tenants.handoff_message is
'What a customer is told when the AI hands over to a human and has not said so itself';
comment on column public.tenants.handoff_words is
'A customer who writes one of these gets a human without asking the AI; in addition to the '
'words that HybridFlow knows in Portuguese, Spanish and English (atendente, falar com uma '
'pessoa, …). A single -: no words do that';
comment on column public.tenants.handoff_on_promise is
'A reply that promises a human, or only promises to find out and answer later, also hands '
'the conversation over';
comment on column public.tenants.handoff_remind_minutes is
'Minutes of opening time after which people are told again of a handoff that nobody took; '
'after as many more notify_number_next is told, then the customer, and then handoff_untaken '
'applies';
comment on column public.tenants.handoff_untaken is
'What happens in the end to a handoff that nobody takes: the AI goes on (return), or the '
'conversation waits for a human (wait)';
comment on column public.tenants.notify_number_next is
'The next number that is told by WhatsApp of a handoff that nobody took; the AI answers '
'nothing that comes from there';
comment on column public.tenants.language is
'The language of notices and of the messages back to staff. Customers are answered in the '
'language that they write';
comment on column public.tenants.evo_api_key is
'Its own Evolution key, which can be set and never read; without one, EVOLUTION_API_KEY is '
'used, only at the servers in EVOLUTION_SERVERS';
comment on column public.tenants.llm_api_key is
'Its own key for llm_provider, which can be set and never read; its replies are then made '
'without n8n. Without one, the deployment''s key is used';

-- ==================== 0800_tenants.sql

-- HybridFlow: reads tenants, each as its caller may see it.

-- A tenant as the API shows it. Of keys it says only whether there is one, and so of the URLs of the tenant's
-- own services. The QR code has its own function.
create or replace function hybridflow.tenant_json(p_tenant public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    with stored as materialized (select to_jsonb(p_tenant) as tenant)

    select s.tenant
        - (hybridflow.tenant_keys() || array['qr_code', 'pairing_code', 'qr_updated_at', 'guard_changed_at'])
        || (
            select jsonb_object_agg(k || '_set', coalesce(s.tenant ->> k, '') <> '')
            from unnest(hybridflow.tenant_keys() || hybridflow.settings_for_admins()) as k
        )
    from stored as s
$$;

-- A tenant as this caller may see it; without a caller, with every value. The URLs of its own services may
-- contain a secret, so they are shown only to callers who may set them.
create or replace function hybridflow.tenant_seen_by(p_caller jsonb, p_tenant public.tenants)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_caller is null or hybridflow.reaches(hybridflow.role_in(p_caller, p_tenant.id), 'admin') then
        return hybridflow.tenant_json(p_tenant);
    end if;
    return hybridflow.tenant_json(p_tenant) || (
        select jsonb_object_agg(k, 'null'::jsonb) from unnest(hybridflow.settings_for_admins()) as k
    );
end
$$;

-- Returns the tenant that p names by tenant_id or instance_name. Raises PT404.
create or replace function hybridflow.tenant_of(p jsonb)
returns public.tenants
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    if p ->> 'instance_name' is not null then
        select * into v_tenant from public.tenants where instance_name = p ->> 'instance_name';
    else
        select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    end if;
    if not found then
        raise exception 'there is no tenant %', coalesce(
            'with the instance ' || (p ->> 'instance_name'), p ->> 'tenant_id'
        ) using errcode = 'PT404';
    end if;
    return v_tenant;
end
$$;

-- list_tenants({caller?, limit?, cursor?})
-- Returns {items: [tenant], next_cursor}: the tenants that the caller may see (all of them without a caller),
-- in the order of their creation. A page ends before its `limit` if its prompts, facts and hours reach
-- 500,000 bytes.
create or replace function public.list_tenants(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_after bigint := coalesce((hybridflow.from_cursor('tenants', p) ->> 0)::bigint, 0);
    v_own bigint[] := case when p ? 'caller' then hybridflow.tenants_of(p -> 'caller', 'viewer') end;
    v_rows jsonb[];
begin
    with found as (
        select t.id, coalesce(sum(
            coalesce(octet_length(t.system_prompt), 0)::bigint + coalesce(octet_length(t.facts), 0)
            + coalesce(octet_length(t.opening_hours::text), 0)
        ) over (
            order by t.id rows between unbounded preceding and 1 preceding
        ), 0) < 500000 as fits
        from public.tenants as t
        where t.id > v_after and (v_own is null or t.id = any(v_own))
        order by t.id limit v_limit + 1
    )

    select
        array_agg(jsonb_build_object('key', jsonb_build_array(f.id), 'item', case when f.fits then (
            select hybridflow.tenant_seen_by(p -> 'caller', t) from public.tenants as t where t.id = f.id
        ) end) order by f.id),
        least(v_limit, count(*) filter (where f.fits))
    into v_rows, v_limit
    from found as f;
    return hybridflow.page('tenants', v_rows, v_limit);
end
$$;

-- get_tenant({caller?, tenant_id | instance_name})
-- Returns {tenant}. PT404: no such tenant.
create or replace function public.get_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('get_tenant', p, '{tenant_id|instance_name}');
    return jsonb_build_object('tenant', hybridflow.tenant_seen_by(p -> 'caller', hybridflow.tenant_of(p)));
end
$$;

-- ==================== 0802_tenant_checks.sql

-- HybridFlow: checks what is written to a tenant: the values, and who may change them.

-- Raises PT422 for a name that people could not read as it is: one with control characters, characters that
-- change the direction of text, invisible characters (listed in router/safety/unseen.py), or spaces that look
-- like the plain one; or one with nothing visible. Characters that join or separate letters (U+200C, U+200D)
-- are allowed within words of scripts that need them, and U+FE0F, which makes a symbol coloured, is allowed
-- after a symbol.
create or replace function hybridflow.check_name(p_what text, p_name text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_name ~ '^ +$' then
        raise exception '% must have visible text', p_what using errcode = 'PT422';
    elsif p_name ~ ('[\u0001-\u001F\u007F-\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2'
        '\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200B\u200E\u200F\u2028-\u202F\u205F-\u206F\u2800'
        '\u3000\u3164\uFE00-\uFE0E\uFEFF\uFFA0\uFFF0-\uFFFC\U000110BD\U000110CD\U00013430-\U0001343F'
        '\U00016FE4\U0001BCA0-\U0001BCA3\U0001D159\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]'
        '|(^|[\u0001-\u058F\u1E00-\u1FFF\u200C\u200D])[\u200C\u200D]|[\u200C\u200D]$'
        '|(^|[^\u00A9\u00AE\u2010-\u2BFF\u3030\u303D\u3297\u3299\U0001F000-\U0001FAFF])\uFE0F')
    then
        raise exception '% must not have control characters, such as turn text round or nobody sees, or other'
            ' spaces than the plain one in it', p_what using errcode = 'PT422';
    end if;
end
$$;

-- Raises PT422 if a list or text in p_values is longer than anybody needs. Lists must be short because each
-- webhook or message of the tenant reads them, and texts because each event passes the tenant's whole row on.
create or replace function hybridflow.check_sizes(p_values jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_name text;
    v_bound jsonb;
begin
    for v_name, v_bound in
        select b.key, b.value from jsonb_each(hybridflow.list_bounds()) as b
        where jsonb_typeof(p_values -> b.key) = 'array'
    loop
        if jsonb_array_length(p_values -> v_name) > (v_bound ->> 0)::integer then
            raise exception '% may name at most %, not %',
                v_name, v_bound ->> 0, jsonb_array_length(p_values -> v_name) using errcode = 'PT422';
        elsif exists (
            select from jsonb_array_elements_text(p_values -> v_name) as t (v)
            where length(t.v) > (v_bound ->> 1)::integer
        ) then
            raise exception '% may have no name of more than % characters', v_name, v_bound ->> 1
                using errcode = 'PT422';
        end if;
    end loop;
    for v_name, v_bound in select b.key, b.value from jsonb_each(hybridflow.text_bounds()) as b loop
        if length(p_values ->> v_name) > v_bound::integer then
            raise exception '% may have % characters, not %', v_name,
                to_char(v_bound::integer, 'FM999,999,999'), length(p_values ->> v_name) using errcode = 'PT422';
        end if;
    end loop;
end
$$;

-- Raises PT422 if the change would make all the tenant's messages too old before they are answered: a turn
-- waits for the customer's next messages (debounce_seconds), and must not wait longer than its messages may
-- be old. p_policy is the deployment's policy; null: not known.
create or replace function hybridflow.check_waiting(p_tenant public.tenants, p_values jsonb, p_policy jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_new public.tenants := jsonb_populate_record(p_tenant, p_values);
    v_debounce numeric := hybridflow.rule(v_new.debounce_seconds, p_policy, 'debounce_seconds', 2);
    v_minutes numeric := hybridflow.rule(v_new.answer_within_minutes, p_policy, 'answer_within_minutes', 60);
begin
    if p_values ?| array['debounce_seconds', 'answer_within_minutes'] and v_minutes > 0
        and v_debounce >= 60 * v_minutes
    then
        raise exception 'debounce_seconds (%) must be less than answer_within_minutes (% minutes): every message'
            ' would be too old when its turn comes', trim_scale(v_debounce), trim_scale(v_minutes)
            using errcode = 'PT422';
    end if;
end
$$;

-- Raises PT422 for the first of p_values that is not a tenant's setting, or has the wrong type.
create or replace function hybridflow.check_tenant_values(p_values jsonb)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_unknown text;
    v_name text;
begin
    select string_agg(k, ', ' order by k) into v_unknown from jsonb_object_keys(p_values) as k
    where k <> all(hybridflow.tenant_settings());
    if v_unknown is not null then
        raise exception 'a tenant has no % that can be set; there are %',
            v_unknown, array_to_string(hybridflow.tenant_settings(), ', ') using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('instance_name', p_values ->> 'instance_name');
    if p_values ->> 'instance_name' in ('.', '..') then
        raise exception 'instance_name must not be % : it is part of the paths of Evolution''s URLs',
            p_values ->> 'instance_name' using errcode = 'PT422';
    end if;
    for v_name in select k from jsonb_object_keys(p_values) as k loop
        perform jsonb_populate_record(null::public.tenants, jsonb_build_object(v_name, p_values -> v_name));
    end loop;
    perform hybridflow.check_sizes(p_values);
exception
    when data_exception then
        raise exception '% has a value that it cannot have (%)', v_name, sqlstate using errcode = 'PT422';
end
$$;

-- Writes the values to the tenant. Their names and types are already checked.
create or replace function hybridflow.write_tenant(p_tenant public.tenants, p_values jsonb)
returns public.tenants
language plpgsql
set search_path = ''
as $$
declare
    v_new public.tenants := jsonb_populate_record(p_tenant, p_values);
begin
    v_new.notify_number := hybridflow.dialled(v_new.notify_number);
    v_new.notify_number_next := hybridflow.dialled(v_new.notify_number_next);
    return hybridflow.store_settings(v_new);
end
$$;

-- Raises PT422 if p_values would send one of the tenant's keys to another server or provider than the one it
-- was given for. A caller who may change a tenant must not be able to learn its keys.
create or replace function hybridflow.check_key_stays(p_tenant public.tenants, p_values jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_origin text := '^https?://[^/?#]*';
begin
    if coalesce(p_tenant.evo_api_key, '') <> '' and not p_values ? 'evo_api_key'
        and lower(substring(p_values ->> 'evo_server_url' from v_origin))
        <> lower(substring(p_tenant.evo_server_url from v_origin))
    then
        raise exception 'evo_server_url is another server: give its evo_api_key along with it (null: EVOLUTION_API_KEY)'
            using errcode = 'PT422';
    elsif coalesce(p_tenant.llm_api_key, '') <> '' and not p_values ? 'llm_api_key'
        and p_values ->> 'llm_provider' <> p_tenant.llm_provider
    then
        raise exception 'llm_provider is another: give its llm_api_key, too (null: the deployment''s)'
            using errcode = 'PT422';
    end if;
end
$$;

-- Whether a caller acts for the whole deployment: one of its keys, a script, or (null) the router itself.
create or replace function hybridflow.is_deployment(p_caller jsonb)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    return p_caller is null or hybridflow.reaches(hybridflow.role_in(p_caller, null), 'admin');
end
$$;

-- Raises PT403 if the caller does not act for the deployment, but p_values would change what only the
-- deployment may change: such a setting (for example the instance, which decides whose webhooks the tenant
-- gets), or whether EVOLUTION_API_KEY, which opens every instance of a server, is used for the tenant. Other
-- tenants are not read, so the answer reveals nothing about them.
create or replace function hybridflow.check_deployments_own(
    p_caller jsonb, p_tenant public.tenants, p_values jsonb
)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_key text := case
        when p_values ? 'evo_api_key' then p_values ->> 'evo_api_key' else p_tenant.evo_api_key
    end;
    v_name text;
begin
    if hybridflow.is_deployment(p_caller) then
        return;
    end if;
    select k into v_name from unnest(hybridflow.settings_of_deployment()) as k
    where p_values ? k and p_values ->> k is distinct from to_jsonb(p_tenant) ->> k
    order by k limit 1;
    if v_name is not null then
        raise exception '% is the deployment''s: to change it needs a key of the deployment', v_name
            using errcode = 'PT403';
    elsif coalesce(v_key, '') = '' and (
        coalesce(p_tenant.evo_api_key, '') <> ''
        or (
            p_values ? 'evo_server_url'
            and p_values ->> 'evo_server_url' is distinct from p_tenant.evo_server_url
        )
    ) then
        raise exception '%', 'EVOLUTION_API_KEY is the deployment''s: give the tenant''s own evo_api_key along,'
            ' or have this done with a key of the deployment' using errcode = 'PT403';
    end if;
end
$$;

-- Raises PT422 if one of p_values is above what the deployment allows every tenant (p_ceilings). Also if the
-- caller does not act for the deployment, and gives the tenant a model that runs on the deployment's key and
-- is not among the `llm_models` of p_ceilings. A tenant with its own LLM key pays for itself, so it may use
-- any model.
create or replace function hybridflow.check_ceilings(
    p_caller jsonb, p_tenant public.tenants, p_values jsonb, p_ceilings jsonb
)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(to_jsonb(p_tenant), '{}') || p_values;
    v_pays boolean := coalesce(v_values ->> 'llm_api_key', '') <> '';
    v_name text;
begin
    select c.key into v_name from jsonb_each(nullif(p_ceilings, 'null')) as c
    where jsonb_typeof(c.value) = 'number' and p_values ->> c.key is not null
        and (p_values ->> c.key)::numeric > c.value::numeric
        and not (c.key = 'llm_max_tokens' and v_pays)
    order by c.key limit 1;
    if v_name is not null then
        raise exception '% must be at most %, the deployment''s %', v_name, p_ceilings -> v_name, upper(v_name)
            using errcode = 'PT422';
    elsif not v_pays and (p_values ? 'llm_model' or p_values ? 'llm_api_key')
        and v_values ->> 'llm_model' is not null and not hybridflow.is_deployment(p_caller)
        and not p_ceilings -> 'llm_models' ? (v_values ->> 'llm_model')
    then
        raise exception '%', 'llm_model must be null or one of '
            || (select string_agg(m, ', ') from jsonb_array_elements_text(p_ceilings -> 'llm_models') as m)
            || ' (LLM_MODELS names more), or the tenant needs an llm_api_key of its own' using errcode = 'PT422';
    end if;
end
$$;

-- ==================== 0804_tenants_saved.sql

-- HybridFlow: creates and changes tenants, and tells the audit log what changed.

-- A value as the audit log shows it. Of a long value it shows the beginning, the length, and a hash that
-- distinguishes it from any other. The result is not cut again.
create or replace function hybridflow.told_shortly(p_value jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when coalesce(length(p_value #>> '{}') <= 1200, true) then p_value else to_jsonb(format(
        '%s […] (%s characters, SHA-256 %s)', left(p_value #>> '{}', 1000), length(p_value #>> '{}'),
        encode(sha256(convert_to(p_value #>> '{}', 'UTF8')), 'hex')
    )) end
$$;

-- For the audit log: what changed in a tenant, as {column: {from, to}}. Of its Evolution key and its URLs,
-- which may contain a secret, it says only that they changed.
create or replace function hybridflow.tenant_changes(p_old public.tenants, p_new public.tenants)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_object_agg(n.key, case
        when n.key = any(hybridflow.untold_settings()) then '{}'
        else jsonb_strip_nulls(jsonb_build_object(
            'from', hybridflow.told_shortly(to_jsonb(p_old) -> n.key), 'to', hybridflow.told_shortly(n.value)
        ))
    end), '{}')
    from jsonb_each(to_jsonb(p_new)) as n
    where n.key = any(hybridflow.tenant_settings()) and n.value is distinct from to_jsonb(p_old) -> n.key
$$;

-- Changes the tenant p_tenant_id. If that is null, makes a new tenant of p_values, with the id from
-- reserve_tenant if one is given. Raises PT404, PT409 (another tenant has the instance) and PT422.
create or replace function hybridflow.save_tenant(p_tenant_id bigint, p_reserved_id bigint, p_values jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_new public.tenants;
    v_subject text;
begin
    perform hybridflow.check_tenant_values(p_values);
    if p_tenant_id is null then
        insert into public.tenants (id, instance_name, evo_server_url)
        overriding system value
        values (
            coalesce(p_reserved_id, nextval(pg_get_serial_sequence('public.tenants', 'id'))),
            p_values ->> 'instance_name', p_values ->> 'evo_server_url'
        )
        returning * into v_tenant;
    else
        select * into v_tenant from public.tenants where id = p_tenant_id for update;
        if not found then
            raise exception 'there is no tenant %', p_tenant_id using errcode = 'PT404';
        end if;
        perform hybridflow.check_key_stays(v_tenant, p_values);
    end if;
    v_new := hybridflow.write_tenant(v_tenant, p_values);
    return jsonb_build_object(
        'tenant', hybridflow.tenant_json(v_new), 'audit', hybridflow.tenant_changes(v_tenant, v_new)
    );
exception
    when unique_violation then
        raise exception 'another tenant has the instance %', p_values ->> 'instance_name'
            using errcode = 'PT409';
    when check_violation then
        get stacked diagnostics v_subject = constraint_name;
        raise exception '%', hybridflow.tenant_rule(v_subject) using errcode = 'PT422';
    when not_null_violation then
        get stacked diagnostics v_subject = column_name;
        raise exception '% must have a value', v_subject using errcode = 'PT422';
end
$$;

-- reserve_tenant({})
-- Reserves the id of a tenant that will be created later, because what is encrypted for the tenant is bound
-- to its id. Returns {tenant_id}.
create or replace function public.reserve_tenant(p jsonb)
returns jsonb
language sql
volatile
set search_path = ''
as $$
    select jsonb_build_object('tenant_id', nextval(pg_get_serial_sequence('public.tenants', 'id')))
    where p is not null
$$;

-- create_tenant({caller?, tenant_id?, values: {instance_name, evo_server_url, …}, ceilings?, policy?})
-- tenant_id is an id from reserve_tenant; ceilings are as in check_ceilings. The demo's tenant is deleted,
-- even if it was left behind by a demo that was killed. Returns {tenant, audit}. PT409: another tenant has
-- the instance. PT422: which value is wrong, and how.
create or replace function public.create_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
begin
    perform hybridflow.require_keys('create_tenant', p, '{values}');
    perform hybridflow.check_tenant_values(v_values);
    perform hybridflow.check_ceilings(p -> 'caller', null, v_values, p -> 'ceilings');
    perform hybridflow.check_waiting(null, v_values, p -> 'policy');
    delete from public.tenants where is_demo;
    return hybridflow.save_tenant(null, (p ->> 'tenant_id')::bigint, v_values);
end
$$;

-- change_tenant({caller?, tenant_id, values: {…}, ceilings?, policy?})
-- Changes only the values that are given; null removes a value, so that the default applies. Returns {tenant,
-- audit}. PT403: only the deployment may change this. PT404, PT409 and PT422 as above.
create or replace function public.change_tenant(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_values jsonb := coalesce(p -> 'values', '{}');
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('change_tenant', p, '{tenant_id,values}');
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint for update;
    if found then
        perform hybridflow.check_tenant_values(v_values);
        perform hybridflow.check_deployments_own(p -> 'caller', v_tenant, v_values);
        perform hybridflow.check_ceilings(p -> 'caller', v_tenant, v_values, p -> 'ceilings');
        perform hybridflow.check_waiting(v_tenant, v_values, p -> 'policy');
    end if;
    return hybridflow.save_tenant(coalesce((p ->> 'tenant_id')::bigint, 0), null, v_values);
end
$$;

-- ==================== 0806_instances.sql

-- HybridFlow: the tenants' Evolution instances: how to reach one, and the QR code that it shows.

-- tenants_elsewhere({named: [url]})
-- For the start and the health check. Lists the tenants that EVOLUTION_API_KEY may no longer serve, because
-- they have no key of their own and their server is not in `named`. Also lists the tenants whose URL is not
-- just scheme, host and port, so that it must not be requested. Returns {servers: [{evo_server_url, own_key,
-- tenants, instances: [name]}]}, at most a hundred; tenants: how many use this server; instances: the names
-- of the first twenty. It compares texts only. The router decides whether two URLs mean the same server, and
-- whether an unusual URL is wrong.
create or replace function public.tenants_elsewhere(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('tenants_elsewhere', p, '{named}');
    return (
        select jsonb_build_object('servers', coalesce(jsonb_agg(to_jsonb(s) order by s.instances), '[]'))
        from (
            select
                t.evo_server_url, coalesce(t.evo_api_key, '') <> '' as own_key, count(*) as tenants,
                (array_agg(t.instance_name order by t.id))[1:20] as instances
            from public.tenants as t
            where (
                coalesce(t.evo_api_key, '') = ''
                or t.evo_server_url
                !~* '^https?://([a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,3}|:[1-5][0-9]{4})?/*$'
            )
                and rtrim(t.evo_server_url, '/') <> all(array(select jsonb_array_elements_text(p -> 'named')))
            group by t.evo_server_url, coalesce(t.evo_api_key, '') <> ''
            order by min(t.id) limit 100
        ) as s
    );
end
$$;

-- get_instance({tenant_id | instance_name, probe?})
-- How to reach the tenant's Evolution instance, with its key; which of its replies were lately not delivered;
-- when its webhook last brought an event (null: not within the week that events are kept); and whether the
-- probe with this mark has arrived. Only for the router itself, never for the API. Returns {tenant_id,
-- instance_name, evo_server_url, evo_api_key, is_active, llm_provider, llm_api_key_set, llm_api_key,
-- connection_state, shared_webhook_secret, webhook_hashes: [hash], undelivered, outages, last_event_at,
-- probe_arrived}. The keys are as they are stored. outages: those that now keep its customers from getting
-- answers (see outage_json). PT404: no such tenant.
create or replace function public.get_instance(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_instance', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    return jsonb_build_object(
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'is_active', v_tenant.is_active, 'llm_provider', v_tenant.llm_provider,
        'llm_api_key_set', coalesce(v_tenant.llm_api_key, '') <> '', 'llm_api_key', v_tenant.llm_api_key,
        'connection_state', v_tenant.connection_state,
        'shared_webhook_secret', v_tenant.shared_webhook_secret,
        'webhook_hashes', hybridflow.webhook_hashes(v_tenant.id, true),
        'undelivered', hybridflow.failures_json(v_tenant.id),
        'outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from public.outages as o
            where o.tenant_id = v_tenant.id and o.ended_at is null and o.about is not null
                and o.last_at > hybridflow.clock() - interval '1 day'
        ),
        'last_event_at', (
            select e.processed_at from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event not in ('hybridflow.test', 'gap_repair')
            order by e.processed_at desc limit 1
        ),
        'probe_arrived', exists (
            select from public.processed_events as e
            where e.tenant_id = v_tenant.id and e.event_key = 'probe:' || (p ->> 'probe')
        )
    );
end
$$;

-- get_qrcode({tenant_id | instance_name})
-- The latest QR code from Evolution, to connect the phone. Returns {instance_name, code, pairing_code,
-- updated_at, age_seconds, connection_state}. WhatsApp accepts a code for less than a minute. PT404: no such
-- tenant, or no code.
create or replace function public.get_qrcode(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('get_qrcode', p, '{tenant_id|instance_name}');
    v_tenant := hybridflow.tenant_of(p);
    if v_tenant.qr_code is null and v_tenant.pairing_code is null then
        raise exception 'Evolution has sent no QR code for the instance % (its connection is %)',
            v_tenant.instance_name, coalesce(v_tenant.connection_state, 'not known') using errcode = 'PT404';
    end if;
    return jsonb_build_object(
        'instance_name', v_tenant.instance_name, 'code', v_tenant.qr_code,
        'pairing_code', v_tenant.pairing_code, 'updated_at', v_tenant.qr_updated_at,
        'age_seconds', floor(extract(epoch from hybridflow.clock() - v_tenant.qr_updated_at)),
        'connection_state', v_tenant.connection_state
    );
end
$$;

-- ==================== 0808_contacts_paused.sql

-- HybridFlow: pauses and resumes contacts by their number, even if they have no session yet.

-- Returns p with the session_id of the contact that `jids` (spellings of one number) name. If there is no
-- session, p_make creates one; otherwise raises PT404.
create or replace function hybridflow.with_contact(p jsonb, p_make boolean)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants := hybridflow.tenant_of(p - 'instance_name');
    -- Known JIDs come first, so that the session is still answered at the JID that it has.
    v_jids text[] := array(
        select j.jid from jsonb_array_elements_text(p -> 'jids') with ordinality as j (jid, place)
        left join public.session_identities as i on i.tenant_id = v_tenant.id and i.jid = j.jid
        order by i.jid is null, j.place
    );
    v_session public.sessions;
begin
    if not p_make and not exists (
        select from public.session_identities where tenant_id = v_tenant.id and jid = any(v_jids)
    ) then
        raise exception 'tenant % has no session with %', v_tenant.id, v_jids[1] using errcode = 'PT404';
    end if;
    v_session := hybridflow.resolve_session(v_tenant.id, v_jids, 'contact', null);
    return p || jsonb_build_object('session_id', v_session.id);
end
$$;

-- pause_contact({caller?, tenant_id, jids: [jid], source, reason?, until?, indefinite?, policy?})
-- Like pause_session, but for a contact, who may have no session yet. Returns {session, cancelled_turns} as
-- that does. PT404: no such tenant.
create or replace function public.pause_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('pause_contact', p, '{tenant_id,jids,source}');
    return public.pause_session(hybridflow.with_contact(p, true));
end
$$;

-- resume_contact({tenant_id, jids: [jid], source, policy})
-- Like resume_session, but for a contact. Returns {session, resumed, turn_id} as that does. PT404: no such
-- tenant, or it has no session with any of `jids`.
create or replace function public.resume_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('resume_contact', p, '{tenant_id,jids,source,policy}');
    return public.resume_session(hybridflow.with_contact(p, false));
end
$$;

-- ==================== 0809_gaps.sql

-- HybridFlow: gaps in what the instances have reported: which are repaired first, and from what time.

-- gaps_by_activity({})
-- The order in which gaps are repaired after a start. Returns {instances: [[instance_name, evo_server_url]]}:
-- the active tenants, the one with the most recent conversation first. All come in one answer, because a list
-- ordered by activity cannot be divided into pages.
create or replace function public.gaps_by_activity(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object('instances', coalesce(jsonb_agg(
        jsonb_build_array(t.instance_name, t.evo_server_url) order by l.last_message_at desc nulls last, t.id desc
    ), '[]'))
    from public.tenants as t
    left join lateral (
        select s.last_message_at from public.sessions as s
        where s.tenant_id = t.id
        order by s.last_message_at desc nulls last, s.id desc limit 1
    ) as l on true
    where p is not null and t.is_active
$$;

-- gap_start({tenant_id, margin_seconds, look_back_hours})
-- Returns {since, now}: messages may be missing from `since` on. That is the time of the newest known
-- message, or of the last gap repair if it is earlier, because newer messages may have come after a gap. A
-- repair longer ago than look_back_hours counts as look_back_hours ago. `since` is never more than
-- look_back_hours before a repair that brought everything, because a message that such a repair could not
-- read will never be known. margin_seconds is subtracted because clocks differ. PT404: no such tenant.
create or replace function public.gap_start(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_look_back interval := hybridflow.seconds(3600 * (p ->> 'look_back_hours')::numeric);
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('gap_start', p, '{tenant_id,margin_seconds,look_back_hours}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('now', v_now, 'since', greatest(
        least(
            (select max(s.last_message_at) from public.sessions as s where s.tenant_id = v_tenant.id),
            greatest(coalesce(v_tenant.caught_up_at, v_tenant.created_at), v_now - v_look_back)
        ),
        v_tenant.caught_up_at - v_look_back
    ) - hybridflow.seconds((p ->> 'margin_seconds')::numeric));
end
$$;

-- caught_up({tenant_id, until})
-- Gap repair has fetched everything that was sent before `until`. Returns {caught_up_at}.
create or replace function public.caught_up(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_until timestamptz;
begin
    perform hybridflow.require_keys('caught_up', p, '{tenant_id,until}');
    update public.tenants set caught_up_at = greatest(caught_up_at, (p ->> 'until')::timestamptz)
    where id = (p ->> 'tenant_id')::bigint
    returning caught_up_at into v_until;
    return jsonb_build_object('caught_up_at', v_until);
end
$$;

-- ==================== 0810_demo.sql

-- HybridFlow: the demo business, which `make run` plays while there is no other tenant.

alter table public.tenants add column if not exists is_demo boolean not null default false;
comment on column public.tenants.is_demo is
'A demo business, made by `make run` and played on loopback. It is deleted before the first real'
' tenant is served.';

-- look_at_demo({})
-- Returns {has_tenants, tenant_id}: whether there is a real tenant, and the id of the demo's tenant (null:
-- none).
create or replace function public.look_at_demo(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'has_tenants', exists (select from public.tenants where not is_demo),
        'tenant_id', (select min(id) from public.tenants where is_demo)
    )
    where p is not null
$$;

-- begin_demo({tenant_id, values: {instance_name, evo_server_url, …}})
-- Makes the demo's tenant again from scratch, with this id, so that the ids of real tenants still start at 1.
-- Returns {tenant}. PT409: there is a real tenant, so there is no demo. PT422: which value is wrong, and how.
create or replace function public.begin_demo(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('begin_demo', p, '{tenant_id,values}');
    perform hybridflow.require_keys('begin_demo', p -> 'values', '{instance_name,evo_server_url}');
    if exists (select from public.tenants where not is_demo) then
        raise exception 'there is a tenant already: the demo business needs an empty deployment'
            using errcode = 'PT409';
    end if;
    delete from public.tenants where is_demo;
    perform hybridflow.save_tenant(null, (p ->> 'tenant_id')::bigint, p -> 'values');
    update public.tenants set is_demo = true where id = (p ->> 'tenant_id')::bigint;
    return jsonb_build_object('tenant', (
        select hybridflow.tenant_json(t) from public.tenants as t where t.id = (p ->> 'tenant_id')::bigint
    ));
end
$$;

-- end_demo({})
-- Deletes the demo's tenant with all its messages. Returns {ended}: how many such tenants there were.
create or replace function public.end_demo(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_ended integer;
begin
    delete from public.tenants where p is not null and is_demo;
    get diagnostics v_ended = row_count;
    return jsonb_build_object('ended', v_ended);
end
$$;

-- pass_demo_time({tenant_id, policy})
-- Lets the time of the demo's pauses pass: moves their beginnings and ends back until they are over. They are
-- ended by auto_resume, as always. A pause without an end stays. Returns {session_ids}: the sessions of those
-- pauses.
create or replace function public.pass_demo_time(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('pass_demo_time', p, '{tenant_id,policy}');
    with passed as (
        update public.sessions as s
        set paused_at = s.paused_at - d.rest, last_human_at = s.last_human_at - d.rest,
            paused_until = s.paused_until - d.rest, pause_asked_at = s.pause_asked_at - d.rest,
            pause_written_at = s.pause_written_at - d.rest
        from (
            select x.id, greatest(
                interval '0',
                hybridflow.pause_ends_at(x, t.resume_after_hours, p -> 'policy') - hybridflow.clock()
            ) as rest
            from public.sessions as x
            inner join public.tenants as t on t.id = x.tenant_id
            where t.id = (p ->> 'tenant_id')::bigint and t.is_demo and x.is_paused and not x.pause_indefinite
        ) as d
        where s.id = d.id
        returning s.id
    )
    select array_agg(q.id) into v_ids from passed as q;
    return jsonb_build_object('session_ids', coalesce(to_jsonb(v_ids), '[]'));
end
$$;

-- ==================== 0820_secrets.sql

-- HybridFlow: the secrets of tenants, and who may post webhooks for them.
--
-- The router encrypts an Evolution key before it stores it here; the database never sees the encryption key.
-- Of a webhook secret only its SHA-256 is stored. The secret is random and long, so a plain hash is enough,
-- and nobody can read the secret again.

create table if not exists public.webhook_secrets (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    secret_hash bytea not null unique check (length(secret_hash) = 32),
    ends_with text not null check (length(ends_with) <= 4),
    created_by text,
    created_at timestamptz not null default now(),
    retires_at timestamptz
);

comment on table public.webhook_secrets is
'Secrets that a tenant''s Evolution sends with its webhooks, besides EVOLUTION_WEBHOOK_SHARED_SECRET.';
comment on column public.webhook_secrets.ends_with is
'The last characters of the secret, so that people can recognise it.';
comment on column public.webhook_secrets.retires_at is
'The time from which the secret is refused; null: never.';

create index if not exists webhook_secrets_by_tenant on public.webhook_secrets (tenant_id);

alter table public.webhook_secrets enable row level security;

-- A webhook secret as the API shows it: everything except the secret itself.
create or replace function hybridflow.webhook_secret_json(p_secret public.webhook_secrets)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_secret) - 'secret_hash'
        || jsonb_build_object('is_active', coalesce(p_secret.retires_at > hybridflow.clock(), true))
$$;

-- Returns the hashes of the tenant's secrets that are accepted now, in hex, the newest first; with p_lasting
-- only those without an end.
create or replace function hybridflow.webhook_hashes(p_tenant_id bigint, p_lasting boolean)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select coalesce(jsonb_agg(encode(w.secret_hash, 'hex') order by w.id desc), '[]')
    from public.webhook_secrets as w
    where w.tenant_id = p_tenant_id
        and (w.retires_at is null or (not p_lasting and w.retires_at > hybridflow.clock()))
$$;

-- add_webhook_secret({tenant_id, secret_hash, ends_with, created_by?, retire_others_after_hours?})
-- Accepts one more secret (its SHA-256, in hex) for the tenant's webhooks. The tenant's other secrets stay
-- valid, or end after retire_others_after_hours if that is given. Of the retired secrets, the newest 50 are
-- kept. Returns {webhook_secret}. PT404: no such tenant. PT409: it has ten already. PT422: secret_hash is not
-- a hash.
create or replace function public.add_webhook_secret(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_secret public.webhook_secrets;
begin
    perform hybridflow.require_keys('add_webhook_secret', p, '{tenant_id,secret_hash,ends_with}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    if coalesce(p ->> 'secret_hash', '') !~ '^[0-9a-f]{64}$' then
        raise exception 'secret_hash must be a SHA-256 in hex' using errcode = 'PT422';
    end if;
    perform from public.tenants where id = v_tenant.id for update;
    update public.webhook_secrets
    set retires_at = least(
        retires_at, hybridflow.clock() + hybridflow.seconds(3600 * (p ->> 'retire_others_after_hours')::numeric)
    )
    where tenant_id = v_tenant.id and p ->> 'retire_others_after_hours' is not null;
    if jsonb_array_length(hybridflow.webhook_hashes(v_tenant.id, false)) >= 10 then
        raise exception 'the tenant has ten webhook secrets already: retire one first' using errcode = 'PT409';
    end if;
    delete from public.webhook_secrets
    where id in (  -- a secret that was made and retired has an end as well
        select w.id from public.webhook_secrets as w
        where w.tenant_id = v_tenant.id and w.retires_at <= hybridflow.clock()
        order by w.id desc offset 50
    );
    insert into public.webhook_secrets (tenant_id, secret_hash, ends_with, created_by, created_at)
    values (
        v_tenant.id, decode(p ->> 'secret_hash', 'hex'), p ->> 'ends_with', p ->> 'created_by',
        hybridflow.clock()
    )
    returning * into v_secret;
    return jsonb_build_object('webhook_secret', hybridflow.webhook_secret_json(v_secret));
end
$$;

-- list_webhook_secrets({tenant_id})
-- Returns {items: [webhook_secret]}, the newest first, including retired ones. PT404: no such tenant.
create or replace function public.list_webhook_secrets(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('list_webhook_secrets', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(hybridflow.webhook_secret_json(w) order by w.id desc), '[]')
        from public.webhook_secrets as w where w.tenant_id = v_tenant.id
    ));
end
$$;

-- retire_webhook_secret({tenant_id, webhook_secret_id, after_hours?})
-- Ends a secret after after_hours, or at once without it. A retired secret stays retired. Returns
-- {webhook_secret}. PT404: the tenant has no such secret. PT409: all its webhooks would be refused.
create or replace function public.retire_webhook_secret(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_secret public.webhook_secrets;
begin
    perform hybridflow.require_keys('retire_webhook_secret', p, '{tenant_id,webhook_secret_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    perform from public.tenants where id = v_tenant.id for update;
    update public.webhook_secrets
    set retires_at = least(
        retires_at, hybridflow.clock() + hybridflow.seconds(3600 * coalesce((p ->> 'after_hours')::numeric, 0))
    )
    where id = (p ->> 'webhook_secret_id')::bigint and tenant_id = v_tenant.id
    returning * into v_secret;
    if not found then
        raise exception 'tenant % has no webhook secret %', v_tenant.id, p ->> 'webhook_secret_id'
            using errcode = 'PT404';
    elsif not v_tenant.shared_webhook_secret and hybridflow.webhook_hashes(v_tenant.id, true) = '[]' then
        raise exception '%', 'it is the last, and shared_webhook_secret is off: every webhook would be refused;'
            ' make a new secret first' using errcode = 'PT409';
    end if;
    return jsonb_build_object('webhook_secret', hybridflow.webhook_secret_json(v_secret));
end
$$;

-- list_sealed({after?, limit?})
-- Returns {items: [{tenant_id, column, value}]}: the keys as they are stored, of the next `limit` (200)
-- tenants after the id `after`, in the order of their ids. Only for scripts.rotate_secrets.
create or replace function public.list_sealed(p jsonb)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object('items', coalesce(jsonb_agg(
        jsonb_build_object('tenant_id', f.id, 'column', k.name, 'value', k.value) order by f.id, k.name
    ), '[]'))
    from (
        select t.id, t.evo_api_key, t.llm_api_key from public.tenants as t
        where t.id > coalesce((p ->> 'after')::bigint, 0) and (t.evo_api_key <> '' or t.llm_api_key <> '')
        order by t.id limit coalesce((p ->> 'limit')::integer, 200)
    ) as f
    cross join lateral (values ('evo_api_key', f.evo_api_key), ('llm_api_key', f.llm_api_key)) as k (name, value)
    where k.value <> ''
$$;

-- reseal({tenant_id, column, old, new})
-- Replaces the stored value `old` by `new`, which is the same key encrypted again. Returns {changed}: false
-- if `old` is not stored any more, because the tenant has got another key meanwhile.
create or replace function public.reseal(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_is_evolutions boolean := p ->> 'column' = 'evo_api_key';
begin
    perform hybridflow.require_keys('reseal', p, '{tenant_id,column,old,new}');
    update public.tenants
    set evo_api_key = case when v_is_evolutions then p ->> 'new' else evo_api_key end,
        llm_api_key = case when v_is_evolutions then llm_api_key else p ->> 'new' end
    where id = (p ->> 'tenant_id')::bigint
        and case when v_is_evolutions then evo_api_key else llm_api_key end = p ->> 'old';
    return jsonb_build_object('changed', found);
end
$$;

-- ==================== 0830_callers.sql

-- HybridFlow: who calls the API, and which role a caller has in a tenant.
--
-- A caller is {kind, …}. `deployment` (a key of API_KEYS) and `script` (a script with the configuration) have
-- every right. `key` gives the SHA-256 of an API key in the table api_keys. `user` is a user of Supabase
-- Auth, whose rights are its memberships. The router checks the key or the token and says who calls. What the
-- caller may do is decided here, in the transaction that does it.
--
-- Each role also has the rights of the roles before it: viewer (reads), operator (pauses, resumes, retries),
-- admin (settings, secrets, keys, members, people's data, the audit log).

create table if not exists public.api_keys (
    id bigint generated always as identity primary key,
    name text not null check (length(btrim(name)) between 1 and 100),
    key_hash bytea not null unique check (length(key_hash) = 32),
    starts_with text not null check (length(starts_with) between 1 and 20),
    role text not null check (role in ('viewer', 'operator', 'admin')),
    every_tenant boolean not null default false,
    created_by text,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

comment on table public.api_keys is 'Keys of the REST API, each with a role, for some tenants or for all.';
comment on column public.api_keys.key_hash is
'SHA-256 of the key. A key is random and long, so a plain hash is enough.';
comment on column public.api_keys.starts_with is
'The first characters of the key, so that people can recognise it.';
comment on column public.api_keys.every_tenant is 'The key is for every tenant, including those made later.';
comment on column public.api_keys.last_used_at is 'When the key was last used, to the minute.';

create table if not exists public.api_key_tenants (
    api_key_id bigint not null references public.api_keys (id) on delete cascade,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    primary key (api_key_id, tenant_id)
);

comment on table public.api_key_tenants is 'The tenants of a key that is not for every tenant.';

create index if not exists api_key_tenants_by_tenant on public.api_key_tenants (tenant_id);

create table if not exists public.memberships (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    user_id uuid not null,
    role text not null check (role in ('viewer', 'operator', 'admin')),
    created_by text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);

comment on table public.memberships is 'The role of a user of Supabase Auth (auth.users.id) in a tenant.';

create index if not exists memberships_by_user on public.memberships (user_id);

alter table public.api_keys enable row level security;
alter table public.api_key_tenants enable row level security;
alter table public.memberships enable row level security;

-- Whether the role has the rights of p_needs.
create or replace function hybridflow.reaches(p_role text, p_needs text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(array_position(array['viewer', 'operator', 'admin'], p_role)
        >= array_position(array['viewer', 'operator', 'admin'], p_needs), false)
$$;

-- Returns what is known about the caller: {kind, name} and, for a key, {api_key_id, role, every_tenant,
-- made_by}. Raises PT401 for a key that is unknown, revoked or expired.
create or replace function hybridflow.known_caller(p_caller jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_key public.api_keys;
begin
    case p_caller ->> 'kind'
        when 'deployment', 'script' then
            return jsonb_build_object('kind', p_caller -> 'kind', 'name', p_caller -> 'name');
        when 'user' then
            return jsonb_build_object(
                'kind', 'user', 'name', p_caller -> 'user_id', 'user_id', (p_caller ->> 'user_id')::uuid
            );
        when 'key' then
            select * into v_key from public.api_keys
            where key_hash = decode(p_caller ->> 'key_hash', 'hex');
            if v_key.id is null then
                raise exception 'this API key is not known' using errcode = 'PT401';
            elsif v_key.revoked_at is not null then
                raise exception 'the API key % was revoked', v_key.name using errcode = 'PT401';
            elsif v_key.expires_at <= hybridflow.clock() then
                raise exception 'the API key % has expired', v_key.name using errcode = 'PT401';
            end if;
            -- If another call with this key holds the row, that call notes the use: do not wait for it.
            update public.api_keys set last_used_at = hybridflow.clock()
            where id = (
                select k.id from public.api_keys as k
                where k.id = v_key.id
                    and (k.last_used_at is null or k.last_used_at < hybridflow.clock() - interval '1 minute')
                for no key update skip locked
            );
            return jsonb_build_object(
                'kind', 'key', 'made_by', v_key.made_by, 'name', v_key.name, 'api_key_id', v_key.id, 'role', v_key.role,
                'every_tenant', v_key.every_tenant
            );
        else
            raise exception 'nobody calls' using errcode = 'PT401';
    end case;
end
$$;

-- The role of a known caller in a tenant, or in the whole deployment if p_tenant_id is null. Null: no role.
create or replace function hybridflow.role_in(p_caller jsonb, p_tenant_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
    select case p_caller ->> 'kind'
        when 'deployment' then 'admin'
        when 'script' then 'admin'
        when 'key' then (
            select k.role from public.api_keys as k
            where k.id = (p_caller ->> 'api_key_id')::bigint and (k.every_tenant or exists (
                select from public.api_key_tenants as t
                where t.api_key_id = k.id and t.tenant_id = p_tenant_id
            ))
        )
        when 'user' then (
            select m.role from public.memberships as m
            where m.user_id = (p_caller ->> 'user_id')::uuid and m.tenant_id = p_tenant_id
        )
    end
$$;

-- The tenants in which a known caller has at least the role p_needs; null: every tenant.
create or replace function hybridflow.tenants_of(p_caller jsonb, p_needs text)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select case
        when hybridflow.reaches(hybridflow.role_in(p_caller, null), p_needs) then null
        else array(
            select k.tenant_id from public.api_key_tenants as k
            where k.api_key_id = (p_caller ->> 'api_key_id')::bigint
                and hybridflow.reaches(p_caller ->> 'role', p_needs)
            union all
            select m.tenant_id from public.memberships as m
            where m.user_id = (p_caller ->> 'user_id')::uuid and hybridflow.reaches(m.role, p_needs)
        )
    end
$$;

-- Raises PT404 if the caller has no role in the tenant, as if the tenant did not exist, and PT403 if the role
-- is too low. If p_tenant_id is null, the role in the deployment is checked; everybody may know that it
-- exists.
create or replace function hybridflow.require_role(p_caller jsonb, p_tenant_id bigint, p_needs text)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
    v_role text := hybridflow.role_in(p_caller, p_tenant_id);
begin
    if hybridflow.reaches(v_role, p_needs) then
        return;
    elsif p_tenant_id is null then
        raise exception 'this needs the role % for every tenant', p_needs using errcode = 'PT403';
    elsif v_role is null then
        raise exception 'there is no tenant %', p_tenant_id using errcode = 'PT404';
    end if;
    raise exception 'this needs the role %, and % is %', p_needs, p_caller ->> 'name', v_role
        using errcode = 'PT403';
end
$$;

-- Returns the tenant that the argument is about, if the known caller has the role p_needs in it; null: the
-- whole deployment. Raises PT403 and PT404 as require_role does. An instance of another tenant gets the same
-- PT404 as one that does not exist.
create or replace function hybridflow.allowed_tenant(p_caller jsonb, p_needs text, p jsonb)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
declare
    v_name text := p ->> 'instance_name';
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
begin
    if v_name is not null and v_tenant_id is not null then
        raise exception 'tenant_id and instance_name exclude each other: give one, not both' using errcode = 'PT422';
    elsif v_name is not null then
        select t.id into v_tenant_id from public.tenants as t where t.instance_name = v_name;
        if p_needs <> 'anybody' and hybridflow.role_in(p_caller, v_tenant_id) is null then
            raise exception 'there is no tenant with the instance %', v_name using errcode = 'PT404';
        end if;
    end if;
    if p_needs = 'deployment' then
        perform hybridflow.require_role(p_caller, null, 'admin');
    elsif p_needs <> 'anybody' then
        perform hybridflow.require_role(p_caller, v_tenant_id, p_needs);
    end if;
    return v_tenant_id;
end
$$;

-- ==================== 0833_audit.sql

-- HybridFlow: the audit log: who did what. Lines are written in the transaction that does it.

create table if not exists public.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    tenant_id bigint,
    caller_kind text not null
    check (caller_kind in ('deployment', 'script', 'key', 'user', 'owner', 'contact', 'ai', 'cron')),
    caller text not null,
    action text not null,
    session_id bigint,
    turn_id bigint,
    detail jsonb not null default '{}'
);

comment on table public.audit_log is
'Who did what. Lines are only added, are kept longer than the rows that they are about, and have no'
' content of messages.';
comment on column public.audit_log.action is 'The function that was called.';

-- The key that did it. A name is no proof, because two keys may have the same name.
alter table public.audit_log add column if not exists api_key_id bigint;
comment on column public.audit_log.api_key_id is 'If caller_kind is ''key'': the id of the key.';

create index if not exists audit_log_by_tenant on public.audit_log (tenant_id, id desc);

alter table public.audit_log enable row level security;

create or replace function hybridflow.refuse_change()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'audit_log is append-only' using errcode = '42501';
end
$$;

create or replace trigger audit_log_is_append_only
before update or delete or truncate on public.audit_log
for each statement execute function hybridflow.refuse_change();

-- Records who paused or resumed a session if it was not a caller of the API: the owner (by writing), the AI
-- (by a handoff), a contact, or a scheduler.
create or replace function hybridflow.audit_pause()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
    v_source text := case when new.is_paused then new.pause_source else new.resume_source end;
begin
    insert into public.audit_log (at, tenant_id, caller_kind, caller, action, session_id)
    values (
        hybridflow.clock(), new.tenant_id, v_source, v_source,
        case when new.is_paused then 'pause_session' else 'resume_session' end, new.id
    );
    return null;
end
$$;

create or replace trigger sessions_audit_pause
after update of is_paused on public.sessions
for each row
when (
    old.is_paused is distinct from new.is_paused
    and case when new.is_paused then new.pause_source else new.resume_source end
    in ('owner', 'contact', 'ai', 'cron')
)
execute function hybridflow.audit_pause();

-- Adds a line to the audit log: what a known caller did.
create or replace function hybridflow.record_audit(
    p_caller jsonb, p_action text, p_tenant_id bigint, p jsonb, p_detail jsonb
)
returns void
language sql
set search_path = ''
as $$
    insert into public.audit_log (
        at, tenant_id, caller_kind, caller, api_key_id, action, session_id, turn_id, detail
    )
    values (
        hybridflow.clock(), p_tenant_id, p_caller ->> 'kind', coalesce(p_caller ->> 'name', '?'),
        (p_caller ->> 'api_key_id')::bigint, p_action,
        (p ->> 'session_id')::bigint, (p ->> 'turn_id')::bigint, jsonb_strip_nulls(p_detail)
    )
$$;

-- Whether a line matches the filters of list_audit.
create or replace function hybridflow.audit_wanted(p_line public.audit_log, p jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
    select p_line.session_id is not distinct from coalesce((p ->> 'session_id')::bigint, p_line.session_id)
        and p_line.action = coalesce(p ->> 'action', p_line.action)
        and p_line.caller = coalesce(p ->> 'caller_name', p_line.caller)
        and p_line.at >= coalesce((p ->> 'since')::timestamptz, '-infinity')
$$;

-- The detail of a line of the audit log, cut if it was written when details could be longer.
create or replace function hybridflow.short_detail(p_detail jsonb)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case when pg_column_size(p_detail) <= 1000 then p_detail else (
        select jsonb_object_agg(d.key, case jsonb_typeof(d.value)
            when 'object' then (
                select coalesce(jsonb_object_agg(e.key, hybridflow.told_shortly(e.value)), '{}')
                from jsonb_each(d.value) as e
            )
            else hybridflow.told_shortly(d.value)
        end)
        from jsonb_each(p_detail) as d
    ) end
$$;

-- list_audit({tenant_id?, session_id?, action?, caller_name?, since?, limit?, cursor?})
-- Returns {items: [line], next_cursor}: lines of the audit log, the newest first, of one tenant, or of all
-- for a caller who may see every tenant. With a filter, a page reads 1000 lines (see page_of_search). A page
-- ends before its `limit` if it reaches 500,000 characters.
create or replace function public.list_audit(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('audit', p) ->> 0)::bigint, 9223372036854775807);
    v_since timestamptz := coalesce((p ->> 'since')::timestamptz, '-infinity');
    v_look integer := hybridflow.rows_to_look_at(
        v_limit, coalesce(p ->> 'session_id', p ->> 'action', p ->> 'caller_name', p ->> 'since') is not null
    );
    v_rows jsonb[];
    v_keys bigint[];
    v_found bigint[];
    v_last_at timestamptz;
    v_id bigint;
    v_line jsonb;
    v_characters bigint := 0;
begin
    with looked as materialized (
        (
            select a as line, a.id from public.audit_log as a
            where v_tenant_id is null and a.id < v_before
            order by a.id desc limit v_look
        )
        union all
        (
            select a as line, a.id from public.audit_log as a
            where a.tenant_id = v_tenant_id and a.id < v_before
            order by a.id desc limit v_look
        )
    ),

    found as (
        select l.* from looked as l where hybridflow.audit_wanted(l.line, p) order by l.id desc limit v_limit + 1
    )

    select
        (select array_agg(f.id order by f.id desc) from found as f),
        (select array_agg(l.id order by l.id desc) from looked as l),
        (select (l.line).at from looked as l order by l.id limit 1)
    into v_found, v_keys, v_last_at;
    foreach v_id in array coalesce(v_found, '{}') loop
        if v_characters >= 500000 then
            v_limit := least(v_limit, cardinality(v_rows));
            v_line := null;  -- there are more: the next page begins with this one
        else
            select to_jsonb(a) || jsonb_build_object('detail', hybridflow.short_detail(a.detail)) into v_line
            from public.audit_log as a where a.id = v_id;
            v_characters := v_characters + length(v_line::text);
        end if;
        v_rows := v_rows || jsonb_build_object('key', jsonb_build_array(v_id), 'item', v_line);
        exit when v_line is null;
    end loop;
    return hybridflow.page_of_search('audit', v_rows, v_limit, case
        when cardinality(v_keys) = v_look and v_last_at >= v_since then jsonb_build_array(v_keys[v_look])
    end);
end
$$;

-- ==================== 0836_operators.sql

-- HybridFlow: what callers may do over the API, and the one function that does it for them.

-- The functions that callers may use: the name, the role that is needed in the tenant that the argument
-- names, whether the call is audited, and which keys of the argument the audit line shows. as_operator cannot
-- call a function that is not listed here.
create or replace function hybridflow.operator_calls()
returns table (name text, needs text, audited boolean, details text[])
language sql
immutable
set search_path = ''
as $$
    values
    ('list_tenants', 'anybody', false, '{}'::text[]),
    ('who_am_i', 'anybody', false, '{}'),
    ('get_tenant', 'viewer', false, '{}'),
    ('get_spending', 'viewer', false, '{}'),
    ('get_tenant_stats', 'viewer', false, '{}'),
    ('list_sessions', 'viewer', false, '{}'),
    ('get_session', 'viewer', false, '{}'),
    ('list_messages', 'viewer', false, '{}'),
    ('list_turns', 'viewer', false, '{}'),
    ('list_handoffs', 'viewer', false, '{}'),
    ('get_turn', 'viewer', false, '{}'),
    ('tell_turn', 'viewer', false, '{}'),
    ('follow_tenant', 'viewer', false, '{}'),
    ('find_turn', 'deployment', false, '{}'),
    ('pause_session', 'operator', true, '{until,indefinite}'),
    ('resume_session', 'operator', true, '{}'),
    ('pause_contact', 'operator', true, '{until,indefinite}'),
    ('resume_contact', 'operator', true, '{}'),
    ('retry_turn', 'operator', true, '{}'),
    ('retry_turns', 'operator', true, '{}'),
    ('begin_human_send', 'operator', true, '{knowingly}'),
    ('send_message', 'operator', true, '{}'),
    ('find_sent_message', 'operator', false, '{}'),
    ('find_kept_file', 'operator', true, '{message_id}'),
    ('set_labels', 'operator', true, '{}'),
    ('set_owner', 'operator', true, '{owner}'),
    ('list_notes', 'viewer', false, '{}'),
    ('add_note', 'operator', true, '{}'),
    ('remove_note', 'operator', true, '{note_id}'),
    ('list_files', 'viewer', false, '{}'),
    ('begin_own_file', 'admin', false, '{}'),
    ('set_file', 'admin', true, '{name,kind}'),
    ('remove_file', 'admin', true, '{name}'),
    ('find_contact', 'admin', false, '{}'),
    ('export_contact', 'admin', true, '{}'),
    ('export_rows', 'admin', false, '{}'),
    ('erase_history', 'admin', false, '{}'),
    ('erase_contact', 'admin', true, '{}'),
    ('get_instance', 'operator', false, '{}'),
    ('get_qrcode', 'admin', true, '{}'),
    ('begin_dry_turn', 'admin', true, '{flow}'),
    ('look_at_dry_turn', 'admin', false, '{}'),
    ('reserve_tenant', 'deployment', false, '{}'),
    ('create_tenant', 'deployment', true, '{}'),
    ('change_tenant', 'admin', true, '{}'),
    ('list_webhook_secrets', 'admin', false, '{}'),
    ('add_webhook_secret', 'admin', true, '{ends_with,retire_others_after_hours}'),
    ('retire_webhook_secret', 'admin', true, '{webhook_secret_id,after_hours}'),
    ('list_members', 'admin', false, '{}'),
    ('set_member', 'admin', true, '{user_id,role}'),
    ('remove_member', 'admin', true, '{user_id}'),
    ('list_api_keys', 'anybody', false, '{}'),
    ('create_api_key', 'anybody', true, '{name,starts_with,role,tenant_ids,expires_at}'),
    ('revoke_api_key', 'anybody', true, '{api_key_id}'),
    ('list_audit', 'admin', false, '{}')
$$;

-- as_operator({caller, function, argument?})
-- Calls the function for the caller, if the caller has the role that it needs, and audits the call. The
-- function gets the known caller as `caller`. Returns {caller: its name, result}: what the function returns,
-- without `audit` and `audit_tenants`, which go into the audit log. PT401: no such key. PT403: the role is
-- too low, or this function cannot be called over the API. PT404: the caller has no role in the tenant. Also
-- raises what the function raises.
create or replace function public.as_operator(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_caller jsonb;
    v_argument jsonb;
    v_call record;
    v_tenant_id bigint;
    v_result jsonb;
begin
    perform hybridflow.require_keys('as_operator', p, '{caller,function}');
    v_caller := hybridflow.known_caller(p -> 'caller');
    v_argument := coalesce(nullif(p -> 'argument', 'null'), '{}') || jsonb_build_object('caller', v_caller);
    select * into v_call from hybridflow.operator_calls() as c where c.name = p ->> 'function';
    if not found then
        raise exception 'nobody may call % over the API', p ->> 'function' using errcode = 'PT403';
    end if;
    v_tenant_id := hybridflow.allowed_tenant(v_caller, v_call.needs, v_argument);
    execute format('select public.%I($1)', v_call.name) into v_result using v_argument;
    if v_call.audited then
        -- A call that concerns several tenants gets a line for the admins of each tenant, without the names
        -- of the others.
        perform hybridflow.record_audit(
            v_caller, v_call.name, coalesce(v_tenant_id, (v_result #>> '{tenant,id}')::bigint, a.tenant_id),
            jsonb_build_object(
                'session_id', coalesce(v_argument -> 'session_id', v_result #> '{session,id}'),
                'turn_id', coalesce(v_argument -> 'turn_id', v_result -> 'turn_id')
            ),
            coalesce(v_result -> 'audit', (
                select jsonb_object_agg(d.key, v_argument -> d.key) from unnest(v_call.details) as d (key)
            ), '{}')
        )
        from (
            select t.id::bigint as tenant_id from jsonb_array_elements_text(v_result -> 'audit_tenants') as t (id)
            union all
            select null where coalesce(jsonb_array_length(v_result -> 'audit_tenants'), 0) = 0
        ) as a;
    end if;
    return jsonb_build_object(
        'caller', v_caller -> 'name', 'result', v_result - '{audit,audit_tenants}'::text[]
    );
end
$$;

-- ==================== 0838_ends_of_keys.sql

-- HybridFlow: when API keys end: with the membership of the user who made them, and with the key that made
-- them.

-- Takes away what the user's keys may do in the tenant, if the user no longer has the role of the key there.
-- A key of this tenant alone is revoked; a key of several tenants loses this one. A key that was made with a
-- member's key counts as made by the member.
create or replace function hybridflow.end_keys(p_user_id uuid, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_role text := (
        select m.role from public.memberships as m where m.user_id = p_user_id and m.tenant_id = p_tenant_id
    );
    v_key public.api_keys;
begin
    for v_key in
        select k.* from public.api_keys as k
        where k.made_by = p_user_id and k.revoked_at is null and not hybridflow.reaches(v_role, k.role)
            and exists (
                select from public.api_key_tenants as t where t.api_key_id = k.id and t.tenant_id = p_tenant_id
            )
        order by k.id
        for update
    loop
        delete from public.api_key_tenants as t
        where t.api_key_id = v_key.id and t.tenant_id = p_tenant_id and exists (
            select from public.api_key_tenants as o where o.api_key_id = v_key.id and o.tenant_id <> p_tenant_id
        );
        if not found then
            update public.api_keys set revoked_at = hybridflow.clock() where id = v_key.id;
        end if;
    end loop;
end
$$;

-- made_by exists since 0.2.0. Before that, only created_by contained the user's id. The keys of members who
-- have left end here.
do $$
begin
    if exists (
        select from pg_catalog.pg_attribute
        where attrelid = 'public.api_keys'::regclass and attname = 'made_by' and not attisdropped
    ) then
        return;
    end if;
    alter table public.api_keys add column made_by uuid;
    update public.api_keys set made_by = created_by::uuid
    where created_by ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
    perform hybridflow.end_keys(k.made_by, t.tenant_id)
    from public.api_keys as k inner join public.api_key_tenants as t on t.api_key_id = k.id
    where k.made_by is not null;
end
$$;
comment on column public.api_keys.made_by is
'The user of Supabase Auth who made the key, or made the key that made it. The key ends with this'
' user''s membership.';
create index if not exists api_keys_by_maker on public.api_keys (made_by) where made_by is not null;

alter table public.api_keys
add column if not exists made_with bigint references public.api_keys (id) on delete set null;
comment on column public.api_keys.made_with is 'The key that made this key. This key ends with that one.';
create index if not exists api_keys_by_making_key on public.api_keys (made_with) where made_with is not null;

create or replace function hybridflow.end_keys_made_with()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.api_keys set revoked_at = new.revoked_at where made_with = new.id and revoked_at is null;
    return null;
end
$$;

create or replace trigger api_keys_end_those_made_with
after update of revoked_at on public.api_keys
for each row when (old.revoked_at is null and new.revoked_at is not null)
execute function hybridflow.end_keys_made_with();

create or replace function hybridflow.end_keys_of_member()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_keys(old.user_id, old.tenant_id);
    return null;
end
$$;

create or replace trigger memberships_end_keys
after update or delete on public.memberships
for each row execute function hybridflow.end_keys_of_member();

-- ==================== 0840_api_keys.sql

-- HybridFlow: API keys: operators list, make and revoke them. as_operator calls these functions, and puts the
-- known caller into the argument.

-- The user of Supabase Auth for whom a known caller acts, directly or with a key; null: no user.
create or replace function hybridflow.member_behind(p_caller jsonb)
returns uuid
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_caller ->> 'user_id', p_caller ->> 'made_by')::uuid
$$;

-- A key as the API shows it: everything except its hash.
create or replace function hybridflow.api_key_json(p_key public.api_keys)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_key) - 'key_hash' || jsonb_build_object(
        'tenant_ids', case when not p_key.every_tenant then (
            select coalesce(jsonb_agg(t.tenant_id order by t.tenant_id), '[]')
            from public.api_key_tenants as t where t.api_key_id = p_key.id
        ) end,
        'is_active', p_key.revoked_at is null and coalesce(p_key.expires_at > hybridflow.clock(), true)
    )
$$;

-- What the audit log says about a key that is made or revoked: {audit, audit_tenants: the tenants of the
-- key}.
create or replace function hybridflow.audit_of_key(p_key public.api_keys)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'audit', jsonb_build_object(
            'api_key_id', p_key.id, 'name', p_key.name, 'starts_with', p_key.starts_with, 'role', p_key.role,
            'expires_at', p_key.expires_at
        ),
        'audit_tenants', (
            select coalesce(jsonb_agg(t.tenant_id order by t.tenant_id), '[]')
            from public.api_key_tenants as t where t.api_key_id = p_key.id
        )
    )
$$;

-- Makes room for one more key of each of these tenants. Of the keys that have ended, the newest 500 are kept.
-- Raises PT409 if the tenant has 500 valid keys. Calls at the same moment may exceed that by a few.
create or replace function hybridflow.make_room_for_key(p_tenants bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint;
    v_now timestamptz := hybridflow.clock();
begin
    foreach v_tenant_id in array p_tenants loop
        continue when (
            select count(*) < 500 from (
                select from public.api_key_tenants as t where t.tenant_id = v_tenant_id limit 500
            ) as few
        );
        with ended as (
            select k.id from public.api_keys as k
            inner join public.api_key_tenants as t on t.api_key_id = k.id
            where t.tenant_id = v_tenant_id and (k.revoked_at is not null or k.expires_at <= v_now)
            order by k.id desc offset 500
        ), shared as (  -- keys that also belong to another tenant
            delete from public.api_key_tenants as t using ended as e
            where t.api_key_id = e.id and t.tenant_id = v_tenant_id and exists (
                select from public.api_key_tenants as o where o.api_key_id = e.id and o.tenant_id <> v_tenant_id
            )
            returning t.api_key_id as id
        )

        delete from public.api_keys as k using ended as e
        where k.id = e.id and k.id not in (select s.id from shared as s);
        if (
            select count(*) >= 500 from public.api_keys as k
            inner join public.api_key_tenants as t on t.api_key_id = k.id
            where t.tenant_id = v_tenant_id and k.revoked_at is null and coalesce(k.expires_at > v_now, true)
        ) then
            raise exception 'tenant % has 500 keys already: revoke one first', v_tenant_id
                using errcode = 'PT409';
        end if;
    end loop;
end
$$;

-- create_api_key({caller, name, key_hash, starts_with, role, tenant_ids: [id] | null, expires_at?})
-- Makes a key for these tenants; tenant_ids null: for every tenant. Returns {api_key, audit, audit_tenants}.
-- The caller must be admin in each of them; otherwise PT404 or PT403. A key that was made with another key
-- expires with that key at the latest. PT409: a tenant has 500 keys already. PT422: which value is not valid.
create or replace function public.create_api_key(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_every boolean := jsonb_typeof(coalesce(p -> 'tenant_ids', 'null')) = 'null';
    v_tenants bigint[];
    v_maker public.api_keys;
    v_key public.api_keys;
begin
    perform hybridflow.require_keys(
        'create_api_key', p, '{caller,name,key_hash,starts_with,role,tenant_ids or null}'
    );
    -- A call that revokes the caller's key at this moment waits for this lock, and then ends the new key,
    -- too.
    select * into v_maker from public.api_keys where id = (p #>> '{caller,api_key_id}')::bigint for share;
    if v_maker.revoked_at is not null then
        raise exception 'the API key % was revoked', v_maker.name using errcode = 'PT401';
    end if;
    if not v_every then
        v_tenants := array(select distinct t.id::bigint from jsonb_array_elements_text(p -> 'tenant_ids') as t (id));
        if v_tenants = '{}' then
            raise exception 'tenant_ids must name a tenant, or be null: every tenant' using errcode = 'PT422';
        end if;
    end if;
    -- A call that ends the caller's membership at this moment waits for this lock, and then ends the new key,
    -- too.
    perform from public.memberships as m
    where m.user_id = hybridflow.member_behind(p -> 'caller') and m.tenant_id = any(v_tenants)
    order by m.tenant_id
    for share;
    perform hybridflow.require_role(p -> 'caller', t.id, 'admin')
    from unnest(case when v_every then array[null::bigint] else v_tenants end) as t (id);
    if (p ->> 'expires_at')::timestamptz <= hybridflow.clock() then
        raise exception 'expires_at must be in the future, not %', p ->> 'expires_at' using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('the name of a key', p ->> 'name');
    perform hybridflow.make_room_for_key(coalesce(v_tenants, '{}'));
    insert into public.api_keys (
        name, key_hash, starts_with, role, every_tenant, created_by, made_by, made_with, created_at, expires_at
    )
    values (
        btrim(p ->> 'name'), decode(p ->> 'key_hash', 'hex'), p ->> 'starts_with', p ->> 'role', v_every,
        p #>> '{caller,name}', hybridflow.member_behind(p -> 'caller'), v_maker.id, hybridflow.clock(),
        least((p ->> 'expires_at')::timestamptz, v_maker.expires_at)
    )
    returning * into v_key;
    insert into public.api_key_tenants (api_key_id, tenant_id)
    select v_key.id, t.id from unnest(v_tenants) as t (id);
    return jsonb_build_object('api_key', hybridflow.api_key_json(v_key)) || hybridflow.audit_of_key(v_key);
exception
    when check_violation or not_null_violation then
        raise exception 'a key needs a name of 1 to 100 characters, and a role: viewer, operator or admin'
            using errcode = 'PT422';
    when foreign_key_violation then
        raise exception 'tenant_ids: there is no such tenant' using errcode = 'PT404';
end
$$;

-- Whether the known caller may see and revoke a key: it must be admin in every tenant of the key.
create or replace function hybridflow.may_manage(p_caller jsonb, p_key public.api_keys)
returns boolean
language sql
stable
set search_path = ''
as $$
    select case
        when hybridflow.tenants_of(p_caller, 'admin') is null then true
        when p_key.every_tenant then false
        else exists (select from public.api_key_tenants as t where t.api_key_id = p_key.id) and not exists (
            select from public.api_key_tenants as t
            where t.api_key_id = p_key.id and t.tenant_id <> all(hybridflow.tenants_of(p_caller, 'admin'))
        )
    end
$$;

-- list_api_keys({caller, limit?, cursor?})
-- Returns {items: [api_key], next_cursor}: the keys that the caller may manage, the newest first, including
-- revoked ones. For an admin of some tenants, only keys of those tenants are read, however many keys others
-- have.
create or replace function public.list_api_keys(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('api_keys', p) ->> 0)::bigint, 9223372036854775807);
    v_tenants bigint[] := hybridflow.tenants_of(p -> 'caller', 'admin');
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_api_keys', p, '{caller}');
    select array_agg(jsonb_build_object(
        'key', jsonb_build_array(f.id), 'item', hybridflow.api_key_json(f)
    ) order by f.id desc)
    into v_rows
    from (
        (
            select k.* from public.api_keys as k
            where v_tenants is null and k.id < v_before
            order by k.id desc limit v_limit + 1
        )
        union all
        (
            select k.* from public.api_keys as k
            where k.id < v_before and not k.every_tenant and k.id = any(array(
                select t.api_key_id from public.api_key_tenants as t where t.tenant_id = any(v_tenants)
            )) and not exists (
                select from public.api_key_tenants as t
                where t.api_key_id = k.id and t.tenant_id <> all(v_tenants)
            )
            order by k.id desc limit v_limit + 1
        )
    ) as f;
    return hybridflow.page('api_keys', v_rows, v_limit);
end
$$;

-- revoke_api_key({caller, api_key_id})
-- Ends a key at once, and the keys that were made with it. A revoked key stays revoked. Returns {api_key,
-- audit, audit_tenants}. PT404: there is no such key, or the caller may not manage it.
create or replace function public.revoke_api_key(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_key public.api_keys;
begin
    perform hybridflow.require_keys('revoke_api_key', p, '{caller,api_key_id}');
    select * into v_key from public.api_keys where id = (p ->> 'api_key_id')::bigint for update;
    if not found or not hybridflow.may_manage(p -> 'caller', v_key) then
        raise exception 'there is no API key %', p ->> 'api_key_id' using errcode = 'PT404';
    end if;
    update public.api_keys set revoked_at = coalesce(revoked_at, hybridflow.clock()) where id = v_key.id
    returning * into v_key;
    return jsonb_build_object('api_key', hybridflow.api_key_json(v_key)) || hybridflow.audit_of_key(v_key);
end
$$;

-- ==================== 0841_members.sql

-- HybridFlow: members of tenants: operators list and change them.

-- Returns the user that p names. Raises PT422 if it is not a user's id.
create or replace function hybridflow.user_of(p jsonb)
returns uuid
language plpgsql
immutable
set search_path = ''
as $$
begin
    return (p ->> 'user_id')::uuid;
exception
    when data_exception then
        raise exception 'user_id must be the id of a user of Supabase Auth (a UUID), not %', p ->> 'user_id'
            using errcode = 'PT422';
end
$$;

-- list_members({tenant_id})
-- Returns {items: [member]}: the users of Supabase Auth who may see the tenant. A tenant has at most 500.
-- PT404: no such tenant.
create or replace function public.list_members(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('list_members', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    return jsonb_build_object('items', (
        select coalesce(jsonb_agg(to_jsonb(m) order by m.created_at, m.user_id), '[]')
        from (
            select f.* from public.memberships as f where f.tenant_id = v_tenant.id
            order by f.created_at, f.user_id limit 500
        ) as m
    ));
end
$$;

-- set_member({caller?, tenant_id, user_id, role})
-- Gives a user of Supabase Auth a role in the tenant; it replaces an earlier role. Returns {member}. PT404:
-- no such tenant. PT409: it has 500 members already. PT422: no such role, or not a user's id.
create or replace function public.set_member(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_user_id uuid;
    v_member public.memberships;
begin
    perform hybridflow.require_keys('set_member', p, '{tenant_id,user_id,role}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    v_user_id := hybridflow.user_of(p);
    perform from public.tenants where id = v_tenant.id for no key update;
    if (select count(*) from public.memberships where tenant_id = v_tenant.id and user_id is distinct from v_user_id)
        >= 500
    then
        raise exception 'the tenant has 500 members already: remove one first' using errcode = 'PT409';
    end if;
    insert into public.memberships as m (tenant_id, user_id, role, created_by, created_at)
    values (
        v_tenant.id, v_user_id, p ->> 'role', p #>> '{caller,name}', hybridflow.clock()
    )
    on conflict (tenant_id, user_id) do update set role = excluded.role
    returning m.* into v_member;
    return jsonb_build_object('member', to_jsonb(v_member));
exception
    when check_violation or not_null_violation then
        raise exception 'a member needs a user_id, and a role: viewer, operator or admin' using errcode = 'PT422';
end
$$;

-- remove_member({tenant_id, user_id})
-- Ends a user's rights in the tenant at once. Returns {removed}: whether there were any. PT404: no such
-- tenant. PT422: not a user's id.
create or replace function public.remove_member(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants;
begin
    perform hybridflow.require_keys('remove_member', p, '{tenant_id,user_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    delete from public.memberships
    where tenant_id = v_tenant.id and user_id = hybridflow.user_of(p);
    return jsonb_build_object('removed', found);
end
$$;

-- ==================== 0842_prove_caller.sql

-- HybridFlow: checks whether a caller is known, before the body of the call is read.

-- prove_caller({caller})
-- Checks that the caller (see 0830) is known at this moment. Returns {tenant_id?}: the first tenant of a
-- user, or of a key that is not for every tenant. The rate limit counts the call together with the other
-- calls for that tenant. PT401: the API key is unknown, revoked or expired. What a known caller may do is
-- checked by the call itself.
create or replace function public.prove_caller(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_caller jsonb;
begin
    perform hybridflow.require_keys('prove_caller', p, '{caller}');
    v_caller := hybridflow.known_caller(p -> 'caller');
    return jsonb_strip_nulls(jsonb_build_object('tenant_id', case v_caller ->> 'kind'
        when 'key' then (
            select min(k.tenant_id) from public.api_key_tenants as k
            where k.api_key_id = (v_caller ->> 'api_key_id')::bigint
                and not (v_caller ->> 'every_tenant')::boolean
        )
        when 'user' then (
            select min(m.tenant_id) from public.memberships as m
            where m.user_id = (v_caller ->> 'user_id')::uuid
        )
    end));
end
$$;

-- prove_flow({turn_id | notice_id | dry_turn_id, token})
-- Returns {tenant_id} or {refused: reason}: the tenant of the turn, notice or test turn that has this token,
-- or why none has it, as the function that acts on it would say. Whether the token may still act is checked
-- when it acts. Takes no lock, because anybody may call it.
create or replace function public.prove_flow(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_hash bytea := hybridflow.hash_token((p ->> 'token')::uuid);
    v_tenant_id bigint;
    v_refusal text := 'stale';
begin
    perform hybridflow.require_keys('prove_flow', p, '{turn_id|notice_id|dry_turn_id,token}');
    if p ->> 'turn_id' is not null then
        select s.tenant_id into v_tenant_id
        from public.turns as t
        inner join public.sessions as s on s.id = t.session_id
        where t.id = (p ->> 'turn_id')::bigint and t.token_hash = v_hash;
    elsif p ->> 'dry_turn_id' is not null then
        select d.tenant_id into v_tenant_id
        from public.dry_turns as d
        where d.id = (p ->> 'dry_turn_id')::bigint and d.token_hash = v_hash
            and d.ends_at > hybridflow.clock();
    else
        select n.tenant_id into v_tenant_id
        from public.notices as n
        where n.id = (p ->> 'notice_id')::bigint and n.token_hash = v_hash;
        if not exists (select from public.notices as n where n.id = (p ->> 'notice_id')::bigint) then
            v_refusal := 'unknown_notice';
        end if;
    end if;
    if v_tenant_id is null then
        return jsonb_build_object('refused', v_refusal);
    end if;
    return jsonb_build_object('tenant_id', v_tenant_id);
end
$$;

-- ==================== 0843_who_am_i.sql

-- HybridFlow: who the caller of the API is, as a console shows it.

-- who_am_i({caller})
-- Returns {kind, name, role, roles}: the caller as `as_operator` knows it. role: its role in every tenant, or
-- null. If it is null, roles lists its roles: [{tenant_id, instance_name, role}], of at most a thousand
-- tenants in the order of their ids.
create or replace function public.who_am_i(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_caller jsonb := p -> 'caller';
    v_role text := hybridflow.role_in(v_caller, null);
begin
    perform hybridflow.require_keys('who_am_i', p, '{caller}');
    return jsonb_build_object(
        'kind', v_caller -> 'kind', 'name', v_caller -> 'name', 'role', v_role,
        'roles', case when v_role is null then (
            select coalesce(jsonb_agg(jsonb_build_object(
                'tenant_id', f.id, 'instance_name', f.instance_name, 'role', f.role
            ) order by f.id), '[]')
            from (
                select t.id, t.instance_name, hybridflow.role_in(v_caller, t.id) as role
                from public.tenants as t
                where t.id = any(hybridflow.tenants_of(v_caller, 'viewer'))
                order by t.id limit 1000
            ) as f
        ) else '[]' end
    );
end
$$;

-- ==================== 0845_members_read.sql

-- HybridFlow: lets members read their tenants' rows directly; row_security says which rows and columns.

-- The user of this request; null: none. Like Supabase's auth.uid(), but on any PostgreSQL.
create or replace function hybridflow.my_user_id()
returns uuid
language sql
stable
set search_path = ''
as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

-- The tenants in which the user of this request has at least the role p_needs. Runs as its owner, because the
-- user may not read others' memberships. In a policy it is called in a subquery, so that it runs once for
-- each query.
create or replace function hybridflow.my_tenants(p_needs text default 'viewer')
returns setof bigint
language sql
stable
security definer
set search_path = ''
as $$
    select m.tenant_id from public.memberships as m
    where m.user_id = hybridflow.my_user_id() and hybridflow.reaches(m.role, p_needs)
$$;

-- let_members_read(table, condition, columns): lets members read these columns of the rows that meet the
-- condition; columns null: all columns. Does nothing on a plain PostgreSQL, which has no role
-- `authenticated`.
create or replace function hybridflow.let_members_read(
    p_table text, p_condition text, p_columns text default ''
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    if exists (
        select from pg_catalog.pg_policy
        where polrelid = ('public.' || p_table)::regclass and polname = 'members_read'
    ) then
        execute format('drop policy members_read on public.%I', p_table);
    end if;
    execute format(
        'create policy members_read on public.%I for select to authenticated using (%s)', p_table, p_condition
    );
    execute format('grant select %s on public.%I to authenticated', p_columns, p_table);
end
$$;

-- ==================== 0850_turns_of_flows.sql

-- HybridFlow: turns that a flow in n8n makes. The flow proves itself with the turn's token; it may ask for
-- more time, or for a human.

-- forward_turn({turn_id, token, lease_seconds})
-- The turn goes to n8n. The lease is the time that its flow has. Returns {ok} or {refused: reason}.
create or replace function public.forward_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys('forward_turn', p, '{turn_id,token,lease_seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set handler = 'n8n', handler_since = hybridflow.clock(), execution_id = null, execution_told_at = null,
        execution_url = null, error = null, error_kind = null,
        updated_at = hybridflow.clock(),
        lease_until = hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- extend_turn({turn_id, token, seconds})
-- A slow flow asks for more time. Returns {ok, lease_until} or {refused: reason}.
create or replace function public.extend_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'seconds')::numeric);
begin
    perform hybridflow.require_keys('extend_turn', p, '{turn_id,token,seconds}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns set lease_until = greatest(lease_until, v_until), updated_at = hybridflow.clock()
    where id = (v_held.turn).id
    returning lease_until into v_until;
    return jsonb_build_object('ok', true, 'lease_until', v_until);
end
$$;

-- hand_off({turn_id, token, reason, summary?, say?: [text]})
-- The AI itself asks for a human: the session is paused with source 'ai', the turn is closed, and a notice
-- tells the people of the business. `say` contains texts for the customer. With them, all this happens when
-- the first of them begins to be sent, by the worker that claims the turn next; the turn does not belong to
-- the flow any more (see say_handoff). If a human has taken over already, nothing is said or handed off:
-- 'paused'. `replied`: everything that the AI had to say before is on the phone. Returns {ok, session_id,
-- already?, replied?} or {refused: reason}; 'has_answered': the turn already has a reply, which is being
-- sent. A second call with the same token gets the same answer, with `already`.
create or replace function public.hand_off(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_replied boolean := false;
    v_by text := encode(hybridflow.hash_token((p ->> 'token')::uuid), 'hex');
    v_session_id bigint;
    v_is_known boolean;
    v_stopped text;
begin
    perform hybridflow.require_keys('hand_off', p, '{turn_id,token,reason}');
    select t.session_id into v_session_id from public.turns as t
    where t.id = (p ->> 'turn_id')::bigint
        and t.reply @> jsonb_build_array(jsonb_build_object('handoff', jsonb_build_object('by', v_by)));
    if found then  -- its texts are on their way, and another worker has the turn
        return jsonb_build_object('ok', true, 'session_id', v_session_id, 'already', true);
    end if;
    v_held := hybridflow.hold_turn(p);
    if 'handoff' in ((v_held.turn).reason, (v_held.turn).stop_reason)
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'already', true);
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    if p ->> 'say' is not null then
        v_stopped := hybridflow.stopped_for(v_held.turn, v_held.session);
        if v_stopped is not null then
            perform hybridflow.stop_turn((v_held.turn).id, v_stopped);
            return '{"refused": "paused"}';
        elsif (v_held.turn).reply is not null then
            return '{"refused": "has_answered"}';
        end if;
    end if;
    v_is_known := hybridflow.know_more_of_handoff((v_held.turn).id, p);
    if p ->> 'say' is not null then
        perform hybridflow.say_handoff(
            v_held.turn,
            jsonb_build_object('reason', p -> 'reason', 'summary', p -> 'summary', 'by', v_by), p -> 'say',
            'cut_off'
        );
        return jsonb_build_object('ok', true, 'session_id', (v_held.session).id);
    elsif hybridflow.await_settlement(v_held.turn, null) then
        update public.turns set stop_reason = 'handoff' where id = (v_held.turn).id;
    else
        v_replied := hybridflow.has_spoken((v_held.turn).id) and not hybridflow.has_unsent((v_held.turn).id);
        update public.turns set incomplete = true
        where id = (v_held.turn).id and hybridflow.has_unsent((v_held.turn).id);
        perform hybridflow.close_turn((v_held.turn).id, 'sent', 'handoff');
    end if;
    perform hybridflow.cancel_turns((v_held.session).id, 'paused');
    if not v_is_known then
        perform hybridflow.begin_handoff(
            v_held.session, (v_held.turn).id,
            jsonb_build_object('reason', p ->> 'reason', 'summary', p ->> 'summary')
        );
    end if;
    return jsonb_build_object('ok', true, 'session_id', (v_held.session).id, 'replied', v_replied);
end
$$;

-- ==================== 0851_executions_of_flows.sql

-- HybridFlow: which execution in n8n works on a turn, and what is reported about that execution.

-- The tenant that an execution of n8n belongs to, or null. Several turns may name the execution. Then it
-- belongs to the turn about which n8n itself said so last, or else to the first turn whose flow claims it.
-- Only turns that are under way, or ended within the days for which n8n keeps executions, are read. An
-- earlier turn proves nothing, because an n8n that lost its database counts from one again. A wrong claim of
-- another tenant's turn stays in its row, but has no effect: a call that holds a session's lock does not wait
-- for another tenant's rows, or write them.
create or replace function hybridflow.execution_owner(p_execution_id text)
returns bigint
language sql
volatile
set search_path = ''
as $$
    select t.tenant_id from public.turns as t
    where t.execution_id = p_execution_id
        and (t.finished_at is null or t.finished_at > hybridflow.clock() - interval '7 days')
    order by t.execution_told_at desc nulls last, t.id limit 1
$$;

-- Whether this is an execution id as n8n makes them: a number that JavaScript represents exactly, written in
-- one way only.
create or replace function hybridflow.is_execution_id(p_execution_id text)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_execution_id ~ '^[1-9][0-9]{0,14}$', false)
$$;

-- Raises PT422 unless this is an execution id as n8n makes them.
create or replace function hybridflow.check_execution_id(p_execution_id text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
    if not hybridflow.is_execution_id(p_execution_id) then
        raise exception 'execution_id must be n8n''s `$execution.id`: a number' using errcode = 'PT422';
    end if;
end
$$;

create or replace function hybridflow.is_anothers_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language sql
volatile
set search_path = ''
as $$
    select coalesce(hybridflow.execution_owner(p_execution_id) <> p_tenant_id, false)
$$;

-- Whether a flow of p_tenant_id may say that it is this execution. If two tenants claim the same one at the
-- same moment, one of them is refused; nobody waits.
create or replace function hybridflow.may_claim_execution(p_execution_id text, p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    return pg_try_advisory_xact_lock(hashtextextended('execution:' || p_execution_id, 0))
        and not hybridflow.is_anothers_execution(p_execution_id, p_tenant_id);
end
$$;

-- begin_flow({turn_id, token, execution_id, by_n8n?, execution_url?})
-- The flow has begun, as this execution of n8n. From now on, what is reported about the execution applies to
-- the turn. `by_n8n`: n8n itself named the execution in its answer to the router. That has priority over the
-- claim of a flow, because n8n counts its executions, so that the next id can be guessed. It is also accepted
-- for a turn that its flow has closed meanwhile. Returns {ok} or {refused: reason}: 'execution_taken' if a
-- flow claims an execution of another tenant. PT422: n8n does not make such an id.
create or replace function public.begin_flow(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_is_told boolean;
begin
    perform hybridflow.require_keys('begin_flow', p, '{turn_id,token,execution_id}');
    perform hybridflow.check_execution_id(p ->> 'execution_id');
    v_held := hybridflow.hold_turn(p);
    v_is_told := (p ->> 'by_n8n')::boolean
        and (v_held.turn).token_hash = hybridflow.hash_token((p ->> 'token')::uuid);
    if v_held.refused is not null and v_is_told is not true then
        return v_held.refused;
    elsif v_is_told is not true
        and not hybridflow.may_claim_execution(p ->> 'execution_id', (v_held.session).tenant_id)
    then
        return jsonb_build_object('refused', 'execution_taken');
    end if;
    update public.turns
    set execution_id = p ->> 'execution_id', updated_at = hybridflow.clock(),
        execution_url = case
            when p ->> 'execution_url' is not null then p ->> 'execution_url'
            when execution_id = p ->> 'execution_id' then execution_url
        end,
        execution_told_at = case
            when v_is_told then hybridflow.clock()
            when execution_id = p ->> 'execution_id' then execution_told_at
        end
    where id = (v_held.turn).id;
    return jsonb_build_object('ok', true);
end
$$;

-- Returns the turn that an execution worked on, locked together with its session (session first). `refused`
-- says why nothing may be done about it: once a turn has its reply, it does not belong to its flow any more,
-- however the sending ends. PT404: no turn names this execution.
create or replace function hybridflow.lock_execution(
    p_execution_id text, out turn public.turns, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_owner bigint := hybridflow.execution_owner(p_execution_id);
begin
    select s.* into session from public.sessions as s
    inner join public.turns as t on t.session_id = s.id
    where t.execution_id = p_execution_id and t.tenant_id = coalesce(v_owner, t.tenant_id)
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update of s;
    select t.* into turn from public.turns as t
    where t.execution_id = p_execution_id and t.session_id = session.id
    order by t.state in ('running', 'sending') desc, t.id desc limit 1
    for update;
    if turn.id is null then
        raise exception 'no turn was worked on by the execution %', p_execution_id using errcode = 'PT404';
    elsif turn.state not in ('running', 'sending') or turn.reply is not null then
        refused := jsonb_build_object('refused', 'superseded');
    elsif turn.lease_until <= hybridflow.clock() then
        refused := jsonb_build_object('refused', 'stale');
    end if;
end
$$;

-- take_execution({execution_id})
-- n8n reports that an execution crashed. The caller takes over the attempt that the execution worked on, and
-- ends it as the flow itself would have done. The flow's own token is no longer valid. Returns {turn_id,
-- token} or {refused: 'superseded' | 'stale'}. PT404: no turn names this execution.
create or replace function public.take_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_held record;
    v_token uuid := gen_random_uuid();
begin
    perform hybridflow.require_keys('take_execution', p, '{execution_id}');
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.turns
    set token_hash = hybridflow.hash_token(v_token),
        lease_until = greatest(lease_until, hybridflow.clock() + interval '1 minute')
    where id = (v_held.turn).id;
    return jsonb_build_object('turn_id', (v_held.turn).id, 'token', v_token);
end
$$;

-- fail_execution({execution_id, kind, error, away?, retry_after?, tokens?, check_after?, max_attempts,
-- base_seconds, answer_within_minutes?, cause?})
-- Used by routers of 0.2.0 when an execution crashed: the attempt that it worked on failed, as in fail_turn.
-- Returns {turn_id, state, run_after?, outage?, handoff?} or {refused: 'superseded' | 'stale'}. PT404: no
-- turn names this execution.
create or replace function public.fail_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
begin
    perform hybridflow.require_keys(
        'fail_execution', p, '{execution_id,kind,error,max_attempts,base_seconds}'
    );
    v_held := hybridflow.lock_execution(p ->> 'execution_id');
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    return hybridflow.end_attempt(v_held.turn, v_held.session, p)
        || jsonb_build_object('turn_id', (v_held.turn).id);
end
$$;

-- ==================== 0852_turns_seen_by_flows.sql

-- HybridFlow: reads a turn for its flow: who it belongs to, where its replies go, what was said.

-- Every text that the turn's flow has said so far. A send that began before these texts were stored counts
-- with its body.
create or replace function hybridflow.said_so_far(p_turn public.turns)
returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(p_turn.said_so_far, (
        select string_agg(m.body, E'\n\n' order by m.part) from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null
    ), '')
$$;

-- The number of the part that the turn's next new send will be. It grows with each new send, so it shows
-- whether there was one.
create or replace function hybridflow.next_part(p_turn_id bigint)
returns integer
language sql
stable
set search_path = ''
as $$
    select coalesce(max(m.part) + 1, 0) from public.messages as m
    where m.turn_id = p_turn_id and m.part is not null
$$;

-- look_at_turn({turn_id, token, closed?})
-- Whose turn this is, and where its replies go. Returns {instance_name, evo_server_url, evo_api_key,
-- session_id, tenant_id, jid, jids: [jid], is_paused, correlation_id, system_prompt, facts, notes: [text],
-- contact_wrote, reply_rules, said: [text], sends: [{identity, body, send_state, wa_id}], said_so_far,
-- next_part, fallback_message, handoff_message, handoff_on_promise, wrote: [text], unread: [wa_id],
-- is_closed} or {refused: reason}. `wrote`: the newest texts that the turn answers. `sends`: what the flow
-- has sent so far. `said`: only the bodies of those. `said_so_far`: every text of them; after a check of that
-- text, the fence is asked with `next_part`. `unread`: the messages to mark as read when a send gets through,
-- or may have; none, if an earlier one did.
-- `notes`: see notes_for_llm. `contact_wrote`: what the turn answers, given if the AI gets notes. For reasons
-- see turn_refusal. With `closed`, a turn that this token has ended is shown, too. Only for the router,
-- because the answer contains the key.
create or replace function public.look_at_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_turn public.turns;
    v_refused jsonb;
    v_is_closed boolean;
    v_result jsonb;
begin
    perform hybridflow.require_keys('look_at_turn', p, '{turn_id,token}');
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    v_is_closed := v_turn.state = 'sent' and coalesce(v_refused ->> 'refused' = 'superseded', false);
    if v_refused is not null and not (v_is_closed and coalesce((p ->> 'closed')::boolean, false)) then
        return v_refused;
    end if;
    select jsonb_build_object(
        'is_closed', v_is_closed, 'instance_name', t.instance_name, 'evo_server_url', t.evo_server_url, 'evo_api_key', t.evo_api_key,
        'tenant_id', t.id, 'session_id', s.id, 'jid', coalesce(s.phone_jid, s.lid),
        'jids', (select jsonb_agg(i.jid) from public.session_identities as i where i.session_id = s.id),
        'is_paused', hybridflow.stopped_for(v_turn, s) is not null,
        'correlation_id', v_turn.correlation_id,
        'system_prompt', t.system_prompt, 'facts', t.facts, 'notes', hybridflow.notes_for_llm(t, s.id),
        'contact_wrote', case when t.notes_to_llm then (
            select hybridflow.cut(string_agg(m.body, E'\n' order by m.id)) from public.messages as m
            where m.turn_id = v_turn.id and not m.from_me
        ) end,
        'reply_rules', hybridflow.reply_rules(t),
        'said', (
            select coalesce(jsonb_agg(m.body order by m.part), '[]') from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'sends', (
            select coalesce(jsonb_agg(
                jsonb_build_object(
                    'identity', m.identity, 'body', m.body, 'send_state', m.send_state, 'wa_id', m.wa_id
                )
                order by m.part
            ), '[]')
            from public.messages as m
            where m.turn_id = v_turn.id and m.part is not null
        ),
        'said_so_far', hybridflow.said_so_far(v_turn), 'next_part', hybridflow.next_part(v_turn.id),
        'fallback_message', t.fallback_message, 'handoff_message', t.handoff_message,
        'handoff_on_promise', t.handoff_on_promise, 'wrote', (
            select coalesce(jsonb_agg(hybridflow.cut(l.body, 1000)), '[]') from (
                select m.body from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.kind = 'text'
                order by m.id desc limit 3
            ) as l
        ),
        'unread', case
            when t.mark_as_read and s.chat = 'contact' and not exists (
                select from public.messages as m
                where m.turn_id = v_turn.id and m.send_state in ('sent', 'unknown')
            ) then (
                select coalesce(jsonb_agg(m.wa_id order by m.id), '[]') from public.messages as m
                where m.turn_id = v_turn.id and not m.from_me and m.wa_id is not null
            )
            else '[]'
        end
    )
    into v_result
    from public.sessions as s
    inner join public.tenants as t on t.id = s.tenant_id
    where s.id = v_turn.session_id;
    return v_result;
end
$$;

-- ==================== 0853_sends_of_flows.sql

-- HybridFlow: the fence for what a flow sends. The flow proves itself with its turn's token.

-- Stores the further messages of a flow's send (see begin_flow_send), which have not begun yet. If the turn
-- ends before they begin, they count as not sent.
create or replace function hybridflow.keep_rest(
    p_turn public.turns, p_session public.sessions, p_rest jsonb
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.messages (
        tenant_id, session_id, turn_id, part, from_me, sender, kind, body, identity, sent_at, send_state,
        send_began_at, sends
    )
    select
        p_session.tenant_id, p_session.id, p_turn.id,
        hybridflow.next_part(p_turn.id) + (row_number() over (order by r.place))::integer - 1,
        true, 'ai', r.kind, hybridflow.cut(r.body), r.identity, date_trunc('second', hybridflow.clock()),
        'failed', hybridflow.clock(), 0
    from (
        select distinct on (o.identity) o.*
        from (
            select row_number() over () as place, e.*
            from jsonb_to_recordset(p_rest) as e (body text, kind text, identity text)
        ) as o
        order by o.identity, o.place
    ) as r
    where not exists (
        select from public.messages as m
        where m.turn_id = p_turn.id and m.part is not null and m.identity = r.identity
    );
end
$$;

-- begin_flow_send({turn_id, token, kind, body, identity?, told_as?: [hash], refers_to?, upload_seconds?,
-- text?, next_part?, rest?: [{body, kind, identity}], promise?, lease_seconds})
-- The fence for a flow, which does not know parts. What it sends is a new part, unless the flow has sent the
-- same before: the same `identity`, or, from routers of 0.1.0, which give none, the same kind and body. Then
-- it is a repeated request, and refused as 'already_sent', with the first message's wa_id, jid, kind, body
-- and sent_at, or as 'in_doubt'. A send that certainly failed may begin again. `refers_to`: the id of the
-- message that it quotes or reacts to. 'elsewhere': that message is not in this session, and Evolution would
-- look it up in all its chats. 'has_answered': the turn already has a reply, which is being sent. `rest`: the
-- messages that belong to this one and come after it. They count as not sent until they begin, so that they
-- are not lost if this one is in doubt. `text`: all that people will read of it; next_part: the next part
-- when `text` was checked. 'judge_again': more was said since that check. 'too_many_sends': the flow has sent
-- 500 already; each further one would make every query about the turn slower. Otherwise as begin_send, with
-- the `part`. `promise`: why a human is called, if the message promises one; the conversation is handed off
-- in the same step. Returns {ok, message_id, chosen_id, jid, part} or {refused: reason, part?, message_id?,
-- wa_id?, jid?, kind?, body?, sent_at?}.
create or replace function public.begin_flow_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_part integer;
    v_new jsonb := '{}';
    v_answer jsonb;
    v_message public.messages;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'kind', p ->> 'body', p ->> 'lease_seconds') > 0 then
        perform hybridflow.require_keys('begin_flow_send', p, '{turn_id,token,kind,body,lease_seconds}');
    end if;
    if p ->> 'rest' is not null then
        perform hybridflow.require_keys_of_each('begin_flow_send', p, 'rest', '{body,kind,identity}');
    end if;
    -- The session's lock keeps two requests of one flow from taking the same part.
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    elsif (v_held.turn).reply is not null then
        return '{"refused": "has_answered"}';
    elsif p ->> 'refers_to' is not null and not exists (
        select from hybridflow.messages_called(p ->> 'refers_to') as m
        where m.session_id = (v_held.session).id
    ) then
        return '{"refused": "elsewhere"}';
    end if;
    select m.part into v_part from public.messages as m
    where m.turn_id = (p ->> 'turn_id')::bigint and m.part is not null and case
        when p ->> 'identity' is not null then m.identity = p ->> 'identity'
        else m.body = p ->> 'body' and m.kind = p ->> 'kind'  -- for routers of 0.1.0
    end
    order by m.part limit 1;
    if v_part is null then
        v_part := hybridflow.next_part((p ->> 'turn_id')::bigint);
        if v_part >= 500 then
            return '{"refused": "too_many_sends"}';
        end if;
        if (p ->> 'next_part')::integer <> v_part
            and hybridflow.stopped_for(v_held.turn, v_held.session) is null
        then
            return '{"refused": "judge_again"}';
        end if;
        v_new := jsonb_build_object('said_so_far', concat_ws(
            E'\n\n', nullif(hybridflow.said_so_far(v_held.turn), ''),
            nullif(coalesce(p ->> 'text', p ->> 'body'), '')
        ));
    end if;
    v_answer := public.begin_send(
        p - '{reply,said_so_far}'::text[] || v_new || jsonb_build_object('part', v_part)
    );
    if v_answer ? 'message_id' and jsonb_typeof(p -> 'rest') = 'array' then
        perform hybridflow.keep_rest(v_held.turn, v_held.session, p -> 'rest');
    end if;
    if p ->> 'promise' is not null and coalesce((v_answer ->> 'ok')::boolean, false) then
        perform hybridflow.hand_off_by_promise(
            v_held.session, (v_held.turn).id,
            jsonb_build_object(
                'reason', 'other', 'why', p -> 'promise', 'said', coalesce(p ->> 'text', p ->> 'body'),
                'part', v_part
            )
        );
    end if;
    if v_part = 0 and v_answer ? 'message_id' then
        -- A flow's text need not come from the LLM, so turns of other tenants that wait for the LLM are not
        -- released.
        perform hybridflow.is_back(hybridflow.llm_of((v_held.turn).tenant_id), (v_held.turn).tenant_id);
        perform hybridflow.replies_are_made((v_held.turn).tenant_id);
    end if;
    if v_answer ->> 'refused' = 'already_sent' then
        select * into v_message from public.messages where id = (v_answer ->> 'message_id')::bigint;
        v_answer := v_answer || jsonb_build_object(
            'kind', v_message.kind, 'body', v_message.body, 'sent_at', v_message.sent_at,
            'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
        );
    end if;
    return v_answer || jsonb_build_object('part', v_part);
end
$$;

-- ==================== 0854_media_of_flows.sql

-- HybridFlow: whether a flow may get a message's media. The flow proves itself with its turn's token.

-- find_media({turn_id, token, wa_id})
-- Whether a flow may get the media of a message. The message must be in the session of its turn, and not
-- deleted. The request is audited, but only once for repeated requests. Returns {ok, bytes, stored?: {store,
-- name, bytes, media_type, kind}} or {refused: reason}: 'elsewhere', there is no such message in this
-- conversation; 'no_media'; for others see turn_refusal. `bytes` is the size that WhatsApp reported, or null.
-- `stored` is given if the media is kept as a file.
create or replace function public.find_media(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_turn public.turns;
    v_refused jsonb;
    v_message public.messages;
    v_last public.audit_log;
begin
    perform hybridflow.require_keys('find_media', p, '{turn_id,token,wa_id}');
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    if v_refused is not null then
        return v_refused;
    end if;
    select * into v_message from public.messages as m
    where m.wa_id = p ->> 'wa_id' and m.tenant_id = v_turn.tenant_id and m.session_id = v_turn.session_id
        and m.deleted_at is null
    order by m.id limit 1;
    if v_message.id is null then
        return '{"refused": "elsewhere"}';
    elsif jsonb_typeof(v_message.media) is distinct from 'object' then
        return '{"refused": "no_media"}';
    end if;
    select * into v_last from public.audit_log as a
    where a.tenant_id = v_turn.tenant_id
    order by a.id desc limit 1;
    if v_last.action is distinct from 'find_media' or v_last.turn_id is distinct from v_turn.id
        or v_last.detail ->> 'message_id' is distinct from v_message.id::text
    then
        perform hybridflow.record_audit(
            '{"kind": "ai", "name": "n8n"}', 'find_media', v_turn.tenant_id,
            jsonb_build_object('session_id', v_turn.session_id, 'turn_id', v_turn.id),
            jsonb_build_object('message_id', v_message.id)
        );
    end if;
    return jsonb_build_object('ok', true, 'bytes', case
        when v_message.media ->> 'bytes' ~ '^[0-9]{1,15}$' then (v_message.media ->> 'bytes')::bigint
    end) || jsonb_strip_nulls(jsonb_build_object('stored', (
        select jsonb_build_object(
            'store', f.store, 'name', f.name, 'bytes', f.bytes, 'media_type', f.media_type,
            'kind', v_message.kind
        )
        from public.kept_files as f
        where f.message_id = v_message.id and f.state = 'kept' and f.expires_at > hybridflow.clock()
    )));
end
$$;

-- ==================== 0857_dry_turns.sql

-- HybridFlow: test turns (`dry_turns`): a flow runs as it is, and what it sends is written down instead of
-- sent. They are separate from turns: they change no session, message, budget or count, and nothing leads
-- from a test turn to Evolution. Its row contains what a flow said to a made-up contact. The row is deleted
-- as soon as its result was read, or else when the next test turn begins, an hour or more after it began.

create table if not exists public.dry_turns (
    -- Test turns use ids far above those of turns, because a flow may store data under a turn_id.
    id bigint generated always as identity (start with 9000000000000000) primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    token_hash bytea not null,
    began_at timestamptz not null,
    ends_at timestamptz not null,
    said jsonb not null default '[]',
    ended jsonb
);

comment on table public.dry_turns is
'Test turns of flows: what they would have sent, until it was read. Nothing about a contact.';

create index if not exists dry_turns_by_tenant on public.dry_turns (tenant_id, began_at);
create index if not exists dry_turns_by_age on public.dry_turns (began_at);

alter table public.dry_turns enable row level security;

-- begin_dry_turn({instance_name, seconds, flow?, caller?})
-- Begins a test turn of that tenant, which lasts for `seconds`. `flow`: a flow to test instead of the
-- tenant's own. Only the deployment may name one, because it is a path in its n8n. Returns {dry_turn_id,
-- token, now, tenant}: the tenant as in a turn's context, without its keys. PT404: no such instance. PT403:
-- the caller may not name a flow. PT409: the tenant is not active; or it has an LLM key of its own, so that
-- no flow gets its turns; or it had 60 test turns within an hour.
create or replace function public.begin_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant public.tenants;
    v_token uuid := gen_random_uuid();
    v_id bigint;
begin
    perform hybridflow.require_keys('begin_dry_turn', p, '{instance_name,seconds}');
    select * into v_tenant from public.tenants where instance_name = p ->> 'instance_name';
    if not found then
        raise exception 'there is no tenant with the instance %', p ->> 'instance_name' using errcode = 'PT404';
    elsif p ->> 'flow' is not null then
        perform hybridflow.require_role(p -> 'caller', null, 'admin');
    end if;
    if not v_tenant.is_active then
        raise exception 'the tenant is not active: nothing is answered for it' using errcode = 'PT409';
    elsif v_tenant.llm_api_key is not null then
        raise exception 'the tenant has an LLM key of its own: its turns go to no flow' using errcode = 'PT409';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('dry turns:' || v_tenant.id, 0));
    delete from public.dry_turns where id in (
        select d.id from public.dry_turns as d
        where d.began_at < v_now - interval '1 hour' order by d.began_at limit 100
        for update skip locked
    );
    if (
        select count(*) from public.dry_turns as d
        where d.tenant_id = v_tenant.id and d.began_at > v_now - interval '1 hour'
    ) >= 60 then
        raise exception 'the tenant has had 60 test turns within an hour: wait a while' using errcode = 'PT409';
    end if;
    insert into public.dry_turns (tenant_id, token_hash, began_at, ends_at)
    values (
        v_tenant.id, hybridflow.hash_token(v_token), v_now,
        v_now + hybridflow.seconds((p ->> 'seconds')::numeric)
    )
    returning id into v_id;
    return jsonb_build_object(
        'dry_turn_id', v_id, 'token', v_token, 'now', v_now,
        'tenant', jsonb_build_object(
            'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name, 'evo_server_url', '',
            'evo_api_key', null, 'system_prompt', v_tenant.system_prompt,
            'llm_provider', v_tenant.llm_provider, 'llm_api_key', null,
            'llm_model', v_tenant.llm_model, 'llm_max_tokens', v_tenant.llm_max_tokens,
            'n8n_flow', v_tenant.n8n_flow, 'n8n_contract', v_tenant.n8n_contract,
            'reply_rules', hybridflow.reply_rules(v_tenant), 'facts', v_tenant.facts,
            'timezone', v_tenant.timezone, 'opening_hours', v_tenant.opening_hours,
            'away_message', v_tenant.away_message, 'answer_when_closed', v_tenant.answer_when_closed
        )
    );
end
$$;

-- note_dry_turn({dry_turn_id, token, instance_name?, said?, ended?})
-- What a flow reports about its test turn. `said`: messages that it has sent through the gateway to that
-- instance; `ended`: how it has closed the turn. Returns {ok} or {refused: reason}: 'stale', the turn is
-- over, or no turn has the token; 'elsewhere', the instance does not belong to the turn's tenant;
-- 'too_many_sends', more than 500 messages or a million characters. Reporting the same end again is not an
-- error.
create or replace function public.note_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.dry_turns;
begin
    perform hybridflow.require_keys('note_dry_turn', p, '{dry_turn_id,token}');
    select * into v_turn from public.dry_turns
    where id = (p ->> 'dry_turn_id')::bigint and token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    for update;
    if not found or v_turn.ends_at <= hybridflow.clock() then
        return jsonb_build_object('refused', 'stale');
    elsif v_turn.ended is not null then
        if v_turn.ended -> 'how' = p #> '{ended,how}' then
            return jsonb_build_object('ok', true);
        end if;
        return jsonb_build_object('refused', 'stale');
    elsif p ->> 'instance_name' <> (
        select t.instance_name from public.tenants as t where t.id = v_turn.tenant_id
    ) then
        return jsonb_build_object('refused', 'elsewhere');
    elsif jsonb_array_length(v_turn.said) >= 500 or length(v_turn.said::text) > 1000000 then
        return jsonb_build_object('refused', 'too_many_sends');
    end if;
    update public.dry_turns
    set said = said || coalesce(nullif(p -> 'said', 'null'), '[]'), ended = nullif(p -> 'ended', 'null')
    where id = v_turn.id;
    return jsonb_build_object('ok', true);
end
$$;

-- look_at_dry_turn({instance_name, dry_turn_id, close?})
-- What a flow has said so far in a test turn of that tenant. `close`: ends the test turn; its token is no
-- longer valid, and what was said is deleted. Returns {said: [message], ended, is_over}; is_over: its flow
-- has ended it, or its time is up. PT404: no such test turn.
create or replace function public.look_at_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.dry_turns;
begin
    perform hybridflow.require_keys('look_at_dry_turn', p, '{instance_name,dry_turn_id}');
    select d.* into v_turn from public.dry_turns as d
    inner join public.tenants as t on t.id = d.tenant_id
    where d.id = (p ->> 'dry_turn_id')::bigint and t.instance_name = p ->> 'instance_name'
    for update of d;
    if not found then
        raise exception 'there is no test turn %', p ->> 'dry_turn_id' using errcode = 'PT404';
    elsif (p ->> 'close')::boolean then
        update public.dry_turns set said = '[]', ends_at = least(ends_at, hybridflow.clock())
        where id = v_turn.id;
    end if;
    return jsonb_build_object(
        'said', v_turn.said, 'ended', v_turn.ended,
        'is_over', v_turn.ended is not null or v_turn.ends_at <= hybridflow.clock()
    );
end
$$;

-- ==================== 0860_executions.sql

-- HybridFlow: n8n's saved executions about people who were erased. They are in n8n's own database, so they
-- are deleted over its API, which may be away. Their ids are kept here until that is done.

create table if not exists public.executions_to_erase (
    execution_id text primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    asked_at timestamptz not null default now(),
    next_at timestamptz not null default now(),
    error text
);

comment on table public.executions_to_erase is
'Ids of n8n''s executions that may contain messages of an erased person; nothing else about the person.';

create index if not exists executions_to_erase_due on public.executions_to_erase (next_at);
create index if not exists executions_to_erase_by_tenant on public.executions_to_erase (tenant_id);

alter table public.executions_to_erase enable row level security;

-- An id becomes part of the URL path of the deletion in n8n. In earlier releases a flow could store any text
-- as its execution id, and so any path.
update public.turns set execution_id = null
where execution_id is not null and not hybridflow.is_execution_id(execution_id);
do $hybridflow$
begin
    if pg_catalog.to_regtype('hybridflow.execution_id') is null then
        create domain hybridflow.execution_id as text;
        alter table public.turns
        drop constraint if exists turns_execution_id_check, alter column execution_id type hybridflow.execution_id;
        alter domain hybridflow.execution_id add constraint execution_id_check check (value ~ '^[1-9][0-9]{0,14}$');
    end if;
end
$hybridflow$;

delete from public.executions_to_erase
where not hybridflow.is_execution_id(execution_id);
alter table public.executions_to_erase drop constraint if exists executions_to_erase_execution_id_check;
alter table public.executions_to_erase add constraint executions_to_erase_execution_id_check
check (execution_id ~ '^[1-9][0-9]{0,14}$');

-- Asks for the deletion of the executions that worked on the turns of these sessions. Returns their ids. An
-- id that is already listed is left as it is, even if another tenant listed it: rows of others are not
-- written, and not waited for.
create or replace function hybridflow.erase_executions(p_tenant_id bigint, p_session_ids bigint[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids text[] := array(
        select distinct e.execution_id from public.turns as t
        cross join lateral (
            select t.execution_id
            union
            select a.execution_id from public.turn_attempts as a
            where a.turn_id = t.id and a.ended > hybridflow.clock() - interval '7 days'
        ) as e
        where t.session_id = any(p_session_ids) and e.execution_id is not null
            and not hybridflow.is_anothers_execution(e.execution_id, p_tenant_id)
        order by e.execution_id
    );
begin
    insert into public.executions_to_erase (execution_id, tenant_id, asked_at, next_at)
    select i, p_tenant_id, hybridflow.clock(), hybridflow.clock() from unnest(v_ids) as i order by i
    on conflict do nothing;
    return to_jsonb(v_ids);
end
$$;

-- claim_executions_to_erase({limit?, retry_seconds?})
-- Takes executions that are to be deleted now. Each is due again after retry_seconds (600), unless it is
-- reported as deleted by then. After 30 days without success it is given up, because n8n has pruned it long
-- before that. Returns {execution_ids: [id], waiting}: the executions taken, and how many are waiting in all.
create or replace function public.claim_executions_to_erase(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_ids jsonb;
begin
    delete from public.executions_to_erase
    where asked_at < v_now - interval '30 days' or not hybridflow.is_execution_id(execution_id);
    with due as (
        select e.execution_id from public.executions_to_erase as e
        where e.next_at <= v_now and hybridflow.is_execution_id(e.execution_id)
        order by e.next_at limit coalesce((p ->> 'limit')::integer, 50)
        for update skip locked
    ),

    claimed as (
        update public.executions_to_erase as e
        set next_at = v_now + hybridflow.seconds(coalesce((p ->> 'retry_seconds')::numeric, 600))
        from due where e.execution_id = due.execution_id
        returning e.execution_id
    )

    select coalesce(jsonb_agg(execution_id), '[]') into v_ids from claimed;
    return jsonb_build_object(
        'execution_ids', v_ids, 'waiting', (select count(*) from public.executions_to_erase)
    );
end
$$;

-- settle_execution({execution_id, error?})
-- n8n has deleted the execution, or `error` says why not. Returns {known}.
create or replace function public.settle_execution(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('settle_execution', p, '{execution_id}');
    if p ->> 'error' is null then
        delete from public.executions_to_erase where execution_id = p ->> 'execution_id';
    else
        update public.executions_to_erase set error = left(p ->> 'error', 500)
        where execution_id = p ->> 'execution_id';
    end if;
    return jsonb_build_object('known', found);
end
$$;

-- ==================== 0865_endings.sql

-- HybridFlow: what happens after a turn that gets no answer, and who is told.

alter table public.turns add column if not exists outage_id bigint;
comment on column public.turns.outage_id is 'The last outage that the turn met; null: none.';
create index if not exists turns_of_outage on public.turns (outage_id) where outage_id is not null;

-- Every cause for which a customer gets no answer although one was wanted, and who is told of it.
-- about: what does not work. There is one notice to the business while that does not work, and one when it
-- works again. If it is null, there is one notice for each period of `lasts`.
-- tells_after: how long it must last before anybody is told.
-- is_told: a notice of outages tells it; otherwise another kind of notice does (a handoff, undelivered).
-- says_fallback: the contact gets the tenant's fallback message, once in an outage.
-- hands_off: the session is handed to a human.
-- told_deployment: whether the people who run HybridFlow are told (log, /health): always; never; own_key: if
-- it concerns the deployment's own key.
create or replace function hybridflow.endings()
returns table (
    cause text, about text, lasts interval, tells_after interval, is_told boolean, says_fallback boolean,
    hands_off boolean, told_deployment text
)
language sql
immutable
set search_path = ''
as $$
    values
    ('account_empty', 'llm', null::interval, interval '0', true, true, false, 'own_key'),
    ('account_refused', 'llm', null, interval '0', true, true, false, 'own_key'),
    ('llm_away', 'llm', null, interval '5 minutes', true, true, false, 'own_key'),
    ('n8n_away', 'tenant', null, interval '5 minutes', true, true, false, 'always'),
    ('misconfigured', 'tenant', null, interval '0', true, true, false, 'always'),
    ('flow_failed', 'tenant', null, interval '0', true, true, false, 'always'),
    ('crashed', 'tenant', null, interval '0', true, true, false, 'always'),
    ('too_late', 'tenant', null, interval '0', true, false, false, 'always'),
    ('line_away', 'line', null, interval '0', true, false, false, 'always'),
    ('budget', 'tenant', null, interval '0', true, false, false, 'never'),
    ('contact_budget', null, interval '1 day', interval '0', true, false, false, 'never'),
    ('send_failed', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('in_doubt', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('half_said', null, interval '1 hour', interval '0', true, false, false, 'never'),
    ('given_up', null, interval '1 hour', interval '0', false, false, false, 'never'),
    ('model_refused', null, interval '1 hour', interval '0', false, false, true, 'never'),
    ('failed', null, interval '1 hour', interval '0', false, true, true, 'never'),
    ('reply_refused', null, interval '1 hour', interval '0', false, false, true, 'never')
$$;

-- The turn has met p_cause (see endings). If people are told of this cause, the outage is recorded, so that a
-- notice tells it. Returns whether the outage began with this turn. The caller has locked the turn.
create or replace function hybridflow.note_unanswered(p_turn public.turns, p_cause text, p_error text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.clock();
    v_outage public.outages;
begin
    if not exists (select from hybridflow.endings() as e where e.cause = p_cause and e.is_told) then
        return false;
    end if;
    v_outage := hybridflow.begin_outage(p_turn.tenant_id, p_cause, p_error);
    update public.turns set outage_id = v_outage.id
    where id = p_turn.id and v_outage.id is not null and outage_id is distinct from v_outage.id;
    return coalesce(v_outage.began_at >= v_before, false);
end
$$;

-- The turn has ended without an answer, for p_cause (null: from a router of 0.2.0, which does not report it).
-- The people concerned are told, and if a human can help, the session is handed off. The contact gets the
-- fallback message, unless p_minutes says that it is too late for that (see is_too_old). Returns {outage?,
-- handoff?}. The caller has locked the session.
create or replace function hybridflow.after_unanswered(
    p_turn public.turns, p_session public.sessions, p_cause text, p_error text, p_minutes numeric
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_told jsonb := '{}';
begin
    if exists (select from hybridflow.endings() as e where e.cause = p_cause and e.hands_off) then
        perform hybridflow.cancel_turns(p_session.id, 'paused');
        perform hybridflow.begin_handoff(p_session, p_turn.id, jsonb_build_object(
            'reason', 'other', 'why', 'the AI could not answer: ' || p_error
        ));
        return '{"handoff": true}';
    elsif hybridflow.note_unanswered(p_turn, p_cause, p_error) then
        v_told := jsonb_build_object('outage', p_cause);
    end if;
    perform hybridflow.say_fallback(p_turn, p_session, p_cause, p_minutes);
    return v_told;
end
$$;

-- ==================== 0866_outages.sql

-- HybridFlow: outages: when they begin, when they end, and how many there are.

-- Returns the tenant's outage for p_cause, and begins one if there is none. If the last one ended a moment
-- ago, and nobody has been told that it ended, that one goes on. Returns null if another call begins it at
-- this moment. Never waits.
create or replace function hybridflow.begin_outage(p_tenant_id bigint, p_cause text, p_error text)
returns public.outages
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_how record;
    v_outage public.outages;
begin
    select * into v_how from hybridflow.endings() as e where e.cause = p_cause;
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.id is not null and v_outage.notice_id is not null
        and (v_how.lasts is null or v_outage.began_at > v_now - v_how.lasts)
    then
        update public.outages set last_at = v_now where id = (
            select o.id from public.outages as o
            where o.id = v_outage.id and o.last_at < v_now - interval '1 minute' for update skip locked
        );
        return v_outage;
    elsif not pg_try_advisory_xact_lock(hashtextextended(format('outage:%s:%s', p_tenant_id, p_cause), 0)) then
        return null;
    end if;
    -- Look again: another call may have begun it meanwhile.
    select * into v_outage from public.outages as o
    where o.tenant_id = p_tenant_id and o.cause = p_cause and o.ended_at is null;
    if v_outage.began_at <= v_now - v_how.lasts then
        update public.outages set ended_at = v_now where id = v_outage.id and ended_at is null;
        v_outage := null;
    end if;
    if v_outage.id is null then
        update public.outages as o set ended_at = null, last_at = v_now
        where o.cause = p_cause and o.id = any((hybridflow.waiting_notice(p_tenant_id, 'answered_again')).ids)
            and hybridflow.untell_outage(p_tenant_id, 'answered_again', o.id)
        returning * into v_outage;
    end if;
    if v_outage.id is null then
        insert into public.outages (tenant_id, cause, about, began_at, last_at, error)
        values (
            p_tenant_id, p_cause,
            case v_how.about
                when 'llm' then hybridflow.llm_of(p_tenant_id)
                when 'line' then hybridflow.line_of(p_tenant_id)
                when 'tenant' then 'tenant ' || p_tenant_id
            end,
            v_now, v_now, left(p_error, 500)
        )
        returning * into v_outage;
    end if;
    if v_outage.notice_id is null then
        update public.outages
        set notice_id = hybridflow.tell_outage(
            p_tenant_id, 'unanswered', v_outage.id, v_outage.began_at + v_how.tells_after
        )
        where id = v_outage.id
        returning * into v_outage;
    end if;
    return v_outage;
end
$$;

-- Whether the people of the business were already told of an outage that also explains why flows fail. If so,
-- they are told of failing flows only after that outage is over (see tell_flow_failing).
create or replace function hybridflow.know_why_flows_fail(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null and o.notice_id is not null
            and o.cause in ('account_empty', 'account_refused', 'misconfigured', 'flow_failed')
    )
$$;

-- The subject of an outage (see outages.about) works again: for all tenants, or for p_tenant_id. If there are
-- many, only some end now, and the others at later calls. An outage whose notice another transaction holds
-- also ends later. The people who were told that an outage began are told that it is over. That notice waits
-- two minutes, because the problem may come back, or half an hour if an outage of the same cause, of which
-- they were told, ended within the last hour: an outage that comes and goes is told as one. The notice that a
-- flow fails is told then as well, if the flow still fails (see claim_notices), once no outage is left that
-- it waited for (see know_why_flows_fail).
create or replace function hybridflow.end_outages(p_about text, p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_few constant integer := 100;
    v_now timestamptz := hybridflow.clock();
    v_outage public.outages;
begin
    for v_outage in
        select o.* from public.outages as o
        where o.ended_at is null and o.about is not null and o.about = p_about
            and (p_tenant_id is null or o.tenant_id = p_tenant_id)
        order by o.about, o.tenant_id limit c_few for update skip locked
    loop
        continue when not hybridflow.has_waiting_notices(v_outage.tenant_id);
        update public.outages set ended_at = v_now where id = v_outage.id;
        update public.notices set next_at = least(next_at, v_now + interval '2 minutes')
        where id = any(array(
            select n.id from public.notices as n
            where n.tenant_id = v_outage.tenant_id and n.kind = 'flow_failing' and n.waiting and n.attempt = 0
            for update skip locked
        )) and not hybridflow.know_why_flows_fail(v_outage.tenant_id);
        if hybridflow.untell_outage(v_outage.tenant_id, 'unanswered', v_outage.id) then
            update public.outages set notice_id = null where id = v_outage.id;
        elsif exists (
            select from public.notices as n
            where n.id = v_outage.notice_id and n.reason is distinct from 'nobody'
        ) then
            perform hybridflow.tell_outage(
                v_outage.tenant_id, 'answered_again', v_outage.id, v_now + case when exists (
                    select from public.outages as o
                    inner join public.notices as n
                        on n.id = o.notice_id and n.reason is distinct from 'nobody'
                    where o.tenant_id = v_outage.tenant_id and o.cause = v_outage.cause and o.id <> v_outage.id
                        and o.ended_at > v_now - interval '1 hour'
                ) then interval '30 minutes' else interval '2 minutes' end
            );
        end if;
    end loop;
end
$$;

-- A model or a flow has made a reply for the tenant. That ends the outages about the tenant and about its
-- LLM, even if the tenant had another LLM or another key when they began.
create or replace function hybridflow.replies_are_made(p_tenant_id bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.end_outages(d.about, p_tenant_id)
    from (
        select distinct o.about from public.outages as o
        where o.tenant_id = p_tenant_id and o.ended_at is null
            and (o.about = 'tenant ' || p_tenant_id or starts_with(o.about, 'llm '))
    ) as d;
end
$$;

-- count_outages({})
-- For the health check: the causes for which customers get no answer now, each with the number of tenants,
-- and the number of those for which the deployment must fix it. Only outages that were met within the last
-- day count. Returns {causes: [{cause, tenants, deployments}]}.
create or replace function public.count_outages(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return jsonb_build_object('causes', (
        select coalesce(jsonb_agg(to_jsonb(c) order by c.cause), '[]')
        from (
            select
                o.cause, count(*) as tenants, count(*) filter (
                    where e.told_deployment = 'always'
                        or (e.told_deployment = 'own_key' and t.llm_api_key is null)
                ) as deployments
            from (
                select u.* from public.outages as u
                where u.ended_at is null and u.about is not null and u.last_at > v_now - interval '1 day'
                limit 1000
            ) as o
            inner join hybridflow.endings() as e on e.cause = o.cause
            inner join public.tenants as t on t.id = o.tenant_id and t.is_active
            where o.began_at + e.tells_after <= v_now
            group by o.cause
        ) as c
    ));
end
$$;

-- ==================== 0867_outages_told.sql

-- HybridFlow: which notice tells of which outages, and how.

-- Returns the tenant's waiting notice of p_kind, and the ids of the outages that it tells of.
create or replace function hybridflow.waiting_notice(
    p_tenant_id bigint, p_kind text, out notice public.notices, out ids bigint[]
)
language plpgsql
stable
set search_path = ''
as $$
begin
    select * into notice from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff';
    ids := array(select o.id::bigint from jsonb_array_elements_text(notice.facts -> 'outages') as o (id));
end
$$;

-- Locks the tenant's waiting notices of outages without waiting. Returns whether all of them are locked now.
-- A call that ends outages of many tenants must not wait for any of them: it could deadlock with a call that
-- begins an outage, which locks the notices in another order.
create or replace function hybridflow.has_waiting_notices(p_tenant_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    c_kinds constant text[] := '{answered_again,unanswered}';
    v_ids bigint[] := array(
        select n.id from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
        for update skip locked
    );
begin
    return not exists (
        select from public.notices as n
        where n.tenant_id = p_tenant_id and n.kind = any(c_kinds) and n.waiting and n.kind <> 'handoff'
            and n.id <> all(v_ids)
    );
end
$$;

-- Waits until no other transaction changes the tenant's waiting notice of p_kind. Two outages may begin or
-- end at the same moment, and both must be told.
create or replace function hybridflow.lock_waiting_notice(p_tenant_id bigint, p_kind text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform from public.notices as n
    where n.tenant_id = p_tenant_id and n.kind = p_kind and n.waiting and n.kind <> 'handoff'
    for update;
end
$$;

-- Adds outage p_id to the tenant's notice of p_kind, which is told at p_at at the latest. Returns the
-- notice's id.
create or replace function hybridflow.tell_outage(
    p_tenant_id bigint, p_kind text, p_id bigint, p_at timestamptz
)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
    v_facts jsonb;
begin
    loop
        perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        v_facts := jsonb_build_object('outages', to_jsonb(
            array(select distinct i from unnest(v_waiting.ids || p_id) as i order by i)
        ));
        if (v_waiting.notice).attempt = 0 then
            update public.notices
            set facts = v_facts, next_at = least(next_at, p_at), updated_at = hybridflow.clock()
            where id = (v_waiting.notice).id;
            return (v_waiting.notice).id;
        end if;
        perform hybridflow.make_notice(p_tenant_id, p_kind, null, v_facts, p_at);
        v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
        if p_id = any(v_waiting.ids) then
            return (v_waiting.notice).id;
        end if;
        -- Another call has made a notice at this moment, for another outage. Add this outage to it.
    end loop;
end
$$;

-- Removes outage p_id from the tenant's notice of p_kind, if no worker has got the notice yet. A notice
-- without outages is not sent. Returns whether there was such a notice.
create or replace function hybridflow.untell_outage(p_tenant_id bigint, p_kind text, p_id bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_waiting record;
begin
    perform hybridflow.lock_waiting_notice(p_tenant_id, p_kind);
    v_waiting := hybridflow.waiting_notice(p_tenant_id, p_kind);
    if (v_waiting.notice).id is null or (v_waiting.notice).attempt > 0 or p_id <> all(v_waiting.ids) then
        return false;
    elsif cardinality(v_waiting.ids) = 1 then
        perform hybridflow.drop_notices(p_tenant_id, array[p_kind], 'recovered');
    else
        update public.notices
        set facts = jsonb_build_object('outages', to_jsonb(array_remove(v_waiting.ids, p_id)))
        where id = (v_waiting.notice).id and waiting;
    end if;
    return true;
end
$$;

-- An outage as its notice shows it: how many turns it concerns (1000 means 1000 or more), and how many of
-- them ended without an answer. If it is about single conversations, it also names up to five, the newest
-- first, and says whether there are `others` among its newest hundred turns.
create or replace function hybridflow.outage_json(p_outage public.outages)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'cause', p_outage.cause, 'began_at', p_outage.began_at, 'ended_at', p_outage.ended_at,
        'turns', c.turns, 'unanswered', c.unanswered, 'has_own_key', t.llm_api_key is not null,
        'provider', t.llm_provider, 'flow', t.n8n_flow
    ) || case when p_outage.about is null then jsonb_build_object('who', w.who, 'others', w.others) else '{}' end
    from public.tenants as t
    cross join lateral (
        select count(*) as turns, count(*) filter (where o.state in ('dead', 'cancelled')) as unanswered
        from (select u.state from public.turns as u where u.outage_id = p_outage.id limit 1000) as o
    ) as c
    left join lateral (
        select
            coalesce(jsonb_agg(jsonb_build_object(
                'name', s.contact_name, 'jid', coalesce(s.phone_jid, s.lid)
            ) order by d.newest desc) filter (where d.place <= 5), '[]') as who,
            count(*) > 5 as others
        from (
            select u.session_id, max(u.id) as newest, row_number() over (order by max(u.id) desc) as place
            from (
                select n.id, n.session_id from public.turns as n
                where n.outage_id = p_outage.id order by n.id desc limit 100
            ) as u
            group by u.session_id
        ) as d
        inner join public.sessions as s on s.id = d.session_id
    ) as w on p_outage.about is null
    where t.id = p_outage.tenant_id
$$;

-- What a notice tells. Outages are shown with what is known about them now.
create or replace function hybridflow.notice_facts(p_notice public.notices)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select case
        when p_notice.kind not in ('unanswered', 'answered_again') then p_notice.facts
        else jsonb_build_object('outages', (
            select coalesce(jsonb_agg(hybridflow.outage_json(o) order by o.id), '[]')
            from jsonb_array_elements_text(p_notice.facts -> 'outages') as f (id)
            inner join public.outages as o on o.id = f.id::bigint
        ))
    end
$$;

-- ==================== 0868_fallback_messages.sql

-- HybridFlow: the tenant's fallback message, which replaces a reply: who gets it, when, and its fence.

-- The time since which one fallback message is enough for a contact, when p_cause is met: the beginning of
-- the outage, or of an earlier one that is not over; without an outage, one hour ago.
create or replace function hybridflow.fallback_since(p_tenant_id bigint, p_cause text)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select min(o.began_at) from public.outages as o
            inner join hybridflow.endings() as e on e.cause = o.cause and e.says_fallback
            where o.tenant_id = p_tenant_id and o.ended_at is null
                and exists (select from hybridflow.endings() as c where c.cause = p_cause and c.is_told)
        ),
        hybridflow.clock() - interval '1 hour'
    )
$$;

-- The turn has ended, and no worker held it that could have sent the fallback message. If the contact should
-- get it and has not got it yet, the message becomes the reply of a new turn. The caller has locked the
-- session.
create or replace function hybridflow.say_fallback(
    p_turn public.turns, p_session public.sessions, p_cause text, p_minutes numeric
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message text;
begin
    select t.fallback_message into v_message from public.tenants as t where t.id = p_turn.tenant_id;
    if v_message is null or p_session.is_paused or hybridflow.is_without_ai(p_session.id)
        or not exists (select from hybridflow.endings() as e where e.cause = p_cause and e.says_fallback)
        or hybridflow.has_spoken(p_turn.id) or hybridflow.is_in_doubt(p_turn.id)
        or hybridflow.is_too_old(p_turn, p_minutes)
        or hybridflow.told_fallback_at(p_session) >= hybridflow.fallback_since(p_turn.tenant_id, p_cause)
        -- If the contact has written again, that message is answered, or ends in the same way.
        or exists (select from public.turns as t where t.session_id = p_session.id and t.waiting)
        or exists (select from hybridflow.held_turns(p_session.id) as h where h.id <> p_turn.id)
    then
        return;
    end if;
    insert into public.turns (tenant_id, session_id, run_after, debounce_until, reply, handler)
    values (p_turn.tenant_id, p_session.id, v_now, v_now, jsonb_build_array(v_message), 'fallback');
    update public.sessions set fallback_told_at = v_now, fallback_message_id = null where id = p_session.id;
end
$$;

-- begin_fallback_send({turn_id, token, cause, error, kind_of_failure, max_attempts, body, kind?, identity?,
-- told_as?: [hash], upload_seconds?, lease_seconds})
-- The fence for the tenant's fallback message. An attempt sends it before it fails with `cause`, if it will
-- not be tried again. The message is no part of the turn: it answers nothing, and a doubt about it delays no
-- reply. Returns {ok, message_id, chosen_id, jid} or {refused: reason}: as begin_send, or 'told': the contact
-- was told in this outage (or, without an outage, within an hour); 'not_now': nothing is said for this cause,
-- or not yet; 'has_spoken': a part of the reply is on the phone, or may be.
create or replace function public.begin_fallback_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_stopped text;
    v_how record;
    v_outage public.outages;
    v_message public.messages;
begin
    perform hybridflow.require_keys(
        'begin_fallback_send', p,
        '{turn_id,token,cause,error,kind_of_failure,max_attempts,body,lease_seconds}'
    );
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_stopped := hybridflow.stopped_for(v_turn, v_held.session);
    if v_stopped is not null then
        perform hybridflow.stop_turn(v_turn.id, v_stopped);
        return '{"refused": "paused"}';
    elsif hybridflow.waits_for_stranger(v_turn, v_held.session) then
        return '{"refused": "stale"}';
    elsif hybridflow.has_spoken(v_turn.id) or hybridflow.is_in_doubt(v_turn.id) then
        return '{"refused": "has_spoken"}';
    end if;
    select * into v_how from hybridflow.endings() as e where e.cause = p ->> 'cause' and e.says_fallback;
    if v_how.cause is null or (
        p ->> 'kind_of_failure' = 'transient' and v_turn.attempt < (p ->> 'max_attempts')::integer
    ) then
        return '{"refused": "not_now"}';
    elsif v_how.is_told then
        v_outage := hybridflow.begin_outage(v_turn.tenant_id, v_how.cause, p ->> 'error');
        if v_outage.id is null or v_outage.began_at + v_how.tells_after > hybridflow.clock() then
            return '{"refused": "not_now"}';
        end if;
    end if;
    if hybridflow.told_fallback_at(v_held.session) >= hybridflow.fallback_since(v_turn.tenant_id, v_how.cause) then
        return '{"refused": "told"}';
    end if;
    v_message := hybridflow.begin_message(v_held.session, null, null, 'ai', p);
    update public.sessions set fallback_told_at = hybridflow.clock(), fallback_message_id = v_message.id
    where id = v_turn.session_id;
    update public.turns
    set lease_until = greatest(
        lease_until, v_message.send_began_at + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
    )
    where id = v_turn.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id,
        'jid', coalesce((v_held.session).phone_jid, (v_held.session).lid)
    );
end
$$;

-- ==================== 0870_staff.sql

-- HybridFlow: the staff: the numbers at which the people of a business are told, and how they are recognised.

-- Returns a phone number as it is dialled, without what people write between the digits. A JID is returned as
-- it is.
create or replace function hybridflow.dialled(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when p_number like '%@%' then p_number
        -- This includes the dashes, spaces and invisible characters that phones copy with a number.
        else regexp_replace(
            p_number, '[\s()+./\u00a0\u2010-\u2015\u200b-\u200f\u202a-\u202f\u2060-\u2069-]', '', 'g'
        )
    end
$$;

-- Returns the JID of a number that gets notices; null if there is no number.
create or replace function hybridflow.notified_jid(p_number text)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_number like '%@%' then p_number else p_number || '@s.whatsapp.net' end
$$;

-- The JID of the tenant's staff; null if nobody is told by WhatsApp.
create or replace function hybridflow.staff_jid(p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select hybridflow.notified_jid(p_tenant.notify_number)
$$;

-- Every spelling of the numbers at which the tenant's staff are told.
create or replace function hybridflow.staff_jids(p_tenant public.tenants)
returns text[]
language sql
stable
set search_path = ''
as $$
    select hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number))
        || hybridflow.spellings_typed(hybridflow.notified_jid(p_tenant.notify_number_next))
$$;

-- Whether the tenant has a number that is told by WhatsApp.
create or replace function hybridflow.has_staff(p_tenant public.tenants)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
    return p_tenant.notify_number is not null or p_tenant.notify_number_next is not null;
end
$$;

-- p_event comes from the chat with the business's own number. Returns which of the tenant's staff gets
-- notices there, as the number was typed. It is found by the event's JIDs; if the only JID is the business's
-- own LID, by the chat of the message that the event quotes.
create or replace function hybridflow.own_staff_jid(p_tenant public.tenants, p_event jsonb)
returns text
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.jid
    from unnest(array[
        hybridflow.staff_jid(p_tenant), hybridflow.notified_jid(p_tenant.notify_number_next)
    ]) with ordinality as n (jid, place)
    where n.jid is not null and (
        exists (
            select from jsonb_array_elements_text(p_event -> 'jids') as j
            where j.value = any(hybridflow.spellings_typed(n.jid))
        )
        or p_event ->> 'chat' <> 'self' and exists (
            select from hybridflow.messages_called(p_event -> 'quoted' ->> 'wa_id') as m
            inner join public.session_identities as i on i.session_id = m.session_id
            where m.tenant_id = p_tenant.id and m.from_me and i.tenant_id = p_tenant.id
                and i.jid = any(hybridflow.spellings_typed(n.jid))
        )
    )
    order by n.place limit 1
$$;

-- Whether the session is one with the staff, in whichever spelling their number was typed.
create or replace function hybridflow.is_staff(p_tenant public.tenants, p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.session_identities as i
        where i.tenant_id = p_tenant.id and i.session_id = p_session_id
            and i.jid = any(hybridflow.staff_jids(p_tenant))
    )
$$;

-- The number that gets a notice: the tenant's, or the next one if nobody took the handoff that the notice
-- tells of.
create or replace function hybridflow.notice_number(p_notice public.notices, p_tenant public.tenants)
returns text
language sql
immutable
set search_path = ''
as $$
    select case when p_notice.facts ? 'to_next' then p_tenant.notify_number_next else p_tenant.notify_number end
$$;

-- ==================== 0871_notices.sql

-- HybridFlow: notices tell the people of a business that the AI has handed a conversation over, that the
-- connection to WhatsApp is lost or waits for its QR code to be scanned, that WhatsApp does not deliver their
-- replies, or that their customers get no answer (see 0866_outages.sql).
--
-- A notice is made in the transaction that makes what it tells of. It is sent at least once to the tenant's
-- webhook (or to n8n), and at most once by WhatsApp: a send whose answer was lost counts as told.

-- All kinds of notices. This is the only list of them in SQL.
alter table public.notices drop constraint if exists notices_kind_check;
alter table public.notices add constraint notices_kind_check
check (kind in (
    'handoff', 'connection_lost', 'qr_waiting', 'undelivered', 'flow_failing', 'unanswered', 'answered_again'
));

-- Makes a notice that is due at p_at. Except for handoffs, it replaces an earlier notice of the same kind
-- that was not told yet.
create or replace function hybridflow.make_notice(
    p_tenant_id bigint, p_kind text, p_session_id bigint, p_facts jsonb, p_at timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_kind <> 'handoff' then
        perform hybridflow.drop_notices(p_tenant_id, array[p_kind], 'replaced');
    end if;
    insert into public.notices (tenant_id, session_id, kind, facts, next_at)
    values (p_tenant_id, p_session_id, p_kind, jsonb_strip_nulls(p_facts), p_at)
    on conflict do nothing;  -- two routers may report the same thing at the same time
end
$$;

-- Closes the tenant's notices of p_kinds, which no longer need to be told.
create or replace function hybridflow.drop_notices(p_tenant_id bigint, p_kinds text[], p_reason text)
returns void
language sql
set search_path = ''
as $$
    update public.notices
    set state = 'delivered', reason = p_reason, lease_until = null,
        finished_at = hybridflow.clock(), updated_at = hybridflow.clock()
    where tenant_id = p_tenant_id and kind = any(p_kinds) and waiting and kind <> 'handoff'
$$;

-- Makes the notice that the AI asked for a human in this session.
create or replace function hybridflow.notice_handoff(p_session public.sessions, p_reason text, p_summary text)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.make_notice(
        p_session.tenant_id, 'handoff', p_session.id, jsonb_build_object(
            'reason', left(p_reason, 500), 'summary', left(p_summary, 2000),
            'jid', coalesce(p_session.phone_jid, p_session.lid), 'contact_name', p_session.contact_name
        ),
        hybridflow.clock()
    )
$$;

-- Nobody has taken a handoff: the people are told again, or (p_to_next) the next number is told.
create or replace function hybridflow.notice_untaken(
    p_handoff public.handoffs, p_session public.sessions, p_to_next boolean
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.make_notice(
        p_handoff.tenant_id, 'handoff', p_session.id, jsonb_build_object(
            'reason', left(coalesce(p_handoff.why, p_handoff.reason), 500),
            'summary', p_handoff.summary, 'jid', coalesce(p_session.phone_jid, p_session.lid),
            'contact_name', p_session.contact_name,
            'waited_minutes', floor(extract(epoch from hybridflow.clock() - p_handoff.created_at) / 60),
            'words', case when p_handoff.words = 'not_said' then 'not_said' end,
            'to_next', case when p_to_next then true end
        ),
        hybridflow.clock()
    );
end
$$;

-- Returns the newest notice of a handoff in the session that nobody has been told of, and that no worker has
-- claimed.
create or replace function hybridflow.untold_handoff_notice(p_session_id bigint)
returns bigint
language sql
stable
set search_path = ''
as $$
    select max(n.id) from public.notices as n
    where n.session_id = p_session_id and n.kind = 'handoff' and n.state = 'pending'
        and n.number_told_at is null and n.url_told_at is null and n.token_hash is null
$$;

-- The customer could not be told of a handoff. If nobody has been told of the handoff yet, its notice also
-- says this; otherwise there is a new notice.
create or replace function hybridflow.notice_words_lost(p_handoff public.handoffs)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    update public.notices set facts = facts || '{"words": "not_said"}'
    where id = hybridflow.untold_handoff_notice(p_handoff.session_id);
    if found then
        return;
    end if;
    select * into v_session from public.sessions where id = p_handoff.session_id;
    perform hybridflow.make_notice(
        p_handoff.tenant_id, 'handoff', v_session.id, jsonb_build_object(
            'reason', left(coalesce(p_handoff.why, p_handoff.reason), 500),
            'summary', p_handoff.summary, 'words', 'not_said',
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'contact_name', v_session.contact_name
        ),
        hybridflow.clock()
    );
end
$$;

-- The connection has become p_state; p_tenant is the row as it was before. A lost connection is told once
-- until it is open again, and once more if its state got worse. The notice waits 20 seconds, because Baileys
-- often drops its connection and opens it again. If the connection is back by then, nobody is told.
create or replace function hybridflow.notice_connection(p_tenant public.tenants, p_state text, p_reason text)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_state = 'open' then
        perform hybridflow.drop_notices(p_tenant.id, array['connection_lost', 'qr_waiting'], 'recovered');
    elsif p_tenant.is_active and (
        (p_state in ('close', 'refused') and p_tenant.connection_lost_at is null)
        or (p_state in ('logged_out', 'removed') and p_tenant.connection_state is distinct from p_state)
    ) then
        perform hybridflow.make_notice(
            p_tenant.id, 'connection_lost', null, jsonb_build_object('state', p_state, 'code', p_reason),
            hybridflow.clock() + interval '20 seconds'
        );
    end if;
end
$$;

-- A QR code waits to be scanned; p_tenant is the row as it was before. It is told once for each wait.
-- WhatsApp changes the code every 20 to 40 seconds, so a wait is over if no code has come for five minutes.
-- Nobody is told of a code that is scanned soon after it was requested.
create or replace function hybridflow.notice_qr(p_tenant public.tenants, p_event jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if not p_tenant.is_active or coalesce(p_event ->> 'code', p_event ->> 'pairing_code') is null then
        return;
    elsif coalesce(p_tenant.qr_code, p_tenant.pairing_code) is null
        or p_tenant.qr_updated_at < hybridflow.clock() - interval '5 minutes'
    then
        perform hybridflow.make_notice(
            p_tenant.id, 'qr_waiting', null, '{"state": "connecting"}', hybridflow.clock() + interval '20 seconds'
        );
    end if;
end
$$;

-- Whether a flow in n8n has completely answered a turn of the tenant since p_since.
create or replace function hybridflow.flow_has_worked(p_tenant_id bigint, p_since timestamptz)
returns boolean
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
    return exists (
        select from public.turns as t
        where t.tenant_id = p_tenant_id and t.finished_at is not null and t.finished_at > p_since
            and t.handler = 'n8n' and t.state = 'sent'
            and coalesce(t.reason, '') not in ('flow_failed', 'flow_settled')
    );
end
$$;

-- tell_flow_failing({tenant_id, flow, failures, goes_on})
-- Tells the people of a business that a flow in n8n has failed many times in a row. They are told once until
-- the flow has answered a turn again, and never twice within an hour. goes_on: what happens to its turns
-- meanwhile, 'fallback' or 'queue'. If they already know of an outage that explains why the flow fails, this
-- notice waits until the outage is over (see end_outages), for a day at most. Returns {ok, already?}.
create or replace function public.tell_flow_failing(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant public.tenants;
    v_last public.notices;
begin
    perform hybridflow.require_keys('tell_flow_failing', p, '{tenant_id,flow,failures,goes_on}');
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    select * into v_last from public.notices as n
    where n.tenant_id = v_tenant.id and n.kind = 'flow_failing' and n.reason is distinct from 'recovered'
        and n.reason is distinct from 'replaced'
    order by n.id desc limit 1;
    if v_tenant.id is null or not v_tenant.is_active
        or (
            v_last.facts ->> 'flow' = left(p ->> 'flow', 500)
            and (
                v_last.created_at > v_now - interval '1 hour'
                or not hybridflow.flow_has_worked(v_tenant.id, v_last.created_at)
            )
        )
        or not pg_try_advisory_xact_lock(hashtextextended('flow_failing:' || v_tenant.id, 0))
    then
        return '{"ok": true, "already": true}';  -- told already, or another router is telling it now
    end if;
    perform hybridflow.make_notice(
        v_tenant.id, 'flow_failing', null, jsonb_build_object(
            'flow', left(p ->> 'flow', 500), 'failures', (p ->> 'failures')::integer, 'state', p ->> 'goes_on'
        ),
        v_now + case when hybridflow.know_why_flows_fail(v_tenant.id) then interval '1 day' else interval '0' end
    );
    return '{"ok": true}';
end
$$;

-- tell_flow_works({tenant_id})
-- A flow of the tenant that failed works again. If its notice was not told yet, it is dropped. Returns {ok}.
create or replace function public.tell_flow_works(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('tell_flow_works', p, '{tenant_id}');
    perform hybridflow.drop_notices((p ->> 'tenant_id')::bigint, array['flow_failing'], 'recovered');
    return '{"ok": true}';
end
$$;

-- ==================== 0872_notice_claims.sql

-- HybridFlow: workers claim notices, in rounds over the tenants.

-- Returns what a worker needs to tell the notice, including its token. `number` and `url` are those that
-- still have to be told. There is no number if the notice is that the tenant's own line is down. A line that
-- does not deliver replies may still reach the staff.
create or replace function hybridflow.notice_context(p_notice public.notices, p_token uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'notice_id', p_notice.id, 'token', p_token, 'attempt', p_notice.attempt, 'kind', p_notice.kind,
        'tenant_id', t.id, 'instance_name', t.instance_name, 'language', t.language,
        'session_id', coalesce(p_notice.session_id, (  -- it may have been merged into another
            select i.session_id from public.session_identities as i
            where i.tenant_id = t.id and i.jid = p_notice.facts ->> 'jid'
        )),
        'facts', hybridflow.notice_facts(p_notice), 'created_at', p_notice.created_at,
        'number', case
            when p_notice.kind not in ('connection_lost', 'qr_waiting') and p_notice.number_told_at is null
                then hybridflow.notice_number(p_notice, t)
        end,
        'url', case when p_notice.url_told_at is null then t.notify_url end,
        'told', p_notice.number_told_at is not null or p_notice.url_told_at is not null
    )
    from public.tenants as t
    where t.id = p_notice.tenant_id
$$;

-- Returns the contexts of notices that were just claimed. All are built in one query. If that fails, each one
-- is built alone, and a notice whose context fails is not given out; once its attempts are used up, it is
-- dead with that error.
create or replace function hybridflow.notice_contexts(p_ids bigint[], p_tokens uuid[])
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_claim record;
    v_contexts jsonb := '[]';
begin
    begin
        select jsonb_agg(hybridflow.notice_context(n, c.token) order by n.id) into v_contexts
        from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id;
        return coalesce(v_contexts, '[]');
    exception
        when others then
            v_contexts := '[]';
    end;
    for v_claim in
        select n as notice, c.token from unnest(p_ids, p_tokens) as c (id, token)
        inner join public.notices as n on n.id = c.id
        order by n.id
    loop
        begin
            v_contexts := v_contexts || hybridflow.notice_context(v_claim.notice, v_claim.token);
        exception
            when others then
                update public.notices set error = 'what is to be told could not be read: SQLSTATE ' || sqlstate
                where id = (v_claim.notice).id;
        end;
    end loop;
    return v_contexts;
end
$$;

-- Returns the next tenants, in rounds, that have a due notice and room for it. It works like next_tenants;
-- see there.
create or replace function hybridflow.next_to_tell(
    p_after bigint, p_now timestamptz, p_enough integer, p_most integer, p_full bigint[],
    out tenants bigint[], out last bigint, out is_whole boolean
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    c_few constant integer := 100;
    v_next record;
    v_from_start boolean := false;
begin
    select array_agg(d.tenant_id), count(*) < c_few into tenants, is_whole from (
        select n.tenant_id from public.notices as n
        where n.waiting and n.next_at is not null and n.next_at <= p_now
        order by n.next_at limit c_few
    ) as d;
    if is_whole then
        select coalesce(array_agg(d.tenant_id order by d.tenant_id <= p_after, d.tenant_id), '{}') into tenants
        from (select distinct u.tenant_id from unnest(tenants) as u (tenant_id)) as d
        where d.tenant_id <> all(p_full);
        last := p_after;
        is_whole := cardinality(tenants) <= p_enough;
        tenants := tenants[1:p_enough];
        return;
    end if;

    tenants := '{}';
    last := p_after;
    is_whole := true;
    for v_looks in 1..p_most loop
        select n.tenant_id, n.next_at into v_next from public.notices as n
        where n.waiting and n.tenant_id > last
        order by n.tenant_id, n.next_at limit 1;
        if v_next.tenant_id is null and not v_from_start then
            v_from_start := true;
            select n.tenant_id, n.next_at into v_next from public.notices as n
            where n.waiting
            order by n.tenant_id, n.next_at limit 1;
        end if;
        exit when v_next.tenant_id is null or (v_from_start and v_next.tenant_id > p_after);
        last := v_next.tenant_id;
        if v_next.next_at <= p_now and v_next.tenant_id <> all(p_full) then
            tenants := tenants || v_next.tenant_id;
            is_whole := cardinality(tenants) < p_enough;
            exit when not is_whole;
        end if;
        is_whole := v_looks < p_most;
    end loop;
end
$$;

-- Returns the due notices in the order in which they are to be told. There are more than p_limit, because
-- some may be locked. It works like claimable_turns. was_cut: its tenant may have more.
create or replace function hybridflow.claimable_notices(
    p_tenants bigint[], p_now timestamptz, p_limit integer, p jsonb
)
returns table (notice_id bigint, place bigint, was_cut boolean)
language sql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select r.id, r.place, r.was_cut
    from (
        select
            d.id, d.place = w.enough and w.enough < w.room as was_cut,
            row_number() over (order by w.own + d.place, w.nth, d.id) as place,
            w.own + d.place - 1 as has
        from (
            select
                a.tenant_id, a.nth, coalesce((p -> 'own' ->> a.tenant_id::text)::integer, 0) as own,
                greatest(2 * p_limit / count(*) over (), 4)::integer as enough,
                least(2 * p_limit, hybridflow.room_for(a.tenant_id, null, p_limit, p)) as room
            from unnest(p_tenants) with ordinality as a (tenant_id, nth)
        ) as w
        cross join lateral (
            select f.id, row_number() over (order by f.next_at, f.id) as place
            from (
                select n.id, n.next_at from public.notices as n
                where n.tenant_id = w.tenant_id and n.waiting and n.next_at <= p_now
                order by n.next_at limit least(w.enough, w.room)
            ) as f
        ) as d
    ) as r
    where p ->> 'own_times' is null or r.has < (p ->> 'own_times')::numeric * (p_limit - r.place + 1)
    order by r.place limit 2 * p_limit
$$;

-- claim_notices({limit, lease_seconds, max_attempts, kinds?: [kind], after_tenant?, tenant_max?, own?:
-- {<tenant_id>: notices}, own_max?, sitting?: {<tenant_id>: notices}, own_times?})
-- Gives out due notices, each with a token that is valid for lease_seconds. After that the notice is due
-- again, or dead if it was given out max_attempts times. `kinds`: the kinds that the caller can tell. A
-- router older than 0.3.0 gives no kinds, and gets only those that it knows; if notices of other kinds are
-- waiting, it is asked to come back after some seconds. The tenants take turns, starting with those after
-- after_tenant. The limits for one tenant (tenant_max, own, own_max, sitting, own_times) are the same as for
-- claim_turns. Never waits for a lock. Returns {notices: [{notice_id, token, attempt, kind, tenant_id,
-- instance_name, language, session_id, facts, created_at, number, url, told}], now, after_tenant, more,
-- next_due_at}, as claim_turns does; see notice_context.
create or replace function public.claim_notices(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_limit integer := (p ->> 'limit')::integer;
    v_after bigint := coalesce((p ->> 'after_tenant')::bigint, 0);
    v_round record;
    v_offered bigint[];
    v_more boolean;
    v_ids bigint[];
    v_claimed bigint[];
    v_tokens uuid[];
    v_last bigint;
    v_kinds text[];
begin
    perform hybridflow.require_keys('claim_notices', p, '{limit,lease_seconds,max_attempts}');
    v_kinds := case
        when p ->> 'kinds' is null then '{handoff,connection_lost,qr_waiting,undelivered}'
        else array(select jsonb_array_elements_text(p -> 'kinds'))
    end;
    v_round := hybridflow.next_to_tell(v_after, v_now, 2 * v_limit, greatest(10 * v_limit, 100), array(
        select o.key::bigint from jsonb_each_text(nullif(p -> 'own', 'null')) as o
        where hybridflow.room_for(o.key::bigint, null, v_limit, p) = 0
    ));
    select coalesce(array_agg(f.notice_id order by f.place), '{}'), coalesce(bool_or(f.was_cut), false)
    into v_offered, v_more
    from hybridflow.claimable_notices(v_round.tenants, v_now, v_limit, p) as f;
    v_ids := array(
        select n.id
        from unnest(v_offered) with ordinality as f (id, place)
        inner join public.notices as n on n.id = f.id
        where n.state = 'pending' and n.next_at <= v_now and n.kind = any(v_kinds)
        order by f.place limit v_limit for update of n skip locked
    );
    update public.notices
    set state = 'dead', lease_until = null, finished_at = v_now, updated_at = v_now,
        error = coalesce(error, 'every attempt ended without a word: the lease ran out each time')
    where id = any(v_ids) and attempt >= (p ->> 'max_attempts')::integer;
    -- This notice may have waited for the end of an outage (see tell_flow_failing), and the flow may work by
    -- now.
    update public.notices as n
    set state = 'delivered', reason = 'recovered', lease_until = null, finished_at = v_now, updated_at = v_now
    where n.id = any(v_ids) and n.state = 'pending' and n.kind = 'flow_failing' and n.attempt = 0
        and hybridflow.flow_has_worked(n.tenant_id, n.created_at);

    with fresh as materialized (
        select f.id, gen_random_uuid() as token from unnest(v_ids) as f (id)
    ),

    claimed as (
        update public.notices as n
        set attempt = n.attempt + 1, token_hash = hybridflow.hash_token(f.token), updated_at = v_now,
            lease_until = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric),
            next_at = v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric)
        from fresh as f
        where n.id = f.id and n.state = 'pending'
        returning n.id, f.token
    )

    select array_agg(c.id), array_agg(c.token) into v_claimed, v_tokens from claimed as c;
    select n.tenant_id into v_last
    from unnest(v_round.tenants) with ordinality as n (tenant_id, nth)
    where n.tenant_id in (select o.tenant_id from public.notices as o where o.id = any(v_ids))
    order by n.nth desc limit 1;
    return jsonb_build_object(
        'notices', hybridflow.notice_contexts(v_claimed, v_tokens),
        'now', v_now,
        'after_tenant', coalesce(v_last, v_round.last, v_after),
        'more', coalesce(cardinality(v_claimed), 0) < cardinality(v_ids)
        or (cardinality(v_ids) < v_limit and (v_more or not v_round.is_whole)),
        'next_due_at', case
            when cardinality(v_ids) < least(v_limit, cardinality(v_offered))
                then v_now + case when p ->> 'kinds' is null then interval '5 seconds' else '0' end
            else (
                select n.next_at from public.notices as n
                where n.waiting and n.next_at is not null and n.next_at > v_now
                order by n.next_at limit 1
            )
        end
    );
end
$$;

-- ==================== 0873_notices_told.sql

-- HybridFlow: tells a notice: the fence before its message, and how the telling ended.

-- Why p.token may not act on the notice, as every function answers it: {refused: 'unknown_notice'}, 'stale'
-- (it was given out again), 'superseded' (it is closed). Null: it may.
create or replace function hybridflow.notice_refusal(p_notice public.notices, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_notice.id is null then
        return '{"refused": "unknown_notice"}';
    elsif p ->> 'token' is null
        or p_notice.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid)
    then
        return '{"refused": "stale"}';
    elsif p_notice.state <> 'pending' then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- Returns the notice that p names, locked. `refused` says why p.token may not act on it; see notice_refusal.
create or replace function hybridflow.hold_notice(p jsonb, out notice public.notices, out refused jsonb)
language plpgsql
set search_path = ''
as $$
begin
    select * into notice from public.notices where id = (p ->> 'notice_id')::bigint for update;
    refused := hybridflow.notice_refusal(notice, p);
end
$$;

-- begin_notice_send({notice_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds, instance_name?, number?})
-- The fence before the one WhatsApp message of a notice. Records the message, and counts the number as told.
-- Returns {ok, message_id, chosen_id, number, tenant_id, instance_name, evo_server_url, evo_api_key} or
-- {refused: reason, wa_id?, jid?, body?}. The first is only for the router. Reasons: 'unknown_notice',
-- 'stale', 'superseded', 'no_number' (the tenant has none), 'instance' or 'number' (the notice is for another
-- one than the caller named), 'already_sent' (with wa_id, jid and body of the first message; wa_id is null
-- while it is in doubt).
create or replace function public.begin_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_notice public.notices;
    v_tenant public.tenants;
    v_session public.sessions;
    v_message public.messages;
    v_held record;
    v_refused jsonb;
    v_number text;
    v_jid text;
begin
    perform hybridflow.require_keys('begin_notice_send', p, '{notice_id,token,body,lease_seconds}');
    select * into v_notice from public.notices where id = (p ->> 'notice_id')::bigint;
    select * into v_tenant from public.tenants where id = v_notice.tenant_id;
    v_number := hybridflow.notice_number(v_notice, v_tenant);
    v_jid := hybridflow.notified_jid(v_number);
    v_refused := coalesce(hybridflow.notice_refusal(v_notice, p), case
        when v_tenant.instance_name <> p ->> 'instance_name' then '{"refused": "instance"}'
        when v_number is null then '{"refused": "no_number"}'
        when p ->> 'number' <> all(hybridflow.spellings_typed(v_jid)) then '{"refused": "number"}'
    end::jsonb);
    if v_refused is not null then
        return v_refused;
    end if;
    -- Lock the session first, as everywhere: an event that closes the notice may hold the session.
    v_session := hybridflow.resolve_session(
        v_tenant.id, array[hybridflow.known_as(v_tenant.id, v_jid)],
        case when v_number like '%@g.us' then 'group' else 'contact' end, null
    );
    v_held := hybridflow.hold_notice(p);
    v_notice := v_held.notice;
    if v_held.refused is not null then
        return v_held.refused;
    elsif v_notice.number_told_at is not null then
        select * into v_message from public.messages where id = v_notice.message_id;
        return jsonb_build_object(
            'refused', 'already_sent', 'wa_id', v_message.wa_id, 'jid', v_jid,
            'body', v_message.body
        );
    elsif v_notice.lease_until <= v_now then
        return '{"refused": "stale"}';
    end if;

    v_message := hybridflow.begin_message(v_session, null, null, 'ai', p);
    update public.notices
    set message_id = v_message.id, number_told_at = v_now, updated_at = v_now,
        lease_until = greatest(lease_until, v_until), next_at = greatest(next_at, v_until)
    where id = v_notice.id;
    return jsonb_build_object(
        'ok', true, 'message_id', v_message.id, 'chosen_id', v_message.chosen_id, 'number', v_number,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url,
        'evo_api_key', v_tenant.evo_api_key
    );
end
$$;

-- finish_notice({notice_id, token, handler, reason?, url_told?})
-- The notice was told, as far as possible. A token whose lease has run out is accepted as long as the notice
-- was not given out again. A second call with the same token gets the same answer, with `already`. Returns
-- {ok, already?} or {refused: reason}.
create or replace function public.finish_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_held record;
begin
    perform hybridflow.require_keys('finish_notice', p, '{notice_id,token,handler}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused ->> 'refused' = 'superseded' and (v_held.notice).state = 'delivered' then
        return '{"ok": true, "already": true}';
    elsif v_held.refused is not null then
        return v_held.refused;
    end if;
    update public.notices
    set state = 'delivered', reason = p ->> 'reason', handler = p ->> 'handler', error = null, lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        finished_at = v_now, updated_at = v_now
    where id = (v_held.notice).id;
    return '{"ok": true}';
end
$$;

-- fail_notice({notice_id, token, error, away?, url_told?, max_attempts, base_seconds})
-- The notice could not be told to everybody. It is tried again after an exponential back-off with jitter, and
-- is dead when the attempts are used up. An attempt does not count if Evolution or the line is `away` and the
-- notice is less than a day old. Returns {state} or {refused: reason}.
create or replace function public.fail_notice(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_notice public.notices;
    v_held record;
    v_away boolean;
    v_dead boolean;
begin
    perform hybridflow.require_keys('fail_notice', p, '{notice_id,token,error,max_attempts,base_seconds}');
    v_held := hybridflow.hold_notice(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_notice := v_held.notice;
    v_away := coalesce((p ->> 'away')::boolean, false) and v_notice.created_at > v_now - interval '1 day';
    v_dead := not v_away and v_notice.attempt >= (p ->> 'max_attempts')::integer;
    update public.notices
    set state = case when v_dead then 'dead' else 'pending' end,
        attempt = case when v_away then greatest(attempt - 1, 0) else attempt end,
        error = left(p ->> 'error', 2000), lease_until = null,
        url_told_at = case when (p ->> 'url_told')::boolean then v_now else url_told_at end,
        next_at = v_now + hybridflow.seconds(hybridflow.back_off(
            (p ->> 'base_seconds')::numeric, v_notice.attempt - 1, case when v_away then 60 else 900 end
        )),
        finished_at = case when v_dead then v_now end, updated_at = v_now
    where id = v_notice.id;
    return jsonb_build_object('state', case when v_dead then 'dead' else 'pending' end);
end
$$;

-- finish_notice_send({message_id, wa_id, jid?, status?, policy?})
-- Like finish_send; for routers of 0.1.0. Returns {ok}.
create or replace function public.finish_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('finish_notice_send', p, '{message_id,wa_id}');
    perform public.finish_send(p - 'turn_id' || jsonb_build_object('tenant_id', m.tenant_id))
    from public.messages as m where m.id = (p ->> 'message_id')::bigint and m.turn_id is null;
    return '{"ok": true}';
end
$$;

-- fail_notice_send({message_id, in_doubt, chosen_id?, given_up?, policy?})
-- Like doubt_send or fail_send; for routers of 0.1.0, which do not know `given_up`. Returns {ok}.
create or replace function public.fail_notice_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_named jsonb := p - '{turn_id,token}'::text[] || jsonb_build_object('tenant_id', (
        select m.tenant_id from public.messages as m
        where m.id = (p ->> 'message_id')::bigint and m.turn_id is null
    ));
begin
    perform hybridflow.require_keys('fail_notice_send', p, '{message_id,in_doubt}');
    if v_named ->> 'tenant_id' is null then
        null;  -- erased meanwhile
    elsif (p ->> 'in_doubt')::boolean then
        perform public.doubt_send(v_named || '{"check_after": 3, "error": "nobody knows how it ended"}');
    else
        perform public.fail_send(v_named);
    end if;
    return '{"ok": true}';
end
$$;

-- ==================== 0875_relays.sql

-- HybridFlow: relays: messages of a human of the business to a contact through HybridFlow, over the API or by
-- quoting a notice in WhatsApp, while they are on their way.
--
-- A relay is a row. It is written in the transaction of its request, and any router may carry it out, so a
-- crashed router loses nothing. It is sent once: a send that has begun is begun again only if it certainly
-- did not leave. If one of the staff asked for it by quoting a notice, they get one word back at the end.

create table if not exists public.relays (
    id bigint generated always as identity primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint references public.sessions (id) on delete set null,
    staff_session_id bigint references public.sessions (id) on delete set null,
    message_id bigint references public.messages (id) on delete set null,
    word_message_id bigint references public.messages (id) on delete set null,
    source text not null constraint relays_source_check check (source in ('operator', 'staff')),
    caller text,
    idempotency_key text,
    request_hash text,
    said jsonb,
    facts jsonb not null default '{}',
    outcome text constraint relays_outcome_check check (
        outcome in (
            'sent', 'failed', 'in_doubt', 'taken', 'resumed', 'until', 'past', 'too_far', 'no_notice',
            'no_session', 'erased', 'unsupported', 'no_media', 'unquoted', 'too_old',
            'too_many', 'switched_off', 'answered'
        )
    ),
    error text,
    next_at timestamptz not null,
    attempt integer not null default 0,
    token_hash bytea,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    updated_at timestamptz not null default now(),
    waiting boolean generated always as (finished_at is null) stored
);

comment on table public.relays is
'What a human of the business says to a contact, or asks for by quoting a notice, while it is on its way.';
comment on column public.relays.session_id is
'The session that it is for; null: none, or the session was erased.';
comment on column public.relays.staff_session_id is
'The session in which one of the staff wrote it, and gets the word back.';
comment on column public.relays.message_id is 'The message to the contact, sent or about to be sent.';
comment on column public.relays.word_message_id is 'The message with the one word back to the staff.';
comment on column public.relays.caller is
'Who requested it over the API, with the kind of caller: key:12, user:…, deployment:…';
comment on column public.relays.idempotency_key is 'Identifies a repeated request of the same caller.';
comment on column public.relays.request_hash is
'A hash of the request: another request with the same idempotency_key has another hash.';
comment on column public.relays.said is
'What is to be sent, or what the staff wrote; null when it is not needed any more.';
comment on column public.relays.facts is 'What the word back mentions, such as the contact and the time.';
comment on column public.relays.outcome is 'How the relay ended; null: it is on its way.';
comment on column public.relays.waiting is 'The relay is not over; see turns.waiting.';

create unique index if not exists relays_once on public.relays (tenant_id, caller, idempotency_key)
where idempotency_key is not null;
create index if not exists relays_waiting on public.relays (tenant_id, next_at) where waiting;
create index if not exists relays_waiting_until on public.relays (next_at) where waiting;
create index if not exists relays_by_session on public.relays (session_id, id desc)
where session_id is not null;
create index if not exists relays_by_staff on public.relays (staff_session_id, id desc)
where staff_session_id is not null;
create index if not exists relays_by_message on public.relays (message_id) where message_id is not null;
create index if not exists relays_by_word on public.relays (word_message_id)
where word_message_id is not null;
create index if not exists relays_finished on public.relays (tenant_id, finished_at)
where finished_at is not null;
alter table public.relays enable row level security;

-- The largest number of relays of a tenant that may be on their way.
create or replace function hybridflow.most_relays()
returns integer
language sql
immutable
set search_path = ''
as $$
    select 200
$$;

-- Whether the tenant already has the largest number of relays on their way.
create or replace function hybridflow.has_too_many_relays(p_tenant_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select hybridflow.most_relays() <= (
        select count(*) from (
            select r.id from public.relays as r
            where r.tenant_id = p_tenant_id and r.waiting limit hybridflow.most_relays()
        ) as w
    )
$$;

-- Whether a relay's message is written down, but its send has not begun.
create or replace function hybridflow.is_unbegun(p_message public.messages)
returns boolean
language sql
immutable
set search_path = ''
as $$
    select coalesce(p_message.send_state = 'sending' and p_message.check_at = 'infinity', false)
$$;

-- A relay with its message as the API shows them: {message, state, error}. state: 'waiting' (it is on its
-- way), 'in_doubt' (it has begun, and nobody knows yet how it ended), 'sent', 'failed'.
create or replace function hybridflow.relay_json(p_relay public.relays)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_message public.messages;
begin
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'message', case when v_message.id is not null then hybridflow.short_message_json(v_message) end,
        'state', case
            when v_message.send_state = 'sent' then 'sent'
            when p_relay.outcome in ('sent', 'failed', 'in_doubt') then p_relay.outcome
            when p_relay.outcome is not null then 'failed'
            when v_message.send_state = 'unknown' then 'in_doubt'
            else 'waiting'
        end,
        'error', p_relay.error
    );
end
$$;

-- ==================== 0876_relays_by_api.sql

-- HybridFlow: relays over the API: requested once, by a caller who has seen what was said before.

-- Returns a message of the business's people in the session that p_name has not seen; null: none. With p_seen
-- (the last message that they saw), every later message counts, except what one of the staff, who writes from
-- p_staff_session_id, wrote themselves. If p_seen is null, what others wrote during this pause counts. A
-- pause may have been renewed, so it counts from when the session was last resumed. Only the newest 200
-- messages of the business's people are read.
create or replace function hybridflow.unseen_human(
    p_session public.sessions, p_seen bigint, p_name text, p_staff_session_id bigint
)
returns public.messages
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select m.*
    from (
        select h.id from public.messages as h
        where h.session_id = p_session.id and h.from_me and h.sender in ('owner', 'operator', 'client')
        order by h.sent_at desc, h.id desc limit 200
    ) as n
    inner join public.messages as m on m.id = n.id
    inner join public.tenants as t on t.id = m.tenant_id
    where hybridflow.is_by_human(m, t)
        and case
            when p_seen is not null then m.id > p_seen and not exists (
                select from public.relays as r
                where r.message_id = m.id and r.staff_session_id = p_staff_session_id
                    and m.author_name is not distinct from p_name
            )
            else p_session.is_paused
                and m.sent_at >= coalesce(p_session.resumed_at - interval '10 seconds', '-infinity')
                and (m.sender, m.author_name) is distinct from ('operator', p_name)
        end
    order by m.sent_at desc, m.id desc limit 1
$$;

-- Identifies the caller of a request over the API: the kind of caller, and its key's id or its name.
create or replace function hybridflow.caller_label(p_caller jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
    select concat_ws(':', p_caller ->> 'kind', coalesce(p_caller ->> 'api_key_id', p_caller ->> 'name'))
$$;

-- Returns the relay that this request has already made, found by its idempotency_key and caller. Null: there
-- is none. PT422: the key was used for another request.
create or replace function hybridflow.relay_of_request(p jsonb)
returns public.relays
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    select * into v_relay from public.relays
    where tenant_id = (p ->> 'tenant_id')::bigint and caller = hybridflow.caller_label(p -> 'caller')
        and idempotency_key = p ->> 'idempotency_key';
    if v_relay.request_hash <> p ->> 'request_hash' or v_relay.session_id <> (p ->> 'session_id')::bigint then
        raise exception 'the Idempotency-Key was used for another message: take a new one for each'
            using errcode = 'PT422';
    end if;
    return v_relay;
end
$$;

-- find_sent_message({caller?, tenant_id, session_id, idempotency_key, request_hash})
-- Returns {found}: if the same request was made before, {message, state, error, already} as send_message
-- answers it; otherwise null. PT404: the tenant has no such session. PT422: the key was used for another
-- request.
create or replace function public.find_sent_message(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    perform hybridflow.require_keys(
        'find_sent_message', p, '{tenant_id,session_id,idempotency_key,request_hash}'
    );
    perform hybridflow.require_own(p);
    v_relay := hybridflow.relay_of_request(p);
    return jsonb_build_object('found', case
        when v_relay.id is not null then hybridflow.relay_json(v_relay) || '{"already": true}'
    end);
end
$$;

-- send_message({caller?, tenant_id, session_id, idempotency_key, request_hash, request, body, kind?,
-- identity?, told_as?: [hash], upload_seconds?, seen_message_id?})
-- A human of the business writes to a contact over the API. The session is taken over, as by
-- begin_human_send, the message is written down, and a relay of `request` is on its way. A second request of
-- the same caller with the same idempotency_key gets the same answer, with `already`, and does nothing more.
-- seen_message_id is the last message that the caller has seen. Without it, what others wrote during this
-- pause counts as unseen. Returns {message, state, error, already?, audit}: see relay_json. PT404: the tenant
-- has no such session. PT409: another human wrote, and the caller has not seen it (send again with a later
-- seen_message_id); or too many relays are on their way. PT422: the key was used for another request.
create or replace function public.send_message(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_session public.sessions;
    v_caller text := hybridflow.caller_label(p -> 'caller');
    v_name text := p -> 'caller' ->> 'name';
    v_relay public.relays;
    v_human public.messages;
    v_begun jsonb;
begin
    perform hybridflow.require_keys(
        'send_message', p, '{tenant_id,session_id,idempotency_key,request_hash,request,body}'
    );
    perform pg_advisory_xact_lock(hashtextextended(
        concat_ws(' ', 'relay', p ->> 'tenant_id', v_caller, p ->> 'idempotency_key'), 0
    ));
    v_relay := hybridflow.relay_of_request(p);
    if v_relay.id is not null then
        return hybridflow.relay_json(v_relay) || jsonb_build_object(
            'already', true, 'audit', jsonb_build_object('relay_id', v_relay.id, 'already', true)
        );
    end if;
    v_session := hybridflow.session_of(p);
    v_human := hybridflow.unseen_human(v_session, (p ->> 'seen_message_id')::bigint, v_name, null);
    if v_human.id is not null then
        raise exception
            'another person wrote (message %): look at it, and send again with seen_up_to % or later',
            v_human.id, v_human.id using errcode = 'PT409';
    elsif hybridflow.has_too_many_relays(v_session.tenant_id) then
        raise exception '% messages of the tenant wait to be sent: wait until they are', hybridflow.most_relays()
            using errcode = 'PT409';
    end if;
    v_begun := public.begin_human_send(
        jsonb_build_object(
            'tenant_id', v_session.tenant_id, 'session_id', v_session.id, 'author', v_name, 'knowingly', true,
            'body', p -> 'body', 'kind', p -> 'kind', 'identity', p -> 'identity', 'told_as', p -> 'told_as',
            'upload_seconds', p -> 'upload_seconds'
        )
    );
    -- The message is written down, but its send has not begun, so nothing needs to check it yet. See
    -- is_unbegun.
    update public.messages set check_at = 'infinity' where id = (v_begun ->> 'message_id')::bigint;
    insert into public.relays (
        tenant_id, session_id, message_id, source, caller, idempotency_key, request_hash, said, facts, next_at
    )
    values (
        v_session.tenant_id, v_session.id, (v_begun ->> 'message_id')::bigint, 'operator', v_caller,
        p ->> 'idempotency_key', p ->> 'request_hash', p -> 'request',
        jsonb_build_object('bytes', octet_length(p ->> 'request')), v_now
    )
    returning * into v_relay;
    return hybridflow.relay_json(v_relay) || jsonb_build_object('audit', jsonb_build_object(
        'relay_id', v_relay.id, 'message_id', v_relay.message_id, 'kind', p -> 'kind'
    ));
end
$$;

-- ==================== 0877_relays_of_staff.sql

-- HybridFlow: relays from WhatsApp: the staff quote what they were told, or write a command.

-- Returns our message that the staff quote in p_event. It is found by its id, by the id that we asked for,
-- or, while its own id is unknown, by its words in their session. The caller has locked the session.
create or replace function hybridflow.quoted_by_staff(p_session public.sessions, p_event jsonb)
returns public.messages
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_wa_id text := p_event -> 'quoted' ->> 'wa_id';
    v_text text := p_event -> 'quoted' ->> 'text';
    v_message public.messages;
begin
    select m.* into v_message from hybridflow.messages_called(v_wa_id) as m
    where m.tenant_id = p_session.tenant_id and m.session_id = p_session.id
    order by m.from_me desc limit 1;
    if v_message.id is null then
        select m.* into v_message from public.messages as m
        where m.chosen_id = v_wa_id and m.wa_id is null and m.tenant_id = p_session.tenant_id
            and m.session_id = p_session.id
        limit 1;
    end if;
    if v_message.id is null and v_text is not null then
        select m.* into v_message from public.messages as m
        where m.tenant_id = p_session.tenant_id
            and md5(hybridflow.folded(m.body)) = md5(hybridflow.folded(v_text))
            and m.wa_id is null and (m.send_state in ('sending', 'unknown') or m.late_until is not null)
            and m.session_id = p_session.id
        order by m.id desc limit 1;
    end if;
    return v_message;
end
$$;

-- Returns the session that a notice is about, even if it was merged into another. Null: none.
create or replace function hybridflow.session_of_notice(p_notice public.notices)
returns public.sessions
language plpgsql
stable
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    select s.* into v_session from public.sessions as s
    where s.id = coalesce(p_notice.session_id, (
        select i.session_id from public.session_identities as i
        where i.tenant_id = p_notice.tenant_id and i.jid = p_notice.facts ->> 'jid'
    ));
    return v_session;
end
$$;

-- The staff wrote p_event in their session p_session, which the caller has locked. If it quotes a notice, it
-- is for that conversation, and is relayed; if too many relays are waiting, the staff are told that it was
-- not. A command that quotes nothing gets an explanation, once an hour. So does, in the staff's group, a
-- quote of a message that we do not know. Everything else is ignored. Returns whether a relay is on its way.
create or replace function hybridflow.note_staff_words(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_at timestamptz, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_quotes boolean := p_event -> 'quoted' ->> 'wa_id' is not null;
    v_kind text := p_event ->> 'kind';
    v_message public.messages;
    v_notice public.notices;
    v_about public.sessions;
    v_outcome text;
begin
    if v_kind in ('reaction', 'poll_vote')
        or not (v_quotes or coalesce((p_event ->> 'is_command')::boolean, false))
    then
        return false;
    end if;
    if hybridflow.has_too_many_relays(p_tenant.id) then
        -- Each of the staff is told this only once in ten minutes, so that the number of waiting relays does
        -- not grow.
        if not v_quotes or exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'too_many'
                and r.created_at > v_now - interval '10 minutes'
        ) then
            return false;
        end if;
        v_outcome := 'too_many';
    elsif not v_quotes then
        if exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'unquoted'
                and r.created_at > v_now - interval '1 hour'
        ) then
            return false;
        end if;
        v_outcome := 'unquoted';
    else
        v_message := hybridflow.quoted_by_staff(p_session, p_event);
        if v_message.id is not null and (not v_message.from_me or v_message.sender = 'owner') then
            return false;  -- the staff quote themselves, or the owner on the business's own phone
        elsif exists (
            select from public.relays as r
            where r.word_message_id = v_message.id and r.outcome in ('no_notice', 'unquoted')
        ) then
            return false;  -- may be a bot that quotes everything: stop after one explanation
        elsif v_message.id is null and p_event ->> 'chat' = 'group' and exists (
            select from public.relays as r
            where r.staff_session_id = p_session.id and r.outcome = 'no_notice'
                and r.created_at > v_now - interval '1 hour'
        ) then
            return false;  -- colleagues quote each other: what they write is not kept
        end if;
        select n.* into v_notice from public.notices as n
        where n.message_id = v_message.id and n.tenant_id = p_tenant.id limit 1;
        v_about := hybridflow.session_of_notice(v_notice);
        v_outcome := case
            when v_message.body = '' then 'erased'
            when v_notice.id is null then 'no_notice'
            when v_about.id is null then 'no_session'
            when v_kind not in ('text', 'image', 'video', 'audio', 'ptt', 'document', 'sticker')
                then 'unsupported'
            when p_at < v_now - hybridflow.seconds(
                60 * hybridflow.rule(p_tenant.answer_within_minutes, p_policy, 'answer_within_minutes', 60)
            ) then 'too_old'
        end;
    end if;
    insert into public.relays (
        tenant_id, session_id, staff_session_id, source, said, facts, outcome, next_at, created_at
    )
    values (
        p_tenant.id, v_about.id, p_session.id, 'staff',
        case when v_outcome is null then jsonb_build_object(
            'kind', v_kind, 'text', p_event -> 'text', 'media', p_event -> 'media', 'wa_id', p_event -> 'wa_id',
            'author', coalesce(p_event ->> 'participant_name', p_event ->> 'author_name'), 'sent_at', p_at,
            'quoted_id', v_message.id
        ) end,
        jsonb_strip_nulls(jsonb_build_object(
            'name', v_about.contact_name, 'jid', coalesce(v_about.phone_jid, v_about.lid),
            'was_ai', not v_about.is_paused, 'wa_id', p_event -> 'wa_id'
        )),
        v_outcome, v_now, v_now
    );
    return true;
end
$$;

-- ==================== 0878_relay_claims.sql

-- HybridFlow: workers claim relays, and hold them by a token.

-- Returns what a worker needs to carry out the relay, including its token.
create or replace function hybridflow.relay_context(p_relay public.relays, p_token uuid)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_message public.messages;
begin
    select * into v_tenant from public.tenants where id = p_relay.tenant_id;
    select * into v_message from public.messages where id = p_relay.message_id;
    return jsonb_build_object(
        'relay_id', p_relay.id, 'token', p_token, 'attempt', p_relay.attempt, 'source', p_relay.source,
        'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name,
        'evo_server_url', v_tenant.evo_server_url, 'evo_api_key', v_tenant.evo_api_key,
        'timezone', v_tenant.timezone, 'language', v_tenant.language,
        'answer_within_minutes', v_tenant.answer_within_minutes, 'session_id', p_relay.session_id,
        'words', case when p_relay.source = 'staff' then p_relay.said end,
        'facts', p_relay.facts, 'outcome', p_relay.outcome,
        'send_state', case
            when v_message.id is not null and not hybridflow.is_unbegun(v_message) then v_message.send_state
        end,
        'error', p_relay.error, 'created_at', p_relay.created_at, 'now', hybridflow.clock()
    );
end
$$;

-- claim_relays({limit, lease_seconds})
-- Gives out due relays, each with a token that is valid for lease_seconds. After that the relay is due again.
-- The next relay of a session goes out when the one before it is done, or has been on its way for ten
-- minutes. A tenant has four at a time, including those that are already given out. Never waits for a lock.
-- Returns {relays: [{relay_id, token, attempt, source, tenant_id, instance_name, evo_server_url, evo_api_key,
-- timezone, language, answer_within_minutes, session_id, words, facts, outcome, send_state, error,
-- created_at, now}], now, next_due_at}, only for the router. words: what the staff wrote, until the relay has
-- an outcome. send_state: the state of the message to the contact; null while its send has not begun.
create or replace function public.claim_relays(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := v_now + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_ids bigint[];
    v_relays jsonb;
begin
    perform hybridflow.require_keys('claim_relays', p, '{limit,lease_seconds}');
    select array_agg(d.id) into v_ids
    from (
        select f.id
        from (select distinct w.tenant_id from public.relays as w where w.waiting and w.next_at <= v_now) as t
        cross join lateral (
            select r.id, r.next_at from public.relays as r
            where r.tenant_id = t.tenant_id and r.waiting and r.next_at <= v_now and not exists (
                select from public.relays as e
                where e.session_id = r.session_id and e.id < r.id and e.waiting and e.outcome is null
                    and e.created_at > v_now - interval '10 minutes'
            )
            order by r.next_at, r.id limit greatest(0, 4 - (
                select count(*) from public.relays as g
                where g.tenant_id = t.tenant_id and g.waiting and g.next_at > v_now and g.lease_until > v_now
            ))
        ) as f
        order by f.next_at, f.id limit (p ->> 'limit')::integer
    ) as d;
    with fresh as materialized (
        select r.id, gen_random_uuid() as token from public.relays as r
        where r.id = any(v_ids) and r.waiting and r.next_at <= v_now
        for update skip locked
    ),

    claimed as (
        update public.relays as r
        set attempt = r.attempt + 1, token_hash = hybridflow.hash_token(f.token), lease_until = v_until,
            next_at = v_until, updated_at = v_now
        from fresh as f
        where r.id = f.id
        returning r.*, f.token
    )

    select jsonb_agg(hybridflow.relay_context(r, c.token) order by c.id) into v_relays
    from claimed as c
    inner join public.relays as r on r.id = c.id;
    return jsonb_build_object(
        'relays', coalesce(v_relays, '[]'), 'now', v_now,
        'next_due_at', (
            select r.next_at from public.relays as r where r.waiting order by r.next_at limit 1
        )
    );
end
$$;

-- Why p.token may not act on the relay: {refused: 'unknown_relay'} (it was erased), 'stale' (it was given out
-- again), 'superseded' (it is over). Null: it may.
create or replace function hybridflow.relay_refusal(p_relay public.relays, p jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
    if p_relay.id is null then
        return '{"refused": "unknown_relay"}';
    elsif p_relay.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    elsif p_relay.finished_at is not null then
        return '{"refused": "superseded"}';
    end if;
    return null;
end
$$;

-- Returns the relay that p names, locked after its session (the staff's with p_of_staff, else the contact's).
-- `refused` says why p.token may not act on it.
create or replace function hybridflow.hold_relay(
    p jsonb, p_of_staff boolean, out relay public.relays, out session public.sessions, out refused jsonb
)
language plpgsql
set search_path = ''
as $$
declare
    v_id bigint;
begin
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint;
    refused := hybridflow.relay_refusal(relay, p);
    if refused is not null then
        return;
    end if;
    select * into session from public.sessions
    where id = case when p_of_staff then relay.staff_session_id else relay.session_id end for update;
    select * into relay from public.relays where id = (p ->> 'relay_id')::bigint for update;
    refused := hybridflow.relay_refusal(relay, p);
    v_id := case when p_of_staff then relay.staff_session_id else relay.session_id end;
    if refused is null and v_id is null then
        refused := '{"refused": "erased"}';
    elsif refused is null and session.id is distinct from v_id then
        refused := '{"refused": "stale"}';  -- merged while we waited: it is tried again
    end if;
end
$$;

-- read_relay({relay_id, token})
-- Returns {said} or {refused: reason}: what is to be sent, as it was requested; see relay_refusal.
create or replace function public.read_relay(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_relay public.relays;
begin
    perform hybridflow.require_keys('read_relay', p, '{relay_id,token}');
    select * into v_relay from public.relays where id = (p ->> 'relay_id')::bigint;
    return coalesce(hybridflow.relay_refusal(v_relay, p), jsonb_build_object('said', v_relay.said));
end
$$;

-- ==================== 0878_relay_sends.sql

-- HybridFlow: carries a relay out: the message to the contact, the word back to the staff, the relay's end.

-- Begins a relay's send again, in the same row. If that send was in doubt and was judged as not sent, a new
-- row is made, so that the old row can still recognise a late echo. The caller has locked the session.
create or replace function hybridflow.begin_again(
    p_session public.sessions, p_message public.messages, p jsonb
)
returns public.messages
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_message public.messages;
begin
    if p_message.late_until is not null then
        v_message := hybridflow.begin_message(p_session, null, null, p_message.sender, p);
        update public.messages set author_name = p_message.author_name where id = v_message.id;
        return v_message;
    end if;
    update public.messages
    set send_state = 'sending', send_began_at = v_now, sent_at = date_trunc('second', v_now), check_at = null,
        sends = case when send_state = 'failed' then sends + 1 else sends end,
        chosen_id = '3EB0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 18))
    where id = p_message.id
    returning * into v_message;
    return v_message;
end
$$;

-- Returns the last message about the session that one of the staff got before they wrote p_relay: the notice
-- that they quote, a later notice, or the word back for an earlier relay.
create or replace function hybridflow.seen_by_staff(p_relay public.relays)
returns bigint
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select greatest(max(m.id), (p_relay.said ->> 'quoted_id')::bigint, 0)
    from (
        select n.message_id as id from public.notices as n where n.session_id = p_relay.session_id
        union all
        select r.word_message_id from public.relays as r where r.session_id = p_relay.session_id
    ) as t
    inner join public.messages as m on m.id = t.id
    where m.session_id = p_relay.staff_session_id and m.sent_at < (p_relay.said ->> 'sent_at')::timestamptz
$$;

-- begin_relay_send({relay_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence before a relay's message to the contact. If one of the staff writes it, they take the session
-- over, as by begin_human_send. If another human has written there since the staff were last told, nothing is
-- sent, and the relay's outcome says so: see seen_by_staff. Returns {ok, message_id, chosen_id, jid,
-- tenant_id, instance_name, evo_server_url, evo_api_key} or {refused: reason, message_id?, wa_id?, jid?,
-- body?}. The first is only for the router. Reasons: see relay_refusal, and 'erased' (the session was
-- erased), 'answered', 'already_sent', or 'in_doubt' (it has begun, and nobody knows how it ended).
create or replace function public.begin_relay_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_held record;
    v_relay public.relays;
    v_session public.sessions;
    v_message public.messages;
    v_human public.messages;
    v_begun jsonb;
begin
    perform hybridflow.require_keys('begin_relay_send', p, '{relay_id,token,body,lease_seconds}');
    v_held := hybridflow.hold_relay(p, false);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_relay := v_held.relay;
    v_session := v_held.session;
    select * into v_message from public.messages where id = v_relay.message_id;
    if v_message.send_state = 'sent' then
        return jsonb_build_object(
            'refused', 'already_sent', 'message_id', v_message.id, 'wa_id', v_message.wa_id,
            'jid', coalesce(v_session.phone_jid, v_session.lid), 'body', v_message.body
        );
    elsif v_message.send_state in ('sending', 'unknown') and not hybridflow.is_unbegun(v_message) then
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    elsif v_message.id is not null then
        v_message := hybridflow.begin_again(v_session, v_message, p);
    else
        v_human := hybridflow.unseen_human(
            v_session, hybridflow.seen_by_staff(v_relay), v_relay.said ->> 'author', v_relay.staff_session_id
        );
        if v_human.id is not null then
            update public.relays
            set outcome = 'answered', said = null, updated_at = hybridflow.clock(),
                facts = facts || jsonb_strip_nulls(jsonb_build_object(
                    'answered_by', v_human.author_name,
                    'answer', coalesce(nullif(left(v_human.body, 300), ''), format('[%s]', v_human.kind))
                ))
            where id = v_relay.id;
            return '{"refused": "answered"}';
        end if;
        v_begun := public.begin_human_send(
            (p - '{relay_id,token,lease_seconds}'::text[]) || jsonb_build_object(
                'tenant_id', v_relay.tenant_id, 'session_id', v_session.id, 'knowingly', true,
                'author', v_relay.said -> 'author', 'reason', 'the staff answered a notice'
            )
        );
        select * into v_message from public.messages where id = (v_begun ->> 'message_id')::bigint;
        perform hybridflow.record_audit(
            '{"kind": "owner", "name": "staff"}', 'send_message', v_relay.tenant_id,
            jsonb_build_object('session_id', v_session.id),
            jsonb_build_object('relay_id', v_relay.id, 'message_id', v_message.id)
        );
    end if;
    update public.relays
    set message_id = v_message.id, lease_until = greatest(lease_until, v_until),
        next_at = greatest(next_at, v_until), updated_at = hybridflow.clock()
    where id = v_relay.id;
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- begin_word_send({relay_id, token, body, kind?, identity?, told_as?: [hash], upload_seconds?,
-- lease_seconds})
-- The fence before the one word back to the staff. It is sent at most once: a send in doubt counts as told.
-- Returns {ok, message_id, chosen_id, jid, tenant_id, instance_name, evo_server_url, evo_api_key} or
-- {refused: reason, message_id?}: as begin_relay_send.
create or replace function public.begin_word_send(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_until timestamptz := hybridflow.clock() + hybridflow.seconds((p ->> 'lease_seconds')::numeric);
    v_held record;
    v_relay public.relays;
    v_session public.sessions;
    v_message public.messages;
begin
    perform hybridflow.require_keys('begin_word_send', p, '{relay_id,token,body,lease_seconds}');
    v_held := hybridflow.hold_relay(p, true);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_relay := v_held.relay;
    v_session := v_held.session;
    select * into v_message from public.messages where id = v_relay.word_message_id;
    if v_message.id is null then
        v_message := hybridflow.begin_message(v_session, null, null, 'ai', p);
    elsif v_message.send_state = 'failed' and v_message.late_until is null then
        v_message := hybridflow.begin_again(v_session, v_message, p);
    else
        return jsonb_build_object('refused', 'in_doubt', 'message_id', v_message.id);
    end if;
    update public.relays
    set word_message_id = v_message.id, lease_until = greatest(lease_until, v_until),
        next_at = greatest(next_at, v_until), updated_at = hybridflow.clock()
    where id = v_relay.id;
    return hybridflow.begun_send(v_message, v_session);
end
$$;

-- obey_staff({relay_id, token, command, until?, policy})
-- Does what the staff asked for by quoting a notice: `take` (they have the conversation), `resume` (the AI
-- has it again), `until` (the AI has it again at that time, whatever else paused it). Returns {outcome,
-- facts, turn_id?, was_paused} or {refused: reason}. Outcomes: 'taken', 'resumed', 'until', 'switched_off'
-- (it was done, but the AI answers nobody there for another reason), or, if nothing was done, 'past' or
-- 'too_far' (more than 30 days). Reasons: see relay_refusal, and 'erased'.
create or replace function public.obey_staff(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_until timestamptz := (p ->> 'until')::timestamptz;
    v_held record;
    v_session public.sessions;
    v_named jsonb;
    v_outcome text;
    v_turn_id bigint;
    v_has_ai boolean;
begin
    perform hybridflow.require_keys('obey_staff', p, '{relay_id,token,command,policy}');
    v_held := hybridflow.hold_relay(p, false);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_session := v_held.session;
    v_named := jsonb_build_object(
        'tenant_id', v_session.tenant_id, 'session_id', v_session.id, 'source', 'operator',
        'policy', p -> 'policy', 'reason', 'the staff asked for it in WhatsApp'
    );
    case p ->> 'command'
        when 'take' then
            v_outcome := 'taken';
            perform public.pause_session(v_named);
        when 'resume' then
            v_outcome := 'resumed';
            v_turn_id := (public.resume_session(v_named) ->> 'turn_id')::bigint;
        else
            perform hybridflow.require_keys('obey_staff', p, '{until}');
            v_outcome := case
                when v_until <= v_now then 'past'
                when v_until > v_now + interval '30 days' then 'too_far'
                else 'until'
            end;
            if v_outcome = 'until' then
                perform public.pause_session(v_named || jsonb_build_object('until', v_until));
                -- `until` means exactly that time: earlier reasons must not make the pause longer.
                update public.sessions
                set pause_asked_at = null, pause_written_at = null, pause_indefinite = false
                where id = v_session.id;
            end if;
    end case;
    v_has_ai := not hybridflow.is_without_ai(v_session.id)
        and (select t.is_active from public.tenants as t where t.id = v_session.tenant_id);
    if v_outcome in ('resumed', 'until') and not v_has_ai then
        v_outcome := 'switched_off';
    end if;
    update public.relays
    set outcome = v_outcome, said = null, updated_at = v_now,
        facts = facts || jsonb_strip_nulls(jsonb_build_object(
            'was_ai', not v_session.is_paused, 'until', v_until
        ))
    where id = (v_held.relay).id
    returning facts into v_named;
    if v_outcome in ('taken', 'until', 'resumed', 'switched_off') then
        perform hybridflow.record_audit(
            '{"kind": "owner", "name": "staff"}',
            case when p ->> 'command' = 'resume' then 'resume_session' else 'pause_session' end,
            v_session.tenant_id, jsonb_build_object('session_id', v_session.id, 'turn_id', v_turn_id),
            jsonb_build_object('relay_id', (v_held.relay).id, 'until', v_until)
        );
    end if;
    return jsonb_build_object(
        'outcome', v_outcome, 'facts', v_named, 'turn_id', v_turn_id, 'was_paused', v_session.is_paused
    );
end
$$;

-- settle_relay({relay_id, token, outcome?, error?, again_in?, over?})
-- Reports the result for a relay: its outcome, which does not change any more; and whether it is `over`, or
-- tried again in again_in seconds. If the relay failed or is too old, and its send has not begun, its message
-- has failed. Returns {ok} or {refused: reason}: see relay_refusal.
create or replace function public.settle_relay(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_relay public.relays;
    v_refused jsonb;
begin
    perform hybridflow.require_keys('settle_relay', p, '{relay_id,token}');
    -- Lock the session first, as everywhere: a call that erases or merges it holds its messages, and then
    -- asks for its relays.
    perform from public.sessions as s
    inner join public.relays as r on r.session_id = s.id
    where r.id = (p ->> 'relay_id')::bigint for update of s;
    select * into v_relay from public.relays where id = (p ->> 'relay_id')::bigint for update;
    v_refused := hybridflow.relay_refusal(v_relay, p);
    if v_refused is not null then
        return v_refused;
    end if;
    if p ->> 'outcome' in ('failed', 'too_old') then
        update public.messages as m set send_state = 'failed', check_at = null
        where m.id = v_relay.message_id and hybridflow.is_unbegun(m);
    end if;
    update public.relays
    set outcome = coalesce(outcome, p ->> 'outcome'),
        said = case when coalesce(outcome, p ->> 'outcome') is null then said end,
        error = coalesce(left(p ->> 'error', 2000), case when p ->> 'outcome' = 'sent' then null else error end),
        lease_until = case when p ->> 'again_in' is null then lease_until end,
        next_at = coalesce(v_now + hybridflow.seconds((p ->> 'again_in')::numeric), next_at),
        finished_at = case when (p ->> 'over')::boolean then v_now end, updated_at = v_now
    where id = v_relay.id;
    return '{"ok": true}';
end
$$;

-- ==================== 0879_relay_data.sql

-- HybridFlow: relays as people's data: exported, erased, and pruned.

-- Returns the relays about a contact. A relay that one of the staff asked for is about the contact that it is
-- for.
create or replace function hybridflow.relays_about(p_session_ids bigint[])
returns setof public.relays
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select r.* from public.relays as r where r.session_id = any(p_session_ids)
$$;

-- A relay as an export shows it.
create or replace function hybridflow.exported_relay(p_relay public.relays)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(p_relay) - '{token_hash,waiting,request_hash,lease_until,said,idempotency_key}'::text[]
$$;

-- Deletes the relays about a contact, and, if the contact is one of the staff, the relays that they asked
-- for. What the staff wrote there and the word back stay as messages without text. The relays are locked
-- before these messages, in the same order as by the send of a word back, because the staff's session is not
-- locked. Returns how many.
create or replace function hybridflow.erase_relays(p_session_ids bigint[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select r.id from hybridflow.relays_about(p_session_ids) as r
        union
        select s.id from public.relays as s where s.staff_session_id = any(p_session_ids)
    );
begin
    perform from public.relays where id = any(v_ids) order by id for update;
    update public.messages set body = '', quoted = null, media = null, transcript = null, description = null
    where id = any(array(
        select r.word_message_id from hybridflow.relays_about(p_session_ids) as r
        union
        select m.id from hybridflow.relays_about(p_session_ids) as r
        cross join lateral hybridflow.messages_called(r.facts ->> 'wa_id') as m
        where m.session_id = r.staff_session_id
    ));
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch relays that are over. Returns how many.
create or replace function hybridflow.prune_relays(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select n.id from public.relays as n
            where n.tenant_id = r.tenant_id and n.finished_at < r.cutoff
            order by n.finished_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.relays where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- ==================== 0880_safety.sql

-- HybridFlow: replies that may not be sent, and budgets.
--
-- A budget limits the turns and tokens of a day (UTC), for a tenant and for each of its contacts. The most
-- that a turn may cost is reserved before the LLM is asked, and counts as spent until the real cost is known.
-- So turns that are made at the same time cannot exceed the budget together. If the cost never becomes known
-- (a process died), the reservation stays counted.

-- The session needs a human: it is paused with source 'ai', for at least as long as before, and a notice
-- tells the people of the business. Its turns are cancelled. The caller has locked the session.
create or replace function hybridflow.pause_for_human(
    p_session public.sessions, p_reason text, p_summary text
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.cancel_turns(p_session.id, 'paused');
    perform hybridflow.begin_handoff(
        p_session, null, jsonb_build_object('reason', 'other', 'why', p_reason, 'summary', p_summary)
    );
end
$$;

-- Gives the turn, which has said nothing, p_reply as its reply, due at once, whichever attempt has the turn.
-- p_outcome is how that attempt ended. The caller has locked the session.
create or replace function hybridflow.reply_instead(p_turn_id bigint, p_reply jsonb, p_outcome text)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.turns;
begin
    perform hybridflow.discard_reply(p_turn_id);
    select * into v_turn from public.turns where id = p_turn_id;
    perform hybridflow.requeue_turn(v_turn, hybridflow.clock(), p_outcome);
    update public.turns
    set reply = p_reply, handler = 'fallback', debounce_until = hybridflow.clock()
    where id = p_turn_id;
end
$$;

-- Like reply_instead, with one text, such as the tenant's fallback message.
create or replace function hybridflow.answer_instead(p_turn_id bigint, p_message text, p_outcome text)
returns void
language sql
set search_path = ''
as $$
    select hybridflow.reply_instead(p_turn_id, jsonb_build_array(p_message), p_outcome)
$$;

-- Returns the day's row of the tenant (p_session_id null) or of a session, locked. It is made if it does not
-- exist.
create or replace function hybridflow.spending_of(p_tenant_id bigint, p_session_id bigint, p_day date)
returns public.spending
language plpgsql
set search_path = ''
as $$
declare
    v_row public.spending;
begin
    -- Look for the row first: an insert with a conflict would rewrite the row only to lock it.
    if p_session_id is null then
        select * into v_row from public.spending
        where tenant_id = p_tenant_id and day = p_day and session_id is null for update;
    else
        select * into v_row from public.spending
        where tenant_id = p_tenant_id and day = p_day and session_id = p_session_id for update;
    end if;
    if not found then
        insert into public.spending (tenant_id, session_id, day) values (p_tenant_id, p_session_id, p_day)
        on conflict (tenant_id, day, session_id) do update set turns = spending.turns
        returning * into v_row;
    end if;
    return v_row;
end
$$;

-- Replaces what was reserved for the attempt by p_tokens, if p_tokens is known. The caller clears the turn's
-- reservation.
create or replace function hybridflow.settle_budget(p_turn public.turns, p_tokens bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.reserved_tokens is not null and p_tokens is not null then
        -- In the order of spending_of. Each row is found at once, however many contacts wrote that day.
        update public.spending
        set tokens = greatest(tokens + p_tokens - p_turn.reserved_tokens, 0)
        where tenant_id = p_turn.tenant_id and day = p_turn.reserved_on and session_id is null;
        update public.spending
        set tokens = greatest(tokens + p_tokens - p_turn.reserved_tokens, 0)
        where tenant_id = p_turn.tenant_id and day = p_turn.reserved_on and session_id = p_turn.session_id;
    end if;
end
$$;

-- Returns the tokens that p reports: {tokens_in?, tokens_out?}; null if it reports none.
create or replace function hybridflow.tokens_told(p jsonb)
returns bigint
language plpgsql
immutable
set search_path = ''
as $$
begin
    return coalesce(
        (p ->> 'tokens_in')::bigint + (p ->> 'tokens_out')::bigint,
        (p ->> 'tokens_in')::bigint, (p ->> 'tokens_out')::bigint
    );
end
$$;

-- The reply p was stored (see write_reply); p_turn is the turn as it was before. The real cost replaces the
-- reservation. Call this last in a transaction, because every call that reserves for the tenant waits until
-- it ends.
create or replace function hybridflow.settle_reply(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.reserved_tokens is not null and exists (
        select from public.turns as t where t.id = p_turn.id and t.reserved_tokens is null
    ) then
        perform hybridflow.settle_budget(p_turn, hybridflow.tokens_told(p));
    end if;
end
$$;

-- Returns p_turn with what an attempt cost, as far as p reports it: {provider?, model?, tokens_in?,
-- tokens_out?}. The cost replaces the reservation, and is added to the earlier cost of the turn. The caller
-- stores the row: alone (book_cost), or in one update with the reply (write_reply).
create or replace function hybridflow.with_cost(p_turn public.turns, p jsonb)
returns public.turns
language plpgsql
immutable
set search_path = ''
as $$
declare
    v_in constant integer := (p ->> 'tokens_in')::integer;
    v_out constant integer := (p ->> 'tokens_out')::integer;
begin
    if v_in is not null or v_out is not null then
        p_turn.reserved_tokens := null;
    end if;
    p_turn.provider := coalesce(p ->> 'provider', p_turn.provider);
    p_turn.model := coalesce(p ->> 'model', p_turn.model);
    p_turn.tokens_in := coalesce(p_turn.tokens_in + v_in, p_turn.tokens_in, v_in);
    p_turn.tokens_out := coalesce(p_turn.tokens_out + v_out, p_turn.tokens_out, v_out);
    return p_turn;
end
$$;

-- Stores what the attempt cost (see with_cost), and settles the day's budget.
create or replace function hybridflow.book_cost(p_turn public.turns, p jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_spent constant bigint := hybridflow.tokens_told(p);
    v_turn public.turns;
begin
    if v_spent is null and p ->> 'provider' is null and p ->> 'model' is null then
        return;
    end if;
    perform hybridflow.settle_budget(p_turn, v_spent);
    v_turn := hybridflow.with_cost(p_turn, p);
    update public.turns
    set reserved_tokens = v_turn.reserved_tokens, provider = v_turn.provider, model = v_turn.model,
        tokens_in = v_turn.tokens_in, tokens_out = v_turn.tokens_out
    where id = p_turn.id;
end
$$;

-- A tenant's own limit, at most the deployment's limit of the same name; null: no limit.
create or replace function hybridflow.ceiled(p_own numeric, p_policy jsonb, p_name text)
returns numeric
language plpgsql
immutable
set search_path = ''
as $$
begin
    return least(p_own, (p_policy ->> p_name)::numeric);
end
$$;

-- Returns the first budget that p_turns more turns or p_tokens more tokens would exceed; null: none.
create or replace function hybridflow.used_up(
    p_tenant public.tenants, p_all public.spending, p_own public.spending, p_policy jsonb,
    p_turns integer, p_tokens bigint
)
returns text
language sql
immutable
set search_path = ''
as $$
    select case
        when coalesce(p_all.turns, 0) + p_turns > hybridflow.ceiled(p_tenant.daily_turns, p_policy, 'daily_turns')
            then 'daily_turns'
        when coalesce(p_all.tokens, 0) + p_tokens > hybridflow.ceiled(p_tenant.daily_tokens, p_policy, 'daily_tokens')
            then 'daily_tokens'
        when coalesce(p_own.turns, 0) + p_turns
            > hybridflow.ceiled(p_tenant.contact_daily_turns, p_policy, 'contact_daily_turns')
            then 'contact_daily_turns'
        when coalesce(p_own.tokens, 0) + p_tokens
            > hybridflow.ceiled(p_tenant.contact_daily_tokens, p_policy, 'contact_daily_tokens')
            then 'contact_daily_tokens'
    end
$$;

-- reserve_budget({turn_id, token, tokens, policy})
-- Reserves the most that the attempt may cost, before the LLM is asked. A turn that is put off and tried
-- again reserves only once. Returns {ok} or {refused: reason, budget?}. 'paused': the tenant was switched
-- off, so the turn is cancelled and the LLM is not asked. 'budget': `budget` names the one that would be
-- exceeded. The turn is then cancelled with the reason 'budget', or, once a day for each contact, answered
-- with the tenant's fallback_message.
create or replace function public.reserve_budget(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_tenant public.tenants;
    v_tokens bigint := (p ->> 'tokens')::bigint;
    v_more bigint := v_tokens;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_new integer;
    v_all public.spending;
    v_own public.spending;
    v_budget text;
begin
    if num_nulls(p ->> 'turn_id', p ->> 'token', p ->> 'tokens', p ->> 'policy') > 0 then
        perform hybridflow.require_keys('reserve_budget', p, '{turn_id,token,tokens,policy}');
    end if;
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    v_new := (v_turn.reserved_on is null)::integer;
    if v_turn.waits > 0 and v_turn.reserved_on = v_day then
        v_more := v_tokens - coalesce(v_turn.reserved_tokens, 0);
    end if;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    if not v_tenant.is_active then
        perform hybridflow.stop_turn(v_turn.id, 'tenant_inactive');
        return '{"refused": "paused"}';
    end if;
    v_all := hybridflow.spending_of(v_turn.tenant_id, null, v_day);
    v_own := hybridflow.spending_of(v_turn.tenant_id, v_turn.session_id, v_day);
    v_budget := hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', v_new, v_more);
    if v_budget is null then
        update public.spending set turns = turns + v_new, tokens = tokens + v_more
        where id in (v_all.id, v_own.id);
        update public.turns set reserved_tokens = v_tokens, reserved_on = v_day where id = v_turn.id;
        return jsonb_build_object('ok', true);
    end if;

    update public.turns set error_kind = 'budget', error = 'the budget is used up: ' || v_budget
    where id = v_turn.id;
    perform hybridflow.note_unanswered(
        v_turn, case when v_budget like 'contact%' then 'contact_budget' else 'budget' end, v_budget
    );
    if v_tenant.fallback_message is null or v_own.told_at is not null then
        perform hybridflow.close_turn(v_turn.id, 'cancelled', 'budget');
    else
        update public.spending set told_at = hybridflow.clock() where id = v_own.id;
        perform hybridflow.answer_instead(v_turn.id, v_tenant.fallback_message, 'budget');
    end if;
    return jsonb_build_object('refused', 'budget', 'budget', v_budget);
end
$$;

-- get_spending({tenant_id, session_id?, policy?})
-- What the tenant, or one of its sessions, has spent today, what the limits are, and which budget is used up
-- (null: none). Returns {day, turns, tokens, daily_turns, daily_tokens, used_up}. PT404: no such tenant, or
-- the session is not the tenant's.
create or replace function public.get_spending(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_day date := (hybridflow.clock() at time zone 'UTC')::date;
    v_all public.spending;
    v_own public.spending;
    v_one text := case when p ->> 'session_id' is null then '' else 'contact_' end;
    v_limits jsonb;
begin
    perform hybridflow.require_keys('get_spending', p, '{tenant_id}');
    perform hybridflow.require_own(p);
    select * into v_tenant from public.tenants where id = (p ->> 'tenant_id')::bigint;
    select * into v_all from public.spending where tenant_id = v_tenant.id and day = v_day and session_id is null;
    select * into v_own from public.spending
    where tenant_id = v_tenant.id and day = v_day and session_id = (p ->> 'session_id')::bigint;
    v_limits := jsonb_build_object(
        'daily_turns', hybridflow.ceiled(v_tenant.daily_turns, p -> 'policy', 'daily_turns'),
        'daily_tokens', hybridflow.ceiled(v_tenant.daily_tokens, p -> 'policy', 'daily_tokens'),
        'contact_daily_turns', hybridflow.ceiled(v_tenant.contact_daily_turns, p -> 'policy', 'contact_daily_turns'),
        'contact_daily_tokens', hybridflow.ceiled(v_tenant.contact_daily_tokens, p -> 'policy', 'contact_daily_tokens')
    );
    return jsonb_build_object(
        'day', v_day,
        'turns', coalesce(case v_one when '' then v_all.turns else v_own.turns end, 0),
        'tokens', coalesce(case v_one when '' then v_all.tokens else v_own.tokens end, 0),
        'daily_turns', v_limits -> (v_one || 'daily_turns'),
        'daily_tokens', v_limits -> (v_one || 'daily_tokens'),
        'used_up', hybridflow.used_up(v_tenant, v_all, v_own, p -> 'policy', 1, 1)
    );
end
$$;

-- refuse_reply({turn_id, token, rule, detail?, say?, provider?, model?, tokens_in?, tokens_out?})
-- The guard refused the reply; `rule` names the rule. The session is handed off. If the tenant prefers it,
-- and nothing has been said yet, the tenant's fallback message is sent instead. `say` tells the customer of
-- the handoff. It is sent after what a flow has said already, and the handoff begins with it; without `say`
-- the handoff begins at once. Returns {ok, outcome: 'handoff' | 'fallback_message', session_id} or {refused:
-- reason}.
create or replace function public.refuse_reply(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_held record;
    v_turn public.turns;
    v_tenant public.tenants;
    v_said boolean;
    v_handoff jsonb := jsonb_build_object(
        'reason', 'not_allowed',
        'why', case
            when p ->> 'rule' = 'model_refused' then 'the AI declines to answer'
            else concat_ws(': ', 'the AI''s reply was not sent', p ->> 'rule', p ->> 'detail')
        end
    );
begin
    perform hybridflow.require_keys('refuse_reply', p, '{turn_id,token,rule}');
    v_held := hybridflow.hold_turn(p);
    if v_held.refused is not null then
        return v_held.refused;
    end if;
    v_turn := v_held.turn;
    select * into v_tenant from public.tenants where id = v_turn.tenant_id;
    perform hybridflow.book_cost(v_turn, p);
    update public.turns
    set error_kind = 'reply_refused', error = left(concat_ws(': ', p ->> 'rule', p ->> 'detail'), 2000)
    where id = v_turn.id;
    v_said := exists (
        select from public.messages where turn_id = v_turn.id and send_state in ('sent', 'sending', 'unknown')
    );
    if v_tenant.on_refused_reply = 'fallback_message' and v_tenant.fallback_message is not null and not v_said then
        perform hybridflow.answer_instead(v_turn.id, v_tenant.fallback_message, 'refused');
        return jsonb_build_object(
            'ok', true, 'outcome', 'fallback_message', 'session_id', v_turn.session_id
        );
    end if;
    if p ->> 'say' is not null and not v_said then
        perform hybridflow.reply_instead(
            v_turn.id, jsonb_build_array(jsonb_build_object('handoff', v_handoff, 'text', p ->> 'say')), 'refused'
        );
    elsif p ->> 'say' is not null and v_turn.reply is null then
        -- A flow has already said something: the customer is told after that.
        perform hybridflow.say_handoff(v_turn, v_handoff, jsonb_build_array(p -> 'say'), 'refused');
    else
        perform hybridflow.stop_turn(v_turn.id, 'reply_refused');
        perform hybridflow.cancel_turns(v_turn.session_id, 'paused');
        perform hybridflow.begin_handoff(v_held.session, v_turn.id, v_handoff);
    end if;
    return jsonb_build_object('ok', true, 'outcome', 'handoff', 'session_id', v_turn.session_id);
end
$$;

-- ==================== 0890_retention.sql

-- HybridFlow: how long a tenant's messages and turns are kept. After that they are archived or deleted.

create table if not exists public.messages_archive (
    id bigint primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    session_id bigint not null references public.sessions (id) on delete cascade,
    turn_id bigint,
    wa_id text,
    from_me boolean not null,
    sender hybridflow.sender not null,
    kind text not null,
    body text not null,
    media jsonb,
    quoted jsonb,
    author_name text,
    expects_reply boolean not null,
    status text,
    sent_at timestamptz not null,
    edited_at timestamptz,
    deleted_at timestamptz,
    part integer,
    send_state hybridflow.send_state,
    send_began_at timestamptz,
    sends integer not null,
    created_at timestamptz not null,
    archived_at timestamptz not null default now()
);

alter table public.messages_archive
add column if not exists failed_at timestamptz,
add column if not exists failed_since timestamptz,
add column if not exists error_code text,
add column if not exists undelivered_turns bigint[] not null default '{}';

comment on table public.messages_archive is
'Messages older than their tenant''s retention. They are kept, and only exports read them.';

alter table public.messages_archive
add column if not exists identity text,
add column if not exists told_as text[],
add column if not exists chosen_id text,
add column if not exists late_until timestamptz,
add column if not exists check_at timestamptz,
add column if not exists upload_seconds numeric,
add column if not exists given_up text,
add column if not exists transcript text,
add column if not exists description text;

create index if not exists messages_archive_by_session on public.messages_archive (session_id, sent_at, id);
create index if not exists messages_archive_by_tenant on public.messages_archive (tenant_id);
create index if not exists turns_finished
on public.turns (tenant_id, finished_at) where finished_at is not null;
create index if not exists notices_finished
on public.notices (tenant_id, finished_at) where finished_at is not null;

alter table public.messages_archive enable row level security;

-- Whether an unknown message may have been pruned. Messages younger than a day are never pruned.
create or replace function hybridflow.was_pruned(p_tenant_id bigint, p_sent_at timestamptz)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
begin
    if p_sent_at > hybridflow.clock() - interval '1 day' then
        return false;
    end if;
    return exists (
        select from public.tenants as t where t.id = p_tenant_id and t.pruned_before > p_sent_at
    );
end
$$;

-- The tenants whose data is not kept for ever, each with the time before which it is too old.
create or replace function hybridflow.retentions(p_default_days integer)
returns table (tenant_id bigint, cutoff timestamptz)
language sql
stable
set search_path = ''
as $$
    select t.id, hybridflow.clock() - make_interval(days => coalesce(t.retention_days, p_default_days))
    from public.tenants as t
    where coalesce(t.retention_days, p_default_days) is not null
$$;

-- Whether the session has a turn that is not over. If so, all of the session is kept.
create or replace function hybridflow.has_unfinished_turn(p_session_id bigint)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.turns as t
        where t.session_id = p_session_id and t.state in ('pending', 'running', 'sending')
    )
$$;

-- Archives or deletes up to p_batch messages, with the events about them. Their sessions are locked, so that
-- a call that brings one of them again waits, and then finds that it was pruned. Returns {deleted, archived,
-- full}; full: there may be more.
create or replace function hybridflow.prune_messages(p_batch integer, p_default_days integer)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    -- Found once, because a session that always has a turn may have any number of old messages.
    v_busy bigint[] := array(
        select t.session_id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select w.session_id from public.turns as w where w.tenant_id = r.tenant_id and w.waiting
            union
            select h.session_id from public.turns as h where h.tenant_id = r.tenant_id and h.held
            offset 0  -- so that each tenant is read by index, whatever the statistics say
        ) as t
    );
    v_ids bigint[];
    v_deleted bigint;
    v_archived bigint;
begin
    select array_agg(due.id) into v_ids
    from (
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select m.id from public.messages as m
            join public.sessions as s on s.id = m.session_id
            where m.tenant_id = r.tenant_id and m.created_at < r.cutoff and m.sent_at < r.cutoff
                and not exists (select from unnest(v_busy) as b where b = m.session_id)
            order by m.created_at limit p_batch
            for update of s skip locked
        ) as old
        limit p_batch
    ) as due;
    -- Deleting a message changes its relay. The relay is locked before the message, as when a contact is
    -- erased.
    perform from public.relays where id = any(array(
        select r.id from unnest(v_ids) as m (id)
        inner join public.relays as r on r.message_id = m.id
        union
        select r.id from unnest(v_ids) as m (id)
        inner join public.relays as r on r.word_message_id = m.id
    )) order by id for update;
    update public.tenants as t set pruned_before = greatest(t.pruned_before, r.cutoff)
    from hybridflow.retentions(p_default_days) as r
    where t.id = r.tenant_id and t.id = any(array(
        select m.tenant_id from public.messages as m where m.id = any(v_ids)
    ));
    with gone as (
        delete from public.messages as m
        where m.id = any(v_ids) and not hybridflow.has_unfinished_turn(m.session_id)
        returning m.*
    ),

    kept as (
        insert into public.messages_archive (
            id, tenant_id, session_id, turn_id, wa_id, from_me, sender, kind, body, media, quoted, author_name,
            expects_reply, status, sent_at, edited_at, deleted_at, part, send_state, send_began_at, sends,
            created_at, identity, told_as, chosen_id, late_until, check_at, failed_at, failed_since, error_code,
            undelivered_turns, upload_seconds, given_up, transcript, description, archived_at
        )
        select g.id, g.tenant_id, g.session_id, g.turn_id, g.wa_id, g.from_me, g.sender, g.kind, g.body,
            g.media, g.quoted, g.author_name, g.expects_reply, g.status, g.sent_at, g.edited_at, g.deleted_at,
            g.part, g.send_state, g.send_began_at, g.sends, g.created_at, g.identity, g.told_as,
            g.chosen_id, g.late_until, g.check_at, g.failed_at, g.failed_since, g.error_code,
            g.undelivered_turns, g.upload_seconds, g.given_up, g.transcript, g.description, hybridflow.clock()
        from gone as g join public.tenants as t on t.id = g.tenant_id
        where t.on_retention = 'archive'
        returning id
    ),

    unheard as (
        delete from public.processed_events
        where id = any(array(
            select e.id from gone as g
            inner join public.tenants as t on t.id = g.tenant_id
            cross join lateral hybridflow.events_about_message(g.tenant_id, g.wa_id) as e
            where t.on_retention = 'delete'
        ))
    )

    select (select count(*) from gone), (select count(*) from kept) into v_deleted, v_archived;
    return jsonb_build_object(
        'deleted', v_deleted - v_archived, 'archived', v_archived,
        'full', coalesce(cardinality(v_ids), 0) = p_batch and v_deleted > 0
    );
end
$$;

-- Deletes up to p_batch turns that have ended and have no message left. Returns how many.
create or replace function hybridflow.prune_turns(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select t.id from public.turns as t
            where t.tenant_id = r.tenant_id and t.finished_at < r.cutoff
                and t.state in ('sent', 'cancelled', 'dead')
                and not exists (select from public.messages as m where m.turn_id = t.id)
            order by t.finished_at limit p_batch
            for update of t skip locked
        ) as old
        limit p_batch
    );
begin
    delete from public.turns where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- ==================== 0891_prune.sql

-- HybridFlow: deletes one batch of everything that is past its time.

-- Deletes up to p_batch notices that were delivered or given up, and outages that are over. Returns how many
-- notices.
create or replace function hybridflow.prune_notices(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select n.id from public.notices as n
            where n.tenant_id = r.tenant_id and n.finished_at < r.cutoff and n.state <> 'pending'
            order by n.finished_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.notices where id = any(v_ids);
    delete from public.outages where id = any(array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select o.id from public.outages as o
            where o.tenant_id = r.tenant_id and o.ended_at < r.cutoff
            order by o.ended_at limit p_batch
        ) as old
        limit p_batch
    ));
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch handoffs that are over. Returns how many.
create or replace function hybridflow.prune_handoffs(p_batch integer, p_default_days integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[] := array(
        select old.id from hybridflow.retentions(p_default_days) as r
        cross join lateral (
            select h.id from public.handoffs as h
            where h.tenant_id = r.tenant_id and h.ended_at < r.cutoff
            order by h.ended_at limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.handoffs where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch days of spending that are older than 400 days. Returns how many.
create or replace function hybridflow.prune_spending(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_first date := (hybridflow.clock() at time zone 'UTC')::date - 400;
    v_ids bigint[] := array(
        select old.id from public.tenants as t
        cross join lateral (
            select s.id from public.spending as s
            where s.tenant_id = t.id and s.day < v_first
            order by s.day limit p_batch
        ) as old
        limit p_batch
    );
begin
    delete from public.spending where id = any(v_ids);
    return cardinality(v_ids);
end
$$;

-- Deletes up to p_batch ids of erased messages that are older than 30 days. Returns how many.
create or replace function hybridflow.prune_erased(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.clock() - interval '30 days';
    v_count bigint;
begin
    update public.erased_contacts set human_wrote_at = null, contact_wrote_at = null
    where coalesce(human_wrote_at, contact_wrote_at) is not null and erased_at < v_before;
    delete from public.erased_messages where ctid = any(array(
        select e.ctid from public.erased_messages as e
        where e.erased_at < v_before order by e.erased_at limit p_batch
        for update skip locked
    ));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Deletes the parts of media that are kept only for a short time, even if no router understands media any
-- more: pictures after a day, and what came inside a webhook if nobody has claimed its job for a day.
create or replace function hybridflow.prune_media(p_batch integer)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    update public.media_jobs set pictures = null, pictures_until = null
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.pictures_until <= v_now
        order by j.pictures_until limit p_batch for update skip locked
    ));
    update public.media_jobs
    set state = 'failed', content = null, lease_until = null, finished_at = v_now, updated_at = v_now,
        error = coalesce(error, 'nobody has worked on it for a day')
    where id = any(array(
        select j.id from public.media_jobs as j
        where j.waiting and j.attempt >= 0 and j.next_at <= v_now - interval '1 day'
        order by j.next_at limit p_batch for update skip locked
    ));
end
$$;

-- prune({batch?, events_days?, retention_days?})
-- Deletes one batch (5000 rows of each kind) of what is past its time: processed events after events_days (7,
-- and never fewer, because is_forgotten relies on them); messages, turns, notices, handoffs and relays after
-- their tenant's retention (retention_days if the tenant has none; null: for ever); spending after 400 days;
-- ids of erased messages after 30 days; changes after ten minutes; what is kept of media after a day. It
-- deletes nothing of a session with an unfinished turn, no turn that may go on, and no notice that still has
-- to be told. Returns {events, messages_deleted, messages_archived, turns, notices, handoffs, relays,
-- spending, erased_messages, changes, more}; with `more`, call it again. PT422: a number is out of range.
create or replace function public.prune(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_batch integer := coalesce((p ->> 'batch')::integer, 5000);
    v_events_days integer := coalesce((p ->> 'events_days')::integer, 7);
    v_retention_days integer := (p ->> 'retention_days')::integer;
    v_now timestamptz := hybridflow.clock();
    v_messages jsonb;
    v_counts jsonb;
    v_ids bigint[];
begin
    if v_batch not between 1 and 100000 then
        raise exception 'batch must be from 1 to 100000' using errcode = 'PT422';
    elsif v_events_days < 7 then
        raise exception 'events_days must be at least 7: for so long a delivery may come again'
            using errcode = 'PT422';
    elsif v_retention_days < 1 then
        raise exception 'retention_days must be at least 1, or null: for ever' using errcode = 'PT422';
    end if;
    v_ids := array(
        select e.id from public.processed_events as e
        where e.processed_at < v_now - make_interval(days => v_events_days)
        order by e.processed_at limit v_batch
        for update skip locked
    );
    delete from public.processed_events where id = any(v_ids);
    v_messages := hybridflow.prune_messages(v_batch, v_retention_days);
    perform hybridflow.prune_media(v_batch);
    v_counts := jsonb_build_object(
        'events', cardinality(v_ids),
        'turns', hybridflow.prune_turns(v_batch, v_retention_days),
        'notices', hybridflow.prune_notices(v_batch, v_retention_days),
        'handoffs', hybridflow.prune_handoffs(v_batch, v_retention_days),
        'relays', hybridflow.prune_relays(v_batch, v_retention_days),
        'spending', hybridflow.prune_spending(v_batch),
        'erased_messages', hybridflow.prune_erased(v_batch),
        'changes', hybridflow.prune_changes(v_batch)
    );
    return v_counts || jsonb_build_object(
        'messages_deleted', v_messages -> 'deleted', 'messages_archived', v_messages -> 'archived',
        'more', (v_messages ->> 'full')::boolean
        or (select max(c.value::bigint) from jsonb_each_text(v_counts) as c) >= v_batch
    );
end
$$;

-- ==================== 0892_amounts.sql

-- HybridFlow: how much is stored for a tenant.

-- How many rows of a table a tenant has, and how many bytes they take, estimated from its first 1000 rows.
create or replace function hybridflow.amount_of(p_table text, p_tenant_id bigint)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_rows bigint;
    v_width numeric;
begin
    execute format('select count(*) from public.%I where tenant_id = $1', p_table)
    into v_rows using p_tenant_id;
    execute format(
        'select avg(pg_column_size(s.t)) from (select t from public.%I as t where t.tenant_id = $1 limit 1000) as s',
        p_table
    )
    into v_width using p_tenant_id;
    return jsonb_build_object('rows', v_rows, 'bytes', round(v_rows * coalesce(v_width, 0))::bigint);
end
$$;

-- get_tenant_stats({tenant_id})
-- How much is stored for a tenant, for its operators. It reads every row of the tenant in the indexes, so do
-- not call it on a busy path. Returns {stats: {tables: {<table>: {rows, bytes}}, bytes, oldest_message_at,
-- pruned_before}}; bytes are estimated. PT404: no such tenant.
create or replace function public.get_tenant_stats(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant public.tenants;
    v_tables jsonb;
begin
    perform hybridflow.require_keys('get_tenant_stats', p, '{tenant_id}');
    v_tenant := hybridflow.tenant_of(p - 'instance_name');
    select jsonb_object_agg(t, hybridflow.amount_of(t, v_tenant.id)) into v_tables
    from unnest(array[
        'sessions', 'messages', 'messages_archive', 'turns', 'notices', 'processed_events'
    ]) as t;
    return jsonb_build_object('stats', jsonb_build_object(
        'tables', v_tables,
        'bytes', (select sum((t.value ->> 'bytes')::bigint) from jsonb_each(v_tables) as t),
        'oldest_message_at', (
            select m.sent_at from public.messages as m
            where m.tenant_id = v_tenant.id order by m.created_at limit 1
        ),
        'pruned_before', v_tenant.pruned_before
    ));
end
$$;

-- ==================== 0893_guards.sql

-- HybridFlow: what each tenant's webhooks must prove (access; in public names: guard), for routers' caches.

create index if not exists tenants_by_guard_change on public.tenants (guard_changed_at);

-- Stores when a tenant's access changed, however the change is made.
create or replace function hybridflow.note_guard()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_table_name = 'tenants' then
        new.guard_changed_at := hybridflow.clock();
        return new;
    end if;
    update public.tenants set guard_changed_at = hybridflow.clock()
    where id in (case when tg_op <> 'INSERT' then old.tenant_id end, case when tg_op <> 'DELETE' then new.tenant_id end);
    return null;
end
$$;

create or replace trigger tenants_guard
before insert or update of instance_name, webhook_networks, shared_webhook_secret on public.tenants
for each row execute function hybridflow.note_guard();

create or replace trigger webhook_secrets_guard
after insert or update or delete on public.webhook_secrets
for each row execute function hybridflow.note_guard();

-- One tenant's access, as routers know it. Each webhook is compared with all of it, so it contains at most as
-- many networks as may be set (see check_sizes), even if more were written directly.
create or replace function hybridflow.guard_json(p_tenant public.tenants, p_now timestamptz)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'tenant_id', p_tenant.id, 'instance_name', p_tenant.instance_name,
        'networks', p_tenant.webhook_networks[1:50], 'shared', p_tenant.shared_webhook_secret,
        'hashes', hybridflow.webhook_hashes(p_tenant.id, false),
        'retiring', (
            select coalesce(jsonb_object_agg(
                encode(w.secret_hash, 'hex'), extract(epoch from w.retires_at - p_now)
            ), '{}')
            from public.webhook_secrets as w where w.tenant_id = p_tenant.id and w.retires_at > p_now
        )
    )
$$;

-- The tenants that a router is told of: the next p_limit after p_after, in the order of their ids. Without
-- p_since, only those that have an access of their own.
create or replace function hybridflow.guarded_after(p_after bigint, p_limit bigint, p_since timestamptz)
returns bigint[]
language sql
stable
set search_path = ''
as $$
    select array(
        select t.id from public.tenants as t
        where t.id > p_after and (
            p_since is not null or t.webhook_networks is not null or not t.shared_webhook_secret
            or hybridflow.webhook_hashes(t.id, false) <> '[]'
        )
        order by t.id limit p_limit
    )
$$;

-- webhook_guards({after?, limit?, changed_since?})
-- The access of the tenants that have one of their own. Returns {guards: [{tenant_id, instance_name,
-- networks, shared, hashes: [hash], retiring: {<hash>: seconds}}], next, now}. networks null: any network.
-- shared: EVOLUTION_WEBHOOK_SHARED_SECRET is accepted, too. next: the `after` of the next call; null: there
-- are no more. Routers read everything once, and then every few seconds what changed since the last `now`, so
-- that a flood of webhooks costs no query. Then the answer has every tenant that changed (also one that has
-- no access of its own any more), and the next `limit` others, because a change may have taken long to
-- commit.
create or replace function public.webhook_guards(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_since timestamptz := (p ->> 'changed_since')::timestamptz - interval '1 minute';
    v_limit bigint := (p ->> 'limit')::bigint;
    v_ids bigint[] := hybridflow.guarded_after(coalesce((p ->> 'after')::bigint, 0), v_limit, v_since);
begin
    return jsonb_build_object(
        'now', v_now,
        'next', case when cardinality(v_ids) = v_limit then v_ids[cardinality(v_ids)] end,
        'guards', (
            select coalesce(jsonb_agg(hybridflow.guard_json(t, v_now) order by t.id), '[]')
            from public.tenants as t
            where t.id in (
                select unnest(v_ids)
                union
                select c.id from public.tenants as c where c.guard_changed_at >= v_since
            )
        )
    );
end
$$;

-- ==================== 0894_changes.sql

-- HybridFlow: what changed a moment ago, for clients that look at it: ids and kinds, never a text.
--
-- A change is a row. Triggers write it in the transaction that makes the change, whatever program makes it.
-- Rows are kept for ten minutes.
--
-- Changes contain no texts, names or numbers of people, and their ids lead to nobody once a contact is
-- erased. So an export does not include them, and an erasure lets them expire.

create table if not exists public.changes (
    txid xid8 not null default pg_current_xact_id(),
    at timestamptz not null default clock_timestamp(),
    tenant_id bigint,
    session_id bigint,
    turn_id bigint,
    kind text not null,
    sign_in text
);

comment on table public.changes is
'What changed in the last minutes, as ids and kinds, for /api/stream. Rows are deleted after ten minutes.';
comment on column public.changes.txid is
'The transaction that made the change. A snapshot that sees this transaction sees the change.';
comment on column public.changes.sign_in is
'For the kind signed_out: a hash of the sign-in that ended, which belongs to no tenant.';

alter table public.changes add column if not exists router text;

comment on column public.changes.router is
'For the kinds here and call, which routers use that cannot listen: the router that wrote the row.';

create index if not exists changes_by_transaction on public.changes (txid);
alter table public.changes enable row level security;

-- How long a change is kept, and (changes_told) how long a reader can be away without missing one.
create or replace function hybridflow.changes_kept()
returns interval
language sql
immutable
set search_path = ''
as $$
    select interval '10 minutes'
$$;

create or replace function hybridflow.changes_told()
returns interval
language sql
immutable
set search_path = ''
as $$
    select interval '9 minutes'
$$;

-- Reports a change. Call this if no trigger reports the change.
create or replace function hybridflow.tell_change(
    p_kind text, p_tenant_id bigint, p_session_id bigint default null, p_turn_id bigint default null
)
returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (p_tenant_id, p_session_id, p_turn_id, p_kind);
end
$$;

-- Each table has its own trigger function; its argument is the kind of change. The functions of messages,
-- turns and sessions insert the row themselves, because each turn causes some ten of them, and a call of
-- tell_change would double the cost. The function of turns also ends the words of a handoff with their turn.
create or replace function hybridflow.message_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.send_state is not distinct from new.send_state
        and old.status is not distinct from new.status and old.body is not distinct from new.body
        and old.deleted_at is not distinct from new.deleted_at and old.sender is not distinct from new.sender
    then
        return null;
    end if;
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (new.tenant_id, new.session_id, new.turn_id, 'message');
    return null;
end
$$;

create or replace function hybridflow.turn_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if old.state is not distinct from new.state then
        return null;
    end if;
    insert into public.changes (tenant_id, session_id, turn_id, kind)
    values (new.tenant_id, new.session_id, new.id, 'turn');
    if new.state in ('sent', 'cancelled', 'dead') and old.state in ('pending', 'running', 'sending')
        and (new.reply @? '$[*].handoff' or (new.handler = 'n8n' and new.reply is null))
    then
        perform hybridflow.words_end(new);
    end if;
    return null;
end
$$;

create or replace function hybridflow.session_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if tg_op = 'DELETE' then
        perform hybridflow.tell_change('gone', old.tenant_id, old.id);
    else
        insert into public.changes (tenant_id, session_id, kind) values (new.tenant_id, new.id, tg_argv[0]);
    end if;
    return null;
end
$$;

create or replace function hybridflow.notice_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('notice', new.tenant_id, new.session_id);
    return null;
end
$$;

create or replace function hybridflow.tenant_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.tell_change('tenant', new.id);
    return null;
end
$$;

-- A trigger costs nothing if the statement does not name its columns. A condition (when) is parsed again,
-- from its text, by each statement that names them. If the condition is nearly always true, that costs more
-- than to call a function that checks for itself. Rows that are moved in bulk, as by a merge, are reported by
-- one row for the session, not one for each. Incoming messages are reported by insert_message, which saves a
-- statement.
create or replace trigger messages_begun
after insert on public.messages
for each row when (new.wa_id is null) execute function hybridflow.message_changed();

create or replace trigger messages_changed
after update of body, deleted_at, status, send_state, sender on public.messages
for each row execute function hybridflow.message_changed();

-- A new turn needs no report: its message, or the end of its pause, is reported.
create or replace trigger turns_changed
after update of state on public.turns
for each row execute function hybridflow.turn_changed();

create or replace trigger sessions_begun
after insert on public.sessions
for each row execute function hybridflow.session_changed('session');

create or replace trigger sessions_changed
after update of contact_name, phone_jid, lid, merged_at, labels, owner on public.sessions
for each row when (
    old.contact_name is distinct from new.contact_name or old.phone_jid is distinct from new.phone_jid
    or old.lid is distinct from new.lid or old.merged_at is distinct from new.merged_at
    or old.labels is distinct from new.labels or old.owner is distinct from new.owner
)
execute function hybridflow.session_changed('session');

create or replace trigger sessions_paused
after update of is_paused, pause_source, pause_reason, paused_until, pause_indefinite on public.sessions
for each row when (
    old.is_paused is distinct from new.is_paused or old.pause_source is distinct from new.pause_source
    or old.pause_reason is distinct from new.pause_reason
    or old.paused_until is distinct from new.paused_until
    or old.pause_indefinite is distinct from new.pause_indefinite
)
execute function hybridflow.session_changed('pause');

create or replace trigger sessions_gone
after delete on public.sessions
for each row execute function hybridflow.session_changed('gone');

create or replace trigger notices_begun
after insert on public.notices
for each row execute function hybridflow.notice_changed();

create or replace trigger notices_changed
after update of state on public.notices
for each row when (old.state is distinct from new.state)
execute function hybridflow.notice_changed();

create or replace trigger tenants_changed
after update of updated_at, connection_state, qr_code on public.tenants
for each row when (
    old.updated_at is distinct from new.updated_at or old.qr_code is distinct from new.qr_code
    or old.connection_state is distinct from new.connection_state
)
execute function hybridflow.tenant_changed();

-- Deletes up to p_batch changes that were kept long enough. Returns how many.
create or replace function hybridflow.prune_changes(p_batch integer)
returns bigint
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_before timestamptz := hybridflow.clock() - hybridflow.changes_kept();
    v_count bigint;
begin
    -- Only the first rows by transaction are read, so the cost is the same however many rows there are.
    delete from public.changes where ctid = any(array(
        select c.ctid from public.changes as c
        where c.at < v_before and c.ctid = any(array(
            select f.ctid from public.changes as f order by f.txid limit p_batch
        ))
        for update skip locked
    ));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- forget_changes({})
-- Deletes changes that were kept long enough, 10,000 at most. Returns {forgotten, more}: how many; with
-- `more`, call it again.
create or replace function public.forget_changes(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_forgotten bigint := hybridflow.prune_changes(10000);
begin
    return jsonb_build_object('forgotten', v_forgotten, 'more', v_forgotten = 10000);
end
$$;

-- ==================== 0894_changes_read.sql

-- HybridFlow: reads the changes since a position.
--
-- A reader gets each change once, and misses none. It gives the snapshot of its last read, and gets what that
-- snapshot could not see and the current one can. (With an ascending id it would miss a change that commits
-- late: of two transactions, the one with the lower id may become visible second.) If its snapshot is older
-- than nine minutes, the answer says that changes may be lost, and the reader reads everything again.

-- The position of what is visible right now: the time and the snapshot.
create or replace function hybridflow.position_now()
returns text
language sql
stable
set search_path = ''
as $$
    select trunc(extract(epoch from clock_timestamp())) || '/' || pg_current_snapshot()
$$;

-- The snapshot of a position; null if it is not a position, or too old to know what came after it.
create or replace function hybridflow.snapshot_of(p_position text)
returns pg_snapshot
language plpgsql
stable
set search_path = ''
as $$
declare
    v_snapshot pg_snapshot;
begin
    if length(p_position) > 8000 or p_position !~ '^[0-9]{1,12}/[0-9]{1,19}:[0-9]{1,19}:[0-9,]*$' then
        return null;
    end if;
    v_snapshot := split_part(p_position, '/', 2)::pg_snapshot;
    if to_timestamp(split_part(p_position, '/', 1)::double precision)
            < clock_timestamp() - hybridflow.changes_told()
        or pg_snapshot_xmax(v_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
    then
        return null;
    end if;
    return v_snapshot;
exception
    when data_exception then
        return null;
end
$$;

-- Returns what p_since could not see of these tenants and is visible now, each change once, in the order in
-- which they came: {changes, lost_tenants, lost}. There are at most p_most changes of one tenant, and ten
-- times that of all. The tenants with the fewest changes come first; the others are in lost_tenants, without
-- their changes. With p_everybodys, changes without a tenant are included. Everything is lost if there are
-- too many of those, or if more than 200,000 rows, of any tenants, would have to be read. The function is
-- stable, so that one snapshot is used for all of it.
create or replace function hybridflow.changes_since(
    p_since pg_snapshot, p_tenant_ids bigint[], p_most integer, p_everybodys boolean
)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    c_most_read constant integer := 200000;
    v_now pg_snapshot := pg_current_snapshot();
    v_late xid8[] := array(select x from pg_snapshot_xip(p_since) as x);  -- under way at that time
    v_read bigint;
    v_changes jsonb;
    v_lost bigint[];
    v_is_all_lost boolean;
begin
    with looked_at as materialized (  -- all changes that are not wanted are one row here
        select
            r.is_wanted, r.tenant_id, r.session_id, r.turn_id, r.kind, r.sign_in, r.router, min(r.at) as at,
            count(*) as rows_read
        from (
            select f.is_wanted, g.*
            from (
                (
                    select c.* from public.changes as c
                    where c.txid >= pg_snapshot_xmax(p_since) and c.txid < pg_snapshot_xmax(v_now)
                    order by c.txid limit c_most_read + 1
                )
                union all
                (select c.* from public.changes as c where c.txid = any(v_late) limit c_most_read + 1)
            ) as w
            cross join lateral (
                -- A row that is not visible came with a dump of another cluster.
                select
                    case when w.tenant_id is null then p_everybodys else w.tenant_id = any(p_tenant_ids) end
                    and pg_visible_in_snapshot(w.txid, v_now) as is_wanted
            ) as f
            left join lateral (
                select w.tenant_id, w.session_id, w.turn_id, w.kind, w.sign_in, w.router, w.at
            ) as g on f.is_wanted
        ) as r
        group by r.is_wanted, r.tenant_id, r.session_id, r.turn_id, r.kind, r.sign_in, r.router
    ),

    once as (
        select r.* from looked_at as r where r.is_wanted
    ),

    sizes as (
        select
            o.tenant_id, count(*) as changes,
            sum(count(*)) over (partition by o.tenant_id is null order by count(*), o.tenant_id) as with_smaller
        from once as o
        group by o.tenant_id
    ),

    told as materialized (
        select
            s.tenant_id,
            (s.changes <= p_most or s.tenant_id is null) and s.with_smaller <= p_most * 10 as is_told
        from sizes as s
    )

    select
        (
            select
                jsonb_agg(
                    jsonb_build_object(
                        'tenant_id', o.tenant_id, 'session_id', o.session_id, 'turn_id', o.turn_id,
                        'kind', o.kind, 'sign_in', o.sign_in, 'router', o.router
                    )
                    order by o.at
                )
            from once as o
            where exists (select 1 from told as t where t.is_told and t.tenant_id is not distinct from o.tenant_id)
        ),
        (select sum(r.rows_read) from looked_at as r),
        array_agg(t.tenant_id) filter (where not t.is_told and t.tenant_id is not null),
        coalesce(bool_or(not t.is_told) filter (where t.tenant_id is null), false)
    into v_changes, v_read, v_lost, v_is_all_lost
    from told as t;
    return case
        when v_is_all_lost or v_read > c_most_read then '{"changes": [], "lost_tenants": [], "lost": true}'
        else jsonb_build_object(
            'changes', coalesce(v_changes, '[]'), 'lost_tenants', to_jsonb(coalesce(v_lost, '{}')), 'lost', false
        )
    end;
end
$$;

-- read_changes({tenant_ids: [id], since?})
-- What changed in these tenants, and what changed without a tenant, since the position `since`, which an
-- earlier answer gave. Without `since`, there are no changes. Returns {position, lost, lost_tenants: [id],
-- changes: [{tenant_id, session_id, turn_id, kind, sign_in, router}]}: each change once, in the order in
-- which they came. position: the `since` of the next call. lost: nobody can tell what changed, because
-- `since` is not a position of ours, or is older than what is kept, or because too much came since then (more
-- than 50,000 changes without a tenant, or 200,000 in all). lost_tenants: tenants with more changes than are
-- reported for one (5000), or for all together (50,000; the tenants with the most changes come last).
create or replace function public.read_changes(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_since pg_snapshot := hybridflow.snapshot_of(p ->> 'since');
begin
    perform hybridflow.require_keys('read_changes', p, '{tenant_ids}');
    return case
        when v_since is null then jsonb_build_object(
            'changes', '[]'::jsonb, 'lost_tenants', '[]'::jsonb, 'lost', p ->> 'since' is not null
        )
        else hybridflow.changes_since(
            v_since, array(select i::bigint from jsonb_array_elements_text(p -> 'tenant_ids') as i), 5000,
            true
        )
    end || jsonb_build_object('position', hybridflow.position_now());
end
$$;

-- follow_tenant({tenant_id, since?})
-- Like read_changes, for a client that looks at one tenant. Returns {position, lost, changes: [{tenant_id,
-- session_id, turn_id, kind, sign_in, router}]}: at most 1000 changes, and none without a tenant.
create or replace function public.follow_tenant(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_since pg_snapshot := hybridflow.snapshot_of(p ->> 'since');
    v_read jsonb := '{}';
begin
    perform hybridflow.require_keys('follow_tenant', p, '{tenant_id}');
    perform hybridflow.tenant_of(p - 'instance_name');
    if v_since is not null then
        v_read := hybridflow.changes_since(v_since, array[(p ->> 'tenant_id')::bigint], 1000, false);
    end if;
    return jsonb_build_object(
        'position', hybridflow.position_now(),
        'lost', p ->> 'since' is not null and (
            v_since is null or (v_read -> 'lost')::boolean or jsonb_array_length(v_read -> 'lost_tenants') > 0
        ),
        'changes', coalesce(v_read -> 'changes', '[]')
    );
end
$$;

-- ==================== 0894_followers.sql

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

-- ==================== 0895_erased.sql

-- HybridFlow: who was erased, and how an erased contact is kept from coming back with a late webhook or gap
-- repair.

create table if not exists public.erased_contacts (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    contact_hash text not null check (contact_hash ~ '^[0-9a-f]{64}$'),
    erased_at timestamptz not null,
    primary key (tenant_id, contact_hash)
);

alter table public.erased_contacts
add column if not exists was_sending boolean not null default false,
add column if not exists contact_wrote_at timestamptz,
add column if not exists human_wrote_at timestamptz;

comment on column public.erased_contacts.was_sending is
'A message to the contact was being sent at that time, so its echo looks as if a human had written.';
comment on column public.erased_contacts.contact_wrote_at is
'When the contact wrote around the erasure; the message itself was not stored. Null once a session begins.';
comment on column public.erased_contacts.human_wrote_at is
'When a human of the business wrote around the erasure: they take over the session that begins next.';

create index if not exists erased_contacts_written_to on public.erased_contacts (erased_at)
where coalesce(human_wrote_at, contact_wrote_at) is not null;

comment on table public.erased_contacts is
'Erased contacts, as keyed hashes made by the router. Their earlier messages are not recorded again.';

create table if not exists public.erased_messages (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    wa_id_hash bytea not null,
    erased_at timestamptz not null,
    primary key (tenant_id, wa_id_hash)
);

comment on table public.erased_messages is
'SHA-256 of the (random) ids of erased messages, for 30 days. What comes later about these messages'
' is not stored.';

create index if not exists erased_messages_by_age on public.erased_messages (erased_at);

alter table public.sessions
add column if not exists erased_before timestamptz,
add column if not exists erasure_checked boolean not null default false;

comment on column public.sessions.erased_before is
'The contact was erased and has written again. Messages up to this time are not recorded.';
comment on column public.sessions.erasure_checked is
'Whether erased_before is known for all identities of the session.';

alter table public.erased_contacts enable row level security;
alter table public.erased_messages enable row level security;

-- Returns what is stored of an erased message's id.
create or replace function hybridflow.wa_id_hash(p_wa_id text)
returns bytea
language sql
immutable
set search_path = ''
as $$
    select sha256(convert_to(p_wa_id, 'UTF8'))
$$;

-- Returns the time until which messages of the event's contact count as erased; null: the contact was never
-- erased. Ten seconds are added, because WhatsApp's clock differs, it counts whole seconds, and a reply may
-- just have been leaving.
create or replace function hybridflow.erased_before(p_tenant_id bigint, p_event jsonb)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select max(e.erased_at) + interval '10 seconds' from public.erased_contacts as e
    where e.tenant_id = p_tenant_id
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
$$;

-- Whether the message was stored and has been erased.
create or replace function hybridflow.was_erased(p_tenant_id bigint, p_wa_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.erased_messages as e
        where e.tenant_id = p_tenant_id and e.wa_id_hash = hybridflow.wa_id_hash(p_wa_id)
    )
$$;

-- Records that a message was erased (or left while its contact was being erased), so that nothing more is
-- stored about it.
create or replace function hybridflow.bury_message(p_tenant_id bigint, p_wa_id text)
returns void
language sql
set search_path = ''
as $$
    insert into public.erased_messages (tenant_id, wa_id_hash, erased_at)
    values (p_tenant_id, hybridflow.wa_id_hash(p_wa_id), hybridflow.clock())
    on conflict (tenant_id, wa_id_hash) do update set erased_at = excluded.erased_at
$$;

-- Ends the work on an event of which nothing may be stored. ingest_events rolls back what was done.
create or replace function hybridflow.forget_event()
returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'it is about a contact that was erased' using errcode = 'PT410';
end
$$;

-- Nothing of the event is stored, because its contact was erased (see forget_event). But if a human of the
-- business wrote around the erasure or after it, their takeover counts: for the contact's session, or, if
-- there is none, for the next one when it begins (see taken_over_meanwhile). Returns the decision.
create or replace function hybridflow.note_who_wrote_meanwhile(p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    c_decision constant jsonb := '{"outcome": "ignored", "decision": "erased"}';
    v_now constant timestamptz := hybridflow.clock();
    v_at constant timestamptz := least(coalesce((p_event ->> 'sent_at')::timestamptz, v_now), v_now);
    v_tenant public.tenants;
    v_erased public.erased_contacts;
    v_session public.sessions;
begin
    select * into v_tenant from public.tenants where instance_name = p_event ->> 'instance';
    select e.* into v_erased from public.erased_contacts as e
    where e.tenant_id = v_tenant.id
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
    order by e.erased_at desc limit 1;
    if p_event ->> 'type' <> 'message' or p_event ->> 'chat' <> 'contact'
        or coalesce(v_at < v_erased.erased_at - interval '10 seconds', true)
        or hybridflow.was_erased(v_tenant.id, p_event ->> 'wa_id')
    then
        return c_decision;
    elsif not (p_event ->> 'from_me')::boolean then
        if v_tenant.auto_reply_seconds > 0 then
            update public.erased_contacts
            set contact_wrote_at = greatest(contact_wrote_at, v_at),
                human_wrote_at = case  -- otherwise it was a greeting, because the contact wrote first
                    when human_wrote_at
                        not between v_at and v_at + hybridflow.seconds(v_tenant.auto_reply_seconds)
                        then human_wrote_at
                end
            where tenant_id = v_tenant.id and erased_at = v_erased.erased_at;
        end if;
        return c_decision;
    end if;
    v_session.last_contact_at := v_erased.contact_wrote_at;
    if not (hybridflow.judge_business_message(v_tenant, v_session, p_event, v_at)).takeover
        or (v_erased.was_sending and p_event ->> 'wa_id' !~ hybridflow.typed_by_hand())
    then
        return c_decision;
    end if;
    select s.* into v_session from public.sessions as s
    where s.id in (
        select i.session_id from public.session_identities as i
        where i.tenant_id = v_tenant.id
            and i.jid in (select j from jsonb_array_elements_text(p_event -> 'jids') as j)
    )
    order by s.id limit 1 for update;
    if found then
        perform hybridflow.take_over(v_session, v_tenant, p_policy, v_at, null, 'the owner wrote');
    else
        update public.erased_contacts set human_wrote_at = greatest(human_wrote_at, v_at)
        where tenant_id = v_tenant.id and erased_at = v_erased.erased_at;
    end if;
    return c_decision;
end
$$;

-- p_session begins with p_event, or has just got an identity. If a human wrote earlier, when nothing of its
-- contact could be stored, that is a takeover of this session. The caller has locked the session.
create or replace function hybridflow.taken_over_meanwhile(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb
)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_erased public.erased_contacts;
    v_session public.sessions := p_session;
begin
    select e.* into v_erased from public.erased_contacts as e
    where e.tenant_id = p_tenant.id and e.human_wrote_at is not null
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
    order by e.human_wrote_at desc limit 1;
    if found then
        update public.erased_contacts set human_wrote_at = null, contact_wrote_at = null
        where tenant_id = p_tenant.id and erased_at = v_erased.erased_at;
        perform hybridflow.take_over(
            p_session, p_tenant, p_policy, v_erased.human_wrote_at, null, 'the owner wrote'
        );
        select * into v_session from public.sessions where id = p_session.id;
    end if;
    return v_session;
end
$$;

-- Refuses an event from before the contact's erasure, so that it does not come into the session. For a
-- session whose identities were checked and never erased, this costs nothing. Others are checked once, and
-- again when they get an identity. The caller has locked the session.
create or replace function hybridflow.refuse_erased(
    p_session public.sessions, p_event jsonb, p_at timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := p_session.erased_before;
begin
    if p_session.erasure_checked and v_before is null then
        return;
    elsif not p_session.erasure_checked then
        v_before := greatest(v_before, hybridflow.erased_before(p_session.tenant_id, p_event));
        update public.sessions set erased_before = v_before, erasure_checked = true where id = p_session.id;
    end if;
    if p_at <= v_before or hybridflow.was_erased(p_session.tenant_id, p_event ->> 'wa_id') then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- Refuses an edit, deletion or delivery state of an unknown message, if that message was erased, if it is an
-- edit from before the erasure of its contact, or if its contact was erased and has no session since.
create or replace function hybridflow.refuse_erased_change(p_tenant_id bigint, p_event jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.erased_before(p_tenant_id, p_event);
begin
    if hybridflow.was_erased(p_tenant_id, p_event ->> 'wa_id')
        or (p_event ->> 'edited_at')::timestamptz <= v_before
        or (v_before is not null and not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id
                and i.jid in (select j from jsonb_array_elements_text(p_event -> 'jids') as j)
        ))
    then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- Returns the id of the message that an event was about, from the event's key; null for an event about the
-- connection.
create or replace function hybridflow.wa_id_of_event(p_key text)
returns text
language sql
immutable
set search_path = ''
as $$
    select (regexp_match(p_key, case split_part(p_key, ':', 1)
        when 'edit' then '^edit:(.*):[0-9]*:[0-9a-f]+$'
        when 'delete' then '^delete:(.*)$'
        when 'messages.update' then '^messages\.update:(.*):[a-z_]+$'
        else '^(?:messages\.upsert|send\.message):[01]:(.*)$'
    end))[1]
$$;

-- ==================== 0895_people.sql

-- HybridFlow: finds the rows about one contact.

-- Returns the sessions of the contact that p_jids name. Raises PT404 if there is none.
create or replace function hybridflow.sessions_of_contact(p_tenant_id bigint, p_jids text[])
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    select array_agg(distinct i.session_id order by i.session_id) into v_ids
    from public.session_identities as i
    where i.tenant_id = p_tenant_id and i.jid = any(p_jids);
    if v_ids is null then
        raise exception 'tenant % has no session with %', p_tenant_id, p_jids[1] using errcode = 'PT404';
    end if;
    return v_ids;
end
$$;

-- Like sessions_of_contact, but locks them, in the order of their ids.
create or replace function hybridflow.lock_contact(p_tenant_id bigint, p_jids text[])
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
    v_ids bigint[];
    v_locked integer;
begin
    loop
        v_ids := hybridflow.sessions_of_contact(p_tenant_id, p_jids);
        perform from public.sessions where id = any(v_ids) order by id for update;
        get diagnostics v_locked = row_count;
        exit when v_locked = cardinality(v_ids);  -- otherwise one was merged while we waited
    end loop;
    return v_ids;
end
$$;

-- Returns the JIDs of the sessions.
create or replace function hybridflow.identities_of(p_session_ids bigint[])
returns text[]
language sql
stable
set search_path = ''
as $$
    select array(
        select i.jid from public.session_identities as i where i.session_id = any(p_session_ids) order by i.jid
    )
$$;

-- Returns the notices about a contact: those of its sessions, and those that name it but have no session any
-- more.
create or replace function hybridflow.notices_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.notices
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select n.* from (  -- without statistics, PostgreSQL might use the tenant's index
        select s.* from public.notices as s where s.session_id = any(p_session_ids) offset 0
    ) as n
    where n.tenant_id = p_tenant_id
    union all
    select n.* from public.notices as n
    where n.tenant_id = p_tenant_id and n.facts ->> 'jid' = any(p_jids)
        and coalesce(n.session_id <> all(p_session_ids), true)
$$;

-- Returns the ids of all messages of the sessions, including archived ones.
create or replace function hybridflow.wa_ids_of(p_session_ids bigint[])
returns setof text
language sql
stable
set search_path = ''
as $$
    select m.wa_id from public.messages as m where m.session_id = any(p_session_ids) and m.wa_id is not null
    union
    select a.wa_id from public.messages_archive as a
    where a.session_id = any(p_session_ids) and a.wa_id is not null
$$;

-- Returns the events about a message.
create or replace function hybridflow.events_about_message(p_tenant_id bigint, p_wa_id text)
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id and e.event_key = any(array[
        'messages.upsert:0:' || p_wa_id, 'messages.upsert:1:' || p_wa_id,
        'send.message:0:' || p_wa_id, 'send.message:1:' || p_wa_id, 'delete:' || p_wa_id
    ])
    union all
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id
        and e.event_key ~>=~ ('edit:' || p_wa_id || ':') and e.event_key ~<~ ('edit:' || p_wa_id || ';')
        and hybridflow.wa_id_of_event(e.event_key) = p_wa_id
    union all
    select e.* from public.processed_events as e
    where e.tenant_id = p_tenant_id
        and e.event_key ~>=~ ('messages.update:' || p_wa_id || ':')
        and e.event_key ~<~ ('messages.update:' || p_wa_id || ';')
        and hybridflow.wa_id_of_event(e.event_key) = p_wa_id
$$;

-- Returns the edits, deletions and delivery states that waited for a contact's message, or are still waiting.
create or replace function hybridflow.changes_about(p_tenant_id bigint, p_jids text[])
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    with told as materialized (
        select e.* from public.processed_events as e
        where e.change is not null and (e.change -> 'jids') ?| p_jids
    )

    select * from told as t where t.tenant_id = p_tenant_id
$$;

-- Returns the events about a contact's messages, and those that wait for one. Events about no message are not
-- about a contact either. Pruning a message also prunes its events.
create or replace function hybridflow.events_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns setof public.processed_events
language sql
stable
set search_path = ''
as $$
    select e.* from hybridflow.wa_ids_of(p_session_ids) as w (wa_id)
    cross join lateral hybridflow.events_about_message(p_tenant_id, w.wa_id) as e
    union
    select c.* from hybridflow.changes_about(p_tenant_id, p_jids) as c
$$;

-- find_contact({tenant_id, jids: [jid]})
-- Returns {session_ids: [id], identities: [jid]}: the sessions of a contact and all JIDs under which it is
-- known. PT404: no session has any of `jids`.
create or replace function public.find_contact(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('find_contact', p, '{tenant_id,jids}');
    v_ids := hybridflow.sessions_of_contact(
        (p ->> 'tenant_id')::bigint, array(select jsonb_array_elements_text(p -> 'jids'))
    );
    return jsonb_build_object(
        'session_ids', to_jsonb(v_ids), 'identities', to_jsonb(hybridflow.identities_of(v_ids))
    );
end
$$;

-- ==================== 0896_export.sql

-- HybridFlow: exports all of one contact's data in one answer.

-- A turn as an export shows it. Its attempts are a list of their own.
create or replace function hybridflow.exported_turn(p_turn public.turns)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select hybridflow.turn_json(p_turn.id) || jsonb_build_object('said_so_far', p_turn.said_so_far)
$$;

-- Returns the attempts at a turn.
create or replace function hybridflow.attempts_at(p_turn_id bigint)
returns setof public.turn_attempts
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select a.* from public.turn_attempts as a where a.turn_id = p_turn_id
$$;

-- Returns how many rows there are about a contact, except events and attempts at turns.
create or replace function hybridflow.rows_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'sessions', cardinality(p_session_ids),
        'messages', (select count(*) from public.messages as m where m.session_id = any(p_session_ids)),
        'archived_messages', (
            select count(*) from public.messages_archive as a where a.session_id = any(p_session_ids)
        ),
        'turns', (select count(*) from public.turns as t where t.session_id = any(p_session_ids)),
        'notices', (select count(*) from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids)),
        'spending', (select count(*) from public.spending as s where s.session_id = any(p_session_ids)),
        'session_notes', (
            select count(*) from public.session_notes as n where n.session_id = any(p_session_ids)
        ),
        'handoffs', (select count(*) from public.handoffs as h where h.session_id = any(p_session_ids)),
        'relays', (select count(*) from hybridflow.relays_about(p_session_ids))
    )
$$;

-- A media job as an export shows it. Its bytes are not included, because each job may have megabytes. If it
-- has some, `left_out` says which, and why they are left out.
create or replace function hybridflow.exported_media_job(p_job public.media_jobs)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(p_job) - '{token_hash,waiting,pictures,content}'::text[] || jsonb_build_object(
        'left_out', nullif(concat_ws(
            ' ',
            case when p_job.pictures is not null then
                'Small copies of what was sent are kept for a day, to be shown to the AI, and deleted then.'
            end,
            case when p_job.content is not null then
                'The file is kept until it is understood, and deleted then.'
            end,
            case when p_job.pictures is not null or p_job.content is not null then
                'An export is text and has no files: what was sent is in the chat of its sender.'
            end
        ), '')
    )
$$;

-- Returns all rows about a contact at once: {messages, archived_messages, turns, turn_attempts, notices,
-- media_jobs, kept_files, spending, session_notes, handoffs, relays, events}.
create or replace function hybridflow.all_about(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'messages', (
            select coalesce(jsonb_agg(hybridflow.message_json(m) order by m.sent_at, m.id), '[]')
            from public.messages as m where m.session_id = any(p_session_ids)
        ),
        'archived_messages', (
            select coalesce(jsonb_agg(to_jsonb(a) order by a.sent_at, a.id), '[]')
            from public.messages_archive as a where a.session_id = any(p_session_ids)
        ),
        'turns', (
            select coalesce(jsonb_agg(hybridflow.exported_turn(t) order by t.id), '[]')
            from public.turns as t where t.session_id = any(p_session_ids)
        ),
        'turn_attempts', (
            select coalesce(jsonb_agg(to_jsonb(a) order by a.turn_id, a.id), '[]')
            from public.turns as t
            cross join lateral hybridflow.attempts_at(t.id) as a
            where t.session_id = any(p_session_ids)
        ),
        'notices', (
            select coalesce(jsonb_agg(to_jsonb(n) - '{token_hash,waiting}'::text[] order by n.id), '[]')
            from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n
        ),
        'media_jobs', (
            select coalesce(jsonb_agg(hybridflow.exported_media_job(j.job) order by j.id), '[]')
            from public.messages as m
            cross join lateral (
                select k.id, k as job from public.media_jobs as k where k.message_id = m.id offset 0
            ) as j
            where m.session_id = any(p_session_ids)
        ),
        'kept_files', (
            select coalesce(jsonb_agg(hybridflow.exported_kept_file(j.file) order by j.id), '[]')
            from public.messages as m
            cross join lateral (
                select k.id, k as file from public.kept_files as k where k.message_id = m.id offset 0
            ) as j
            where m.session_id = any(p_session_ids)
        ),
        'spending', (
            select coalesce(jsonb_agg(to_jsonb(s) - 'id' order by s.day), '[]')
            from public.spending as s where s.session_id = any(p_session_ids)
        ),
        'session_notes', (
            select coalesce(jsonb_agg(to_jsonb(n) order by n.id), '[]')
            from public.session_notes as n where n.session_id = any(p_session_ids)
        ),
        'relays', (
            select coalesce(jsonb_agg(hybridflow.exported_relay(r) order by r.id), '[]')
            from hybridflow.relays_about(p_session_ids) as r
        ),
        'handoffs', (
            select coalesce(jsonb_agg(to_jsonb(h) order by h.id), '[]')
            from public.handoffs as h where h.session_id = any(p_session_ids)
        ),
        'events', (
            select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]')
            from hybridflow.events_about(p_tenant_id, p_session_ids, p_jids) as e
        )
    )
$$;

-- export_contact({tenant_id, jids: [jid], rows_follow?})
-- Everything that is stored about a contact, under all its identities. Returns {contact: {tenant_id,
-- exported_at, identities, sessions, messages?, archived_messages?, turns?, turn_attempts?, notices?,
-- media_jobs?, kept_files?, spending?, session_notes?, handoffs?, relays?, events?}, audit}. With
-- rows_follow, only the keys up to `sessions` are given: the caller gets the rest from export_rows, because
-- it may be large. Locks nothing. PT404: see find_contact.
create or replace function public.export_contact(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[];
    v_jids text[];
    v_audit jsonb;
    v_contact jsonb;
begin
    perform hybridflow.require_keys('export_contact', p, '{tenant_id,jids}');
    v_ids := hybridflow.sessions_of_contact(
        v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids'))
    );
    v_jids := hybridflow.identities_of(v_ids);
    v_audit := hybridflow.rows_about(v_tenant_id, v_ids, v_jids);
    v_contact := jsonb_build_object(
        'tenant_id', v_tenant_id, 'exported_at', hybridflow.clock(), 'identities', to_jsonb(v_jids),
        'sessions', (select jsonb_agg(hybridflow.session_json(i) order by i) from unnest(v_ids) as i)
    );
    if not coalesce((p ->> 'rows_follow')::boolean, false) then
        v_contact := v_contact || hybridflow.all_about(v_tenant_id, v_ids, v_jids);
        v_audit := v_audit || jsonb_build_object('events', jsonb_array_length(v_contact -> 'events'));
    end if;
    return jsonb_build_object('audit', v_audit, 'contact', v_contact);
end
$$;

-- ==================== 0896_export_rows.sql

-- HybridFlow: exports all of one contact's data page by page, however much it is.

-- A page of a session's messages, archived or not, the oldest first: their ids and times. For export_rows.
create or replace function hybridflow.said_in_session(
    p_session_id bigint, p_archived boolean, p_sent_at timestamptz, p_id bigint, p_limit integer
)
returns table (id bigint, sent_at timestamptz, wa_id text)
language sql
stable
set search_path = ''
as $$
    (
        select m.id, m.sent_at, m.wa_id from public.messages as m
        where not p_archived and m.session_id = p_session_id and (m.sent_at, m.id) > (p_sent_at, p_id)
        order by m.sent_at, m.id limit p_limit
    )
    union all
    (
        select a.id, a.sent_at, a.wa_id from public.messages_archive as a
        where p_archived and a.session_id = p_session_id and (a.sent_at, a.id) > (p_sent_at, p_id)
        order by a.sent_at, a.id limit p_limit
    )
$$;

-- A page of a session's messages for export_rows. They are read one by one until the page is full: it ends
-- with the message that reaches 500,000 bytes.
create or replace function hybridflow.page_of_said(
    p_list text, p_session_id bigint, p_after jsonb, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_archived boolean := p_list like 'archived%';
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_last jsonb;
    m record;
begin
    for m in
        select s.* from hybridflow.said_in_session(
            p_session_id, v_archived, coalesce((p_after ->> 0)::timestamptz, '-infinity'),
            coalesce((p_after ->> 1)::bigint, 0), p_limit + 1
        ) as s
        order by s.sent_at, s.id
    loop
        if cardinality(v_items) = p_limit or v_size >= 500000 then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
            );
        elsif v_archived then
            select to_jsonb(a) into v_item from public.messages_archive as a where a.id = m.id;
        else
            select hybridflow.message_json(w) into v_item from public.messages as w where w.id = m.id;
        end if;
        v_items := v_items || v_item;
        v_size := v_size + octet_length(v_item::text);
        v_last := jsonb_build_array(m.sent_at, m.id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of the events of a session's messages for export_rows. It ends at the same size. It covers p_limit
-- messages, and may end between the events of one message; then its key also has the id of the last event.
create or replace function hybridflow.page_of_events(
    p_list text, p_tenant_id bigint, p_session_id bigint, p_after jsonb, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_seen integer := 0;
    v_last jsonb;
    v_event_id bigint := (p_after ->> 2)::bigint;
    m record;
    e record;
begin
    for m in
        select s.* from hybridflow.said_in_session(
            p_session_id, p_list like 'archived%', coalesce((p_after ->> 0)::timestamptz, '-infinity'),
            -- the message that is not finished comes again
            coalesce((p_after ->> 1)::bigint, 0) - case when v_event_id is null then 0 else 1 end, p_limit + 1
        ) as s
        order by s.sent_at, s.id
    loop
        if v_seen = p_limit then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
            );
        end if;
        for e in
            select f.id from hybridflow.events_about_message(p_tenant_id, m.wa_id) as f
            where f.id > coalesce(v_event_id, 0) and not exists (
                -- one id may belong to a message of ours and to one of the contact
                select from hybridflow.messages_called(m.wa_id) as o
                where o.session_id = p_session_id and o.id < m.id
            )
            order by f.id
        loop
            if v_size >= 500000 then
                return jsonb_build_object(
                    'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export ' || p_list, v_last)
                );
            end if;
            select to_jsonb(f) into v_item from public.processed_events as f where f.id = e.id;
            v_items := v_items || v_item;
            v_size := v_size + octet_length(v_item::text);
            v_last := jsonb_build_array(m.sent_at, m.id, e.id);
        end loop;
        v_event_id := null;
        v_seen := v_seen + 1;
        v_last := jsonb_build_array(m.sent_at, m.id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of the attempts at a session's turns for export_rows. It ends at the same size. It covers p_limit
-- turns, and may end between the attempts at one turn.
create or replace function hybridflow.page_of_attempts(p_session_id bigint, p_after jsonb, p_limit integer)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_seen integer := 0;
    v_last jsonb;
    v_attempt_id bigint := (p_after ->> 1)::bigint;
    v_turn_id bigint;
    a record;
begin
    for v_turn_id in
        select t.id from public.turns as t
        where t.session_id = p_session_id
            -- the turn that is not finished comes again
            and t.id > coalesce((p_after ->> 0)::bigint, 0) - case when v_attempt_id is null then 0 else 1 end
        order by t.id limit p_limit + 1
    loop
        if v_seen = p_limit then
            return jsonb_build_object(
                'items', to_jsonb(v_items), 'next_cursor', hybridflow.to_cursor('export turn_attempts', v_last)
            );
        end if;
        for a in
            select f.id from public.turn_attempts as f
            where f.turn_id = v_turn_id and f.id > coalesce(v_attempt_id, 0)
            order by f.id
        loop
            if v_size >= 500000 then
                return jsonb_build_object(
                    'items', to_jsonb(v_items),
                    'next_cursor', hybridflow.to_cursor('export turn_attempts', v_last)
                );
            end if;
            select to_jsonb(f) into v_item from public.turn_attempts as f
            where f.turn_id = v_turn_id and f.id = a.id;
            v_items := v_items || v_item;
            v_size := v_size + octet_length(v_item::text);
            v_last := jsonb_build_array(v_turn_id, a.id);
        end loop;
        v_attempt_id := null;
        v_seen := v_seen + 1;
        v_last := jsonb_build_array(v_turn_id);
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- A page of the changes that wait for a contact's messages, for export_rows. It ends at the same size.
create or replace function hybridflow.page_of_changes(
    p_tenant_id bigint, p_session_id bigint, p_jids text[], p_after_id bigint, p_limit integer
)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_items jsonb[] := '{}';
    v_item jsonb;
    v_size bigint := 0;
    v_last bigint;
    c record;
begin
    for c in
        select f.id from hybridflow.changes_about(p_tenant_id, p_jids) as f
        where f.id > p_after_id and not exists (  -- pages of events have the others
            select from hybridflow.messages_called(hybridflow.wa_id_of_event(f.event_key)) as m
            where m.session_id = p_session_id
        )
        order by f.id limit p_limit + 1
    loop
        if cardinality(v_items) = p_limit or v_size >= 500000 then
            return jsonb_build_object(
                'items', to_jsonb(v_items),
                'next_cursor', hybridflow.to_cursor('export changes', jsonb_build_array(v_last))
            );
        end if;
        select to_jsonb(f) into v_item from public.processed_events as f where f.id = c.id;
        v_items := v_items || v_item;
        v_size := v_size + octet_length(v_item::text);
        v_last := c.id;
    end loop;
    return jsonb_build_object('items', to_jsonb(v_items), 'next_cursor', null);
end
$$;

-- export_rows({tenant_id, session_id, list, limit?, cursor?})
-- Returns {items, next_cursor}: a page of the export of one session. `list` is messages, archived_messages,
-- turns, notices, media_jobs, kept_files, spending, session_notes, handoffs or relays; turn_attempts (a page
-- covers `limit` turns); events or archived_events, the events about its messages (a page covers `limit`
-- messages); or changes, which wait for a message. A large page ends earlier. PT404: no such tenant, or the
-- session is not the tenant's. PT422: there is no such list.
create or replace function public.export_rows(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_list text := p ->> 'list';
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_session_id bigint := (p ->> 'session_id')::bigint;
    v_jids text[] := hybridflow.identities_of(array[v_session_id]);
    v_limit integer := hybridflow.page_size(p);
    v_after jsonb := hybridflow.from_cursor('export ' || v_list, p);
    v_after_id bigint := coalesce((v_after ->> -1)::bigint, 0);  -- the last element of every key is an id
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('export_rows', p, '{tenant_id,session_id,list}');
    perform hybridflow.require_own(p);
    case v_list
        when 'messages', 'archived_messages' then
            return hybridflow.page_of_said(v_list, v_session_id, v_after, v_limit);
        when 'events', 'archived_events' then
            return hybridflow.page_of_events(v_list, v_tenant_id, v_session_id, v_after, v_limit);
        when 'turn_attempts' then
            return hybridflow.page_of_attempts(v_session_id, v_after, v_limit);
        when 'turns' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array((f.turn).id), 'item', hybridflow.exported_turn(f.turn)
            ) order by (f.turn).id)
            into v_rows
            from (
                select t as turn from public.turns as t
                where t.session_id = v_session_id and t.id > v_after_id order by t.id limit v_limit + 1
            ) as f;
        when 'notices' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f) - '{token_hash,waiting}'::text[]
            ) order by f.id)
            into v_rows
            from (
                select n.* from hybridflow.notices_about(v_tenant_id, array[v_session_id], v_jids) as n
                where n.id > v_after_id order by n.id limit v_limit + 1
            ) as f;
        when 'media_jobs' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id),
                'item', hybridflow.exported_media_job(f.job)
            ) order by f.id)
            into v_rows
            from (
                select j.* from public.messages as m
                cross join lateral (
                    select k.id, k as job from public.media_jobs as k where k.message_id = m.id offset 0
                ) as j
                where m.session_id = v_session_id and j.id > v_after_id order by j.id limit v_limit + 1
            ) as f;
        when 'kept_files' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id),
                'item', hybridflow.exported_kept_file(f.file)
            ) order by f.id)
            into v_rows
            from (
                select j.* from public.messages as m
                cross join lateral (
                    select k.id, k as file from public.kept_files as k where k.message_id = m.id offset 0
                ) as j
                where m.session_id = v_session_id and j.id > v_after_id order by j.id limit v_limit + 1
            ) as f;
        when 'spending' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f) - 'id'
            ) order by f.id)
            into v_rows
            from (
                select s.* from public.spending as s
                where s.session_id = v_session_id and s.id > v_after_id order by s.id limit v_limit + 1
            ) as f;
        when 'session_notes' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f)
            ) order by f.id)
            into v_rows
            from (
                select n.* from public.session_notes as n
                where n.session_id = v_session_id and n.id > v_after_id order by n.id limit v_limit + 1
            ) as f;
        when 'relays' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array((f.relay).id), 'item', hybridflow.exported_relay(f.relay)
            ) order by (f.relay).id)
            into v_rows
            from (
                select r as relay from hybridflow.relays_about(array[v_session_id]) as r
                where r.id > v_after_id order by r.id limit v_limit + 1
            ) as f;
        when 'handoffs' then
            select array_agg(jsonb_build_object(
                'key', jsonb_build_array(f.id), 'item', to_jsonb(f)
            ) order by f.id)
            into v_rows
            from (
                select h.* from public.handoffs as h
                where h.session_id = v_session_id and h.id > v_after_id order by h.id limit v_limit + 1
            ) as f;
        when 'changes' then
            return hybridflow.page_of_changes(v_tenant_id, v_session_id, v_jids, v_after_id, v_limit);
        else
            raise exception 'there is no list % to export', v_list using errcode = 'PT422';
    end case;
    return hybridflow.page('export ' || v_list, v_rows, v_limit);
end
$$;

-- ==================== 0897_erasure.sql

-- HybridFlow: erases all of one contact's data. If there is very much, the oldest messages go first.

-- Deletes the sessions' rows of a table that has tenant_id and session_id. Returns how many.
create or replace function hybridflow.erase_rows(p_table text, p_tenant_id bigint, p_session_ids bigint[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_count bigint;
begin
    execute format('delete from public.%I where tenant_id = $1 and session_id = any($2)', p_table)
    using p_tenant_id, p_session_ids;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Stores who was erased, and which messages: the tombstone.
create or replace function hybridflow.bury_contact(p_tenant_id bigint, p_session_ids bigint[], p_hashes jsonb)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    delete from public.erased_messages where erased_at < v_now - interval '30 days';
    perform hybridflow.bury_message(p_tenant_id, i) from hybridflow.wa_ids_of(p_session_ids) as i;
    insert into public.erased_contacts (tenant_id, contact_hash, erased_at, was_sending, contact_wrote_at)
    select distinct p_tenant_id, h.contact_hash, v_now, exists (
        select from public.messages as m
        where m.session_id = any(p_session_ids) and m.wa_id is null
            and (m.send_state in ('sending', 'unknown') or m.late_until > v_now)
    ), (
        select max(s.last_contact_at) from public.sessions as s
        inner join public.tenants as t on t.id = s.tenant_id
        where s.id = any(p_session_ids)
            and s.last_contact_at > v_now - hybridflow.seconds(t.auto_reply_seconds)
    )
    from jsonb_each(p_hashes) as j (jid, hashes)
    cross join jsonb_array_elements_text(j.hashes) as h (contact_hash)
    on conflict (tenant_id, contact_hash) do update
        set erased_at = excluded.erased_at, was_sending = excluded.was_sending,
            contact_wrote_at = excluded.contact_wrote_at, human_wrote_at = null;
end
$$;

-- Returns the notices of outages that may name these sessions together with others.
create or replace function hybridflow.notices_that_name(p_session_ids bigint[])
returns bigint[]
language sql
stable
set search_path = ''
set enable_seqscan = off
as $$
    select array(
        select o.notice_id from public.turns as t
        inner join public.outages as o on o.id = t.outage_id and o.about is null
        where t.session_id = any(p_session_ids) and o.notice_id is not null
    )
$$;

-- Deletes the notices about a contact. A notice that the staff got by WhatsApp stays as a message without
-- text, so that its echo is recognised as our own. Notices of failures that also name others are not deleted;
-- if one is about to be told, it is given out again, without the contact.
create or replace function hybridflow.erase_notices(p_tenant_id bigint, p_session_ids bigint[], p_jids text[])
returns bigint
language plpgsql
set search_path = ''
as $$
declare
    v_naming bigint[] := hybridflow.notices_that_name(p_session_ids);
    v_count bigint;
begin
    -- The messages to the staff are in the staff's session, which is not locked. Lock the message first, and
    -- then its notice.
    perform from public.messages where id = any(array(
        select n.message_id from public.notices as n where n.id = any(v_naming) and n.message_id is not null
    )) order by id for update;
    perform from public.notices as n
    where n.id = any(v_naming) and n.state = 'pending'
    order by n.id for update;
    update public.notices
    set token_hash = null, lease_until = null, next_at = hybridflow.clock(), attempt = greatest(attempt - 1, 0)
    where id = any(v_naming) and state = 'pending' and token_hash is not null and number_told_at is null;
    update public.messages as m set body = ''
    from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n
    where m.id = n.message_id;
    update public.messages as m set body = ''
    from public.notices as n
    where m.id = n.message_id and n.id = any(v_naming);
    -- A turn stores only the outage that it met last, and it may be deleted. So also search the texts of the
    -- notices for the contact's numbers and name.
    update public.messages as m set body = ''
    from public.outages as o
    inner join public.notices as n on n.id = o.notice_id
    where o.tenant_id = p_tenant_id and o.about is null and m.id = n.message_id and exists (
        select from unnest(p_jids) as j (jid) where position(split_part(j.jid, '@', 1) in m.body) > 0
        union all
        select from public.sessions as s
        where s.id = any(p_session_ids) and s.contact_name <> '' and position(s.contact_name in m.body) > 0
    );
    delete from public.notices
    where id = any(array(select n.id from hybridflow.notices_about(p_tenant_id, p_session_ids, p_jids) as n));
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- erase_history({tenant_id, jids: [jid], batch?})
-- If the contact has more than twice `batch` (500) messages, deletes up to `batch` of the oldest ones, and
-- the events about them. So erase_contact need not delete all of them at once, while other calls wait for the
-- session. Returns {erased: {<table>: rows}, more}. PT404: see find_contact.
create or replace function public.erase_history(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_batch integer := coalesce((p ->> 'batch')::integer, 500);
    v_ids bigint[];
    v_id bigint;
    v_archived boolean;
    v_old bigint[];
    v_wa_ids text[];
    v_counts jsonb := '{}';
    v_events bigint;
    v_more boolean := false;
begin
    perform hybridflow.require_keys('erase_history', p, '{tenant_id,jids}');
    v_ids := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    foreach v_id in array v_ids loop
        foreach v_archived in array array[true, false] loop
            select array_agg(s.id order by s.sent_at, s.id), array_agg(s.wa_id order by s.sent_at, s.id)
            into v_old, v_wa_ids
            from hybridflow.said_in_session(v_id, v_archived, '-infinity', 0, 2 * v_batch + 1) as s;
            continue when coalesce(cardinality(v_old), 0) <= 2 * v_batch;
            v_more := true;
            v_wa_ids := array_remove(v_wa_ids[:v_batch], null);
            perform hybridflow.bury_message(v_tenant_id, w) from unnest(v_wa_ids) as w;
            delete from public.processed_events where id = any(array(
                select e.id from unnest(v_wa_ids) as w
                cross join lateral hybridflow.events_about_message(v_tenant_id, w) as e
            ));
            get diagnostics v_events = row_count;
            if v_archived then
                delete from public.messages_archive where id = any(v_old[:v_batch]);
            else
                delete from public.messages where id = any(v_old[:v_batch]);
            end if;
            v_counts := jsonb_build_object(
                'events', v_events, case when v_archived then 'messages_archive' else 'messages' end, v_batch
            );
            exit;
        end loop;
        exit when v_more;
    end loop;
    return jsonb_build_object('erased', v_counts, 'more', v_more);
end
$$;

-- erase_contact({tenant_id, jids: [jid], hashes: {<jid>: [hash]}, erased?: {<table>: rows}})
-- Deletes everything that is stored about a contact, under all its identities, including running turns.
-- `hashes` (keyed, made by the router) are kept, so that the contact's earlier messages are not recorded
-- again, however they come. `erased` is what erase_history deleted before; it is added to the counts. Returns
-- {erased: {<table>: rows}, session_ids: [id], execution_ids: [id], audit}. execution_ids: the executions of
-- n8n that worked on its turns. PT404: see find_contact. PT409: the contact is known under a JID that has no
-- hash; find it again.
create or replace function public.erase_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_ids bigint[];
    v_jids text[];
    v_executions jsonb;
    v_events bigint;
    v_counts jsonb;
begin
    perform hybridflow.require_keys('erase_contact', p, '{tenant_id,jids,hashes}');
    v_ids := hybridflow.lock_contact(v_tenant_id, array(select jsonb_array_elements_text(p -> 'jids')));
    v_jids := hybridflow.identities_of(v_ids);
    if not coalesce(p -> 'hashes' ?& v_jids, false) then
        raise exception 'the contact has become known under another identity: try again' using errcode = 'PT409';
    end if;
    -- A claim may end a turn without the session's lock: it holds the turn, and then asks for the turn's
    -- notice. So lock the turns before the notices.
    perform from public.turns where session_id = any(v_ids) order by id for update;
    v_executions := hybridflow.erase_executions(v_tenant_id, v_ids);
    perform hybridflow.bury_contact(v_tenant_id, v_ids, p -> 'hashes');
    delete from public.processed_events
    where id = any(array(select e.id from hybridflow.events_about(v_tenant_id, v_ids, v_jids) as e));
    get diagnostics v_events = row_count;
    v_counts := jsonb_build_object(
        'events', v_events, 'notices', hybridflow.erase_notices(v_tenant_id, v_ids, v_jids),
        'relays', hybridflow.erase_relays(v_ids)
    );
    select v_counts || jsonb_object_agg(t, hybridflow.erase_rows(t, v_tenant_id, v_ids)) into v_counts
    from unnest(array[
        'messages', 'messages_archive', 'turns', 'spending', 'session_notes', 'handoffs', 'session_identities'
    ]) as t;
    select v_counts || coalesce(
        jsonb_object_agg(b.key, b.value::bigint + (v_counts ->> b.key)::bigint), '{}'
    )
    into v_counts from jsonb_each_text(nullif(p -> 'erased', 'null')) as b where v_counts ? b.key;
    delete from public.sessions where id = any(v_ids);
    return jsonb_build_object(
        'erased', v_counts || jsonb_build_object('sessions', cardinality(v_ids)),
        'session_ids', to_jsonb(v_ids), 'execution_ids', v_executions,
        'audit', v_counts || jsonb_build_object(
            'sessions', cardinality(v_ids), 'contact', p -> 'hashes' -> (p -> 'jids' ->> 0) -> 0
        )
    );
end
$$;

-- ==================== 0897_story.sql

-- HybridFlow: the story of a turn, or of a message, as an ordered list of happenings.
--
-- A happening is {at, kind, …}: only facts. The reader puts them into words (router/stories/words.py). It
-- contains no text of a message. The story shows what is stored: events are kept for a week, and turns from
-- before there was a table of attempts have none. The number of happenings of each kind is limited.

-- A turn as its story needs it: without its reply and token.
create or replace function hybridflow.turn_of_story(p_turn public.turns)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(t) from (
        select
            p_turn.id, p_turn.tenant_id, p_turn.session_id, p_turn.state, p_turn.reason, p_turn.stop_reason,
            p_turn.attempt, p_turn.handler, p_turn.incomplete, p_turn.undelivered, p_turn.error_kind,
            p_turn.error, p_turn.waits, p_turn.waits_for, p_turn.run_after, p_turn.due_when_heard,
            p_turn.lease_until, p_turn.worker,
            p_turn.correlation_id, p_turn.execution_id, p_turn.execution_url, p_turn.created_at,
            p_turn.claimed_at, p_turn.finished_at
    ) as t
$$;

-- A message as its story needs it: without its text.
create or replace function hybridflow.message_of_story(p_message public.messages)
returns jsonb
language sql
immutable
set search_path = ''
as $$
    select to_jsonb(m) from (
        select
            p_message.id, p_message.session_id, p_message.turn_id, p_message.wa_id, p_message.from_me,
            p_message.sender, p_message.kind as message_kind, p_message.expects_reply, p_message.part,
            p_message.send_state, p_message.sends, p_message.status, p_message.error_code, p_message.undelivered_turns,
            p_message.given_up,
            p_message.sent_at, p_message.created_at, p_message.deleted_at
    ) as m
$$;

-- What webhooks brought about messages with the ids p_wa_ids: how a message was judged (judged), that it was
-- recognised as a send of ours (echo), was edited or deleted, or got a new delivery state (tick).
create or replace function hybridflow.events_of_story(p_tenant_id bigint, p_wa_ids text[])
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 20
set search_path = ''
as $$
    select
        e.processed_at, 3,
        case
            when e.event_key like 'messages.update:%' then 'tick'
            when e.event_key like 'edit:%' then 'edited'
            when e.event_key like 'delete:%' then 'deleted'
            when e.decision ->> 'decision' = 'own_message' then 'echo'
            else 'judged'
        end,
        jsonb_build_object(
            'wa_id', w.wa_id, 'event', e.event, 'outcome', e.decision -> 'outcome',
            'decision', e.decision -> 'decision', 'due_in', e.decision -> 'due_in',
            'sender', e.decision -> 'sender', 'turn_id', e.decision -> 'turn_id',
            'status', case when e.event_key like 'messages.update:%' then substring(e.event_key from '[a-z_]+$') end,
            'waits', e.waiting_for is not null
        )
    from unnest(p_wa_ids) as w (wa_id)
    cross join lateral (
        select f.* from hybridflow.events_about_message(p_tenant_id, w.wa_id) as f order by f.id limit 20
    ) as e
$$;

-- The attempts at a turn: the newest 100 that have ended, and the current one.
create or replace function hybridflow.attempts_of_story(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with attempts as materialized (
        (
            select to_jsonb(a) as facts, a.began, a.handler_since, a.ended from public.turn_attempts as a
            where a.turn_id = p_turn.id
            order by a.id desc limit 100
        )
        union all
        select
            jsonb_build_object(
                'attempt', p_turn.attempt, 'worker', p_turn.worker,
                'handler', case when p_turn.handler_since >= p_turn.claimed_at then p_turn.handler end,
                'execution_id', p_turn.execution_id, 'execution_url', p_turn.execution_url
            ),
            p_turn.claimed_at,
            case when p_turn.handler_since >= p_turn.claimed_at then p_turn.handler_since end,
            null
        where p_turn.held and p_turn.worker is not null
    )

    select a.began, 4, 'claimed',
        jsonb_build_object('attempt', a.facts -> 'attempt', 'worker', a.facts -> 'worker')
    from attempts as a
    union all
    select a.handler_since, 5, 'handled',
        a.facts - '{id,turn_id,tenant_id,worker,began,ended,handler_since,outcome,reason,error_kind,error}'::text[]
    from attempts as a where a.handler_since is not null
    union all
    select a.ended, 8, 'attempt_ended',
        a.facts - '{id,turn_id,tenant_id,worker,began,ended,handler_since}'::text[]
    from attempts as a where a.ended is not null
$$;

-- The sends of a turn: parts of its reply, and sends that began for an earlier reply of the turn.
create or replace function hybridflow.sends_of_story(p_turn_id bigint)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with sends as materialized (
        select m as send from public.messages as m
        where m.turn_id = p_turn_id and m.from_me
        order by m.created_at desc, m.id desc limit 100
    )

    select
        coalesce((s.send).send_began_at, (s.send).sent_at), 6, 'send',
        hybridflow.message_of_story(s.send)
        || jsonb_build_object('was_doubted', (s.send).late_until is not null)
    from sends as s
    union all
    select (s.send).failed_at, 9, 'undelivered', hybridflow.message_of_story(s.send)
    from sends as s where (s.send).failed_at is not null
$$;

-- What happened in the session, and what people did, until the turn ended.
create or replace function hybridflow.session_of_story(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 5
set search_path = ''
as $$
    with life as materialized (
        select p_turn.created_at as began, coalesce(p_turn.finished_at, 'infinity') + interval '1 second' as ended
    )

    (
        select m.created_at, 7, 'human_wrote', hybridflow.message_of_story(m)
        from public.messages as m
        inner join public.tenants as t on t.id = m.tenant_id
        cross join life as l
        where m.session_id = p_turn.session_id and m.sent_at >= l.began - interval '1 minute'
            and m.created_at between l.began and l.ended
            and m.from_me and m.sender in ('owner', 'operator', 'client') and hybridflow.is_by_human(m, t)
        order by m.sent_at desc, m.id desc limit 20
    )
    union all
    (
        -- What the contact was sent besides the reply: the fallback message or the away message.
        select m.created_at, 7, 'told_besides', hybridflow.message_of_story(m)
            || jsonb_build_object('says', case m.id
                when s.fallback_message_id then 'fallback_message'
                when s.away_message_id then 'away_message'
            end)
        from public.messages as m
        inner join public.sessions as s on s.id = m.session_id
        cross join life as l
        where m.session_id = p_turn.session_id and m.sent_at >= l.began - interval '1 minute'
            and m.created_at between l.began and l.ended
            and m.from_me and m.sender = 'ai' and m.turn_id is null
        order by m.sent_at desc, m.id desc limit 20
    )
    union all
    select s.paused_at, 7, 'paused', jsonb_build_object(
        'source', s.pause_source, 'reason', hybridflow.pause_reason_told(s)
    )
    from public.sessions as s
    cross join life as l
    where s.id = p_turn.session_id and s.paused_at between l.began and l.ended
    union all
    select s.resumed_at, 7, 'resumed', jsonb_build_object('source', s.resume_source)
    from public.sessions as s
    cross join life as l
    where s.id = p_turn.session_id and s.resumed_at between l.began and l.ended
$$;

-- The turns that answered the messages of this turn again, because its reply was not delivered.
create or replace function hybridflow.answered_again(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 1
set search_path = ''
as $$
    select t.created_at, 9, 'answered_again', jsonb_build_object('turn_id', t.id)
    from public.turns as t
    where p_turn.undelivered > 0 and t.id in (
        select m.turn_id
        from (
            select l.turn_id, l.undelivered_turns from public.messages as l
            where l.session_id = p_turn.session_id and l.sent_at <= p_turn.created_at
            order by l.sent_at desc, l.id desc limit 500
        ) as m
        where p_turn.id = any(m.undelivered_turns)
    )
$$;

-- Everything that is known about a turn.
create or replace function hybridflow.happenings_of_turn(p_turn public.turns)
returns table (at timestamptz, rank integer, kind text, facts jsonb)
language sql
stable
rows 50
set search_path = ''
as $$
    with asked as materialized (
        select m as message from public.messages as m
        where m.turn_id = p_turn.id and not m.from_me
        order by m.created_at desc, m.id desc limit 100
    )

    select (a.message).created_at, 1, 'message', hybridflow.message_of_story(a.message) from asked as a
    union all
    select e.* from hybridflow.events_of_story(p_turn.tenant_id, array(
        select (a.message).wa_id from asked as a where (a.message).wa_id is not null
        union
        select s.wa_id from (
            select m.wa_id from public.messages as m
            where m.turn_id = p_turn.id and m.from_me and m.wa_id is not null
            order by m.created_at desc, m.id desc limit 100
        ) as s
    )) as e
    union all
    select p_turn.created_at, 2, 'turn_made', jsonb_build_object('turn_id', p_turn.id)
    union all
    select h.* from hybridflow.attempts_of_story(p_turn) as h
    union all
    select h.* from hybridflow.sends_of_story(p_turn.id) as h
    union all
    select h.* from hybridflow.session_of_story(p_turn) as h
    union all
    select h.* from hybridflow.answered_again(p_turn) as h
    union all
    select p_turn.retried_at, 3, 'retried', '{}' where p_turn.retried_at is not null
    union all
    select p_turn.finished_at, 10, 'closed',
        hybridflow.turn_of_story(p_turn) || jsonb_build_object('unsaid', hybridflow.left_unsaid(p_turn))
    where p_turn.finished_at is not null
$$;

-- The message with which a message's story begins. If the contact and we both have a message with this id, it
-- is the contact's.
create or replace function hybridflow.message_told(p_tenant_id bigint, p_wa_id text)
returns public.messages
language sql
stable
set search_path = ''
as $$
    select m.* from hybridflow.messages_called(p_wa_id) as m
    where m.tenant_id = p_tenant_id
    order by m.from_me, m.id limit 1
$$;

-- What is known of a tenant that shows whether its messages arrive and are answered.
create or replace function hybridflow.tenant_of_story(p_tenant_id bigint)
returns jsonb
language sql
stable
set search_path = ''
as $$
    select jsonb_build_object(
        'instance_name', t.instance_name, 'is_active', t.is_active, 'connection_state', t.connection_state,
        'connection_changed_at', t.connection_changed_at, 'connection_lost_at', t.connection_lost_at,
        'caught_up_at', t.caught_up_at, 'pruned_before', t.pruned_before, 'last_event_at', (
            select e.processed_at from public.processed_events as e
            where e.tenant_id = t.id and e.event not in ('hybridflow.test', 'gap_repair')
            order by e.processed_at desc limit 1
        )
    )
    from public.tenants as t
    where t.id = p_tenant_id
$$;

-- tell_turn({tenant_id, turn_id | wa_id})
-- The story of a turn, or of the message with the id wa_id, together with the story of its turn, if it has
-- one. Returns {now, is_known, was_erased, turn, message, session, tenant, happenings: [{at, kind, …}]}: a
-- key is null if there is no such thing, and the happenings are in their order. is_known is false if the
-- tenant knows no such message. PT404: the tenant has no such turn. PT422: neither or both are given.
create or replace function public.tell_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_tenant_id bigint := (p ->> 'tenant_id')::bigint;
    v_wa_id text := p ->> 'wa_id';
    v_turn public.turns;
    v_message public.messages;
    v_happenings jsonb;
begin
    perform hybridflow.require_keys('tell_turn', p, '{tenant_id,turn_id|wa_id}');
    perform hybridflow.require_own(p - 'session_id');
    if (p ->> 'turn_id' is null) = (v_wa_id is null) then
        raise exception 'name a turn (turn_id) or a message (wa_id)' using errcode = 'PT422';
    end if;
    if v_wa_id is not null then
        v_message := hybridflow.message_told(v_tenant_id, v_wa_id);
    end if;
    select * into v_turn from public.turns
    where id = coalesce((p ->> 'turn_id')::bigint, v_message.turn_id) and tenant_id = v_tenant_id;
    if v_wa_id is null and v_turn.id is null then
        raise exception 'tenant % has no turn %', p ->> 'tenant_id', p ->> 'turn_id' using errcode = 'PT404';
    end if;
    select coalesce(jsonb_agg(
        jsonb_strip_nulls(h.facts) || jsonb_build_object('at', h.at, 'kind', h.kind)
        order by h.at, h.rank, h.facts
    ), '[]')
    into v_happenings
    from (
        select t.* from hybridflow.happenings_of_turn(v_turn) as t where v_turn.id is not null
        union
        select v_message.created_at, 1, 'message', hybridflow.message_of_story(v_message)
        where v_message.id is not null and (v_turn.id is null or not v_message.from_me)
        union
        select e.* from hybridflow.events_of_story(v_tenant_id, array_remove(array[v_wa_id], null)) as e
    ) as h;
    return jsonb_build_object(
        'now', hybridflow.clock(),
        'is_known', v_turn.id is not null or v_message.id is not null or v_happenings <> '[]',
        'was_erased', v_wa_id is not null and hybridflow.was_erased(v_tenant_id, v_wa_id),
        'turn', case when v_turn.id is not null then hybridflow.turn_of_story(v_turn) end,
        'message', case when v_message.id is not null then hybridflow.message_of_story(v_message) end,
        'session', (
            select jsonb_build_object(
                'id', s.id, 'tenant_id', s.tenant_id, 'is_paused', s.is_paused, 'pause_source', s.pause_source,
                'pause_reason', hybridflow.pause_reason_told(s), 'paused_at', s.paused_at, 'turn_under_way', (
                    select min(t.id) from public.turns as t
                    where t.session_id = s.id and t.held and t.id <> v_turn.id
                ),
                'stranger_wrote_at', case when v_turn.state = 'pending' then (
                    select hybridflow.stranger_wrote_at(t, s) from public.tenants as t where t.id = s.tenant_id
                ) end
            )
            from public.sessions as s where s.id = coalesce(v_turn.session_id, v_message.session_id)
        ),
        'tenant', hybridflow.tenant_of_story(v_tenant_id),
        'happenings', v_happenings
    );
end
$$;

-- find_turn({turn_id | wa_id, instance_name?})
-- Returns {found: [{tenant_id, instance_name}]}: the tenant of a turn, or the tenants that know such a
-- message. With instance_name, only that tenant, even if it knows no such message. For callers who may see
-- every tenant.
create or replace function public.find_turn(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_ids bigint[];
begin
    perform hybridflow.require_keys('find_turn', p, '{turn_id|wa_id}');
    if p ->> 'instance_name' is not null then
        v_ids := array(select t.id from public.tenants as t where t.instance_name = p ->> 'instance_name');
    elsif p ->> 'turn_id' is not null then
        v_ids := array(select t.tenant_id from public.turns as t where t.id = (p ->> 'turn_id')::bigint);
    else
        v_ids := array(
            select m.tenant_id from hybridflow.messages_called(p ->> 'wa_id') as m
            union
            select e.tenant_id from public.tenants as t
            cross join lateral (
                select f.tenant_id from hybridflow.events_about_message(t.id, p ->> 'wa_id') as f limit 1
            ) as e
        );
    end if;
    return jsonb_build_object('found', (
        select coalesce(jsonb_agg(
            jsonb_build_object('tenant_id', t.id, 'instance_name', t.instance_name) order by t.id
        ), '[]')
        from public.tenants as t where t.id = any(v_ids)
    ));
end
$$;

-- ==================== 0899_version.sql

-- HybridFlow: the version of the schema, and how a router calls the others.

-- call_routers({by?})
-- All places of this router are taken, so another router that has a free place may claim what is due. Routers
-- that cannot listen read the call among the changes. A router that cannot listen gives its name in `by`.
-- Returns {ok}.
create or replace function public.call_routers(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform pg_notify('hybridflow_turns', '');
    if p ->> 'by' is not null then
        insert into public.changes (kind, router) values ('call', left(p ->> 'by', 100));
    end if;
    return '{"ok": true}';
end
$$;

-- check_database({})
-- For the start and the health check: which schema is installed, and how much is waiting. Returns
-- {schema_version, serves_from, now, tenants, turns_due}. turns_due: how many turns are due; 200 means 200 or
-- more. Raise `schema_version`, together with SCHEMA_VERSION in router/state/schema_version.py, if routers
-- need something that an older schema lacks. `serves_from` is the oldest SCHEMA_VERSION of routers that can
-- use this schema; older routers refuse to start. Raise it if something that they need is removed.
create or replace function public.check_database(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
begin
    return jsonb_build_object(
        'schema_version', 3,
        'serves_from', 1,
        'now', v_now,
        'tenants', (select count(*) from public.tenants),
        'turns_due', (
            select count(*) from (
                select from public.turns as t
                where t.waiting and not t.held and t.run_after <= v_now
                order by t.run_after limit 200
            ) as d
        )
    );
end
$$;

-- ==================== 0900_grants.sql

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

-- ==================== 0910_row_security.sql

-- HybridFlow: what members of a tenant may read directly, over PostgREST or Realtime, as the role
-- `authenticated` with their token of Supabase Auth. They cannot write: pauses and answers go through the
-- router's API, which audits them.

select hybridflow.let_members_read(t.name, 'tenant_id in (select hybridflow.my_tenants())', t.columns)
from (
    values
    ('sessions', ''),
    ('session_identities', ''),
    ('messages', ''),
    ('messages_archive', ''),
    ('session_notes', ''),
    ('handoffs', ''),
    (
        'turns',
        '(id, tenant_id, session_id, state, reason, run_after, attempt, handler, reply, incomplete,'
        ' undelivered, error_kind, error, provider, model, tokens_in, tokens_out, created_at, claimed_at,'
        ' finished_at, updated_at)'
    ),
    (
        'turn_attempts',
        '(id, turn_id, tenant_id, attempt, handler, handler_since, began, ended, outcome, reason, error_kind,'
        ' error, provider, model, tokens_in, tokens_out)'
    ),
    (
        'notices',
        '(id, tenant_id, session_id, message_id, kind, facts, state, reason, attempt, number_told_at,'
        ' url_told_at, handler, error, created_at, finished_at, updated_at)'
    ),
    (
        'relays',
        '(id, tenant_id, session_id, staff_session_id, message_id, word_message_id, source, outcome, error,'
        ' created_at, finished_at, updated_at)'
    ),
    ('spending', ''),
    ('outages', '(id, tenant_id, cause, began_at, last_at, ended_at, error)')
) as t (name, columns);
select hybridflow.let_members_read(
    'tenants', 'id in (select hybridflow.my_tenants())',
    '(id, ' || array_to_string(hybridflow.settings_followed(), ', ')
    || ', connection_state, connection_changed_at, connection_lost_at, created_at, updated_at)'
);
select hybridflow.let_members_read(
    'audit_log', 'tenant_id in (select hybridflow.my_tenants(''admin''))'
);
select hybridflow.let_members_read(
    'memberships',
    'tenant_id in (select hybridflow.my_tenants(''admin'')) or user_id = (select hybridflow.my_user_id())'
);

do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        grant usage on schema hybridflow to authenticated;
        grant execute on function hybridflow.my_tenants(text), hybridflow.my_user_id() to authenticated;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        revoke update, delete, truncate on public.audit_log from service_role;
    end if;
end
$$;
notify pgrst, 'reload schema';

-- For the supabase CLI, which records only its own history.
insert into hybridflow.migrations (version, name) values ('20261126145950', 'v0_3_0')
on conflict (version) do nothing;
