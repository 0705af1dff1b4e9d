"""A tenant's settings, each declared once: name, type, bounds, default, who reads it, who sets it.

Made from this are the requests and answers of the REST API, what the command line takes, what is
sealed and checked on the way to the state, what SQL's functions are told of the deployment, SQL's
own lists and words (database/schema/0790_tenant_settings.sql) and docs/tenant-settings.md; the
last two by `make schema`. A new setting has two places: its column in
database/schema/0150_limits.sql, and its field, here or among its neighbours in
router/configuration/tenant/.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from router.configuration.declaring import FOR_ADMINS, Declared, Names, Setting, declared_in
from router.configuration.tenant.answering import AnsweringSettings
from router.configuration.tenant.connection import ConnectionSettings
from router.configuration.tenant.limits import LimitSettings
from router.configuration.tenant.replies import ReplySettings


# pydantic takes the fields of the last base first.
class TenantSettings(LimitSettings, ReplySettings, AnsweringSettings, ConnectionSettings):
    """What may be set of a tenant, as it is shown; of its own: who its people are, and handoffs."""

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
        Field(description=FOR_ADMINS),
        Setting(
            about="A webhook that is told of every notice: a handoff, a lost connection, an outage",
            otherwise="none",
            example="https://tickets.example.com/hook",
            form="address",
            read_by="admin",
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
    language: Annotated[
        Literal["en", "pt", "es"],
        Setting(
            about="The language in which its people are told: notices, and the word back to who"
            " quotes one. What customers are told is in the language that they write",
            default="en",
            example="pt",
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
