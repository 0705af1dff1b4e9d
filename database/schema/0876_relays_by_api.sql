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
