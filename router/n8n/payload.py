"""The payload of a turn for n8n: one documented, versioned JSON object.

`n8n_workflows/turn.schema.json` is generated from these models. Within a version, no field is ever
renamed or removed; new fields may appear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from router.llm.provider import Prompt, PromptMessage
from router.replies.context import Context, context_of, people_line
from router.replies.llm_keys import max_tokens_within
from router.replies.prompt import name_line, transcript_of, without_files
from router.replies.understood import said_of
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from router.state.flow_tokens import TurnToken
from router.tenants.away import weekday

Contract: TypeAlias = Literal["answer", "gateway"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class FlowTenant(_Part):
    """The business."""

    tenant_id: int
    instance_name: str
    llm_provider: str = Field(description="anthropic or openai")
    llm_model: str = Field(description="The tenant's model, or the deployment's for that provider")
    llm_max_tokens: int = Field(description="Tokens that a reply may have")
    facts: str | None = Field(
        default=None, description="Facts that may be quoted; they are also in the prompt"
    )
    llm_url: str = Field(
        default="",
        description="The provider's base URL. Send no key to it: a payload can be forged",
    )


class FlowSession(_Part):
    """The conversation."""

    session_id: int
    chat: Literal["contact", "group"]
    number: str = Field(description="The receiver of a reply: the `number` of a sendText")
    contact_name: str | None
    labels: tuple[str, ...] = Field(default=(), description="Labels from people, such as vip")
    notes: tuple[str, ...] = Field(
        default=(),
        description="Notes of people, if the tenant has notes_to_llm; not for the contact",
    )


class FlowContext(_Part):
    """What is true now, in the business's time zone. Opening times are there if hours are set."""

    now: datetime = Field(description="With the offset of its time zone")
    timezone: str
    date: str = Field(description="Of `now`, as 2026-11-26")
    weekday: str = Field(description="In English")
    time: str = Field(description="As 08:25")
    is_open: bool | None = Field(description="null: no opening hours are set")
    opens_at: datetime | None = Field(description="When it opens next, while it is closed")
    closes_at: datetime | None = Field(description="When it closes next, while it is open")
    holiday: str | None = Field(description="The public holiday that today is, if it counts")
    last_wrote_at: datetime | None = Field(
        description="When the contact last wrote, before the messages to be answered"
    )
    last_wrote_days_ago: int | None = Field(description="The same in calendar days")
    people_spoke: str | None = Field(
        default=None,
        description="If a human of the business spoke with the contact: who, from when to when,"
        " and that what they agreed still holds",
    )


class FlowMedia(_Part):
    """A picture, voice message or document; Evolution keeps it under the message's `wa_id`."""

    mimetype: str | None
    file_name: str | None
    caption: str | None
    seconds: float | None
    bytes: int | None


class FlowMessage(_Part):
    """One message of the conversation."""

    message_id: int
    wa_id: str | None
    from_me: bool
    sender: Literal["contact", "owner", "ai", "client", "auto", "operator"]
    kind: str
    text: str = Field(description="As the AI reads it, with the words for its media")
    transcript: str | None = Field(
        default=None, description="What is said in a voice message, as understood; may be empty"
    )
    description: str | None = Field(
        default=None, description="What its media shows, or what a document says"
    )
    media: FlowMedia | None = Field(description="Facts about its media, never the bytes themselves")
    sent_at: datetime
    quoted: dict[str, str | None] | None
    author_name: str | None


class FlowPromptMessage(_Part):
    """One message of the prompt; the roles alternate, the first and the last are the user's."""

    role: Literal["user", "assistant"]
    content: str


class FlowPrompt(_Part):
    """The conversation for the LLM, cut to the token budget."""

    system: str
    messages: tuple[FlowPromptMessage, ...]
    transcript: str = Field(
        description="The messages before the last as one text: each begins with `user:` or"
        " `assistant:`, and its other lines are indented"
    )
    question: str = Field(description="The last message: the one to answer")


class FlowUrls(_Part):
    """The URLs for a flow that sends and reports by itself, with the header `apikey: <token>`."""

    gateway: str = Field(description="Base URL in place of Evolution's own")
    began: str
    done: str
    fail: str
    handoff: str
    extend: str


class TurnPayload(_Part):
    """Everything that a workflow needs to answer one turn."""

    version: Literal[1, 2] = Field(
        default=1, description="1 with the gateway contract, 2 with the answer contract"
    )
    contract: Contract = Field(
        default="gateway",
        description="answer: respond with the reply, and the router sends it."
        " gateway: send through urls.gateway, then call urls.done",
    )
    turn_id: int = Field(description="A flow may run twice for a turn: use this id to book once")
    attempt: int
    token: str = Field(description="Valid for this attempt and this contact, until the lease ends")
    lease_seconds: float = Field(
        description="The flow's time to answer; with the gateway contract its lease, which `extend`"
        " makes longer"
    )
    correlation_id: str | None
    tenant: FlowTenant
    session: FlowSession
    context: FlowContext | None = Field(default=None, description="Always there since 0.2.0")
    messages: tuple[FlowMessage, ...] = Field(description="What the customer said, to be answered")
    history: tuple[FlowMessage, ...] = Field(description="What was said before, oldest first")
    prompt: FlowPrompt
    urls: FlowUrls
    dry: bool = Field(
        default=False,
        description="A test turn: what the flow sends is only recorded, and nobody gets it. The"
        " flow should then not book, charge or write anything elsewhere",
    )


