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
