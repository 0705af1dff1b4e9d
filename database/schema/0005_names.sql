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
