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