@dataclass(frozen=True, slots=True)
class FlowTerms:
    """The deployment's values for every turn.

    `base_url` is where n8n reaches the router. `lease` is the time in seconds of a flow that sends
    by itself, `answer` that of a flow that answers. `models` (by provider) and `max_tokens` are for
    tenants that set none; `max_tokens` is also the upper limit, because flows use the deployment's
    keys. `timezone` is for tenants without one.
    """

    base_url: str
    lease: float
    models: Mapping[str, str]
    max_tokens: int
    timezone: str = "UTC"
    answer: float = 90
    addresses: Mapping[str, str] = field(default_factory=dict)
    """The deployment's URLs of its providers, without the path; by default the providers' own."""


def build_payload(
    turn: ClaimedTurn, prompt: Prompt, terms: FlowTerms, contract: Contract = "gateway"
) -> TurnPayload:
    """Return an attempt's payload for a flow of that contract."""
    context = context_of(turn, terms.timezone)
    system = prompt.system
    if contract == "gateway":
        system = without_files(system, turn.tenant.files)
    *before, question = _asked(prompt.messages, name_line(context))
    return TurnPayload(
        version=2 if contract == "answer" else 1,
        contract=contract,
        turn_id=turn.turn_id,
        attempt=turn.attempt,
        token=str(TurnToken(turn.turn_id, turn.token)),
        lease_seconds=terms.answer if contract == "answer" else terms.lease,
        correlation_id=turn.correlation_id,
        tenant=FlowTenant(
            tenant_id=turn.tenant.tenant_id,
            instance_name=turn.tenant.instance_name,
            llm_provider=turn.tenant.llm_provider,
            llm_model=turn.tenant.llm_model or terms.models[turn.tenant.llm_provider],
            llm_max_tokens=max_tokens_within(turn.tenant, terms.max_tokens),
            facts=turn.tenant.facts,
            llm_url=_llm_url(turn.tenant.llm_provider, terms.addresses),
        ),
        session=FlowSession(
            session_id=turn.session.session_id,
            chat=turn.session.chat,
            number=turn.session.jid,
            contact_name=turn.session.contact_name,
            labels=turn.session.labels,
            notes=turn.session.notes,
        ),
        context=_context(context),
        messages=tuple(_message(m) for m in turn.history if m.in_turn),
        history=tuple(_message(m) for m in turn.history if not m.in_turn),
        prompt=FlowPrompt(
            system=system,
            messages=tuple(FlowPromptMessage(role=m.role, content=m.text) for m in prompt.messages),
            transcript=transcript_of(before),
            question=question.text,
        ),
        urls=_urls(terms.base_url.rstrip("/"), turn.turn_id),
    )


_LLM_URLS: Mapping[str, tuple[str, str]] = {
    "anthropic": ("https://api.anthropic.com", "/v1/messages"),
    "openai": ("https://api.openai.com/v1", "/chat/completions"),
}


def _llm_url(provider: str, addresses: Mapping[str, str]) -> str:
    base, path = _LLM_URLS[provider]
    return addresses.get(provider, base).rstrip("/") + path


def _urls(base_url: str, turn_id: int) -> FlowUrls:
    callbacks = f"{base_url}/n8n/turns/{turn_id}"
    return FlowUrls(
        gateway=f"{base_url}/n8n/evolution",
        began=f"{callbacks}/began",
        done=f"{callbacks}/done",
        fail=f"{callbacks}/fail",
        handoff=f"{callbacks}/handoff",
        extend=f"{callbacks}/extend",
    )


def _asked(messages: Sequence[PromptMessage], name: str | None) -> Sequence[PromptMessage]:
    """Return the messages; the last is the question. A single one is without the contact's name."""
    if len(messages) > 1 or name is None:
        return messages
    return PromptMessage("user", name), PromptMessage(
        "user", messages[0].text.removeprefix(f"{name}\n")
    )


def _context(context: Context) -> FlowContext:
    opening, last = context.opening, context.last_wrote_at
    return FlowContext(
        now=context.now,
        timezone=context.zone.key,
        date=f"{context.now:%Y-%m-%d}",
        weekday=weekday(context.now),
        time=f"{context.now:%H:%M}",
        is_open=None if opening is None else opening.is_open,
        opens_at=None if opening is None or opening.is_open else opening.changes_at,
        closes_at=opening.changes_at if opening is not None and opening.is_open else None,
        holiday=context.holiday,
        last_wrote_at=last,
        last_wrote_days_ago=None if last is None else (context.now.date() - last.date()).days,
        people_spoke=None if context.people is None else people_line(context.people),
    )


def _media(media: Mapping[str, Any] | None) -> FlowMedia | None:
    if media is None:
        return None
    return FlowMedia.model_validate({name: media.get(name) for name in FlowMedia.model_fields})


def _message(message: TurnMessage) -> FlowMessage:
    return FlowMessage(
        message_id=message.message_id,
        wa_id=message.wa_id,
        from_me=message.from_me,
        sender=message.sender,
        kind=message.kind,
        text=said_of(message),
        transcript=message.transcript,
        description=message.description,
        media=_media(message.media),
        sent_at=message.sent_at,
        quoted=message.quoted,
        author_name=message.author_name,
    )
