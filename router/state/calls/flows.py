"""What flows in n8n do with their turns.

database/schema/0850_turns_of_flows.sql, 0851_executions_of_flows.sql, 0852_turns_seen_by_flows.sql,
0853_sends_of_flows.sql and 0854_media_of_flows.sql; for failing flows, 0871_notices.sql.
"""

from typing import Literal

from router.state.calls.claimed_turn import ReplyRules
from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Held,
    Items,
    Moment,
    Refusal,
    StoredInstance,
    Text,
    call,
    call_or_refused,
)
from router.state.calls.sends import BegunSend, Sending, SendRefused
from router.state.database import Database


class ForwardTurn(Asked):
    """An attempt, and the time that its flow gets."""

    turn_id: int
    token: str
    lease_seconds: float


async def forward_turn(database: Database, asked: ForwardTurn) -> Done | Refusal:
    """Record that the turn is forwarded to n8n."""
    return await call_or_refused(database, "forward_turn", asked, Done, Refusal)


class BeginFlow(Asked):
    """An attempt, and the execution that works on it; reported by the flow or by n8n itself."""

    turn_id: int
    token: str
    execution_id: str
    by_n8n: bool | None = None
    execution_url: str | None = None


async def begin_flow(database: Database, asked: BeginFlow) -> Done | Refusal:
    """Record which execution works on a turn."""
    return await call_or_refused(database, "begin_flow", asked, Done, Refusal)


class TakeExecution(Asked):
    """An execution that crashed."""

    execution_id: str


class ExecutionTaken(Answer):
    """The attempt that the execution worked on. It belongs to the caller from now on."""

    turn_id: int
    token: str

    @property
    def held(self) -> Held:
        """Return what every call about the attempt must contain."""
        return {"turn_id": self.turn_id, "token": self.token}


async def take_execution(database: Database, asked: TakeExecution) -> ExecutionTaken | Refusal:
    """Take over the attempt that an execution worked on. Raises NotFound."""
    return await call_or_refused(database, "take_execution", asked, ExecutionTaken, Refusal)


class LookAtTurn(Asked):
    """An attempt; `closed`: also if its turn has ended already."""

    turn_id: int
    token: str
    closed: bool | None = None


class FlowsSend(Answer):
    """A message that a flow has sent."""

    identity: str | None
    body: str
    send_state: str | None
    wa_id: str | None = None


class TurnOfFlow(StoredInstance):
    """The tenant and the conversation of a turn, and what it has said."""

    session_id: int
    jid: str
    jids: Items[str]
    is_paused: bool
    correlation_id: str | None
    system_prompt: str | None
    facts: str | None = None
    notes: Items[str] = ()
    contact_wrote: str | None = None
    reply_rules: ReplyRules
    said: Items[str]
    sends: Items[FlowsSend]
    said_so_far: str
    next_part: int
    fallback_message: str | None = None
    handoff_message: str | None = None
    handoff_on_promise: bool = True
    wrote: Items[str] = ()
    unread: Items[str] = ()
    is_closed: bool = False


async def look_at_turn(database: Database, asked: LookAtTurn) -> TurnOfFlow | Refusal:
    """Return what the router needs to act for a flow. It contains the tenant's key."""
    return await call_or_refused(database, "look_at_turn", asked, TurnOfFlow, Refusal)


class RestOfSend(Asked):
    """A further message of a flow's send, after the first one."""

    body: Text
    kind: str
    identity: str


class BeginFlowSend(Sending):
    """What a flow is about to send. `text` was checked when `next_part` was the next part.

    `promise`: why a human is called, if the text promises one.
    """

    turn_id: int
    token: str
    kind: str
    refers_to: Text | None = None
    text: Text | None = None
    next_part: int | None = None
    rest: tuple[RestOfSend, ...] | None = None
    promise: Text | None = None
    lease_seconds: float


class BegunFlowSend(BegunSend):
    """A flow's send that passed the fence, and its part number in the turn."""

    part: int


async def begin_flow_send(database: Database, asked: BeginFlowSend) -> BegunFlowSend | SendRefused:
    """Pass the fence for a flow's send."""
    return await call_or_refused(database, "begin_flow_send", asked, BegunFlowSend, SendRefused)


class FindMedia(Asked):
    """An attempt, and the message whose media the flow requests."""

    turn_id: int
    token: str
    wa_id: Text


class StoredMedia(Answer):
    """Where a message's media is kept as a file; `kind`: the message's."""

    store: str
    name: str
    bytes: int
    media_type: str
    kind: str


class MediaFound(Done):
    """Media that the flow may have. `bytes`: its size, as WhatsApp reported it."""

    bytes: int | None
    stored: StoredMedia | None = None


async def find_media(database: Database, asked: FindMedia) -> MediaFound | Refusal:
    """Decide whether a flow may have a message's media."""
    return await call_or_refused(database, "find_media", asked, MediaFound, Refusal)


class ExtendTurn(Asked):
    """An attempt that needs this many more seconds, from now."""

    turn_id: int
    token: str
    seconds: float


class TurnExtended(Done):
    """Until when the attempt has time now."""

    lease_until: Moment


async def extend_turn(database: Database, asked: ExtendTurn) -> TurnExtended | Refusal:
    """Give the flow of an attempt more time."""
    return await call_or_refused(database, "extend_turn", asked, TurnExtended, Refusal)


class TellFlowFailing(Asked):
    """A flow that failed this many times in a row, and what happens to its turns meanwhile."""

    tenant_id: int
    flow: Text
    failures: int
    goes_on: Literal["fallback", "queue"]


class FlowFailingTold(Done):
    """The business's people will be told; `already`: they were told before."""

    already: bool | None = None


async def tell_flow_failing(database: Database, asked: TellFlowFailing) -> FlowFailingTold:
    """Tell a business's people that one of their flows fails."""
    return await call(database, "tell_flow_failing", asked, FlowFailingTold)


class TellFlowWorks(Asked):
    """The tenant whose flow works again."""

    tenant_id: int


async def tell_flow_works(database: Database, asked: TellFlowWorks) -> Done:
    """Withdraw the notice that a flow fails, if nobody has got it yet."""
    return await call(database, "tell_flow_works", asked, Done)


class HandOff(Asked):
    """An attempt in which the AI asks for a human: why, and what the customer is told."""

    turn_id: int
    token: str
    reason: Text
    summary: Text | None = None
    say: tuple[Text, ...] | None = None


class HandedOff(Done):
    """The session that is now a human's; `already`: a human had it before.

    `replied`: everything that the turn had to say was sent.
    """

    session_id: int
    already: bool | None = None
    replied: bool | None = None


async def hand_off(database: Database, asked: HandOff) -> HandedOff | Refusal:
    """Pause the session for a human, and close the turn."""
    return await call_or_refused(database, "hand_off", asked, HandedOff, Refusal)
