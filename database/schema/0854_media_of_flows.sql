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
