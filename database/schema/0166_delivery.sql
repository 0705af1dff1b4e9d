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
