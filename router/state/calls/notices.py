"""Notices, from their claim to their end.

database/schema/0872_notice_claims.sql and 0873_notices_told.sql.
"""

from typing import Annotated, Literal, TypeAlias, get_args

from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    HeldNotice,
    Items,
    Moment,
    NotRead,
    Refusal,
    StoredInstance,
    Text,
    call,
    call_or_refused,
    each_by_itself,
)
from router.state.calls.sends import Sending, SendRefused
from router.state.database import Database
from router.state.flow_tokens import NoticeToken

NoticeKind: TypeAlias = Literal[
    "handoff",
    "connection_lost",
    "qr_waiting",
    "undelivered",
    "flow_failing",
    "unanswered",
    "answered_again",
]


class Concerned(Answer):
    """A customer who got no answer."""

    name: str | None
    jid: str | None


class OutageTold(Answer):
    """A time in which customers get no answer, for one cause.

    `turns`: how many turns it affects (1000: or more). `unanswered`: how many of them ended without
    an answer. If it is about single conversations, `who` lists some of the customers, and `others`
    says whether there are more.
    """

    cause: str
    began_at: Moment
    ended_at: Moment | None = None
    turns: int
    unanswered: int
    has_own_key: bool = False
    provider: str | None = None
    flow: str | None = None
    who: Items[Concerned] = ()
    others: bool = False


class NoticeFacts(Answer):
    """What happened; the fields that are set depend on the notice's kind.

    A handoff: who, and why. A connection: its state, and Baileys' code. Replies that WhatsApp did
    not deliver: how many in a row, to how many contacts. A part that was given up: why, and for
    whom it was. A flow in n8n that fails: its webhook's path, how often in a row, and what its
    turns do (`state`). Customers who get no answer: the outages.
    """

    reason: str | None = None
    summary: str | None = None
    jid: str | None = None
    contact_name: str | None = None
    state: str | None = None
    code: str | None = None
    replies: int | None = None
    contacts: int | None = None
    flow: str | None = None
    failures: int | None = None
    waited_minutes: float | None = None
    to_next: bool = False
    words: Literal["not_said"] | None = None
    """Of a handoff: the customer could not be told about it."""
    outages: Items[OutageTold] = ()


class ClaimedNotice(Answer):
    """One attempt at a notice.

    `number` and `url` must still be told; None: not configured, or told already. `told`: at least
    one of them was told.
    """

    notice_id: int
    token: str
    attempt: int
    kind: NoticeKind
    tenant_id: int
    instance_name: str
    language: str = "en"
    session_id: int | None
    facts: NoticeFacts
    created_at: Moment
    number: str | None
    url: str | None
    told: bool

    @property
    def name(self) -> str:
        """Its name in the log: its id."""
        return str(self.notice_id)

    @property
    def shown_token(self) -> NoticeToken:
        """The token as a flow sends it."""
        return NoticeToken(self.notice_id, self.token)

    @property
    def held(self) -> HeldNotice:
        """What every SQL call about this attempt must contain."""
        return self.shown_token.held


class ClaimNotices(Asked):
    """The claiming worker, how many notices it takes, and each tenant's limit."""

    limit: int
    lease_seconds: float
    max_attempts: int
    kinds: tuple[str, ...] = get_args(NoticeKind)
    """The kinds that the caller knows: a newer schema may have more."""
    after_tenant: int | None = None
    tenant_max: int | None = None
    own: dict[str, int] | None = None
    own_max: int | None = None
    sitting: dict[str, int] | None = None
    own_times: float | None = None


NoticeOrNot: TypeAlias = ClaimedNotice | NotRead


class ClaimedNotices(Answer):
    """The claimed notices. One that cannot be read does not affect the others."""

    notices: Annotated[tuple[NoticeOrNot, ...], each_by_itself(ClaimedNotice, "notice_id")]
    now: Moment
    after_tenant: int
    more: bool
    next_due_at: Moment | None


async def claim_notices(database: Database, asked: ClaimNotices) -> ClaimedNotices:
    """Claim due notices, each for one attempt."""
    return await call(database, "claim_notices", asked, ClaimedNotices)


class BeginNoticeSend(Sending):
    """The WhatsApp message of a notice, and the number that it is for."""

    notice_id: int
    token: str
    lease_seconds: float
    instance_name: Text | None = None
    number: Text | None = None


class BegunNoticeSend(StoredInstance):
    """A notice's send that passed the fence, and its address."""

    ok: bool
    message_id: int
    chosen_id: str | None = None
    number: str


async def begin_notice_send(
    database: Database, asked: BeginNoticeSend
) -> BegunNoticeSend | SendRefused:
    """Pass the fence for the one WhatsApp message of a notice."""
    return await call_or_refused(database, "begin_notice_send", asked, BegunNoticeSend, SendRefused)


class FinishNotice(Asked):
    """An attempt that delivered the notice, or the reason why nobody had to be told."""

    notice_id: int
    token: str
    handler: Literal["n8n", "fallback"]
    reason: str | None = None
    url_told: bool | None = None


class NoticeFinished(Done):
    """The notice is told; `already`: it was told before."""

    already: bool | None = None


async def finish_notice(database: Database, asked: FinishNotice) -> NoticeFinished | Refusal:
    """Record that a notice was told."""
    return await call_or_refused(database, "finish_notice", asked, NoticeFinished, Refusal)


class FailNotice(Asked):
    """An attempt that could not tell somebody, and when the notice may be tried again."""

    notice_id: int
    token: str
    error: Text
    away: bool | None = None
    url_told: bool | None = None
    max_attempts: int
    base_seconds: float


class NoticeFailed(Answer):
    """The notice's state now."""

    state: str


async def fail_notice(database: Database, asked: FailNotice) -> NoticeFailed | Refusal:
    """Record that somebody could not be told."""
    return await call_or_refused(database, "fail_notice", asked, NoticeFailed, Refusal)
