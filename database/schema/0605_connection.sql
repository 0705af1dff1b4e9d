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
