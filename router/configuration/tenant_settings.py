"""A tenant's settings, each declared once: name, type, bounds, default, who reads it, who sets it.

Made from this are the requests and answers of the REST API, what the command line takes, what is
sealed and checked on the way to the state, what SQL's functions are told of the deployment, SQL's
own lists and words (database/schema/0790_tenant_settings.sql) and docs/tenant-settings.md; the
last two by `make schema`. A new setting has two places: its column in
database/schema/0150_limits.sql, and its field here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr

from router.configuration.declaring import (
    BIGINT,
    INTEGER,
    Declared,
    Names,
    Setting,
    declared_in,
)
from router.configuration.opening_hours import OpeningHours

_FOR_ADMINS = "null also for callers who are not its admins"


class TenantSettings(BaseModel):
    """What may be set of a tenant, as it is shown."""

    instance_name: Annotated[
        str,
        Setting(
            about="Evolution's name of the instance, exactly: whose webhooks the tenant gets",
            must="not be empty or have a slash in it",
            set_by="deployment",
            followed=True,
            required=True,
        ),
    ]
    evo_server_url: Annotated[
        str,
        Setting(
            about="Where Evolution runs: scheme, host and port",
            example="https://evolution.example.com",
            form="address",
            required=True,
        ),
    ]
    system_prompt: Annotated[
        str | None,
        Setting(
            about="What the AI is told of its work, before the conversation",
            longest=100_000,
            form="text",
            variable="default_system_prompt",
            deployment="default",
            followed=True,
        ),
    ]
    llm_provider: Annotated[
        str,
        Setting(
            about="Whose model makes the replies",
            default="anthropic",
            asked_as=Literal["anthropic", "openai"],
            followed=True,
        ),
    ]
    llm_model: Annotated[
        str | None,
        Setting(
            about="Which model; without an llm_api_key of its own, one that the deployment allows",
            otherwise="`ANTHROPIC_MODEL` or `OPENAI_MODEL`",
            followed=True,
        ),
    ]
    llm_max_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that a reply may have; with an llm_api_key of its own, also more than"
            " LLM_MAX_TOKENS",
            gt=0,
            le=INTEGER,
            variable="llm_max_tokens",
            deployment="most",
        ),
    ]
    is_active: Annotated[
        bool,
        Setting(about="false: record everything, answer nothing", default=True, followed=True),
    ]
    debounce_seconds: Annotated[
        float | None,
        Setting(
            about="Seconds of quiet that end a customer's burst of messages",
            ge=0,
            le=3600,
            variable="debounce_seconds",
            deployment="rule",
            followed=True,
        ),
    ]
    resume_after_hours: Annotated[
        float | None,
        Setting(
            about="Hours after the business's last own message until the AI answers again",
            gt=0,
            le=87_600,
            variable="resume_after_hours",
            deployment="rule",
            followed=True,
        ),
    ]
    answer_within_minutes: Annotated[
        float | None,
        Setting(
            about="Minutes after which an unanswered message is too old to be answered",
            gt=0,
            le=525_600,
            variable="answer_within_minutes",
            deployment="rule",
            followed=True,
        ),
    ]
    auto_reply_seconds: Annotated[
        float,
        Setting(
            about="What the business's side says this soon after any message of the customer, or"
            " after our own first send into the chat, is a greeting or away message (of WhatsApp"
            " Business, or of another client of Evolution), not a takeover; 0: none is",
            default=0,
            ge=0,
            le=86_400,
        ),
    ]
    other_client_takeover: Annotated[
        bool,
        Setting(
            about="A send by another client of Evolution's API (Chatwoot, the Manager) is a"
            " takeover",
            default=True,
        ),
    ]
    answer_groups: Annotated[bool, Setting(about="Groups are answered, too", default=False)]
    unanswered_kinds: Annotated[
        Names,
        Setting(
            about="Kinds of message that are recorded but start no turn",
            default=(),
            most=50,
            longest=60,
            example=["sticker"],
            form="names",
        ),
    ]
    answered_kinds: Annotated[
        Names,
        Setting(
            about="Which of reaction and poll_vote start a turn, where they are about a message or"
            " a poll of the business",
            default=(),
            most=2,
            longest=60,
            must="name reaction or poll_vote",
            example=["poll_vote"],
            form="names",
        ),
    ]
    answer_edits: Annotated[
        bool,
        Setting(
            about="A message that the contact changes after it was answered is answered again",
            default=False,
        ),
    ]
    unknown_lid_minutes: Annotated[
        float,
        Setting(
            about="Minutes that answers wait at most after a human wrote to a chat of which no more"
            " than a LID is known, in conversations of just now whose LID is not known; 0: they do"
            " not",
            default=3,
            ge=0,
            le=60,
        ),
    ]
    on_new_message: Annotated[
        Literal["queue", "restart"],
        Setting(
            about="A message during a running turn waits for the next turn (queue), or starts it"
            " again (restart)",
            default="queue",
        ),
    ]
    notify_number: Annotated[
        str | None,
        Setting(
            about="Staff to be told by WhatsApp of a handoff, of replies that are not delivered,"
            " and of times in which nobody is answered: a number or a group's JID. The AI answers"
            " nothing that comes from there; what quotes a notice goes to its customer",
            otherwise="nobody",
            must="be a phone number with its country code, or the JID of a person or a group",
            example="5511955559999",
        ),
    ]
    notify_url: Annotated[
        str | None,
        Field(description=_FOR_ADMINS),
        Setting(
            about="A webhook that is told of every notice: a handoff, a lost connection, an outage",
            otherwise="none",
            example="https://tickets.example.com/hook",
            form="address",
            read_by="admin",
        ),
    ]
    forbidden_patterns: Annotated[
        Names,
        Setting(
            about="Regular expressions (RE2; case does not count) that no reply may match; so many"
            " and so simple that all are looked for in a moment",
            default=(),
            most=50,
            must="be 50 at most, of 10000 characters together",
            example=["pix", r"\bR\$ ?\d{4,}"],
            form="lines",
        ),
    ]
    max_reply_characters: Annotated[
        int | None,
        Setting(
            about="Characters of a whole reply; beyond MAX_REPLY_CHARACTERS, 100,000 at most count",
            gt=0,
            le=INTEGER,
            variable="max_reply_characters",
            deployment="default",
        ),
    ]
    leak_characters: Annotated[
        int | None,
        Setting(
            about="So many characters of the system prompt in one piece make a reply a leak; 0: it"
            " is not looked for",
            ge=0,
            le=INTEGER,
            variable="leak_characters",
            deployment="default",
        ),
    ]
    moderation_url: Annotated[
        str | None,
        Field(description=_FOR_ADMINS),
        Setting(
            about="A service that is asked whether a reply may be sent, besides MODERATION_URL",
            otherwise="none",
            form="address",
            read_by="admin",
        ),
    ]
    on_refused_reply: Annotated[
        Literal["handoff", "fallback_message"],
        Setting(
            about="What becomes of a reply that may not be sent: a human is asked for, or the"
            " fallback_message is sent instead",
            default="handoff",
        ),
    ]
    fallback_message: Annotated[
        str | None,
        Setting(
            about="In place of a refused reply; once a day when a budget is used up; and once in a"
            " time in which the AI cannot answer",
            otherwise="nothing is said",
            must="have from 1 to 4096 characters",
        ),
    ]
    n8n_flow: Annotated[
        str | None,
        Setting(
            about="The flow in n8n that makes its replies: its webhook's path, below"
            " N8N_WEBHOOK_URL",
            otherwise="`hybridflow-turn`",
            must="be the path of a webhook in n8n: letters, digits, - and _, with / between",
            example="padaria/hybridflow-turn",
            set_by="deployment",
        ),
    ]
    n8n_contract: Annotated[
        Literal["answer", "gateway"] | None,
        Setting(
            about="How that flow replies: it answers with what is to be said (answer), or sends by"
            " itself (gateway)",
            variable="n8n_contract",
            deployment="default",
            set_by="deployment",
        ),
    ]
    loop_replies: Annotated[
        int | None,
        Setting(
            about="So many replies within loop_minutes to messages that are alike are a loop of two"
            " bots; 0: no loop is looked for; more than 100 count as 100",
            ge=0,
            le=INTEGER,
            variable="loop_replies",
            deployment="rule",
        ),
    ]
    loop_minutes: Annotated[
        float | None,
        Setting(
            about="The minutes in which loop_replies count",
            gt=0,
            le=1440,
            variable="loop_minutes",
            deployment="rule",
        ),
    ]
    daily_turns: Annotated[
        int | None,
        Setting(
            about="Turns that may be made in a day (UTC)",
            ge=0,
            le=INTEGER,
            variable="daily_turns",
            deployment="budget",
        ),
    ]
    daily_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that may be used in a day (UTC)",
            ge=0,
            le=BIGINT,
            variable="daily_tokens",
            deployment="budget",
        ),
    ]
    contact_daily_turns: Annotated[
        int | None,
        Setting(
            about="Turns that may be made in a day (UTC) for each of its contacts",
            ge=0,
            le=INTEGER,
            variable="contact_daily_turns",
            deployment="budget",
        ),
    ]
    contact_daily_tokens: Annotated[
        int | None,
        Setting(
            about="Tokens that may be used in a day (UTC) for each of its contacts",
            ge=0,
            le=BIGINT,
            variable="contact_daily_tokens",
            deployment="budget",
        ),
    ]
    webhook_networks: Annotated[
        Names | None,
        Setting(
            about="Where its webhooks may come from, within WEBHOOK_NETWORKS",
            otherwise="anywhere",
            most=50,
            longest=60,
            must="name a network, or be null: any",
            example=["203.0.113.0/24"],
            form="names",
        ),
    ]
    shared_webhook_secret: Annotated[
        bool,
        Setting(
            about="false: EVOLUTION_WEBHOOK_SHARED_SECRET is refused, only its own secrets hold",
            default=True,
        ),
    ]
    retention_days: Annotated[
        int | None,
        Setting(
            about="Days that messages and turns are kept",
            otherwise="`RETENTION_DAYS`, or for ever",
            ge=1,
            le=36_500,
            variable="retention_days",
            deployment="default",
        ),
    ]
    on_retention: Annotated[
        Literal["archive", "delete"],
        Setting(
            about="Messages that are older are moved to messages_archive (archive) or deleted"
            " (delete); turns are deleted",
            default="archive",
        ),
    ]
    facts: Annotated[
        str | None,
        Setting(
            about="What the AI may quote, such as prices and addresses: beside system_prompt, and"
            " never a leak",
            otherwise="none",
            longest=100_000,
            form="text",
            followed=True,
        ),
    ]
    timezone: Annotated[
        str | None,
        Setting(
            about="The clock of the business, by the IANA's name",
            must="be the IANA's name of a time zone",
            example="America/Sao_Paulo",
            variable="default_timezone",
            deployment="default",
            followed=True,
        ),
    ]
    opening_hours: Annotated[
        dict[str, Any] | None,
        Setting(
            about="When it is open: weekly windows, exceptions and public holidays, as"
            " docs/context.md has them",
            otherwise="whether it is open is not known",
            must="be an object of at most 20000 bytes",
            asked_as=OpeningHours,
            example={"weekly": {"mon": ["09:00-12:00", "13:00-18:00"], "fri": ["18:00-02:00"]}},
            form="json",
            followed=True,
        ),
    ]
    away_message: Annotated[
        str | None,
        Setting(
            about="Sent once for each closed stretch to a contact who writes. {time} is when it"
            " opens, and has to be in it; {weekday} (also {weekday:pt}, es, de, fr, it) and {date}"
            " ({date:mdy}, {date:iso}) may be",
            otherwise="nothing is said",
            longest=2000,
            must="have from 1 to 2000 characters, and {time} among them",
            example="Estamos fechados. Abrimos {weekday:pt}, {date}, às {time}.",
            form="text",
            followed=True,
        ),
    ]
    answer_when_closed: Annotated[
        bool,
        Setting(
            about="false: while it is closed the AI answers nothing; the away_message is sent",
            default=True,
            followed=True,
        ),
    ]
    notes_to_llm: Annotated[
        bool,
        Setting(
            about="The AI is told the notes of a conversation, which it may not repeat",
            default=False,
            followed=True,
        ),
    ]
    max_bubbles: Annotated[
        int,
        Setting(
            about="Messages that a reply is sent in at most, divided between paragraphs; 1: one. A"
            " short reply is one message, and no list, link, price, quote or code is divided",
            default=3,
            ge=1,
            le=10,
            followed=True,
        ),
    ]
    new_message_stops: Annotated[
        bool,
        Setting(
            about="What is left of a reply in several messages is not said when the customer writes"
            " again meanwhile: the next reply goes into both",
            default=False,
            followed=True,
        ),
    ]
    understand_media: Annotated[
        bool,
        Setting(
            about="The AI hears voice messages and sees pictures and documents, where the"
            " deployment can; false: it is told that there were some",
            default=True,
        ),
    ]
    media_wait_seconds: Annotated[
        float | None,
        Setting(
            about="Seconds that an answer waits at most until what a contact sent is in words",
            ge=0,
            le=120,
            variable="media_wait_seconds",
            deployment="rule",
        ),
    ]
    speech_language: Annotated[
        str | None,
        Setting(
            about="The language that its contacts speak, as a hint for voice messages",
            otherwise="it is heard from what they say",
            must="be a language's code of two or three small letters",
            example="pt",
        ),
    ]
    handoff_message: Annotated[
        str | None,
        Setting(
            about="What a customer is told where the AI hands a conversation to a human and has no"
            " words of its own for it",
            otherwise="a sentence in Portuguese, Spanish or English, as the customer writes",
            must="have from 1 to 2000 characters",
            example="Vou chamar alguém da equipe, que responde aqui mesmo.",
            form="text",
            followed=True,
        ),
    ]
    handoff_words: Annotated[
        Names,
        Setting(
            about="Who writes one of these gets a human, and the AI is not asked; besides the words"
            " that HybridFlow knows in Portuguese, Spanish and English (atendente, falar com uma"
            " pessoa, …). A single -: no words do that",
            default=(),
            most=100,
            must="be 100 at most, of 5000 characters together",
            example=["gerente", "falar com a Ana"],
            form="lines",
            followed=True,
        ),
    ]
    handoff_on_promise: Annotated[
        bool,
        Setting(
            about="A reply that promises a human without handing off hands the conversation off",
            default=True,
            followed=True,
        ),
    ]
    quote_replies: Annotated[
        bool,
        Setting(
            about="A reply quotes the message that it answers where that is not plain: several are"
            " answered together, it is old, or something of ours stands below it; and in groups",
            default=True,
            followed=True,
        ),
    ]
    thanks_reaction: Annotated[
        str | None,
        Setting(
            about="The emoji that answers a customer who only says thanks, in place of a sentence",
            otherwise="thanks are answered as any message",
            must="be an emoji",
            example="🙏",
            followed=True,
        ),
    ]
    voice_replies: Annotated[
        Literal["never", "mirror", "always"],
        Setting(
            about="Replies are said by voice, where the deployment has one (TTS_API_KEY): never,"
            " where the customer sent a voice message (mirror), or always",
            default="never",
            followed=True,
        ),
    ]
    mark_as_read: Annotated[
        bool,
        Setting(
            about="What a customer wrote is marked as read when the reply to it is there; false:"
            " never. What nobody answers stays unread on the phone",
            default=True,
            followed=True,
        ),
    ]
    handoff_remind_minutes: Annotated[
        float,
        Setting(
            about="After so many minutes in which it is open, people are told again of a handoff"
            " that nobody took; after as many more the next number is told, then the customer, and"
            " then handoff_untaken holds",
            default=15,
            ge=1,
            le=1440,
        ),
    ]
    handoff_untaken: Annotated[
        Literal["return", "wait"],
        Setting(
            about="What becomes of a handoff that nobody takes, after all that: the AI goes on"
            " (return), or the conversation waits for a human (wait)",
            default="return",
        ),
    ]
    notify_number_next: Annotated[
        str | None,
        Setting(
            about="Who else is told by WhatsApp of a handoff that nobody took; the AI answers"
            " nothing that comes from there",
            otherwise="nobody",
            must="be a phone number with its country code, or the JID of a person or a group",
            example="5511955558888",
        ),
    ]
    tts_voice: Annotated[
        str | None,
        Setting(
            about="The voice that says its replies, by the name that the deployment's server of"
            " voices has for it; many speak one language",
            must="have from 1 to 100 characters",
            example="pf_dora",
            variable="tts_voice",
            deployment="default",
        ),
    ]
    tts_instructions: Annotated[
        str | None,
        Setting(
            about="How that voice speaks (language, accent, tone), for a model that reads"
            " instructions",
            otherwise="as the model does by itself",
            must="have from 1 to 500 characters",
            example="Fala português do Brasil, com calma e simpatia.",
            form="text",
        ),
    ]
    language: Annotated[
        Literal["en", "pt", "es"],
        Setting(
            about="The language in which its people are told: notices, and the word back to who"
            " quotes one. What customers are told is in the language that they write",
            default="en",
            example="pt",
        ),
    ]
    keep_media_days: Annotated[
        int,
        Setting(
            about="Days that the files which contacts send are kept (MEDIA_FOLDER or MEDIA_BUCKET);"
            " 0: they are not kept",
            default=0,
            ge=0,
            le=3650,
        ),
    ]
    # Of what is not shown, or not to everybody: whether there is a value.
    evo_api_key_set: bool
    llm_api_key_set: bool
    notify_url_set: bool
    moderation_url_set: bool


class TenantKeys(BaseModel):
    """What may be set of a tenant and is never shown; sealed where it is stored."""

    evo_api_key: Annotated[
        SecretStr | None,
        Setting(
            about="Its own key of Evolution, written and never read; without one EVOLUTION_API_KEY"
            " serves, at the servers that EVOLUTION_SERVERS names",
            otherwise="`EVOLUTION_API_KEY`",
            form="key",
        ),
    ]
    llm_api_key: Annotated[
        SecretStr | None,
        Setting(
            about="Its own key of llm_provider, written and never read; its replies are then made"
            " without n8n. Without one the deployment's serves",
            otherwise="`ANTHROPIC_API_KEY` or `OPENAI_API_KEY`",
            form="key",
        ),
    ]


SETTINGS: tuple[Declared, ...] = declared_in(TenantSettings, TenantKeys)
