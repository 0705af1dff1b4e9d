"""Relays: messages that people of a business send through HybridFlow.

database/schema/0876_relays_by_api.sql, 0878_relay_claims.sql and 0878_relay_sends.sql.
"""

from typing import Annotated, Any, Literal, TypeAlias

from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Moment,
    NotRead,
    Refusal,
    StoredInstance,
    Text,
    Values,
    call,
    call_or_refused,
    each_by_itself,
)
from router.state.calls.reading import Message
from router.state.calls.sends import BegunHumanSend, Sending, SendRefused
from router.state.database import Database

RelayOutcome: TypeAlias = Literal[
    "sent",
    "failed",
    "in_doubt",
    "taken",
    "resumed",
    "until",
    "past",
    "too_far",
    "no_notice",
    "no_session",
    "erased",
    "unsupported",
    "no_media",
    "unquoted",
    "too_old",
    "too_many",
    "switched_off",
    "answered",
]
RelayState: TypeAlias = Literal["waiting", "in_doubt", "sent", "failed"]


class SendMessage(Sending):
    """A human's message over the API, and the last message that they have seen."""

    tenant_id: int
    session_id: int
    idempotency_key: Text
    request_hash: str
    request: Values
    seen_message_id: int | None = None


class MessageOnItsWay(Answer):
    """The message and its state; `already`: an earlier request with the same key made it."""

    message: Message | None
    state: RelayState
    error: str | None
    already: bool | None = None


async def send_message(database: Database, asked: SendMessage) -> MessageOnItsWay:
    """Take over a conversation, and store a human's message for it."""
    return await call(database, "send_message", asked, MessageOnItsWay)


class FindSentMessage(Asked):
    """The key of a request that may have been made before."""

    tenant_id: int
    session_id: int
    idempotency_key: Text
    request_hash: str


class FoundSentMessage(Answer):
    """The message of that request, if there is one."""

    found: MessageOnItsWay | None


async def find_sent_message(database: Database, asked: FindSentMessage) -> FoundSentMessage:
    """Look for the message that the same request has stored before."""
    return await call(database, "find_sent_message", asked, FoundSentMessage)


class RelayFacts(Answer):
    """The conversation, whether the AI had it, and until when a human has it.

    `bytes`: the size of an operator's message. `answered_by`, `answer`: who wrote to the contact
    before this person of the staff, and what.
    """

    name: str | None = None
    jid: str | None = None
    was_ai: bool | None = None
    until: Moment | None = None
    bytes: int | None = None
    answered_by: str | None = None
    answer: str | None = None


class StaffWords(Answer):
    """What a person of the staff wrote when they quoted a notice."""

    kind: str
    text: str
    media: dict[str, Any] | None
    wa_id: str
    author: str | None
    sent_at: Moment


class ClaimedRelay(StoredInstance):
    """One attempt at a relay; see the header of claim_relays."""

    relay_id: int
    token: str
    attempt: int
    source: Literal["operator", "staff"]
    timezone: str | None
    language: str = "en"
    answer_within_minutes: float | None = None
    session_id: int | None
    words: StaffWords | None
    facts: RelayFacts
    outcome: RelayOutcome | None
    send_state: Literal["sending", "sent", "unknown", "failed"] | None
    error: str | None
    created_at: Moment
    now: Moment

    @property
    def name(self) -> str:
        """Its name in the log: its id."""
        return str(self.relay_id)


class ClaimRelays(Asked):
    """How many relays to claim, and for how long."""

    limit: int
    lease_seconds: float


RelayOrNot: TypeAlias = ClaimedRelay | NotRead


class ClaimedRelays(Answer):
    """The claimed relays. One that cannot be read does not affect the others."""

    relays: Annotated[tuple[RelayOrNot, ...], each_by_itself(ClaimedRelay, "relay_id")]
    now: Moment
    next_due_at: Moment | None


async def claim_relays(database: Database, asked: ClaimRelays) -> ClaimedRelays:
    """Claim due relays, each for one attempt."""
    return await call(database, "claim_relays", asked, ClaimedRelays)


class HeldRelay(Asked):
    """The relay, and its attempt's token."""

    relay_id: int
    token: str


class RelaySaid(Answer):
    """The message to send, as it was requested."""

    said: dict[str, Any] | None


async def read_relay(database: Database, asked: HeldRelay) -> RelaySaid | Refusal:
    """Read the message to send. It may be large."""
    return await call_or_refused(database, "read_relay", asked, RelaySaid, Refusal)


class BeginRelaySend(Sending):
    """A relay's message that is about to be sent: to the contact, or as the word back."""

    relay_id: int
    token: str
    lease_seconds: float


async def begin_relay_send(
    database: Database, asked: BeginRelaySend
) -> BegunHumanSend | SendRefused:
    """Pass the fence for the message to the contact."""
    return await call_or_refused(database, "begin_relay_send", asked, BegunHumanSend, SendRefused)


async def begin_word_send(
    database: Database, asked: BeginRelaySend
) -> BegunHumanSend | SendRefused:
    """Pass the fence for the one word back to the staff."""
    return await call_or_refused(database, "begin_word_send", asked, BegunHumanSend, SendRefused)


class ObeyStaff(HeldRelay):
    """What a person of the staff asked for by quoting a notice."""

    command: Literal["take", "resume", "until"]
    until: Moment | None = None
    policy: Values


class StaffObeyed(Answer):
    """What was done, and the new turn of the conversation, if any."""

    outcome: RelayOutcome
    facts: RelayFacts
    turn_id: int | None = None
    was_paused: bool


async def obey_staff(database: Database, asked: ObeyStaff) -> StaffObeyed | Refusal:
    """Do what a person of the staff asked for."""
    return await call_or_refused(database, "obey_staff", asked, StaffObeyed, Refusal)


class SettleRelay(HeldRelay):
    """The result of a relay."""

    outcome: RelayOutcome | None = None
    error: Text | None = None
    again_in: float | None = None
    over: bool | None = None


async def settle_relay(database: Database, asked: SettleRelay) -> Done | Refusal:
    """Record a relay's result, or that it will be tried again."""
    return await call_or_refused(database, "settle_relay", asked, Done, Refusal)
