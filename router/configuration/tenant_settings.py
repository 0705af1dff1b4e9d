"""A tenant's settings, each declared once: name, type, bounds, default, who reads it, who sets it.

These are derived from the declarations: the requests and answers of the REST API; the arguments of
the command line; which values are sealed and checked before they are stored; which of the
deployment's values SQL functions get; SQL's own lists and error texts
(database/schema/0790_tenant_settings.sql); and docs/tenant-settings.md. `make schema` writes the
last two. To add a setting, add its column to database/schema/0150_limits.sql, and its field here or
to the right module of router/configuration/tenant/.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from router.configuration.declaring import FOR_ADMINS, Declared, Names, Setting, declared_in
from router.configuration.tenant.answering import AnsweringSettings
from router.configuration.tenant.connection import ConnectionSettings
from router.configuration.tenant.limits import LimitSettings
from router.configuration.tenant.replies import ReplySettings


# pydantic puts the fields of the last base class first.
class TenantSettings(LimitSettings, ReplySettings, AnsweringSettings, ConnectionSettings):
    """The settings that can be shown. Those declared here are about its people and handoffs."""

    notify_number: Annotated[
        str | None,
        Setting(
            about="The staff's number or group JID, which gets notices by WhatsApp: handoffs,"
            " replies that are not delivered, outages. The AI answers nothing that comes from"
            " there; a reply to a notice goes to its customer",
            otherwise="nobody",
            must="be a phone number with its country code, or the JID of a person or a group",
            example="5511955559999",
        ),
    ]
    notify_url: Annotated[
        str | None,
        Field(description=FOR_ADMINS),
        Setting(
            about="A webhook that gets every notice: a handoff, a lost connection, an outage",
            otherwise="none",
            example="https://tickets.example.com/hook",
            form="address",
            read_by="admin",
        ),
    ]
    handoff_message: Annotated[
        str | None,
        Setting(
            about="What a customer is told when the AI hands over to a human and has not said so"
            " itself",
            otherwise="a sentence in Portuguese, Spanish or English, in the customer's language",
            must="have from 1 to 2000 characters",
            example="Vou chamar alguém da equipe, que responde aqui mesmo.",
            form="text",
            followed=True,
        ),
    ]
    handoff_words: Annotated[
        Names,
        Setting(
            about="A customer who writes one of these gets a human without asking the AI; in"
            " addition to the words that HybridFlow knows in Portuguese, Spanish and English"
            " (atendente, falar com uma pessoa, …). A single -: no words do that",
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
            about="A reply that promises a human, or only promises to find out and answer later, "
            "also hands the conversation over",
            default=True,
            followed=True,
        ),
    ]
    handoff_remind_minutes: Annotated[
        float,
        Setting(
            about="Minutes of opening time after which people are told again of a handoff that"
            " nobody took; after as many more notify_number_next is told, then the customer, and"
            " then handoff_untaken applies",
            default=15,
            ge=1,
            le=1440,
        ),
    ]
    handoff_untaken: Annotated[
        Literal["return", "wait"],
        Setting(
            about="What happens in the end to a handoff that nobody takes: the AI goes on"
            " (return), or the conversation waits for a human (wait)",
            default="return",
        ),
    ]
    notify_number_next: Annotated[
        str | None,
        Setting(
            about="The next number that is told by WhatsApp of a handoff that nobody took; the AI"
            " answers nothing that comes from there",
            otherwise="nobody",
            must="be a phone number with its country code, or the JID of a person or a group",
            example="5511955558888",
        ),
    ]
    language: Annotated[
        Literal["en", "pt", "es"],
        Setting(
            about="The language of notices and of the messages back to staff. Customers are"
            " answered in the language that they write",
            default="en",
            example="pt",
        ),
    ]
    # For a setting that is shown to nobody, or not to everybody: whether it has a value.
    evo_api_key_set: bool
    llm_api_key_set: bool
    notify_url_set: bool
    moderation_url_set: bool


class TenantKeys(BaseModel):
    """The settings that are never shown, and stored sealed."""

    evo_api_key: Annotated[
        SecretStr | None,
        Setting(
            about="Its own Evolution key, which can be set and never read; without one,"
            " EVOLUTION_API_KEY is used, only at the servers in EVOLUTION_SERVERS",
            otherwise="`EVOLUTION_API_KEY`",
            form="key",
        ),
    ]
    llm_api_key: Annotated[
        SecretStr | None,
        Setting(
            about="Its own key for llm_provider, which can be set and never read; its replies are"
            " then made without n8n. Without one, the deployment's key is used",
            otherwise="`ANTHROPIC_API_KEY` or `OPENAI_API_KEY`",
            form="key",
        ),
    ]


SETTINGS: tuple[Declared, ...] = declared_in(TenantSettings, TenantKeys)
